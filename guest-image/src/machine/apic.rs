//! The local APIC, by MSRs (x2APIC) where the processor has them, else by memory.

use core::sync::atomic::{AtomicBool, Ordering};

use super::interrupts::{SPURIOUS, TIMER, WORK};
use super::per_cpu;

const BASE_MSR: u32 = 0x1B;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0xFEE0_0000;
const X2APIC_FIRST_MSR: u32 = 0x800;
/// CPUID leaf 1, ECX.
const CPUID_X2APIC: u32 = 1 << 21;

// Registers by their offset in the memory window; the MSR is the first one plus a sixteenth of that.
const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xB0;
const SPURIOUS_VECTOR: u32 = 0xF0;
const COMMAND: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const TIMER_VECTOR: u32 = 0x320;
const TIMER_COUNT: u32 = 0x380;
const TIMER_DIVIDE: u32 = 0x3E0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_ASSERT: u32 = 1 << 14;
const DIVIDE_BY_16: u32 = 0b0011;

/// Counts until the idle timer fires. The rate is unknown here; at the 1 GHz of KVM's and Hyper-V's virtual APICs (and
/// tens of MHz on hardware) this is some 5 ms (tenths of a second).
const IDLE_COUNTS: u32 = 312_500;

/// Whether the processors use x2APIC mode; all have the same features.
static X2APIC: AtomicBool = AtomicBool::new(false);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode, and reading it has no effect.
        unsafe { x86::msr::rdmsr(X2APIC_FIRST_MSR + (register >> 4)) as u32 }
    } else {
        // SAFETY: the loader has identity-mapped the local APIC's page; registers are aligned 32-bit words.
        unsafe {
            (BASE_ADDRESS as *const u32)
                .byte_add(register as usize)
                .read_volatile()
        }
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode; the callers below write valid values, which affect only the
        // delivery of interrupts that have handlers.
        unsafe { x86::msr::wrmsr(X2APIC_FIRST_MSR + (register >> 4), u64::from(value)) };
    } else {
        let window = BASE_ADDRESS as *mut u32;
        // SAFETY: as in `read`; values as above.
        unsafe { window.byte_add(register as usize).write_volatile(value) };
    }
}

/// Enables this processor's local APIC and lets interrupts in.
pub(super) fn initialise() {
    let x2apic = x86::cpuid::native_cpuid::cpuid_count(1, 0).ecx & CPUID_X2APIC != 0;
    // SAFETY: the base MSR exists on every processor with a local APIC. The address stays as the loader mapped it; the
    // step from disabled or xAPIC mode to x2APIC through both bits is legal because xAPIC is enabled first.
    unsafe {
        let base = x86::msr::rdmsr(BASE_MSR) | BASE_ENABLE;
        x86::msr::wrmsr(BASE_MSR, base);
        if x2apic {
            x86::msr::wrmsr(BASE_MSR, base | BASE_X2APIC);
        }
    }
    X2APIC.store(x2apic, Ordering::Relaxed);
    write(TASK_PRIORITY, 0);
    write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    write(TIMER_DIVIDE, DIVIDE_BY_16);
    write(TIMER_VECTOR, u32::from(TIMER));
    let id = if x2apic { read(ID) } else { read(ID) >> 24 };
    per_cpu::current().apic_id.store(id, Ordering::Relaxed);
    super::interrupts::enable();
}

/// Ends the interrupt that is being handled.
pub(super) fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Interrupts the processor with this local APIC identifier, to look into its mailbox.
pub(super) fn send_work_interrupt(apic_id: u32) {
    let command = COMMAND_ASSERT | u32::from(WORK);
    if X2APIC.load(Ordering::Relaxed) {
        let value = u64::from(apic_id) << 32 | u64::from(command);
        // SAFETY: a fixed interrupt with a vector that every online processor has a handler for. The fence makes the
        // mailbox visible first: an x2APIC write does not wait for earlier stores.
        unsafe {
            x86::fence::mfence();
            x86::msr::wrmsr(X2APIC_FIRST_MSR + (COMMAND >> 4), value);
        }
    } else {
        // Interrupts stay off so that no other command comes between the two halves.
        // SAFETY: privilege level 0; interrupts are on whenever ordinary code, our only caller, runs.
        unsafe { x86::irq::disable() };
        write(COMMAND_HIGH, apic_id << 24);
        write(COMMAND, command);
        while read(COMMAND) & COMMAND_PENDING != 0 {
            core::hint::spin_loop();
        }
        super::interrupts::enable();
    }
}

/// Makes sure that a timer interrupt arrives within a few milliseconds.
pub(super) fn start_idle_timer() {
    if !per_cpu::current()
        .timer_running
        .swap(true, Ordering::Relaxed)
    {
        write(TIMER_COUNT, IDLE_COUNTS);
    }
}
