//! The hypervisor shim: what Hyper-V itself does for a guest, in user space and for every back end.
//!
//! [`Hv`] holds the CPUID leaves, synthetic MSRs, hypercalls, SynIC, reference time and synthetic timers of one
//! partition. It knows nothing of how virtual processors run: a back end forwards their CPUID, RDMSR, WRMSR and
//! hypercall exits to it and takes interrupts from it through an [`InterruptSink`].
//!
//! # Locks
//! Each virtual processor has one lock, the partition another; no two are ever held together. Interrupts, ports and the
//! event sink are called with none held, so they may call back into the shim.
//!
//! # Time
//! The shim has no thread. [`Hv::next_deadline`] and [`Hv::run_timers`] drive the synthetic timers, and
//! [`Hv::poll_message_queues`] retries messages whose guest forgot to write EOM; a [`TimerThread`] calls them in real
//! time, a simulation at the moments of its own clock.

pub mod clock;
mod config;
pub mod counters;
pub mod cpuid;
mod crash;
mod hypercall;
mod inspect;
mod machine;
mod message;
mod msr;
mod overlay;
mod partition_state;
mod port;
mod registers;
mod remote;
mod shared_page;
mod thread;
mod time;
mod timer;
mod vectors;
mod vp;
mod vp_cell;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ::hypercall::CpuidResult;
use ::hypercall::call::{MessageType, Status};
use ::hypercall::msr::SintIndex;

pub use clock::{Clock, HostTscClock, ManualClock, MonotonicClock};
pub use config::{HvConfig, HvError, InterruptSink, MAX_VP_COUNT, TlbFlusher, Unimplemented};
pub use counters::{Counters, VpCounters};
pub use crash::{CrashMessage, CrashReport};
pub use hypercall::{HypercallRegisters, PARTITION_ID};
pub use inspect::{HvSnapshot, VpSnapshot};
pub use msr::{GeneralProtection, Refusal};
pub use port::{EventPort, MessagePort, PortError};
pub use thread::TimerThread;
pub use vectors::VectorSet;

use counters::PartitionCounters;
use machine::Machine;
use message::Message;
use partition_state::PartitionState;
use port::PortTable;
use thread::Alarm;
use vp::VpState;
use vp_cell::VpCell;

/// Something that the partition's owner has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HvEvent {
    /// The guest has notified a crash. It goes on running.
    Crash(CrashReport),
    /// The guest wants the partition reset: stop the virtual processors, call [`Hv::reset`], start anew.
    ResetRequested {
        /// The virtual processor that asked.
        vp: u32,
    },
}

type EventSink = dyn Fn(HvEvent) + Send + Sync;

/// Why a message cannot be posted to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// There is no such virtual processor.
    #[error("virtual processor {0} does not exist")]
    NoSuchVp(u32),
    /// Synthetic interrupt sources are numbered 0 to 15.
    #[error("SINT {0} does not exist")]
    NoSuchSint(u8),
    /// The type is 0, which marks an empty slot, or the payload exceeds 240 bytes.
    #[error("message type {message_type:#x} with {length} bytes cannot be posted")]
    Message {
        /// Type of the message.
        message_type: u32,
        /// Length of its payload in bytes.
        length: usize,
    },
    /// As many messages wait as are allowed to; try again when some are delivered.
    #[error("the message queue is full")]
    QueueFull,
}

/// The hypervisor of one partition. Shared by all its virtual processors and by the host's services.
pub struct Hv {
    machine: Machine,
    partition: Mutex<PartitionState>,
    hypercall_page_enabled: AtomicBool,
    vps: Vec<VpCell>,
    message_ports: PortTable<dyn MessagePort>,
    event_ports: PortTable<dyn EventPort>,
    counters: PartitionCounters,
    event_sink: RwLock<Option<Arc<EventSink>>>,
    alarm: Alarm,
}

impl Hv {
    /// A hypervisor as configured. Reference time begins at 0 now.
    ///
    /// # Errors
    /// [`HvError`] if the configuration asks for what is not implemented or cannot work.
    pub fn new(config: HvConfig) -> Result<Arc<Self>, HvError> {
        let machine = Machine::new(config)?;
        let vps = (0..machine.config.vp_count)
            .map(|index| VpCell::new(index, VpState::new(index, &machine)))
            .collect();
        Ok(Arc::new(Self {
            machine,
            partition: Mutex::new(PartitionState::new()),
            hypercall_page_enabled: AtomicBool::new(false),
            vps,
            message_ports: PortTable::default(),
            event_ports: PortTable::default(),
            counters: PartitionCounters::default(),
            event_sink: RwLock::new(None),
            alarm: Alarm::default(),
        }))
    }

