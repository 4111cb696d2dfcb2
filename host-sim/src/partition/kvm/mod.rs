//! Virtual processors on `/dev/kvm`, with the hypervisor shim in user space.
//!
//! Nothing of KVM's own Hyper-V support is used, and none is needed: CPUID leaves are set, synthetic MSRs and the
//! hypercall page exit to [`Hv`](crate::hv::Hv), interrupts are MSIs to the in-kernel local APICs.
//!
//! [`Partition`] is made, given a guest, and started; [`Running`] is waited for or stopped. [`probe()`] tells whether a
//! machine's KVM is fit for use.

mod affinity;
mod clock;
mod cpuid;
mod device_memory;
mod devices;
mod error;
mod exits;
mod interrupts;
mod kick;
mod msr_filter;
mod outcome;
mod partition;
mod pc;
mod platform;
mod probe;
mod registers;
mod run;
mod running;
mod tlb_flush;
mod vm;

pub use device_memory::KvmDeviceMemoryMapper;
pub use error::KvmError;
pub use exits::{ExitCounts, ExitReason};
pub use outcome::{Failure, Outcome, RegisterDump};
pub use partition::{KvmConfig, Partition};
pub use platform::Platform;
pub use probe::{EMULATION_LIMIT_MIPS, Probe, probe};
pub use running::{Running, StopHandle};
pub use vm::MOST_RAM;
