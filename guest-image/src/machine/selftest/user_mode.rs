//! Work without privileges: that it runs at its level, is interrupted as usual, comes back, and how it ends badly.

use core::sync::atomic::Ordering;

use super::super::user_mode::{self, level};
use super::super::{apic, interrupts, per_cpu};
use super::on_every_processor;

/// Each processor computes at privilege level 3, and is interrupted there by its timer.
pub(super) fn run(processor_count: u32) -> u8 {
    on_every_processor(processor_count, |index| {
        let before = level();
        let (mut inside, mut sum) = (0, 0_u64);
        while !interrupted_inside(&mut || {
            inside = level();
            sum = (0..1000).sum();
        }) {}
        let itself = per_cpu::current().index();
        report!(
            "processor {index} levels {before} {inside} {} sum {sum} itself {itself}",
            level()
        );
        // Interrupts still come.
        apic::start_idle_timer();
        interrupts::wait();
    })
}

/// Runs work until the timer's interrupt. Whether that came during the work; it may come before.
fn interrupted_inside(work: &mut dyn FnMut()) -> bool {
    let own = per_cpu::current();
    let mut began_before = false;
    own.interrupted.store(false, Ordering::Relaxed);
    apic::start_idle_timer();
    user_mode::run(&mut || {
        began_before = !own.interrupted.load(Ordering::Relaxed);
        work();
        while !own.interrupted.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
    });
    began_before
}

/// A panic without privileges, which is printed like any other.
pub(super) fn panic() -> u8 {
    user_mode::run(&mut || panic!("a panic without privileges"));
    1
}

/// An instruction that the level may not execute.
pub(super) fn forbidden() -> u8 {
    // SAFETY: the instruction is refused, which ends the machine.
    user_mode::run(&mut || unsafe { core::arch::asm!("mov {}, cr0", out(reg) _) });
    1
}
