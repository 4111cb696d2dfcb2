//! Synthetic interrupt source registers.

/// Value of a synthetic interrupt source register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SintRegister(u64);

impl SintRegister {
    const VECTOR: u64 = 0xFF;
    const MASKED: u64 = 1 << 16;
    const AUTO_EOI: u64 = 1 << 17;
    const POLLING: u64 = 1 << 18;
    const PROXY: u64 = 1 << 20;

    /// Lowest vector that an unmasked source may have.
    pub const VECTOR_MIN: u8 = 16;

    /// Value after a reset of the virtual processor: masked, vector 0.
    pub const RESET: Self = Self(Self::MASKED);

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

    /// Interrupt vector. Below 16 only while masked.
    #[must_use]
    pub const fn vector(self) -> u8 {
        (self.0 & Self::VECTOR) as u8
    }

    /// Whether the source raises no interrupts and refuses event signals.
    #[must_use]
    pub const fn is_masked(self) -> bool {
        self.0 & Self::MASKED != 0
    }

    /// Whether the hypervisor ends the interrupt itself on delivery.
    #[must_use]
    pub const fn is_auto_eoi(self) -> bool {
        self.0 & Self::AUTO_EOI != 0
    }

    /// Whether the guest polls the pages and wants no interrupts.
    #[must_use]
    pub const fn is_polling(self) -> bool {
        self.0 & Self::POLLING != 0
    }

    /// Whether the source is a proxy (nested virtualisation).
    #[must_use]
    pub const fn is_proxy(self) -> bool {
        self.0 & Self::PROXY != 0
    }

    /// Whether the hypervisor raises an interrupt for this source.
    #[must_use]
    pub const fn delivers_interrupts(self) -> bool {
        !self.is_masked() && !self.is_polling()
    }

    /// Whether a write of this value is legal: an unmasked source needs a
    /// vector of at least [`VECTOR_MIN`](Self::VECTOR_MIN).
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.is_masked() || self.vector() >= Self::VECTOR_MIN
    }

    /// The same source with another vector.
    #[must_use]
    pub const fn with_vector(self, vector: u8) -> Self {
        Self((self.0 & !Self::VECTOR) | vector as u64)
    }

    /// The same source, masked or not.
    #[must_use]
    pub const fn with_masked(self, masked: bool) -> Self {
        self.with(Self::MASKED, masked)
    }

    /// The same source, with automatic end of interrupt or not.
    #[must_use]
    pub const fn with_auto_eoi(self, auto_eoi: bool) -> Self {
        self.with(Self::AUTO_EOI, auto_eoi)
    }

    /// The same source, polled or not.
    #[must_use]
    pub const fn with_polling(self, polling: bool) -> Self {
        self.with(Self::POLLING, polling)
    }

    const fn with(self, bit: u64, set: bool) -> Self {
        Self(if set { self.0 | bit } else { self.0 & !bit })
    }
}

impl Default for SintRegister {
    fn default() -> Self {
        Self::RESET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vmbus_source_as_linux_programs_it() {
        let sint = SintRegister::RESET.with_vector(0xF3).with_masked(false);
        assert_eq!(sint.bits(), 0xF3);
        assert_eq!(sint.with_auto_eoi(true).bits(), 0x200F3);
        assert!(sint.is_valid() && sint.delivers_interrupts());
    }

    #[test]
    fn a_low_vector_is_legal_only_while_masked() {
        assert!(SintRegister::RESET.is_valid());
        assert!(!SintRegister::RESET.with_masked(false).is_valid());
        assert!(
            SintRegister::RESET
                .with_vector(16)
                .with_masked(false)
                .is_valid()
        );
    }

    proptest! {
        #[test]
        fn changing_one_field_keeps_the_others(bits: u64, vector: u8, a: bool, b: bool, c: bool) {
            let before = SintRegister::from_bits(bits);
            let after = before.with_vector(vector).with_masked(a).with_auto_eoi(b).with_polling(c);
            prop_assert_eq!(after.vector(), vector);
            prop_assert_eq!(after.is_masked(), a);
            prop_assert_eq!(after.is_auto_eoi(), b);
            prop_assert_eq!(after.is_polling(), c);
            let changed = 0xFF | 7 << 16;
            prop_assert_eq!(after.bits() & !changed, bits & !changed);
        }
    }
}
