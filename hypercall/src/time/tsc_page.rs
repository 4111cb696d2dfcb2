//! The reference TSC page.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::UNITS_PER_SECOND;
use crate::{PAGE_SIZE, Processor};

/// Sequence of a page that is not valid: read the MSR.
pub const SEQUENCE_INVALID: u32 = 0;

/// Sequence that older guests take as not valid; a host does not use it.
pub const SEQUENCE_INVALID_OLD: u32 = u32::MAX;

/// Tries of a reader before it takes the page as not valid: the hypervisor
/// changes the page once in a migration, so more than a few mean mischief.
const READ_TRIES: u32 = 64;

/// The sequence that follows another one, with the invalid ones left out. For
/// the end that writes the page.
#[must_use]
pub const fn next_sequence(sequence: u32) -> u32 {
    match sequence.wrapping_add(1) {
        SEQUENCE_INVALID | SEQUENCE_INVALID_OLD => 1,
        next => next,
    }
}

/// How reference time follows from the time stamp counter:
/// `(tsc × scale) / 2^64 + offset`, modulo 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    /// Reference time units of a tick, times 2^64.
    pub scale: u64,
    /// Reference time at counter 0, in 100 ns.
    pub offset: i64,
}

impl TimeScale {
    /// The scale of a counter of this frequency in hertz, with offset 0;
    /// `None` at 10 MHz and below, where the scale does not fit 64 bits.
    #[must_use]
    pub const fn from_frequency(tsc_frequency: u64) -> Option<Self> {
        if tsc_frequency <= UNITS_PER_SECOND {
            return None;
        }
        let scale = ((UNITS_PER_SECOND as u128) << 64) / tsc_frequency as u128;
        Some(Self {
            // Below 2^64, since the frequency is above the units.
            scale: scale as u64,
            offset: 0,
        })
    }

    /// The same scale with the offset that makes counter `tsc` mean reference
    /// time `time`.
    #[must_use]
    pub const fn anchored(self, tsc: u64, time: u64) -> Self {
        let unanchored = Self {
            scale: self.scale,
            offset: 0,
        };
        Self {
            scale: self.scale,
            offset: time.wrapping_sub(unanchored.time_at(tsc)) as i64,
        }
    }

    /// Reference time, in 100 ns, when the counter shows `tsc`.
    #[must_use]
    pub const fn time_at(self, tsc: u64) -> u64 {
        let product = tsc as u128 * self.scale as u128;
        ((product >> 64) as u64).wrapping_add_signed(self.offset)
    }
}

/// The reference TSC page, shared with the other end.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct ReferenceTscPage {
    /// Changes with the rest of the page; [`SEQUENCE_INVALID`] while there is
    /// nothing to read.
    pub sequence: AtomicU32,
    reserved: AtomicU32,
    /// [`TimeScale::scale`].
    pub scale: AtomicU64,
    /// [`TimeScale::offset`], as two's complement.
    pub offset: AtomicU64,
    rest: [AtomicU64; (PAGE_SIZE - 24) / 8],
}

const _: () = {
    assert!(size_of::<ReferenceTscPage>() == PAGE_SIZE);
    assert!(core::mem::offset_of!(ReferenceTscPage, scale) == 8);
    assert!(core::mem::offset_of!(ReferenceTscPage, offset) == 16);
};

impl ReferenceTscPage {
    /// A page that is not valid.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sequence: AtomicU32::new(SEQUENCE_INVALID),
            reserved: AtomicU32::new(0),
            scale: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            rest: [const { AtomicU64::new(0) }; (PAGE_SIZE - 24) / 8],
        }
    }

    /// Reference time in 100 ns; `None` while the page is not valid, or does
    /// not hold still for a few dozen tries.
    pub fn read<P: Processor + ?Sized>(&self, processor: &P) -> Option<u64> {
        for _ in 0..READ_TRIES {
            // Acquire: scale and offset are at least as new as the sequence.
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence == SEQUENCE_INVALID || sequence == SEQUENCE_INVALID_OLD {
                return None;
            }
            let time = TimeScale {
                scale: self.scale.load(Ordering::Relaxed),
                offset: self.offset.load(Ordering::Relaxed).cast_signed(),
            };
            // Ordered after the loads above: after a migration, a counter of
            // the old machine must not meet a scale of the new one.
            let tsc = processor.tsc();
            // The second look at the sequence is not earlier than the reads.
            fence(Ordering::Acquire);
            if self.sequence.load(Ordering::Relaxed) == sequence {
                return Some(time.time_at(tsc));
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Makes the page valid with another scale. For the end that writes the
    /// page; one writer at a time.
    pub fn publish(&self, time: TimeScale) {
        let previous = self.sequence.load(Ordering::Relaxed);
        self.publish_as(time, next_sequence(previous));
    }

    /// Like [`publish`](Self::publish), with a sequence of the writer's own
    /// choice: one that kept it outside the page need not trust the page.
    pub fn publish_as(&self, time: TimeScale, sequence: u32) {
        self.invalidate();
        self.scale.store(time.scale, Ordering::Relaxed);
        self.offset
            .store(time.offset.cast_unsigned(), Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Release);
    }

    /// Makes the page invalid, so that readers use the MSR. For the end that
    /// writes the page.
    pub fn invalidate(&self) {
        self.sequence.store(SEQUENCE_INVALID, Ordering::Relaxed);
        // What is written to the page next is not visible before this.
        fence(Ordering::SeqCst);
    }
}

impl Default for ReferenceTscPage {
    fn default() -> Self {
        Self::new()
    }
}
