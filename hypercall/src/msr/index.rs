//! Numbers that select one of several equal registers.

use super::{SINT0, SINT15, STIMER0_CONFIG, STIMER0_COUNT, STIMER3_COUNT};

/// Synthetic interrupt sources of a virtual processor.
pub const SINT_COUNT: usize = 16;

/// Synthetic timers of a virtual processor.
pub const STIMER_COUNT: usize = 4;

/// Number of a synthetic interrupt source, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SintIndex(u8);

impl SintIndex {
    /// SINT0: intercept messages of the hypervisor, by convention.
    pub const INTERCEPT: Self = Self(0);
    /// SINT2: VMBus messages and channel events, by convention.
    pub const VMBUS: Self = Self(2);

    /// The source with this number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < SINT_COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, below [`SINT_COUNT`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The MSR that configures this source.
    #[must_use]
    pub const fn register(self) -> u32 {
        SINT0 + self.0 as u32
    }

    /// The source that an MSR configures, if it is one of the SINT registers.
    #[must_use]
    pub const fn from_register(msr: u32) -> Option<Self> {
        if msr >= SINT0 && msr <= SINT15 {
            Some(Self((msr - SINT0) as u8))
        } else {
            None
        }
    }

    /// All sources in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SINT_COUNT as u8).map(Self)
    }
}

/// Number of a synthetic timer, 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerIndex(u8);

impl TimerIndex {
    /// The first timer.
    pub const FIRST: Self = Self(0);

    /// The timer with this number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < STIMER_COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, below [`STIMER_COUNT`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The MSR that configures this timer.
    #[must_use]
    pub const fn config_register(self) -> u32 {
        STIMER0_CONFIG + 2 * self.0 as u32
    }

    /// The MSR that holds this timer's expiration time or period.
    #[must_use]
    pub const fn count_register(self) -> u32 {
        STIMER0_COUNT + 2 * self.0 as u32
    }

    /// The timer whose configuration or count register this is.
    #[must_use]
    pub const fn from_register(msr: u32) -> Option<Self> {
        if msr >= STIMER0_CONFIG && msr <= STIMER3_COUNT {
            Some(Self(((msr - STIMER0_CONFIG) / 2) as u8))
        } else {
            None
        }
    }

    /// All timers in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..STIMER_COUNT as u8).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_and_timer_has_its_registers() {
        for sint in SintIndex::all() {
            assert_eq!(SintIndex::from_register(sint.register()), Some(sint));
        }
        for timer in TimerIndex::all() {
            assert_eq!(
                TimerIndex::from_register(timer.config_register()),
                Some(timer)
            );
            assert_eq!(
                TimerIndex::from_register(timer.count_register()),
                Some(timer)
            );
        }
        assert_eq!(SintIndex::VMBUS.register(), 0x4000_0092);
        assert_eq!(TimerIndex::new(3).unwrap().count_register(), 0x4000_00B7);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(SintIndex::new(16), None);
        assert_eq!(TimerIndex::new(4), None);
        assert_eq!(SintIndex::from_register(0x4000_00A0), None);
        assert_eq!(SintIndex::from_register(0x4000_008F), None);
        assert_eq!(TimerIndex::from_register(0x4000_00B8), None);
        assert_eq!(TimerIndex::from_register(0x4000_00AF), None);
    }
}
