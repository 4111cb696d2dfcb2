//! Registers that place a page.

/// Value of a register that places a page in guest physical memory: hypercall
/// page, reference TSC page, message page, event flags page, VP assist page.
///
/// Bit 0 enables the page, bits 63:12 are its page frame number, bits 11:1 are
/// preserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRegister(u64);

impl PageRegister {
    const ENABLE: u64 = 1;
    const LOCKED: u64 = 1 << 1;
    const FRAME_SHIFT: u32 = 12;
    const LOW_BITS: u64 = (1 << Self::FRAME_SHIFT) - 1;

    /// One more than the largest page frame number that fits.
    pub const FRAME_LIMIT: u64 = 1 << (64 - Self::FRAME_SHIFT);

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

    /// Whether the page is enabled.
    #[must_use]
    pub const fn is_enabled(self) -> bool {
        self.0 & Self::ENABLE != 0
    }

    /// Whether the register is locked until the partition is reset. Only the
    /// hypercall register has this bit, and only with
    /// [`Features::HYPERCALL_LOCK`](crate::cpuid::Features::HYPERCALL_LOCK).
    #[must_use]
    pub const fn is_locked(self) -> bool {
        self.0 & Self::LOCKED != 0
    }

    /// Guest page frame number: the page's physical address divided by 4096.
    #[must_use]
    pub const fn page_frame(self) -> u64 {
        self.0 >> Self::FRAME_SHIFT
    }

    /// Guest physical address of the page.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 & !Self::LOW_BITS
    }

    /// Bits 11:1, which a guest writes back as it read them.
    #[must_use]
    pub const fn preserved(self) -> u64 {
        self.0 & Self::LOW_BITS & !Self::ENABLE
    }

    /// The same register with the page enabled or disabled.
    #[must_use]
    pub const fn with_enabled(self, enabled: bool) -> Self {
        if enabled {
            Self(self.0 | Self::ENABLE)
        } else {
            Self(self.0 & !Self::ENABLE)
        }
    }

    /// The same register at another page. A frame number has 52 bits; bits
    /// above them do not fit the register and are dropped.
    #[must_use]
    pub const fn with_page_frame(self, page_frame: u64) -> Self {
        debug_assert!(page_frame < Self::FRAME_LIMIT);
        Self((self.0 & Self::LOW_BITS) | (page_frame << Self::FRAME_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn changing_one_field_keeps_the_others(bits: u64, frame in 0..PageRegister::FRAME_LIMIT, on: bool) {
            let before = PageRegister::from_bits(bits);
            let after = before.with_page_frame(frame).with_enabled(on);
            prop_assert_eq!(after.preserved(), before.preserved());
            prop_assert_eq!(after.page_frame(), frame);
            prop_assert_eq!(after.address(), frame << 12);
            prop_assert_eq!(after.is_enabled(), on);
            prop_assert_eq!(
                after.with_page_frame(before.page_frame()).with_enabled(before.is_enabled()),
                before
            );
        }
    }
}
