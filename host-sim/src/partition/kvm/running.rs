//! A partition that runs: waiting for its end, stopping it, counting its exits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::signal::Killable;

use super::devices::Devices;
use super::exits::ExitCounters;
use super::partition::{OnEvent, Partition};
use super::tlb_flush::TlbFlush;
use super::vm::{CurrentVm, Vm};
use super::{ExitCounts, Failure, KvmDeviceMemoryMapper, KvmError, Outcome, Platform, kick};
use crate::hv::{Hv, HvEvent, TimerThread};

/// How often a processor that does not come out is called again: it may have been about to enter.
const CALL_AGAIN: Duration = Duration::from_millis(1);

/// What all virtual processors' threads share.
pub(super) struct Shared {
    pub(super) hv: Arc<Hv>,
    pub(super) devices: Arc<Devices>,
    /// Where hypercalls trap; none if the guest sees no hypervisor.
    pub(super) hypercall_port: Option<u16>,
    shows_hypervisor: bool,
    /// For the flush hypercalls, if the guest is recommended to make them.
    pub(super) tlb_flush: Option<Arc<TlbFlush>>,
    ended: AtomicBool,
    outcome: Mutex<Option<Outcome>>,
    changed: Condvar,
}

impl Shared {
    /// Whether processors should come out and stay out.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A virtual processor reads a synthetic MSR; `None` is a general-protection fault.
    pub(super) fn read_msr(&self, vp: u32, msr: u32) -> Option<u64> {
        self.shows_hypervisor
            .then(|| self.hv.read_msr(vp, msr).ok())
            .flatten()
    }

    /// A virtual processor writes a synthetic MSR; `false` is a general-protection fault.
    pub(super) fn write_msr(&self, vp: u32, msr: u32, value: u64) -> bool {
        self.shows_hypervisor && self.hv.write_msr(vp, msr, value).is_ok()
    }

    /// Ends the run; the first outcome counts.
    pub(super) fn end(&self, outcome: Outcome) {
        let mut first = self.lock();
        first.get_or_insert(outcome);
        self.ended.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a running partition from anywhere; does not keep it alive.
#[derive(Clone)]
pub struct StopHandle(Weak<Shared>);

impl StopHandle {
    /// Ends the run with [`Outcome::Stopped`], unless it has ended. Does not wait.
    pub fn stop(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end(Outcome::Stopped);
        }
    }
}

/// A partition whose virtual processors run. Dropping it stops them.
pub struct Running {
    shared: Arc<Shared>,
    counters: Vec<Arc<ExitCounters>>,
    threads: Vec<JoinHandle<()>>,
    timers: Option<TimerThread>,
    current_vm: Arc<CurrentVm>,
    mapper: Arc<KvmDeviceMemoryMapper>,
    platform: Platform,
    on_event: Option<OnEvent>,
    // Last: its file keeps the machine alive for the threads above.
    _vm: Vm,
}

impl Running {
    pub(super) fn start(partition: Partition) -> Result<Self, KvmError> {
        kick::install()?;
        let Partition {
            hv,
            vm,
            current_vm,
            mapper,
            platform,
            devices,
            processors,
            on_event,
            tlb_flush,
            ..
        } = partition;
        let shows_hypervisor = platform.shows_hypervisor();
        let shared = Arc::new(Shared {
            hypercall_port: shows_hypervisor.then(|| u16::from(hv.config().hypercall_port)),
            shows_hypervisor,
            hv,
            devices,
            tlb_flush,
            ended: AtomicBool::new(false),
            outcome: Mutex::new(None),
            changed: Condvar::new(),
        });
        let weak = Arc::downgrade(&shared);
        let told = on_event.clone();
        shared.hv.set_event_sink(move |event| {
            if let (HvEvent::ResetRequested { vp }, Some(shared)) = (&event, weak.upgrade()) {
                shared.end(Outcome::ResetRequested { vp: *vp });
            }
            if let Some(on_event) = &told {
                on_event(event);
            }
        });
        let timers = TimerThread::start(Arc::clone(&shared.hv)).map_err(KvmError::Thread)?;
        let mut running = Self {
            shared,
            counters: Vec::new(),
            threads: Vec::new(),
            timers: Some(timers),
            current_vm,
            mapper,
            platform,
            on_event,
            _vm: vm,
        };
        for processor in processors {
            let shared = Arc::clone(&running.shared);
            running.counters.push(Arc::clone(&processor.counters));
            let vp = processor.index;
            let thread = std::thread::Builder::new()
                .name(format!("vp-{vp}"))
                .spawn(move || {
                    // What it leaves behind is not used again: the run is over.
                    if catch_unwind(AssertUnwindSafe(|| processor.run(&shared))).is_err() {
                        shared.end(Outcome::Failed {
                            vp,
                            failure: Failure::HostPanic,
                            registers: None,
                        });
                    }
                })
                // Dropping `running` stops those that have started.
                .map_err(KvmError::Thread)?;
            running.threads.push(thread);
        }
        Ok(running)
    }