    /// What the hypervisor was made from.
    #[must_use]
    pub fn config(&self) -> &HvConfig {
        &self.machine.config
    }

    /// A hypervisor CPUID leaf, the same on every virtual processor; `None` if it is not one of
    /// [`cpuid::FIRST_LEAF`] to [`cpuid::LAST_LEAF`]. The back end sets bit 31 of ECX of leaf 1 itself.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, _subleaf: u32) -> Option<CpuidResult> {
        cpuid::leaf(&self.machine.config, leaf)
    }

    /// Whether a guest may call the hypercall page at the moment.
    #[must_use]
    pub fn is_hypercall_page_enabled(&self) -> bool {
        self.hypercall_page_enabled.load(Ordering::Acquire)
    }

    /// Lets the guest's PostMessage to `connection_id` arrive at `port`.
    ///
    /// # Errors
    /// [`PortError`] if the id has more than 24 bits or is in use for messages.
    pub fn add_message_port(
        &self,
        connection_id: u32,
        port: Arc<dyn MessagePort>,
    ) -> Result<(), PortError> {
        self.message_ports.connect(connection_id, port)
    }

    /// Takes a message port away; a call that has already begun still reaches it. Returns whether there was one.
    pub fn remove_message_port(&self, connection_id: u32) -> bool {
        self.message_ports.disconnect(connection_id).is_some()
    }

    /// Lets the guest's SignalEvent to `connection_id` arrive at `port`.
    ///
    /// # Errors
    /// [`PortError`] if the id has more than 24 bits or is in use for events.
    pub fn add_event_port(
        &self,
        connection_id: u32,
        port: Arc<dyn EventPort>,
    ) -> Result<(), PortError> {
        self.event_ports.connect(connection_id, port)
    }

    /// Takes an event port away; a call that has already begun still reaches it. Returns whether there was one.
    pub fn remove_event_port(&self, connection_id: u32) -> bool {
        self.event_ports.disconnect(connection_id).is_some()
    }

    /// Posts a message to a SINT of a virtual processor. Messages of one SINT arrive in order; while the guest's SynIC
    /// is off or the slot is taken they wait.
    ///
    /// # Errors
    /// [`PostError`]; nothing is queued then.
    pub fn post_message(
        &self,
        vp: u32,
        sint: u8,
        message_type: u32,
        payload: &[u8],
    ) -> Result<(), PostError> {
        let processor = self.vp(vp).ok_or(PostError::NoSuchVp(vp))?;
        let sint = SintIndex::new(sint).ok_or(PostError::NoSuchSint(sint))?;
        let message =
            Message::new(MessageType(message_type), payload).ok_or(PostError::Message {
                message_type,
                length: payload.len(),
            })?;
        let queued = self.with_vp(processor, |state, raise| {
            state.post(&self.machine, sint, message, raise)
        });
        queued.then_some(()).ok_or(PostError::QueueFull)
    }

    /// Messages that wait for a SINT of a virtual processor; 0 if there is no such one.
    #[must_use]
    pub fn message_queue_len(&self, vp: u32, sint: u8) -> usize {
        match (self.vp(vp), SintIndex::new(sint)) {
            (Some(processor), Some(sint)) => processor.lock().queue_len(sint),
            _ => 0,
        }
    }

    /// Sets an event flag of a SINT of a virtual processor and, if it was clear, interrupts the processor.
    ///
    /// # Errors
    /// `INVALID_VP_INDEX`, `INVALID_PARAMETER` (SINT or flag number out of range), or `INVALID_SYNIC_STATE` if SynIC
    /// or event flags page are off or the SINT is masked; the flag is not set then.
    pub fn signal_event(&self, vp: u32, sint: u8, flag: u16) -> Result<(), Status> {
        let processor = self.vp(vp).ok_or(Status::INVALID_VP_INDEX)?;
        let sint = SintIndex::new(sint).ok_or(Status::INVALID_PARAMETER)?;
        self.with_vp(processor, |state, raise| {
            state.signal_event(&self.machine, sint, flag, raise)
        })
    }

    /// Retries a virtual processor's waiting messages. For back ends to call on each of its exits; costs next to
    /// nothing while none wait.
    pub fn vp_exited(&self, vp: u32) {
        if let Some(processor) = self.vp(vp)
            && processor.has_waiting_messages()
        {
            self.deliver_waiting(processor);
        }
    }

    /// Retries every waiting message: the safety poll, every millisecond while [`Hv::has_waiting_messages`].
    pub fn poll_message_queues(&self) {
        for processor in &self.vps {
            if processor.has_waiting_messages() {
                self.deliver_waiting(processor);
            }
        }
    }

    /// Whether a message waits for any virtual processor.
    #[must_use]
    pub fn has_waiting_messages(&self) -> bool {
        self.vps.iter().any(VpCell::has_waiting_messages)
    }

    /// Reference time: 100 ns units since the partition was created.
    #[must_use]
    pub fn reference_time(&self) -> u64 {
        self.machine.time.now()
    }

    /// Makes `units` the reference time of this moment, as after a restore. The reference TSC page, if it is enabled,
    /// gets a new sequence, so that readers notice.
    pub fn set_reference_time(&self, units: u64) {
        self.partition().set_reference_time(&self.machine, units);
        self.alarm.ring();
    }

    /// When the next synthetic timer expires, in reference time; `None` if none is running.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.vps.iter().filter_map(VpCell::next_deadline).min()
    }

    /// Expires every synthetic timer that is due at `now`, each once: a periodic timer that lags behind is due again.
    pub fn run_timers(&self, now: u64) {
        for processor in &self.vps {
            if processor.next_deadline().is_some_and(|due| due <= now) {
                self.with_vp(processor, |state, raise| {
                    state.run_timers(&self.machine, now, raise);
                });
            }
        }
    }

    /// Resets the V-scope state of a virtual processor: registers, pages, timers, waiting messages.
    pub fn reset_vp(&self, vp: u32) {
        if let Some(processor) = self.vp(vp) {
            self.with_vp(processor, |state, _| state.reset(&self.machine));
        }
    }

    /// Resets the partition: all virtual processors, then the P-scope state. Ports belong to the host's services, which
    /// are reset on their own; reference time goes on, as it counts from the partition's creation.
    pub fn reset(&self) {
        for processor in &self.vps {
            self.with_vp(processor, |state, _| state.reset(&self.machine));
        }
        let mut partition = self.partition();
        partition.reset(&self.machine);
        self.note_hypercall_page(&partition);
    }

    /// Whom to tell of crashes and reset requests; replaces the previous one. Called on the virtual processor's thread
    /// with no lock held.
    pub fn set_event_sink(&self, sink: impl Fn(HvEvent) + Send + Sync + 'static) {
        *self
            .event_sink
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sink));
    }

    fn notify(&self, event: HvEvent) {
        let sink = self
            .event_sink
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match sink {
            Some(sink) => sink(event),
            None => tracing::debug!(?event, "nobody listens to the partition's events"),
        }
    }

    fn vp(&self, index: u32) -> Option<&VpCell> {
        self.vps.get(usize::try_from(index).ok()?)
    }

    fn partition(&self) -> MutexGuard<'_, PartitionState> {
        self.partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes whether hypercalls work, under the partition's lock.
    fn note_hypercall_page(&self, partition: &PartitionState) {
        self.hypercall_page_enabled
            .store(partition.hypercall().is_enabled(), Ordering::Release);
    }

    fn deliver_waiting(&self, processor: &VpCell) {
        self.with_vp(processor, |state, raise| {
            state.deliver_all(&self.machine, raise);
        });
    }

    /// Works on a virtual processor's state, then raises the interrupts that came of it with its lock released.
    fn with_vp<R>(
        &self,
        processor: &VpCell,
        act: impl FnOnce(&mut VpState, &mut VectorSet) -> R,
    ) -> R {
        let (result, raise, sooner) = processor.update(act);
        for vector in raise {
            self.machine
                .config
                .interrupts
                .inject(processor.index(), vector);
        }
        if sooner {
            self.alarm.ring();
        }
        result
    }
}
