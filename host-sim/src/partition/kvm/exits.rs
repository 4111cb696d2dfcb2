//! Exact counts of why virtual processors came out to user space.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident $field:ident;)*) => {
        /// Why a virtual processor came out to user space.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ExitReason { $($(#[$doc])* $reason,)* }

        const REASON_COUNT: usize = [$(ExitReason::$reason),*].len();

        /// Exits by reason. What KVM deals with in the kernel (HLT, local APIC, CPUID) is no exit.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct ExitCounts { $($(#[$doc])* pub $field: u64,)* }

        impl ExitCounts {
            /// All exits.
            #[must_use]
            pub fn total(&self) -> u64 {
                [$(self.$field),*].iter().sum()
            }
        }

        impl ExitCounters {
            /// The counts so far.
            pub(super) fn snapshot(&self) -> ExitCounts {
                ExitCounts { $($field: self.0[ExitReason::$reason as usize].load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::Add for ExitCounts {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field,)* }
            }
        }

        impl std::ops::Sub for ExitCounts {
            type Output = Self;

            /// What came since `other` was taken.
            fn sub(self, other: Self) -> Self {
                Self { $($field: self.$field - other.$field,)* }
            }
        }
    };
}

reasons! {
    /// Calls of the hypercall page.
    Hypercall hypercall;
    /// Reads of an MSR.
    MsrRead msr_read;
    /// Writes of an MSR.
    MsrWrite msr_write;
    /// Accesses to the console's serial port.
    Console console;
    /// Accesses to the report channel's serial port.
    Report report;
    /// Writes to the power-off port.
    PowerOff power_off;
    /// Accesses to a PC's clock, power management and reset ports.
    Platform platform;
    /// Reads of ports that nobody answers at.
    PortRead port_read;
    /// Writes to ports that nobody answers at.
    PortWrite port_write;
    /// Reads of memory that is not there.
    MmioRead mmio_read;
    /// Writes to memory that is not there.
    MmioWrite mmio_write;
    /// The host called the processor out.
    Interrupted interrupted;
    /// Exits that the processor did not go on from.
    Fatal fatal;
}

/// One virtual processor's counters.
#[derive(Debug, Default)]
pub(super) struct ExitCounters([AtomicU64; REASON_COUNT]);

impl ExitCounters {
    /// Counts an exit. Only the processor's own thread does.
    pub(super) fn count(&self, reason: ExitReason) {
        let counter = &self.0[reason as usize];
        // A single writer needs no read-modify-write.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let counters = ExitCounters::default();
        counters.count(ExitReason::Hypercall);
        counters.count(ExitReason::Hypercall);
        let before = counters.snapshot();
        counters.count(ExitReason::Fatal);
        let after = counters.snapshot();
        assert_eq!((before.hypercall, before.total()), (2, 2));
        assert_eq!((after - before).fatal, 1);
        assert_eq!((after + before).total(), 5);
    }
}
