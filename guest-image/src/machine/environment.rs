//! The machine as the program sees it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use guest_image::environment::{Environment, NoSuchProcessor};

use super::processor::ThisProcessor;
use super::runtime::MachineRuntime;
use super::{Boot, serial, smp, user_mode};

/// The bare machine, on its boot processor.
pub(super) struct Machine {
    boot: Boot,
    runtime: Arc<MachineRuntime>,
}

impl Machine {
    pub(super) fn new(boot: Boot) -> Self {
        Self {
            boot,
            runtime: Arc::new(MachineRuntime::new()),
        }
    }
}

impl Environment for Machine {
    type Runtime = MachineRuntime;
    type Processor = ThisProcessor;

    fn runtime(&self) -> Arc<MachineRuntime> {
        Arc::clone(&self.runtime)
    }

    fn processor(&self) -> ThisProcessor {
        ThisProcessor::new()
    }

    unsafe fn with_hypercall_page(&self, page: NonNull<u8>) -> ThisProcessor {
        // SAFETY: all memory is mapped executable on every processor; the caller vouches for the page.
        unsafe { ThisProcessor::new().with_hypercall_page(page) }
    }

    fn command_line(&self) -> &str {
        &self.boot.command_line
    }

    fn processor_count(&self) -> u32 {
        self.boot.processor_count
    }

    fn run_on(
        &self,
        processor: u32,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), NoSuchProcessor> {
        smp::run_on(processor, work)
    }

    fn compute(&self, work: &mut dyn FnMut()) {
        user_mode::run(work);
    }

    fn on_interrupt(&self, hook: Arc<dyn Fn(u32) + Send + Sync>) {
        smp::set_hook(hook);
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        serial::print(text);
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        serial::report(text);
    }
}
