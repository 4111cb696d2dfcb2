//! Synthetic timer configuration registers.

use super::SintIndex;

/// Value of a synthetic timer's configuration register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StimerConfig(u64);

impl StimerConfig {
    const ENABLE: u64 = 1;
    const PERIODIC: u64 = 1 << 1;
    const LAZY: u64 = 1 << 2;
    const AUTO_ENABLE: u64 = 1 << 3;
    const VECTOR_SHIFT: u32 = 4;
    const VECTOR: u64 = 0xFF << Self::VECTOR_SHIFT;
    const DIRECT: u64 = 1 << 12;
    const SINT_SHIFT: u32 = 16;
    const SINT: u64 = 0xF << Self::SINT_SHIFT;
    const DEFINED: u64 = Self::ENABLE
        | Self::PERIODIC
        | Self::LAZY
        | Self::AUTO_ENABLE
        | Self::VECTOR
        | Self::DIRECT
        | Self::SINT;

    /// All bits clear: the timer is off.
    pub const OFF: Self = Self(0);

    /// The value as read from the register.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The value as written to the register.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the timer is enabled.
    #[must_use]
    pub const fn is_enabled(self) -> bool {
        self.0 & Self::ENABLE != 0
    }

    /// Whether the count is a period rather than an absolute time.
    #[must_use]
    pub const fn is_periodic(self) -> bool {
        self.0 & Self::PERIODIC != 0
    }

    /// Whether expirations of a periodic timer may be merged while the virtual
    /// processor does not run.
    #[must_use]
    pub const fn is_lazy(self) -> bool {
        self.0 & Self::LAZY != 0
    }

    /// Whether writing a non-zero count enables the timer.
    #[must_use]
    pub const fn is_auto_enable(self) -> bool {
        self.0 & Self::AUTO_ENABLE != 0
    }

    /// Whether expiry raises an interrupt directly instead of a message.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        self.0 & Self::DIRECT != 0
    }

    /// Interrupt vector of direct mode.
    #[must_use]
    pub const fn vector(self) -> u8 {
        ((self.0 & Self::VECTOR) >> Self::VECTOR_SHIFT) as u8
    }

    /// Interrupt source of message mode, 0 to 15. Message mode with source 0
    /// cannot be enabled.
    #[must_use]
    pub const fn sint(self) -> u8 {
        ((self.0 & Self::SINT) >> Self::SINT_SHIFT) as u8
    }

    /// Bits without a definition, which must be zero.
    #[must_use]
    pub const fn reserved(self) -> u64 {
        self.0 & !Self::DEFINED
    }

    /// Whether the timer could fire if enabled: in direct mode, or in message
    /// mode with a source other than 0.
    #[must_use]
    pub const fn can_be_enabled(self) -> bool {
        self.is_direct() || self.sint() != 0
    }

    /// The value that the hypervisor keeps when this one is written: a timer in
    /// message mode with source 0 does not become enabled.
    #[must_use]
    pub const fn normalised(self) -> Self {
        self.with_enabled(self.is_enabled() && self.can_be_enabled())
    }

    /// The same configuration, enabled or not.
    #[must_use]
    pub const fn with_enabled(self, enabled: bool) -> Self {
        self.with(Self::ENABLE, enabled)
    }

    /// The same configuration, periodic or one-shot.
    #[must_use]
    pub const fn with_periodic(self, periodic: bool) -> Self {
        self.with(Self::PERIODIC, periodic)
    }

    /// The same configuration, lazy or not.
    #[must_use]
    pub const fn with_lazy(self, lazy: bool) -> Self {
        self.with(Self::LAZY, lazy)
    }

    /// The same configuration, with automatic enabling or not.
    #[must_use]
    pub const fn with_auto_enable(self, auto_enable: bool) -> Self {
        self.with(Self::AUTO_ENABLE, auto_enable)
    }

    /// The same configuration in direct mode with this vector. Needs
    /// [`Features::DIRECT_STIMERS`](crate::cpuid::Features::DIRECT_STIMERS).
    #[must_use]
    pub const fn with_direct(self, vector: u8) -> Self {
        Self(
            (self.0 & !(Self::VECTOR | Self::SINT))
                | Self::DIRECT
                | (vector as u64) << Self::VECTOR_SHIFT,
        )
    }

    /// The same configuration in message mode to this source.
    #[must_use]
    pub const fn with_message(self, sint: SintIndex) -> Self {
        Self(
            (self.0 & !(Self::VECTOR | Self::DIRECT | Self::SINT))
                | (sint.number() as u64) << Self::SINT_SHIFT,
        )
    }

    const fn with(self, bit: u64, set: bool) -> Self {
        Self(if set { self.0 | bit } else { self.0 & !bit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn direct_one_shot_of_the_specification() {
        let config = StimerConfig::OFF.with_auto_enable(true).with_direct(0xED);
        assert_eq!(config.bits(), 0x1ED8);
        assert_eq!(config.with_enabled(true).bits(), 0x1ED9);
    }

    #[test]
    fn fault_87_message_mode_with_source_0_stays_off() {
        let config = StimerConfig::OFF
            .with_message(SintIndex::INTERCEPT)
            .with_enabled(true);
        assert!(!config.can_be_enabled());
        assert!(!config.normalised().is_enabled());
        let config = config.with_message(SintIndex::VMBUS);
        assert!(config.normalised().is_enabled());
        assert!(config.with_direct(0).normalised().is_enabled());
    }

    proptest! {
        #[test]
        fn fields_do_not_disturb_each_other(bits: u64, vector: u8, sint in 0u8..16, flags in 0u8..16) {
            let before = StimerConfig::from_bits(bits);
            let common = before
                .with_enabled(flags & 1 != 0)
                .with_periodic(flags & 2 != 0)
                .with_lazy(flags & 4 != 0)
                .with_auto_enable(flags & 8 != 0);
            let direct = common.with_direct(vector);
            let message = common.with_message(SintIndex::new(sint).unwrap());
            prop_assert!(direct.is_direct() && !message.is_direct());
            prop_assert_eq!(direct.vector(), vector);
            prop_assert_eq!(message.sint(), sint);
            for config in [direct, message] {
                prop_assert_eq!(config.reserved(), before.reserved());
                prop_assert_eq!(config.bits() & 0xF, u64::from(flags));
            }
        }
    }
}
