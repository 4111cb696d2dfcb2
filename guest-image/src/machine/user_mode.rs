//! Computing without privileges.
//!
//! A KVM without the processor's help may interpret whatever runs at privilege level 0, some million instructions a
//! second, but let the processor run what does not: a thousand times faster. So long computations go there. Level 3 is
//! no protection here: all memory is open to it, and [`regain`] leads back from anywhere.

use core::arch::global_asm;

use super::descriptors;

// `user_mode_enter(work, function)` calls `function(work)` at privilege level 3, on the same stack: what interrupts that
// level runs on another. `user_mode_regain` is the way back: the exception that `ud2` raises reaches a guest on every
// KVM, which `int` and `syscall` need not, and its handler only changes the privilege level.
global_asm!(
    ".text",
    ".global user_mode_enter",
    ".global user_mode_regain",
    "user_mode_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "pushfq",
    "mov rbx, rsp",
    "mov rax, [rsp]",
    "mov rcx, rsp",
    "and rcx, -16",
    "push {data}",
    "push rcx",
    "push rax",
    "push {code}",
    "lea rcx, [rip + 2f]",
    "push rcx",
    "iretq",
    "2:",
    "call rsi",
    "call user_mode_regain",
    "mov rsp, rbx",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "user_mode_regain:",
    "ud2",
    "ret",
    data = const descriptors::USER_DATA,
    code = const descriptors::USER_CODE,
);

/// Bytes of `ud2`.
const EXCEPTION_BYTES: u64 = 2;

unsafe extern "C" {
    fn user_mode_enter(work: *mut (), function: extern "C" fn(*mut ()));
    fn user_mode_regain();
}

/// Where to go on, at privilege level 0, after an exception at `instruction`, if that asks for the level.
pub(super) fn resume_with_privileges(instruction: u64) -> Option<u64> {
    let regain: unsafe extern "C" fn() = user_mode_regain;
    (instruction == regain as usize as u64).then_some(instruction + EXCEPTION_BYTES)
}

/// Goes on at privilege level 0, for code that does not come back to [`run`].
pub(super) fn regain() {
    if level() == 3 {
        // SAFETY: the exception's handler comes back at level 0 with all else as it was.
        unsafe { user_mode_regain() };
    }
}

extern "C" fn call(work: *mut ()) {
    // SAFETY: `run` passes the address of a reference that it owns and does not use meanwhile.
    let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
    work();
}

/// Runs work at privilege level 3; interrupts are taken as always. The work must not call this itself, and must not
/// do what that level may not, which ends the machine.
pub(super) fn run(mut work: &mut dyn FnMut()) {
    // SAFETY: every processor has loaded its tables before it runs ordinary code, so the segments, the exception's
    // handler and the stack for interrupts are there, and the loader has opened all memory to level 3. Registers that
    // a call keeps are restored on the way back.
    unsafe { user_mode_enter((&raw mut work).cast(), call) };
}

/// The privilege level that the caller runs at.
pub(super) fn level() -> u16 {
    x86::segmentation::cs().bits() & 3
}
