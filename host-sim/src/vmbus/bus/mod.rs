//! The bus: the control plane connected with the hypervisor, the devices and their workers.

mod channels;
mod control;
mod ports;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::hypercall::call::Status;
use serde::Serialize;
use thiserror::Error;
use vmbus_core::protocol::{ChannelId, GpadlId, HostMessage, MessageBuffer, connection_id};
use vmbus_core::ring::{IncomingRing, OutgoingRing};

use super::doorbell::{ChannelPort, Doorbell};
use super::interrupt::GuestInterrupt;
use super::server::{DeviceId, Effect, OpenEffect, Server, ServerConfig, ServerSnapshot};
use super::trace::{BusEvent, BusObserver};
use super::vsp::{
    ChannelServices, GpadlLookup, GuestRing, LentMemory, NextPoll, OpenRequest, PollWaker,
    SubChannelRequest, Vsp,
};
use super::worker::{ChannelRun, ChannelShared};
use crate::hv::{EventPort, Hv, MessagePort, PortError, PostError};
use crate::memory::GuestMemory;

use ports::{ServerPort, SharedPort};

/// Messages of the guest that may wait; more are refused, and the guest tries again later.
const INBOX_LIMIT: usize = 64;
/// How often a message that the guest has no room for is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// Message type of everything on VMBus.
const VMBUS_MESSAGE: u32 = 1;
/// Where the guest's half of the interrupt page begins, and its 32-bit words.
const SEND_HALF: u64 = 2048;
const SEND_WORDS: u32 = 64;

/// How channels are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// A thread for the control plane and one for each open channel.
    Threaded,
    /// Nothing happens but in [`VmBus::step`]: the caller chooses what happens when.
    Stepped,
}

/// Something that a stepped bus could do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Carry out the oldest effect of the control plane.
    Effect,
    /// Take the guest's oldest message, or a device's oldest request.
    Inbox,
    /// Poll a channel.
    Channel(ChannelId),
}

/// The bus cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BusError {
    /// Another server uses VMBus's connection ids.
    #[error("VMBus's message port: {0}")]
    Port(#[from] PortError),
}

/// One channel that is open.
#[derive(Clone, Debug, Serialize)]
pub struct OpenChannelSnapshot {
    /// Its id.
    pub id: u32,
    /// Interrupts that the guest got.
    pub interrupts: u64,
    /// Signals from the guest.
    pub signals: u64,
    /// Turns of its worker.
    pub polls: u64,
}

/// The bus as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct BusSnapshot {
    /// The control plane.
    pub server: ServerSnapshot,
    /// Channels at work.
    pub open: Vec<OpenChannelSnapshot>,
    /// Interrupts and signals of channels that are closed by now.
    pub closed_interrupts: u64,
    /// See above.
    pub closed_signals: u64,
    /// Channels that the guest broke.
    pub faults: u64,
    /// What it did last.
    pub last_fault: Option<String>,
}

enum Input {
    Message {
        connection: u32,
        /// At most 240 bytes, as the hypervisor has checked.
        payload: Box<[u8]>,
    },
    SubChannels {
        device: DeviceId,
        count: u16,
    },
    Closed(ChannelId),
    /// A device no longer uses a GPADL.
    GpadlReturned(GpadlId),
}

struct Running {
    shared: Arc<ChannelShared>,
    connection: Option<u32>,
    /// The channel itself, where no worker has it.
    stepped: Option<(ChannelRun, NextPoll)>,
    worker: Option<JoinHandle<()>>,
}

struct State {
    server: Server,
    devices: BTreeMap<DeviceId, Box<dyn Vsp>>,
    running: BTreeMap<ChannelId, Running>,
    /// A message that the guest's queue has no room for.
    unsent: Option<(u32, u8, HostMessage)>,
    closed_interrupts: u64,
    closed_signals: u64,
    faults: u64,
    last_fault: Option<String>,
}

struct Inner {
    hv: Arc<Hv>,
    memory: GuestMemory,
    execution: Execution,
    observer: Option<Arc<dyn BusObserver>>,
    state: Mutex<State>,
    inbox: Mutex<VecDeque<Input>>,
    /// Guest messages in the inbox; the others are never refused.
    messages: AtomicU64,
    wake: Condvar,
    /// The control plane has something to do that is not in the inbox. Set and taken under the inbox's lock.
    poked: AtomicBool,
    stop: AtomicBool,
}

