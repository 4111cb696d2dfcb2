//! This processor, for the crates that talk to the hypervisor.

use core::ptr::NonNull;

use hypercall::arch::x86_64::Cpu;
use hypercall::{CpuidResult, MsrFault, Processor};

use super::msr;

/// The processor that runs the caller, whose refused MSR accesses are errors instead of exceptions.
#[derive(Clone, Copy)]
pub(super) struct ThisProcessor(Cpu);

impl ThisProcessor {
    /// The processor without a hypercall page.
    pub(super) const fn new() -> Self {
        // SAFETY: the whole image runs at privilege level 0.
        Self(unsafe { Cpu::new() })
    }

    /// # Safety
    /// As for [`Cpu::with_hypercall_page`].
    pub(super) unsafe fn with_hypercall_page(self, page: NonNull<u8>) -> Self {
        // SAFETY: the caller vouches for the page.
        Self(unsafe { self.0.with_hypercall_page(page) })
    }
}

// SAFETY: hypercalls and the counter are `Cpu`'s. MSR writes are calls to assembly that the compiler cannot see into,
// so it moves no memory access across them.
unsafe impl Processor for ThisProcessor {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.0.cpuid(leaf, subleaf)
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        msr::read(msr)
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        // SAFETY: the caller vouches for the value.
        unsafe { msr::write(msr, value) }
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        // SAFETY: the caller vouches for the call and its areas.
        unsafe { self.0.hypercall(control, input, output) }
    }

    fn tsc(&self) -> u64 {
        self.0.tsc()
    }
}
