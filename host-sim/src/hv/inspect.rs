//! The shim's state, readable from outside.

use hypercall::msr::{SintIndex, TimerIndex};
use serde::{Deserialize, Serialize};

use super::{Counters, Hv};

/// State of a partition's hypervisor at one moment. Virtual processors are looked at one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HvSnapshot {
    /// Reference time in 100 ns units.
    pub reference_time: u64,
    /// Who the guest says it is; 0 if it says nothing.
    pub guest_os_id: u64,
    /// The HYPERCALL register.
    pub hypercall: u64,
    /// The REFERENCE_TSC register.
    pub reference_tsc: u64,
    /// Connected message ports.
    pub message_ports: usize,
    /// Connected event ports.
    pub event_ports: usize,
    /// Each virtual processor, by VP index.
    pub virtual_processors: Vec<VpSnapshot>,
    /// All counters.
    pub counters: Counters,
}

/// State of one virtual processor's SynIC and timers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpSnapshot {
    /// The SCONTROL register.
    pub scontrol: u64,
    /// The SIEFP register.
    pub siefp: u64,
    /// The SIMP register.
    pub simp: u64,
    /// The SINT registers.
    pub sints: Vec<u64>,
    /// Messages waiting for each SINT.
    pub waiting_messages: Vec<usize>,
    /// Configuration and count of each synthetic timer.
    pub timers: Vec<(u64, u64)>,
}

impl Hv {
    /// Exact counts since the partition was created.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let virtual_processors = self.vps.iter().map(|vp| vp.lock().counters).collect();
        self.counters.snapshot(virtual_processors)
    }

    /// Everything there is to see.
    #[must_use]
    pub fn snapshot(&self) -> HvSnapshot {
        let (guest_os_id, hypercall, reference_tsc) = {
            let partition = self.partition();
            (
                partition.guest_os_id.bits(),
                partition.hypercall().bits(),
                partition.reference_tsc().bits(),
            )
        };
        HvSnapshot {
            reference_time: self.reference_time(),
            guest_os_id,
            hypercall,
            reference_tsc,
            message_ports: self.message_ports.len(),
            event_ports: self.event_ports.len(),
            virtual_processors: (0..self.machine.config.vp_count)
                .filter_map(|index| self.vp_snapshot(index))
                .collect(),
            counters: self.counters(),
        }
    }

    fn vp_snapshot(&self, index: u32) -> Option<VpSnapshot> {
        let state = self.vp(index)?.lock();
        Some(VpSnapshot {
            scontrol: state.scontrol(),
            siefp: state.siefp().register().bits(),
            simp: state.simp().register().bits(),
            sints: SintIndex::all()
                .map(|sint| state.sint(sint).bits())
                .collect(),
            waiting_messages: SintIndex::all().map(|sint| state.queue_len(sint)).collect(),
            timers: TimerIndex::all()
                .map(|timer| {
                    let timer = state.timer(timer);
                    (timer.config().bits(), timer.count())
                })
                .collect(),
        })
    }
}