/// The VMBus server of one partition. Clones share it.
#[derive(Clone)]
pub struct VmBus {
    inner: Arc<Inner>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl VmBus {
    /// A bus without devices on this partition.
    ///
    /// # Errors
    /// [`BusError`] if the hypervisor has another server already.
    pub fn new(
        hv: Arc<Hv>,
        memory: GuestMemory,
        config: ServerConfig,
        execution: Execution,
        observer: Option<Arc<dyn BusObserver>>,
    ) -> Result<Self, BusError> {
        let inner = Arc::new(Inner {
            hv: Arc::clone(&hv),
            memory: memory.clone(),
            execution,
            observer,
            state: Mutex::new(State {
                server: Server::new(config, memory),
                devices: BTreeMap::new(),
                running: BTreeMap::new(),
                unsent: None,
                closed_interrupts: 0,
                closed_signals: 0,
                faults: 0,
                last_fault: None,
            }),
            inbox: Mutex::new(VecDeque::new()),
            messages: AtomicU64::new(0),
            wake: Condvar::new(),
            poked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        for connection in [connection_id::MESSAGE, connection_id::MESSAGE_MULTI_CLIENT] {
            hv.add_message_port(
                connection,
                Arc::new(ServerPort {
                    bus: Arc::downgrade(&inner),
                    connection,
                }),
            )?;
        }
        hv.add_event_port(
            connection_id::EVENT,
            Arc::new(SharedPort(Arc::downgrade(&inner))),
        )?;
        let thread = (execution == Execution::Threaded).then(|| {
            let inner = Arc::clone(&inner);
            std::thread::spawn(move || inner.serve())
        });
        Ok(Self {
            inner,
            thread: Arc::new(Mutex::new(thread)),
        })
    }

    /// Adds a device. It is offered when the guest asks for offers, or at once if it already has.
    pub fn add_device(&self, device: Box<dyn Vsp>) -> DeviceId {
        let mut state = self.inner.state();
        let id = state.server.add_device(device.offer());
        state.devices.insert(id, device);
        drop(state);
        self.poke();
        id
    }

    /// Takes a device away: its channels are closed, then rescinded.
    pub fn remove_device(&self, device: DeviceId) {
        let mut state = self.inner.state();
        state.server.remove_device(device);
        state.devices.remove(&device);
        drop(state);
        self.poke();
    }

    /// The partition was reset: every channel is closed without a word. Returns when nothing touches the guest's
    /// memory any more, or after 10 s if a device does not come to an end.
    pub fn reset(&self) -> bool {
        let mut state = self.inner.state();
        // What either end has said before the reset concerns nobody any more.
        state.server.reset();
        state.unsent = None;
        self.inner.drop_messages();
        drop(state);
        self.poke();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if self.inner.execution == Execution::Stepped {
                while self.step(Work::Effect) {}
            }
            if Inner::is_quiet(&self.inner.state()) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Wakes the control plane's thread, or keeps it from falling asleep.
    fn poke(&self) {
        let inbox = self.inner.inbox();
        self.inner.poked.store(true, Ordering::Relaxed);
        drop(inbox);
        self.inner.wake.notify_one();
    }

    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> BusSnapshot {
        let state = self.inner.state();
        let open = state
            .running
            .iter()
            .map(|(id, running)| OpenChannelSnapshot {
                id: id.0,
                interrupts: running.shared.interrupt.raised(),
                signals: running.shared.doorbell.guest_signals(),
                polls: running.shared.polls.load(Ordering::Relaxed),
            });
        BusSnapshot {
            server: state.server.snapshot(),
            open: open.collect(),
            closed_interrupts: state.closed_interrupts,
            closed_signals: state.closed_signals,
            faults: state.faults,
            last_fault: state.last_fault.clone(),
        }
    }

    /// What a stepped bus could do now, in a fixed order.
    #[must_use]
    pub fn work(&self) -> Vec<Work> {
        let now = self.inner.hv.reference_time();
        let state = self.inner.state();
        let mut work = Vec::new();
        if state.unsent.is_some() || state.server.has_effects() {
            work.push(Work::Effect);
        }
        if state.unsent.is_none() && !self.inner.inbox().is_empty() {
            work.push(Work::Inbox);
        }
        for (id, running) in &state.running {
            let due = match running.stepped {
                Some((_, NextPoll::Now)) => true,
                Some((_, NextPoll::At(time))) => time <= now,
                _ => false,
            };
            if running.stepped.is_some() && (due || running.shared.doorbell.is_rung()) {
                work.push(Work::Channel(*id));
            }
        }
        work
    }

    /// The earliest time at which a channel of a stepped bus wants to be polled (100 ns units).
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let state = self.inner.state();
        let times = state
            .running
            .values()
            .filter_map(|running| match running.stepped {
                Some((_, NextPoll::At(time))) => Some(time),
                _ => None,
            });
        times.min()
    }

    /// Does one thing on a stepped bus; `false` if there was nothing of that kind to do.
    pub fn step(&self, work: Work) -> bool {
        let mut state = self.inner.state();
        match work {
            Work::Effect => self.inner.handle_effect(&mut state),
            Work::Inbox => self.inner.handle_input(&mut state),
            Work::Channel(id) => {
                let Some(running) = state.running.get_mut(&id) else {
                    return false;
                };
                let Some((mut run, _)) = running.stepped.take() else {
                    return false;
                };
                running.shared.doorbell.take();
                drop(state);
                let next = run.turn();
                let mut state = self.inner.state();
                match next {
                    Ok(next) => {
                        if let Some(running) = state.running.get_mut(&id) {
                            running.stepped = Some((run, next));
                        }
                    }
                    // The run is dropped here; the channel stays until the guest closes it.
                    Err(fault) => self.inner.note_fault(&mut state, id, &fault),
                }
                true
            }
        }
    }

    /// Ends the bus: workers and the control plane's thread are joined. The guest must no longer run.
    pub fn shut_down(&self) {
        self.reset();
        self.inner.stop.store(true, Ordering::Release);
        self.poke();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the bus's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
