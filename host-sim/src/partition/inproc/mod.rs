//! A partition without processor virtualisation: guest code runs on host threads, one per virtual processor.
//!
//! The guest crates' code runs unchanged: [`InprocProcessor`] stands for the processor, [`InprocRuntime`] for memory,
//! time and idling. Interrupts are pending vectors that the guest's own loop takes.
//!
//! * *Threaded*: each virtual processor is a thread ([`InprocPartition::spawn_vp`]), an interrupt wakes it, and a timer
//!   thread drives the synthetic timers in real time.
//! * *Stepped*: nothing happens by itself. Time is a [`ManualClock`]; interrupts are recorded; when guest code idles, a
//!   hook of the simulation runs. With one thread and a seed every run is repeatable.
//!
//! Virtual processor 0 is online from the start, the others once they are brought online. An interrupt to a processor that
//! is offline is dropped and counted.

mod interrupts;
mod pages;
mod processor;
mod runtime;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

pub use processor::InprocProcessor;
pub use runtime::InprocRuntime;

use crate::hv::{
    Clock, HostTscClock, Hv, HvConfig, HvError, ManualClock, MonotonicClock, TimerThread, VectorSet,
};
use crate::memory::{GuestMemory, PAGE_SIZE};
use interrupts::Interrupts;
use pages::FreePages;

/// Frames that are never allocated, so that frame 0 is never a valid answer by mistake.
const RESERVED_FRAMES: u64 = 16;

/// Configuration of an in-process partition.
#[derive(Clone)]
pub struct InprocConfig {
    /// Guest RAM in bytes: whole pages, more than 64 KiB.
    pub memory_bytes: u64,
    /// Number of virtual processors.
    pub vp_count: u32,
    /// The guest's time-stamp counter.
    pub clock: Arc<dyn Clock>,
    /// Whether time runs and processors are threads, or a simulation steps everything.
    pub mode: InprocMode,
}

/// How an in-process partition runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InprocMode {
    /// Processors are threads, time is real.
    Threaded,
    /// A simulation decides what happens next.
    Stepped,
}

impl InprocConfig {
    /// A partition in real time, on the host's time-stamp counter or else its monotonic clock.
    #[must_use]
    pub fn threaded(memory_bytes: u64, vp_count: u32) -> Self {
        let clock: Arc<dyn Clock> = match HostTscClock::new() {
            Ok(clock) => Arc::new(clock),
            Err(error) => {
                tracing::debug!(%error, "the guest's time-stamp counter follows the monotonic clock");
                Arc::new(MonotonicClock::as_guest_tsc())
            }
        };
        Self {
            memory_bytes,
            vp_count,
            clock,
            mode: InprocMode::Threaded,
        }
    }

    /// A deterministic partition whose time is `clock`.
    #[must_use]
    pub fn stepped(memory_bytes: u64, vp_count: u32, clock: Arc<ManualClock>) -> Self {
        Self {
            memory_bytes,
            vp_count,
            clock,
            mode: InprocMode::Stepped,
        }
    }
}

/// Why an in-process partition cannot be made or a processor not be started.
#[derive(Debug, thiserror::Error)]
pub enum InprocError {
    /// The memory is too small, not whole pages, or the host refuses it.
    #[error("guest memory: {0}")]
    Memory(std::io::Error),
    /// The hypervisor refuses its configuration.
    #[error(transparent)]
    Hypervisor(#[from] HvError),
    /// The host refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The virtual processor does not exist.
    #[error("virtual processor {0} does not exist")]
    NoSuchVp(u32),
}

type IdleHook = dyn Fn(u32) + Send + Sync;

/// What a partition, its processors and its runtimes share.
struct Shared {
    memory: GuestMemory,
    /// Host address of guest-physical address 0.
    memory_base: usize,
    hv: Arc<Hv>,
    interrupts: Arc<Interrupts>,
    pages: Mutex<FreePages>,
    idle_hook: RwLock<Option<Arc<IdleHook>>>,
    shut_down: AtomicBool,
}

impl Shared {
    fn pages(&self) -> MutexGuard<'_, FreePages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_hook(&self) -> Option<Arc<IdleHook>> {
        self.idle_hook
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }
}

/// An in-process partition. Dropping it shuts it down.
pub struct InprocPartition {
    shared: Arc<Shared>,
    vp_count: u32,
    timers: Mutex<Option<TimerThread>>,
}

/// What the guest code of one virtual processor is given.
pub struct InprocVp {
    /// The processor's instructions.
    pub processor: InprocProcessor,
    /// The processor's memory, time and idling.
    pub runtime: Arc<InprocRuntime>,
}

impl InprocPartition {
    /// A partition with the hypervisor's usual features.
    ///
    /// # Errors
    /// [`InprocError`] if memory, configuration or the timer thread are refused.
    pub fn new(config: InprocConfig) -> Result<Self, InprocError> {
        Self::with_hypervisor(config, |_| {})
    }

