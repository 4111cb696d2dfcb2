//! The machine of the guest's program when it runs in this process.
//!
//! Its processors are threads. The program's view of "this processor" follows the thread that asks, as it follows the
//! CPU on a real machine.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use guest_image::environment::{Environment, NoSuchProcessor};
use host_sim::partition::inproc::{InprocError, InprocPartition, InprocProcessor, InprocRuntime};
use hypercall::{CpuidResult, MsrFault, Processor};
use vmbus_core::platform::{Platform, Runtime, SharedPages};

type OnLine = Box<dyn Fn(&str) + Send + Sync>;
type Work = Box<dyn FnOnce() + Send>;
type Hook = Arc<dyn Fn(u32) + Send + Sync>;

thread_local! {
    /// The virtual processor that this thread is.
    static THIS: Cell<u32> = const { Cell::new(0) };
}

/// One virtual processor's parts.
struct Vp {
    processor: InprocProcessor,
    runtime: Arc<InprocRuntime>,
    mailbox: Mutex<VecDeque<Work>>,
}

struct Vps {
    all: Vec<Vp>,
    hook: OnceLock<Hook>,
}

impl Vps {
    /// The virtual processor of the thread that asks.
    fn this(&self) -> Option<&Vp> {
        self.all.get(THIS.get() as usize)
    }

    /// Runs what this processor was asked for.
    fn run_mailbox(&self) {
        let Some(vp) = self.this() else { return };
        loop {
            // The lock is released before the work runs: it may post work itself.
            let work = vp
                .mailbox
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match work {
                Some(work) => work(),
                None => return,
            }
        }
    }
}

/// "This" processor, whichever thread asks.
#[derive(Clone)]
pub(super) struct ThisProcessor(Arc<Vps>);

// SAFETY: each call goes to the virtual processor of the calling thread, whose own implementation keeps the contract.
unsafe impl Processor for ThisProcessor {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.0.this().map_or(
            CpuidResult {
                eax: 0,
                ebx: 0,
                ecx: 0,
                edx: 0,
            },
            |vp| vp.processor.cpuid(leaf, subleaf),
        )
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        self.0
            .this()
            .ok_or(MsrFault { msr })?
            .processor
            .read_msr(msr)
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        let vp = self.0.this().ok_or(MsrFault { msr })?;
        // SAFETY: the caller keeps the MSR's contract.
        unsafe { vp.processor.write_msr(msr, value) }
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        let Some(vp) = self.0.this() else {
            return u64::from(hypercall::call::Status::INVALID_VP_STATE.0);
        };
        // SAFETY: the caller keeps the hypercall's contract.
        unsafe { vp.processor.hypercall(control, input, output) }
    }

    fn tsc(&self) -> u64 {
        self.0.this().map_or(0, |vp| vp.processor.tsc())
    }
}

/// Memory, time and idling of the processor that asks.
pub(super) struct ThisRuntime {
    vps: Arc<Vps>,
    memory: Arc<InprocRuntime>,
}

// SAFETY: memory is the partition's, which keeps the contract; all its runtimes share one allocator.
unsafe impl Platform for ThisRuntime {
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages> {
        self.memory.allocate_shared(pages)
    }

    unsafe fn free_shared(&self, pages: SharedPages) {
        // SAFETY: the caller keeps the contract.
        unsafe { self.memory.free_shared(pages) }
    }

    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64 {
        self.memory.page_frame(pages, index)
    }
}

impl Runtime for ThisRuntime {
    fn now(&self) -> u64 {
        self.memory.now()
    }

    fn idle(&self) {
        self.vps.run_mailbox();
        if let Some(vp) = self.vps.this() {
            vp.runtime.idle();
        }
    }
}

/// Threads of this process as the program's machine.
pub(super) struct InprocMachine {
    vps: Arc<Vps>,
    runtime: Arc<ThisRuntime>,
    command_line: String,
    on_console: OnLine,
    on_report: OnLine,
}

impl InprocMachine {
    /// The machine of this partition. All processors but the first get their threads now and wait for work.
    pub(super) fn new(
        partition: &InprocPartition,
        command_line: String,
        on_console: OnLine,
        on_report: OnLine,
    ) -> Result<Self, InprocError> {
        let all = (0..partition.vp_count()).map(|index| Vp {
            processor: partition.processor(index),
            runtime: partition.runtime(index),
            mailbox: Mutex::default(),
        });
        let vps = Arc::new(Vps {
            all: all.collect(),
            hook: OnceLock::new(),
        });
        for index in 1..partition.vp_count() {
            let vps = Arc::clone(&vps);
            // The thread ends when the partition is shut down; nobody waits for it.
            partition.spawn_vp(index, move |vp| {
                THIS.set(index);
                while !vp.runtime.is_shut_down() {
                    vps.run_mailbox();
                    if let Some(hook) = vps.hook.get() {
                        hook(index);
                    }
                    vp.runtime.idle();
                }
            })?;
        }
        let runtime = Arc::new(ThisRuntime {
            vps: Arc::clone(&vps),
            memory: partition.runtime(0),
        });
        Ok(Self {
            vps,
            runtime,
            command_line,
            on_console,
            on_report,
        })
    }
}

impl Environment for InprocMachine {
    type Runtime = ThisRuntime;
    type Processor = ThisProcessor;

    fn runtime(&self) -> Arc<ThisRuntime> {
        Arc::clone(&self.runtime)
    }

    fn processor(&self) -> ThisProcessor {
        ThisProcessor(Arc::clone(&self.vps))
    }

    unsafe fn with_hypercall_page(&self, _page: NonNull<u8>) -> ThisProcessor {
        // A call of the page is a function call here, whatever the page holds.
        self.processor()
    }

    fn command_line(&self) -> &str {
        &self.command_line
    }

    fn processor_count(&self) -> u32 {
        self.vps.all.len() as u32
    }

    fn run_on(&self, processor: u32, work: Work) -> Result<(), NoSuchProcessor> {
        let vp = self
            .vps
            .all
            .get(processor as usize)
            .ok_or(NoSuchProcessor(processor))?;
        vp.mailbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(work);
        vp.runtime.wake();
        Ok(())
    }

    fn on_interrupt(&self, hook: Hook) {
        // The first hook stays, as on the bare machine.
        let _ = self.vps.hook.set(hook);
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        for line in text.to_string().lines() {
            (self.on_console)(line);
        }
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        for line in text.to_string().lines() {
            (self.on_report)(line);
        }
    }
}
