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

/// One processor of the machine, for the code that runs on it.
pub struct Core<E: Environment> {
    /// Its instructions, the hypercall page's call included once there is one.
    pub processor: E::Processor,
    /// Memory, time and idling. `idle` parks this processor.
    pub runtime: Arc<E::Runtime>,
}

/// Work for another processor.
pub type Work<E> = Box<dyn FnOnce(Core<E>) + Send>;

/// The machine, as the program sees it.
pub trait Environment: Clone + Send + Sync + Sized + 'static {
    /// Memory, time and idling.
    type Runtime: Runtime + Send + Sync + 'static;
    /// Instructions that differ between the real CPU and its in-process twin.
    type Processor: Processor + Clone + Send + Sync + 'static;

    /// The first processor, on which the program runs.
    fn boot_core(&self) -> Core<Self>;

    /// Number of processors.
    fn processor_count(&self) -> u32;

    /// Makes every processor's `hypercall` call this page, which the hypervisor has filled. Called once, before
    /// other processors get work; cores made earlier don't know of it.
    fn use_hypercall_page(&self, page: NonNull<u8>);

    /// Has another processor run `work`, after what it already has to do. Does not wait for it.
    ///
    /// # Errors
    /// There is no such processor.
    fn run_on(&self, index: u32, work: Work<Self>) -> Result<(), NoSuchProcessor>;

    /// The vector at which the SynIC may interrupt every processor: it ends an `idle` and does nothing else.
    fn synic_vector(&self) -> u8;

    /// A line of text for people.
    fn print(&self, line: fmt::Arguments<'_>);

    /// A fact for the host's program, as `key=value`.
    fn report(&self, key: fmt::Arguments<'_>, value: fmt::Arguments<'_>);

    /// Words from whoever started the machine.
    fn command_line(&self) -> &str;

    /// Whether the machine's processor is emulated so slowly that work must be kept small.
    fn is_slow(&self) -> bool;
}
