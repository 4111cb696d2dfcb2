//! The first instructions of every processor, and the hand-over to Rust.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt::Write as _;

use guest_image::boot_info::{BootInfo, LONGEST_COMMAND_LINE, MOST_PROCESSORS};

use super::{power, serial};

/// log2 of the bytes of each processor's stack.
const STACK_SHIFT: u32 = 17;

/// A processor's stack.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; 1 << STACK_SHIFT]>);

// SAFETY: each stack is only ever touched by the one processor whose stack pointer is set to it.
unsafe impl Sync for Stack {}

static STACKS: [Stack; MOST_PROCESSORS as usize] =
    [const { Stack(UnsafeCell::new([0; 1 << STACK_SHIFT])) }; MOST_PROCESSORS as usize];

// RDI and RSI are the loader's arguments and go to Rust as they are. A processor that we have no stack for must not
// disturb the others.
global_asm!(
    ".section .text.entry, \"ax\"",
    ".global _start",
    "_start:",
    "cli",
    "cld",
    "cmp rsi, {most}",
    "jae 2f",
    "lea rax, [rsi + 1]",
    "shl rax, {shift}",
    "lea rsp, [rax + {stacks}]",
    "xor ebp, ebp",
    "call {start}",
    "2:",
    "cli",
    "hlt",
    "jmp 2b",
    ".text",
    most = const MOST_PROCESSORS,
    shift = const STACK_SHIFT,
    stacks = sym STACKS,
    start = sym start,
);

/// The command line, copied before the heap exists.
struct CommandLine(UnsafeCell<[u8; LONGEST_COMMAND_LINE as usize]>);

// SAFETY: written by the boot processor before any other code can read it, never afterwards.
unsafe impl Sync for CommandLine {}

static COMMAND_LINE: CommandLine = CommandLine(UnsafeCell::new([0; LONGEST_COMMAND_LINE as usize]));

extern "C" fn start(info: *const BootInfo, index: usize) -> ! {
    if index != 0 {
        super::other_processor(index);
    }
    // SAFETY: the loader's contract: RDI addresses boot information in identity-mapped RAM, aligned, that nobody
    // writes.
    let info = unsafe { info.read() };
    if let Err(error) = info.validate() {
        refuse(format_args!("{error}"));
    }
    let buffer = COMMAND_LINE.0.get().cast::<u8>();
    let length = info.command_line_length as usize;
    // SAFETY: `validate` has checked that the text is in RAM, which is identity-mapped, and no longer than the buffer.
    // Nobody else touches the buffer (see its `Sync`), so a shared slice of it may live for ever.
    let bytes = unsafe {
        core::ptr::copy_nonoverlapping(info.command_line_address as *const u8, buffer, length);
        core::slice::from_raw_parts(buffer, length)
    };
    match core::str::from_utf8(bytes) {
        Ok(text) => super::boot_processor(&info, text),
        Err(_) => refuse(format_args!("the command line is not UTF-8")),
    }
}

fn refuse(why: core::fmt::Arguments<'_>) -> ! {
    serial::initialise();
    let _ = writeln!(
        serial::unlocked_console(),
        "viridian-guest cannot start: {why}"
    );
    power::off(guest_image::boot_info::STATUS_PANIC)
}