    /// A partition whose hypervisor differs from the usual one as `adjust` says.
    ///
    /// # Errors
    /// [`InprocError`] if memory, configuration or the timer thread are refused.
    pub fn with_hypervisor(
        config: InprocConfig,
        adjust: impl FnOnce(&mut HvConfig),
    ) -> Result<Self, InprocError> {
        let memory = GuestMemory::new(config.memory_bytes).map_err(InprocError::Memory)?;
        let memory_base = memory
            .page_pointer(0)
            .map_err(|error| InprocError::Memory(std::io::Error::other(error)))?
            .as_ptr() as usize;
        let frames = memory.size() / PAGE_SIZE;
        if frames <= RESERVED_FRAMES {
            return Err(InprocError::Memory(std::io::Error::other(format!(
                "{} bytes leave no page beside the {RESERVED_FRAMES} reserved ones",
                memory.size()
            ))));
        }
        let interrupts = Arc::new(Interrupts::new(config.vp_count));
        let mut hv_config = HvConfig::new(
            memory.clone(),
            config.clock,
            interrupts.clone(),
            config.vp_count,
        );
        adjust(&mut hv_config);
        let hv = Hv::new(hv_config)?;
        interrupts.set_online(0, true);
        let timers = match config.mode {
            InprocMode::Threaded => {
                Some(TimerThread::start(hv.clone()).map_err(InprocError::Thread)?)
            }
            InprocMode::Stepped => None,
        };
        let shared = Arc::new(Shared {
            memory,
            memory_base,
            hv,
            interrupts,
            pages: Mutex::new(FreePages::new(RESERVED_FRAMES, frames)),
            idle_hook: RwLock::new(None),
            shut_down: AtomicBool::new(false),
        });
        let partition = Self {
            shared,
            vp_count: config.vp_count,
            timers: Mutex::new(timers),
        };
        if config.mode == InprocMode::Stepped {
            // Until the simulation says what to do meanwhile, an idle processor lets other threads run.
            partition.set_idle_hook(|_| std::thread::yield_now());
        }
        Ok(partition)
    }

    /// The partition's hypervisor.
    #[must_use]
    pub fn hv(&self) -> &Arc<Hv> {
        &self.shared.hv
    }

    /// The guest's RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.shared.memory
    }

    /// Number of virtual processors.
    #[must_use]
    pub fn vp_count(&self) -> u32 {
        self.vp_count
    }

    /// Pages of RAM that guest code can still allocate.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.shared.pages().free()
    }

    /// The instructions of a virtual processor. One that does not exist faults on every MSR.
    #[must_use]
    pub fn processor(&self, vp: u32) -> InprocProcessor {
        InprocProcessor::new(self.shared.hv.clone(), vp)
    }

    /// Memory, time and idling of a virtual processor.
    #[must_use]
    pub fn runtime(&self, vp: u32) -> Arc<InprocRuntime> {
        Arc::new(InprocRuntime::new(self.shared.clone(), vp))
    }

    /// Runs guest code as a virtual processor on a thread of its own: online while it runs, offline after. Its SynIC keeps
    /// its state; [`Hv::reset_vp`] is for a processor that starts anew.
    ///
    /// # Errors
    /// [`InprocError`] if there is no such processor or the host refuses a thread.
    pub fn spawn_vp<T: Send + 'static>(
        &self,
        vp: u32,
        guest: impl FnOnce(InprocVp) -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, InprocError> {
        if vp >= self.vp_count {
            return Err(InprocError::NoSuchVp(vp));
        }
        let context = InprocVp {
            processor: self.processor(vp),
            runtime: self.runtime(vp),
        };
        self.set_online(vp, true);
        let offline_at_end = OfflineAtEnd {
            shared: self.shared.clone(),
            vp,
        };
        std::thread::Builder::new()
            .name(format!("vp{vp}"))
            .spawn(move || {
                let _offline_at_end = offline_at_end;
                guest(context)
            })
            .map_err(InprocError::Thread)
    }

    /// Brings a virtual processor online, or takes it offline, where interrupts to it are dropped.
    pub fn set_online(&self, vp: u32, online: bool) {
        self.shared.interrupts.set_online(vp, online);
    }

    /// Whether a virtual processor takes interrupts.
    #[must_use]
    pub fn is_online(&self, vp: u32) -> bool {
        self.shared.interrupts.is_online(vp)
    }

    /// Takes the interrupts pending on a virtual processor.
    #[must_use]
    pub fn take_pending(&self, vp: u32) -> VectorSet {
        self.shared.interrupts.take_pending(vp)
    }

    /// Interrupts that were dropped because a virtual processor was offline.
    #[must_use]
    pub fn dropped_interrupts(&self, vp: u32) -> u64 {
        self.shared.interrupts.dropped(vp)
    }

    /// What happens instead of waiting when guest code idles; it is given the VP index. Replaces the previous hook.
    pub fn set_idle_hook(&self, hook: impl Fn(u32) + Send + Sync + 'static) {
        self.replace_idle_hook(Some(Arc::new(hook)));
    }

    fn replace_idle_hook(&self, hook: Option<Arc<IdleHook>>) {
        // The old hook is dropped with the lock released: its captures may run anything.
        let _old = std::mem::replace(
            &mut *self
                .shared
                .idle_hook
                .write()
                .unwrap_or_else(PoisonError::into_inner),
            hook,
        );
    }

    /// Tells guest code to end ([`InprocRuntime::is_shut_down`]), wakes it, and stops timers and hook. The threads of
    /// [`InprocPartition::spawn_vp`] are joined by their handles.
    pub fn shutdown(&self) {
        self.shared.shut_down.store(true, Ordering::Release);
        for vp in 0..self.vp_count {
            self.shared.interrupts.wake(vp);
        }
        // Hook and thread may hold the partition's parts; letting go of them here breaks such cycles.
        self.replace_idle_hook(None);
        let timers = self
            .timers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(timers);
    }
}

impl Drop for InprocPartition {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Takes a processor offline when its thread ends, by a panic too.
struct OfflineAtEnd {
    shared: Arc<Shared>,
    vp: u32,
}

impl Drop for OfflineAtEnd {
    fn drop(&mut self) {
        self.shared.interrupts.set_online(self.vp, false);
    }
}
