//! A virtual processor's instructions, answered by the shim in the same process.

use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use hypercall::cpuid::{HYPERVISOR_PRESENT, LEAF_FEATURE_INFORMATION};
use hypercall::{CpuidResult, MsrFault, Processor};

use crate::hv::{Hv, HypercallRegisters};

/// The twin of a real processor: CPUID, RDMSR, WRMSR, RDTSC and the hypercall page of one virtual processor.
#[derive(Clone)]
pub struct InprocProcessor {
    hv: Arc<Hv>,
    vp: u32,
}

impl InprocProcessor {
    pub(super) fn new(hv: Arc<Hv>, vp: u32) -> Self {
        Self { hv, vp }
    }

    /// Index of the virtual processor.
    #[must_use]
    pub fn vp_index(&self) -> u32 {
        self.vp
    }
}

// SAFETY: the shim completes a hypercall, including its reads of the input area and its writes to the output area, before
// it returns, on the caller's own thread. The fences keep the compiler from moving the caller's memory accesses across
// MSR writes and hypercalls. The clock orders its counter after earlier loads (LFENCE, or an atomic load in program order
// on a counter that only software moves).
unsafe impl Processor for InprocProcessor {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        if leaf == LEAF_FEATURE_INFORMATION {
            return CpuidResult {
                ecx: HYPERVISOR_PRESENT,
                ..CpuidResult::default()
            };
        }
        self.hv.cpuid(leaf, subleaf).unwrap_or_default()
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        self.hv
            .read_msr(self.vp, msr)
            .map_err(|fault| MsrFault { msr: fault.msr })
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        compiler_fence(Ordering::SeqCst);
        let result = self
            .hv
            .write_msr(self.vp, msr, value)
            .map_err(|fault| MsrFault { msr: fault.msr });
        compiler_fence(Ordering::SeqCst);
        result
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        compiler_fence(Ordering::SeqCst);
        let result = self.hv.hypercall(
            self.vp,
            HypercallRegisters {
                control,
                input,
                output,
            },
        );
        compiler_fence(Ordering::SeqCst);
        result
    }

    fn tsc(&self) -> u64 {
        compiler_fence(Ordering::SeqCst);
        self.hv.config().clock.tsc()
    }
}
