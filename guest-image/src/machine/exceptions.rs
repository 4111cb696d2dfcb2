//! Processor exceptions: a refused MSR access is an answer, work without privileges may ask for them, everything
//! else is the end, with a full report.

use core::arch::global_asm;
use core::fmt;
use core::fmt::Write as _;

use guest_image::boot_info::STATUS_EXCEPTION;

use super::{descriptors, msr, panic, power, serial, user_mode};

/// Number of exception vectors.
pub(super) const COUNT: usize = 32;

/// Bytes of each stub.
pub(super) const STUB_BYTES: usize = 16;

const INVALID_OPCODE: u64 = 6;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;

/// Registers as the stubs leave them on the stack.
#[repr(C)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

// One stub per vector, each 16 bytes: it makes the stack the same for vectors with and without an error code (the mask
// has a bit for each vector that pushes one).
global_asm!(
    ".text",
    ".balign 16",
    ".global exception_stubs",
    "exception_stubs:",
    ".set vector, 0",
    ".rept {count}",
    ".balign {stub}",
    ".if (0x60227D00 >> vector) & 1",
    ".else",
    "pushq $0",
    ".endif",
    "pushq $vector",
    "jmp 3f",
    ".set vector, vector + 1",
    ".endr",
    "3:",
    "pushq %rax",
    "pushq %rbx",
    "pushq %rcx",
    "pushq %rdx",
    "pushq %rsi",
    "pushq %rdi",
    "pushq %rbp",
    "pushq %r8",
    "pushq %r9",
    "pushq %r10",
    "pushq %r11",
    "pushq %r12",
    "pushq %r13",
    "pushq %r14",
    "pushq %r15",
    "cld",
    "movq %rsp, %rdi",
    "call {handle}",
    "popq %r15",
    "popq %r14",
    "popq %r13",
    "popq %r12",
    "popq %r11",
    "popq %r10",
    "popq %r9",
    "popq %r8",
    "popq %rbp",
    "popq %rdi",
    "popq %rsi",
    "popq %rdx",
    "popq %rcx",
    "popq %rbx",
    "popq %rax",
    "addq $16, %rsp",
    "iretq",
    count = const COUNT,
    stub = const STUB_BYTES,
    handle = sym handle,
    options(att_syntax),
);

unsafe extern "C" {
    /// The first stub; the others follow, [`STUB_BYTES`] apart.
    static exception_stubs: [u8; COUNT * STUB_BYTES];
}

/// Address of the handler of one exception vector.
pub(super) fn stub(vector: usize) -> u64 {
    (&raw const exception_stubs) as u64 + (vector * STUB_BYTES) as u64
}

extern "C" fn handle(frame: &mut Frame) {
    if frame.vector == GENERAL_PROTECTION
        && let Some(resume) = msr::resume_after_fault(frame.rip)
    {
        frame.rip = resume;
        return;
    }
    if frame.vector == INVALID_OPCODE
        && let Some(resume) = user_mode::resume_with_privileges(frame.rip)
    {
        frame.rip = resume;
        frame.cs = u64::from(descriptors::CODE);
        frame.ss = u64::from(descriptors::DATA);
        return;
    }
    let _ = write!(serial::unlocked_console(), "\n{frame}");
    panic::report_to_hypervisor(frame.vector, format_args!("{frame}"));
    power::off(STATUS_EXCEPTION + frame.vector as u8)
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exception {} error {:#x} at {:#x}",
            self.vector, self.error, self.rip
        )?;
        if self.vector == PAGE_FAULT {
            // SAFETY: reading CR2 has no effect.
            write!(f, " address {:#x}", unsafe { x86::controlregs::cr2() })?;
        }
        writeln!(
            f,
            "\ncs {:#x} ss {:#x} rflags {:#x}",
            self.cs, self.ss, self.rflags
        )?;
        writeln!(
            f,
            "rsp {:#018x} rbp {:#018x} rax {:#018x} rbx {:#018x}",
            self.rsp, self.rbp, self.rax, self.rbx
        )?;
        writeln!(
            f,
            "rcx {:#018x} rdx {:#018x} rsi {:#018x} rdi {:#018x}",
            self.rcx, self.rdx, self.rsi, self.rdi
        )?;
        writeln!(
            f,
            "r8  {:#018x} r9  {:#018x} r10 {:#018x} r11 {:#018x}",
            self.r8, self.r9, self.r10, self.r11
        )?;
        writeln!(
            f,
            "r12 {:#018x} r13 {:#018x} r14 {:#018x} r15 {:#018x}",
            self.r12, self.r13, self.r14, self.r15
        )
    }
}
