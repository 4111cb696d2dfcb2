//! Exact counts of what guests ask for and what they are given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// First synthetic MSR that is counted by number.
const FIRST_MSR: u32 = 0x4000_0000;
/// Number of synthetic MSRs that are counted by number; others are counted together.
const MSR_COUNT: usize = 0x200;
/// Call codes below this one are counted without a lock.
const LOW_CODES: usize = 0x100;

/// Counts since the partition was created. Resets of the partition do not clear them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Hypercalls by call code, whatever their result.
    pub hypercalls: BTreeMap<u16, u64>,
    /// Hypercalls that did not end in success.
    pub hypercalls_failed: u64,
    /// Reads of synthetic MSRs by number; [`Counters::OTHER_MSR`] stands for all outside the synthetic range.
    pub msr_reads: BTreeMap<u32, u64>,
    /// Writes of synthetic MSRs by number; [`Counters::OTHER_MSR`] stands for all outside the synthetic range.
    pub msr_writes: BTreeMap<u32, u64>,
    /// MSR accesses answered by a general-protection fault.
    pub msr_faults: u64,
    /// Counts of each virtual processor, by VP index.
    pub virtual_processors: Vec<VpCounters>,
}

impl Counters {
    /// The key under which MSRs outside 0x40000000–0x400001FF are counted.
    pub const OTHER_MSR: u32 = u32::MAX;

    /// All hypercalls.
    #[must_use]
    pub fn total_hypercalls(&self) -> u64 {
        self.hypercalls.values().sum()
    }

    /// All interrupts, of every virtual processor.
    #[must_use]
    pub fn total_interrupts(&self) -> u64 {
        self.virtual_processors.iter().map(|vp| vp.interrupts).sum()
    }
}

/// Counts of one virtual processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpCounters {
    /// Messages accepted for its message page, the hypervisor's own included.
    pub messages_queued: u64,
    /// Messages written to its message page.
    pub messages_delivered: u64,
    /// Messages that had to wait because the slot was taken.
    pub messages_parked: u64,
    /// Events signalled to it, those included whose flag was already set.
    pub events_signalled: u64,
    /// Events refused because its SynIC was off or the SINT masked.
    pub events_refused: u64,
    /// Interrupts raised on it by the SynIC and the synthetic timers.
    pub interrupts: u64,
    /// Expirations of its synthetic timers.
    pub timer_expirations: u64,
    /// Periodic expirations left out because an earlier one was still waiting or the host was late.
    pub timer_ticks_skipped: u64,
}

/// The partition-wide counters while they are counted.
pub(super) struct PartitionCounters {
    low_codes: [AtomicU64; LOW_CODES],
    other_codes: Mutex<BTreeMap<u16, u64>>,
    hypercalls_failed: AtomicU64,
    reads: Box<[AtomicU64; MSR_COUNT + 1]>,
    writes: Box<[AtomicU64; MSR_COUNT + 1]>,
    msr_faults: AtomicU64,
}

impl Default for PartitionCounters {
    fn default() -> Self {
        Self {
            low_codes: [const { AtomicU64::new(0) }; LOW_CODES],
            other_codes: Mutex::default(),
            hypercalls_failed: AtomicU64::new(0),
            reads: Box::new([const { AtomicU64::new(0) }; MSR_COUNT + 1]),
            writes: Box::new([const { AtomicU64::new(0) }; MSR_COUNT + 1]),
            msr_faults: AtomicU64::new(0),
        }
    }
}

impl PartitionCounters {
    pub(super) fn hypercall(&self, code: u16) {
        match self.low_codes.get(usize::from(code)) {
            Some(counter) => bump(counter),
            None => {
                let mut others = self
                    .other_codes
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *others.entry(code).or_default() += 1;
            }
        }
    }

    pub(super) fn hypercall_failed(&self) {
        bump(&self.hypercalls_failed);
    }

    pub(super) fn msr_read(&self, msr: u32) {
        bump(&self.reads[msr_place(msr)]);
    }

    pub(super) fn msr_write(&self, msr: u32) {
        bump(&self.writes[msr_place(msr)]);
    }

    pub(super) fn msr_fault(&self) {
        bump(&self.msr_faults);
    }

    pub(super) fn snapshot(&self, virtual_processors: Vec<VpCounters>) -> Counters {
        let mut hypercalls = self
            .other_codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (code, counter) in (0_u16..).zip(&self.low_codes) {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                hypercalls.insert(code, count);
            }
        }
        Counters {
            hypercalls,
            hypercalls_failed: self.hypercalls_failed.load(Ordering::Relaxed),
            msr_reads: by_msr(self.reads.as_slice()),
            msr_writes: by_msr(self.writes.as_slice()),
            msr_faults: self.msr_faults.load(Ordering::Relaxed),
            virtual_processors,
        }
    }
}

/// Index of an MSR's counter; the last one is shared by all outside the synthetic range.
fn msr_place(msr: u32) -> usize {
    let index = msr.wrapping_sub(FIRST_MSR) as usize;
    index.min(MSR_COUNT)
}

fn by_msr(counters: &[AtomicU64]) -> BTreeMap<u32, u64> {
    let numbers = (FIRST_MSR..)
        .take(MSR_COUNT)
        .chain(std::iter::once(Counters::OTHER_MSR));
    numbers
        .zip(counters)
        .map(|(msr, counter)| (msr, counter.load(Ordering::Relaxed)))
        .filter(|&(_, count)| count != 0)
        .collect()
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_msrs_are_counted_by_number() {
        let counters = PartitionCounters::default();
        for code in [0x5c, 0x5c, 0x5d, 0xff, 0x100, 0xffff] {
            counters.hypercall(code);
        }
        for msr in [0, 0x3fff_ffff, 0x4000_0000, 0x4000_01ff, 0x4000_0200] {
            counters.msr_read(msr);
        }
        let snapshot = counters.snapshot(Vec::new());
        assert_eq!(snapshot.hypercalls[&0x5c], 2);
        assert_eq!(snapshot.hypercalls[&0xffff], 1);
        assert_eq!(snapshot.total_hypercalls(), 6);
        assert_eq!(snapshot.msr_reads[&0x4000_0000], 1);
        assert_eq!(snapshot.msr_reads[&0x4000_01ff], 1);
        assert_eq!(snapshot.msr_reads[&Counters::OTHER_MSR], 3);
        assert!(snapshot.msr_writes.is_empty());
    }
}
