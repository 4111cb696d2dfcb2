//! The interrupt descriptor table and the interrupts that the machine uses.
//!
//! An interrupt only leaves a note for its processor and ends itself; all work is done by whoever idles there. So no
//! lock is ever taken in a handler.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use x86::dtables::{DescriptorTablePointer, lidt};

use super::{apic, descriptors, exceptions, per_cpu};

/// The SynIC's interrupt (the vector that Hyper-V guests use for VMBus).
pub(super) const SYNIC: u8 = 0xF3;
/// Another processor has left work in our mailbox.
pub(super) const WORK: u8 = 0xF0;
/// The local APIC's timer, which bounds how long a processor idles.
pub(super) const TIMER: u8 = 0xEE;
/// The local APIC's spurious vector: neither noted nor ended.
pub(super) const SPURIOUS: u8 = 0xFF;

/// Present interrupt gate at privilege level 0.
const GATE: u64 = 0x8E00;
const NON_MASKABLE: usize = 2;
const DOUBLE_FAULT: usize = 8;
const PAGE_FAULT: usize = 14;

struct Table(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written by the boot processor alone, before any processor loads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([[0; 2]; 256]));

// The stack is a multiple of 16 at the call: five words from the processor, nine from us. Soft-float code has no other
// registers to save.
global_asm!(
    ".macro interrupt name, handler",
    "\\name:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "cld",
    "call \\handler",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "iretq",
    ".endm",
    "interrupt interrupt_synic, {synic}",
    "interrupt interrupt_work, {work}",
    "interrupt interrupt_timer, {timer}",
    "interrupt_spurious:",
    "iretq",
    synic = sym on_synic,
    work = sym on_work,
    timer = sym on_timer,
);

unsafe extern "C" {
    static interrupt_synic: u8;
    static interrupt_work: u8;
    static interrupt_timer: u8;
    static interrupt_spurious: u8;
}

extern "C" fn on_synic() {
    let own = per_cpu::current();
    // Only this processor writes its count.
    let count = own.synic_interrupts.load(Ordering::Relaxed);
    own.synic_interrupts
        .store(count.wrapping_add(1), Ordering::Relaxed);
    own.interrupted.store(true, Ordering::Release);
    apic::end_of_interrupt();
}

extern "C" fn on_work() {
    per_cpu::current()
        .interrupted
        .store(true, Ordering::Release);
    apic::end_of_interrupt();
}

extern "C" fn on_timer() {
    let own = per_cpu::current();
    own.timer_running.store(false, Ordering::Relaxed);
    own.interrupted.store(true, Ordering::Release);
    apic::end_of_interrupt();
}

fn gate(handler: u64, stack: u8) -> [u64; 2] {
    let low = (handler & 0xFFFF)
        | u64::from(descriptors::CODE) << 16
        | (u64::from(stack) | GATE) << 32
        | (handler >> 16 & 0xFFFF) << 48;
    [low, handler >> 32]
}

/// Fills the table; on the boot processor, once.
pub(super) fn fill_table() {
    // SAFETY: nobody has loaded the table yet (see `Sync`), so this reference is the only one.
    let table = unsafe { &mut *TABLE.0.get() };
    for (vector, entry) in table.iter_mut().enumerate().take(exceptions::COUNT) {
        let stack = match vector {
            NON_MASKABLE | DOUBLE_FAULT | PAGE_FAULT => descriptors::FAULT_STACK,
            _ => 0,
        };
        *entry = gate(exceptions::stub(vector), stack);
    }
    let handlers = [
        (SYNIC, &raw const interrupt_synic),
        (WORK, &raw const interrupt_work),
        (TIMER, &raw const interrupt_timer),
        (SPURIOUS, &raw const interrupt_spurious),
    ];
    for (vector, handler) in handlers {
        table[usize::from(vector)] = gate(handler as u64, 0);
    }
}

/// Makes this processor use the table.
pub(super) fn load_table() {
    let pointer = DescriptorTablePointer {
        base: TABLE.0.get().cast::<u64>().cast_const(),
        limit: (size_of::<[[u64; 2]; 256]>() - 1) as u16,
    };
    // SAFETY: the table is filled, static, and every gate leads to a handler that keeps the interrupted code's state.
    unsafe { lidt(&pointer) };
}

/// Sleeps until an interrupt arrives, unless one has arrived since the last call.
///
/// Interrupts are off between the look and the sleep, and `sti` takes effect only after `hlt` has begun: no wake-up is
/// lost.
pub(super) fn wait() {
    let own = per_cpu::current();
    // SAFETY: privilege level 0, and every vector that can arrive has a handler. Interrupts are on again at the end of
    // either path, as they are whenever ordinary code runs.
    unsafe {
        x86::irq::disable();
        if own.interrupted.load(Ordering::Relaxed) {
            x86::irq::enable();
        } else {
            core::arch::asm!("sti", "hlt");
        }
    }
    own.interrupted.store(false, Ordering::Relaxed);
}

/// Lets interrupts in: the rule whenever ordinary code runs.
pub(super) fn enable() {
    // SAFETY: as in `wait`.
    unsafe { x86::irq::enable() };
}
