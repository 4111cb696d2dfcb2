//! Work for the other processors: each waits in `hlt` for closures in its mailbox.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use guest_image::environment::NoSuchProcessor;
use spin::{Mutex, Once};

use super::{apic, interrupts, per_cpu};

/// A closure for another processor.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// What an idle processor does after each interrupt, given its index.
pub(super) type Hook = Arc<dyn Fn(u32) + Send + Sync>;

/// Closures that a processor has been asked to run, oldest first.
pub(super) struct Mailbox(Mutex<alloc::collections::VecDeque<Work>>);

impl Mailbox {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(alloc::collections::VecDeque::new()))
    }
}

static HOOK: Once<Hook> = Once::new();

/// Processors that may go on: 0 until the boot processor has filled the shared tables.
static RELEASED: AtomicU32 = AtomicU32::new(0);

/// Sets what every idle processor does after an interrupt. The first hook stays.
pub(super) fn set_hook(hook: Hook) {
    HOOK.call_once(|| hook);
}

/// Runs the hook, if one is set.
pub(super) fn run_hook() {
    if let Some(hook) = HOOK.get() {
        hook(per_cpu::current().index());
    }
}

/// Lets the other processors go on and waits until all take work.
pub(super) fn release_others(processor_count: u32) {
    RELEASED.store(processor_count, Ordering::Release);
    for index in 1..processor_count {
        while per_cpu::get(index).is_some_and(|processor| !processor.is_online()) {
            core::hint::spin_loop();
        }
    }
}

/// Waits until the shared tables are filled. There is no interrupt table yet that could wake us, so this spins; it
/// lasts for the few instructions that the boot processor needs.
pub(super) fn await_release() {
    while RELEASED.load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
}

/// Has another processor run a closure, after those that it already has. Does not wait for it.
///
/// # Errors
/// There is no such processor.
pub(super) fn run_on(index: u32, work: Work) -> Result<(), NoSuchProcessor> {
    let target = per_cpu::get(index)
        .filter(|processor| processor.is_online())
        .ok_or(NoSuchProcessor(index))?;
    target.mailbox.0.lock().push_back(work);
    apic::send_work_interrupt(target.apic_id.load(Ordering::Relaxed));
    Ok(())
}

/// Runs the closures that this processor was asked for.
pub(super) fn run_mailbox() {
    loop {
        // The lock is released before the closure runs: it may post work itself.
        let work = per_cpu::current().mailbox.0.lock().pop_front();
        match work {
            Some(work) => work(),
            None => return,
        }
    }
}

/// The life of every processor but the boot processor.
pub(super) fn work_for_ever() -> ! {
    loop {
        run_mailbox();
        run_hook();
        interrupts::wait();
    }
}
