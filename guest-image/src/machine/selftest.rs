//! The machine's own tests, chosen by the command line `selftest=NAME`: what the host's virtual-CPU tests boot.
//!
//! Each prints to the report channel what its test on the host compares.

macro_rules! report {
    ($($argument:tt)*) => {
        $crate::machine::serial::report(format_args!("{}\n", format_args!($($argument)*)))
    };
}

mod hypervisor;
mod remote;
mod user_mode;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{apic, interrupts, msr, per_cpu, serial};

/// Power-off status of a test that does not exist.
const STATUS_UNKNOWN: u8 = 2;

/// Runs one test and gives its power-off status.
pub(super) fn run(test: &str, processor_count: u32) -> u8 {
    serial::print(format_args!("selftest {test}\n"));
    let (name, argument) = test.split_once(',').unwrap_or((test, ""));
    match name {
        "boot" => boot(processor_count),
        "cpuid" => cpuid(number(argument)),
        "hypervisor" => hypervisor::run(processor_count),
        "interrupts" => interrupts_from_host(processor_count, number(argument).into()),
        "memory" => memory(),
        "msr" => access_msr(number(argument)),
        "remote" => remote::run(),
        "smp" => smp(processor_count),
        "timer" => timer(),
        "user-mode" => user_mode::run(processor_count),
        "user-panic" => user_mode::panic(),
        "user-forbidden" => user_mode::forbidden(),
        "panic" => panic!("a panic on purpose"),
        "exhaust" => exhaust(),
        "fault" => fault(),
        "undefined" => undefined(),
        "triple-fault" => triple_fault(),
        "sleep" => sleep(),
        "spin" => spin(),
        _ => STATUS_UNKNOWN,
    }
}

/// A number as the host writes it: hexadecimal, no prefix.
fn number(text: &str) -> u32 {
    u32::from_str_radix(text, 16).unwrap_or(0)
}

fn boot(processor_count: u32) -> u8 {
    report!("processors {processor_count}");
    let heap: Vec<u64> = (0..1000).collect();
    report!("sum {}", heap.iter().sum::<u64>());
    0
}

fn cpuid(leaf: u32) -> u8 {
    let result = x86::cpuid::native_cpuid::cpuid_count(leaf, 0);
    report!(
        "cpuid {leaf:x} {:08x} {:08x} {:08x} {:08x}",
        result.eax,
        result.ebx,
        result.ecx,
        result.edx
    );
    0
}

fn access_msr(register: u32) -> u8 {
    match msr::read(register) {
        Ok(value) => report!("read {register:x} {value:x}"),
        Err(fault) => report!("read {:x} refused", fault.msr),
    }
    // SAFETY: this test runs only when its host asks for it, on registers that the host answers for.
    match unsafe { msr::write(register, 0x1234_5678_9ABC_DEF0) } {
        Ok(()) => report!("write {register:x}"),
        Err(fault) => report!("write {:x} refused", fault.msr),
    }
    0
}

/// Every processor waits for so many SynIC interrupts.
fn interrupts_from_host(processor_count: u32, wanted: u64) -> u8 {
    let done = Arc::new(AtomicU64::new(0));
    for processor in 1..processor_count {
        let done = Arc::clone(&done);
        let work = Box::new(move || {
            await_interrupts(wanted);
            done.fetch_add(1, Ordering::Release);
        });
        if super::smp::run_on(processor, work).is_err() {
            return 1;
        }
    }
    await_interrupts(wanted);
    while done.load(Ordering::Acquire) != u64::from(processor_count) - 1 {
        apic::start_idle_timer();
        interrupts::wait();
    }
    report!("done");
    0
}

fn await_interrupts(wanted: u64) {
    let own = per_cpu::current();
    let mut seen = 0;
    report!("waiting {}", own.index());
    while seen < wanted {
        interrupts::wait();
        let count = own.synic_interrupts.load(Ordering::Relaxed);
        if count != seen {
            seen = count;
            report!("processor {} interrupt {seen}", own.index());
        }
    }
}

/// Allocates and frees in a pattern, and checks that no two blocks share memory.
fn memory() -> u8 {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for round in 0..64_u8 {
        blocks.push(alloc::vec![round; 1 + usize::from(round) * 37]);
        if round % 3 == 2 {
            blocks.swap_remove(usize::from(round) / 3);
        }
    }
    let intact = blocks
        .iter()
        .all(|block| block.iter().all(|&byte| Some(&byte) == block.first()));
    let mut copy = alloc::vec![0_u8; 100_000];
    copy[1..].fill(0xA5);
    copy.copy_within(1..50_000, 50_000);
    let sum = copy.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    report!("intact {intact} sum {sum}");
    u8::from(!intact || sum != 99_999 * 0xA5)
}

/// Runs the same on every processor, given its index, one after the other, and waits for it.
fn on_every_processor(processor_count: u32, what: fn(u32)) -> u8 {
    what(0);
    for processor in 1..processor_count {
        let done = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&done);
        let work = Box::new(move || {
            what(processor);
            told.store(1, Ordering::Release);
        });
        if super::smp::run_on(processor, work).is_err() {
            return 1;
        }
        while done.load(Ordering::Acquire) == 0 {
            apic::start_idle_timer();
            interrupts::wait();
        }
    }
    0
}

/// Each other processor tells its index and its APIC identifier.
fn smp(processor_count: u32) -> u8 {
    let identifiers = Arc::new(spin::Mutex::new(Vec::new()));
    for processor in 1..processor_count {
        let identifiers = Arc::clone(&identifiers);
        let work = Box::new(move || {
            let own = per_cpu::current();
            let mut identifiers = identifiers.lock();
            identifiers.push((own.index(), own.apic_id.load(Ordering::Relaxed)));
        });
        if super::smp::run_on(processor, work).is_err() {
            return 1;
        }
    }
    while identifiers.lock().len() < processor_count as usize - 1 {
        apic::start_idle_timer();
        interrupts::wait();
    }
    identifiers.lock().sort_unstable();
    report!("others {:?}", identifiers.lock());
    match super::smp::run_on(processor_count, Box::new(|| {})) {
        Ok(()) => 1,
        Err(error) => {
            report!("{error}");
            0
        }
    }
}

/// Sleeps by the idle timer alone.
fn timer() -> u8 {
    for _ in 0..5 {
        apic::start_idle_timer();
        interrupts::wait();
    }
    report!("woken");
    0
}

fn exhaust() -> u8 {
    let mut kept = Vec::new();
    loop {
        kept.push(Vec::<u8>::with_capacity(1 << 16));
    }
}

fn fault() -> u8 {
    // SAFETY: nothing is mapped there: the access raises a page fault, which ends the machine.
    unsafe { (0x7FFF_0000_0000_u64 as *mut u8).write_volatile(1) };
    1
}

fn undefined() -> u8 {
    // SAFETY: the instruction raises an exception, which ends the machine.
    unsafe { core::arch::asm!("ud2") };
    1
}

fn triple_fault() -> u8 {
    let nothing = x86::dtables::DescriptorTablePointer::<u64> {
        base: core::ptr::null(),
        limit: 0,
    };
    // SAFETY: with no handler for the exception, for the double fault, or after it, the processor shuts down.
    unsafe {
        x86::dtables::lidt(&nothing);
        core::arch::asm!("ud2");
    }
    1
}

fn sleep() -> ! {
    report!("asleep");
    loop {
        interrupts::wait();
    }
}

fn spin() -> ! {
    report!("spinning");
    loop {
        core::hint::spin_loop();
    }
}
