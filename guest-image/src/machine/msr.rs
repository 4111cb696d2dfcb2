//! MSR access that survives a refusal: a general protection fault on these instructions becomes an answer.

use core::arch::global_asm;

use hypercall::MsrFault;

global_asm!(
    ".text",
    // (edi: msr, rsi: place for the value) -> eax: 1, or 0 after a fault
    "guest_read_msr:",
    "mov ecx, edi",
    "guest_read_msr_instruction:",
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov [rsi], rax",
    "mov eax, 1",
    "ret",
    // (edi: msr, rsi: value) -> eax: 1, or 0 after a fault
    "guest_write_msr:",
    "mov ecx, edi",
    "mov rax, rsi",
    "mov rdx, rsi",
    "shr rdx, 32",
    "guest_write_msr_instruction:",
    "wrmsr",
    "mov eax, 1",
    "ret",
    "guest_msr_fault:",
    "xor eax, eax",
    "ret",
);

unsafe extern "C" {
    fn guest_read_msr(msr: u32, value: *mut u64) -> u32;
    fn guest_write_msr(msr: u32, value: u64) -> u32;
    static guest_read_msr_instruction: u8;
    static guest_write_msr_instruction: u8;
    static guest_msr_fault: u8;
}

/// Where to go on after a general protection fault at `rip`, if it was one of our MSR accesses.
pub(super) fn resume_after_fault(rip: u64) -> Option<u64> {
    let ours = [
        &raw const guest_read_msr_instruction,
        &raw const guest_write_msr_instruction,
    ];
    ours.iter()
        .any(|&instruction| instruction as u64 == rip)
        .then_some((&raw const guest_msr_fault) as u64)
}

/// Reads a model-specific register.
///
/// # Errors
/// The access raised a general protection fault.
pub(super) fn read(msr: u32) -> Result<u64, MsrFault> {
    let mut value = 0;
    // SAFETY: we run at privilege level 0; the routine keeps the C convention and writes only `value`. A fault is
    // caught by the exception handler.
    match unsafe { guest_read_msr(msr, &raw mut value) } {
        0 => Err(MsrFault { msr }),
        _ => Ok(value),
    }
}

/// Writes a model-specific register.
///
/// # Errors
/// The access raised a general protection fault; the register is unchanged.
///
/// # Safety
/// The value must keep the promises that the register's definition asks for.
pub(super) unsafe fn write(msr: u32, value: u64) -> Result<(), MsrFault> {
    // SAFETY: privilege level 0, C convention; the caller vouches for the value. A call to foreign code counts as an
    // access to all memory.
    match unsafe { guest_write_msr(msr, value) } {
        0 => Err(MsrFault { msr }),
        _ => Ok(()),
    }
}
