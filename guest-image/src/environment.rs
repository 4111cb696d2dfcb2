//! What the program sees of its machine, be it bare metal or threads of a host process.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use hypercall::Processor;
use vmbus_core::platform::Runtime;

/// There is no processor with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchProcessor(
    /// The index, counting from 0.
    pub u32,
);

impl fmt::Display for NoSuchProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no processor {}", self.0)
    }
}

impl core::error::Error for NoSuchProcessor {}

/// The machine that runs the program, seen from its boot processor.
pub trait Environment {
    /// Memory for the host, time and waiting.
    type Runtime: Runtime + Send + Sync + 'static;

    /// The way to the hypervisor.
    type Processor: Processor + Clone + Send + Sync + 'static;

    /// Memory, time and waiting. [`Runtime::idle`] parks the processor that calls it.
    fn runtime(&self) -> Arc<Self::Runtime>;

    /// The processor that runs the caller, before a hypercall page is installed.
    fn processor(&self) -> Self::Processor;

    /// The processor, making its hypercalls through the page at `page`.
    ///
    /// # Safety
    /// `page` is the address of shared pages of this environment's runtime, whose first page is installed as the
    /// hypercall page ([`hypercall::page::install`]) and stays so while hypercalls are made.
    unsafe fn with_hypercall_page(&self, page: NonNull<u8>) -> Self::Processor;

    /// The text that the host passed to the program.
    fn command_line(&self) -> &str;

    /// Processors, the boot processor (index 0) included.
    fn processor_count(&self) -> u32;

    /// Has a processor run a closure, after those that it was asked to run before. Does not wait for it. Closures for
    /// processor 0 run when it idles.
    ///
    /// # Errors
    /// There is no such processor.
    fn run_on(&self, processor: u32, work: Box<dyn FnOnce() + Send>)
    -> Result<(), NoSuchProcessor>;

    /// Runs work that takes long and only computes: it makes no hypercall, touches no MSR and waits for nothing.
    ///
    /// A KVM that interprets what runs at privilege level 0 may let the processor itself run the rest, so a bare
    /// machine gives up its privileges for that long.
    fn compute(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Sets what each *other* processor does after an interrupt while it waits for work: typically, to dispatch its
    /// share of the bus. The hook is given the processor's index and is not called from inside the interrupt handler.
    /// The first hook stays.
    fn on_interrupt(&self, hook: Arc<dyn Fn(u32) + Send + Sync>);

    /// Prints to the console.
    fn print(&self, text: fmt::Arguments<'_>);

    /// Prints to the report channel, which the host's program reads line by line.
    fn report(&self, text: fmt::Arguments<'_>);
}
