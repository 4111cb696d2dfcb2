//! The processor that runs this code, in long mode at privilege level 0.

use core::arch::asm;
use core::ptr::NonNull;

use x86::cpuid::native_cpuid::cpuid_count;
use x86::msr::{rdmsr, wrmsr};

use crate::call::{CallResult, Status};
use crate::{CpuidResult, MsrFault, Processor};

/// The processor that runs the caller.
///
/// A `Cpu` names no particular processor: whichever one executes a method is
/// the one that is meant. So it may be copied and used everywhere, by each
/// processor for itself.
///
/// # Faults
///
/// An MSR access that the hypervisor refuses raises a general protection fault
/// here, which this type does not catch: [`MsrFault`] is never returned, and
/// the fault goes to the kernel's handler. Look at
/// [`Discovery`](crate::cpuid::Discovery) before touching a register.
///
/// # Indirect branch tracking
///
/// The hypercall page is entered by an indirect call. A kernel that enables
/// CET indirect branch tracking must check that the page begins with
/// `ENDBR64`, or switch tracking off around the call.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    hypercall_page: Option<unsafe extern "C" fn()>,
}

impl Cpu {
    /// The processor, before a hypercall page is installed. A hypercall fails
    /// with [`Status::INVALID_PARTITION_STATE`], without being made.
    ///
    /// # Safety
    ///
    /// The code must run at privilege level 0 whenever a method is called: the
    /// instructions fault elsewhere.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self {
            hypercall_page: None,
        }
    }

    /// The processor, with a hypercall page mapped at `page`.
    ///
    /// # Safety
    ///
    /// `page` must be the virtual address, mapped executable on every
    /// processor that uses the value, of the hypercall page that
    /// [`page::install`](crate::page::install) enabled. It must stay so while
    /// hypercalls are made.
    #[must_use]
    pub unsafe fn with_hypercall_page(self, page: NonNull<u8>) -> Self {
        // SAFETY: a non-null code pointer has the layout of a function pointer,
        // and the caller vouches that there is code: its convention is not C's,
        // so it is never called but by the assembly in `hypercall`.
        let entry = unsafe { core::mem::transmute::<NonNull<u8>, unsafe extern "C" fn()>(page) };
        Self {
            hypercall_page: Some(entry),
        }
    }
}

// SAFETY: the hypercall is complete when the page returns. `wrmsr` and the call
// are assembly that clobbers memory. LFENCE holds RDTSC back until every
// earlier load has completed.
unsafe impl Processor for Cpu {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let result = cpuid_count(leaf, subleaf);
        CpuidResult {
            eax: result.eax,
            ebx: result.ebx,
            ecx: result.ecx,
            edx: result.edx,
        }
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        // SAFETY: `new` demanded privilege level 0. Reading a register changes
        // nothing in memory; one that does not exist faults without effect.
        Ok(unsafe { rdmsr(msr) })
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        // SAFETY: `new` demanded privilege level 0; the caller vouches for the
        // value.
        unsafe { wrmsr(msr, value) };
        Ok(())
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        let Some(entry) = self.hypercall_page else {
            return CallResult::from(Status::INVALID_PARTITION_STATE).bits();
        };
        let result;
        // SAFETY: `with_hypercall_page` demanded that the entry is the
        // hypercall page's; the caller vouches for the parameters. The
        // hypervisor preserves all registers but those listed; memory and flags
        // count as clobbered, and the stack is used by the call itself.
        unsafe {
            asm!(
                "call rax",
                inout("rax") entry => result,
                inout("rcx") control => _,
                inout("rdx") input => _,
                inout("r8") output => _,
                lateout("r9") _,
                lateout("r10") _,
                lateout("r11") _,
            );
        }
        result
    }

    fn tsc(&self) -> u64 {
        let low: u32;
        let high: u32;
        // SAFETY: RDTSC does not fault at privilege level 0 and touches only
        // the two registers. The asm counts as a memory access, so the compiler
        // moves no load across it.
        unsafe {
            asm!(
                "lfence",
                "rdtsc",
                out("eax") low,
                out("edx") high,
                options(nostack),
            );
        }
        u64::from(high) << 32 | u64::from(low)
    }
}

#[cfg(test)]
mod tests;