    /// The shim.
    #[must_use]
    pub fn hv(&self) -> &Arc<Hv> {
        &self.shared.hv
    }

    /// For stopping the run from another thread.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::downgrade(&self.shared))
    }

    /// Gives the guest bytes to read from the console; returns how many there was room for.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        self.shared.devices.serial()[0].receive(bytes)
    }

    /// Presses the power button of a PC; `false` if the machine has none.
    pub fn press_power_button(&self) -> bool {
        self.shared.devices.press_power_button()
    }

    /// Stops the run, unless it has ended, and resets the partition: a machine as new, with the same memory, shim and
    /// devices, to be given a guest and started. The host's services are to be reset before ([`VmBus::reset`]), memory
    /// is to be cleared afterwards ([`GuestMemory::clear`]).
    ///
    /// [`VmBus::reset`]: crate::vmbus::VmBus::reset
    /// [`GuestMemory::clear`]: crate::memory::GuestMemory::clear
    ///
    /// # Errors
    /// [`KvmError`]: KVM refuses a new machine.
    pub fn reset(mut self) -> Result<Partition, KvmError> {
        self.stop();
        Partition::after_reset(
            Arc::clone(&self.shared.hv),
            Arc::clone(&self.current_vm),
            Arc::clone(&self.mapper),
            self.platform,
            Arc::clone(&self.shared.devices),
            self.on_event.clone(),
            self.shared.tlb_flush.clone(),
        )
    }

    /// Waits until the run ends and all virtual processors have come out.
    pub fn wait(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.wait_for(Duration::from_secs(3600)) {
                return outcome;
            }
        }
    }

    /// Waits until the run ends, at most so long; `None` if it goes on.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + limit;
        let mut outcome = self.shared.lock();
        while outcome.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            outcome = self
                .shared
                .changed
                .wait_timeout(outcome, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let reached = outcome.clone();
        drop(outcome);
        self.join();
        reached
    }

    /// Stops the run, unless it has ended, and waits until all virtual processors have come out.
    pub fn stop(&mut self) -> Outcome {
        self.stop_handle().stop();
        self.wait()
    }

    /// Exits of all virtual processors so far.
    #[must_use]
    pub fn exit_counts(&self) -> ExitCounts {
        self.exit_counts_by_processor()
            .into_iter()
            .fold(ExitCounts::default(), |sum, counts| sum + counts)
    }

    /// Exits of each virtual processor so far, by index.
    #[must_use]
    pub fn exit_counts_by_processor(&self) -> Vec<ExitCounts> {
        self.counters
            .iter()
            .map(|counters| counters.snapshot())
            .collect()
    }

    /// Calls the processors out, until all are. The run has ended.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                // Fails only if the thread has just finished.
                let _ = thread.kill(kick::signal());
                std::thread::sleep(CALL_AGAIN);
            }
            // A panic has been caught inside and is the outcome.
            let _ = thread.join();
        }
        self.timers = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.end(Outcome::Stopped);
        self.join();
    }
}
