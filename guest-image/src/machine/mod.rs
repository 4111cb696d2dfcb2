//! The bare x86-64 machine beneath the program: processors, interrupts, memory, ports.

mod apic;
mod descriptors;
mod entry;
mod environment;
mod exceptions;
mod interrupts;
mod memory;
mod msr;
mod note;
mod panic;
mod per_cpu;
mod power;
mod processor;
mod runtime;
mod selftest;
mod serial;
mod smp;
mod user_mode;

use core::fmt::Write as _;

use alloc::string::String;
use guest_image::boot_info::BootInfo;

/// What the boot processor learned from its loader, on the heap by now.
struct Boot {
    command_line: String,
    processor_count: u32,
}

/// The boot processor: makes the machine, runs the program, powers off with its status.
fn boot_processor(info: &BootInfo, command_line: &str) -> ! {
    serial::initialise();
    descriptors::load(0);
    interrupts::fill_table();
    interrupts::load_table();
    apic::initialise();
    // SAFETY: the loader's contract: RAM above the image is ours from the first instruction on, and nothing has used
    // it yet.
    if unsafe { memory::initialise(info.ram_size) }.is_err() {
        let _ = writeln!(
            serial::unlocked_console(),
            "too little memory: {} bytes of RAM leave no heap above the image",
            info.ram_size
        );
        power::off(guest_image::boot_info::STATUS_PANIC);
    }
    serial::install_logger();
    let boot = Boot {
        command_line: String::from(command_line),
        processor_count: info.processor_count,
    };
    per_cpu::current().set_online();
    smp::release_others(boot.processor_count);
    let status = match boot.command_line.strip_prefix("selftest=") {
        Some(test) => selftest::run(test, boot.processor_count),
        None => guest_image::program::run(&environment::Machine::new(boot)),
    };
    power::off(status)
}

/// Every other processor: makes its own part of the machine and waits for work.
fn other_processor(index: usize) -> ! {
    smp::await_release();
    descriptors::load(index);
    interrupts::load_table();
    apic::initialise();
    per_cpu::current().set_online();
    smp::work_for_ever()
}
