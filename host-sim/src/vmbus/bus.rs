//! The bus: the control plane connected with the hypervisor, the devices and their workers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::hypercall::call::Status;
use serde::Serialize;
use thiserror::Error;
use vmbus_core::protocol::{ChannelId, HostMessage, MessageBuffer, connection_id};
use vmbus_core::ring::{IncomingRing, OutgoingRing};

use super::doorbell::{ChannelPort, Doorbell};
use super::interrupt::GuestInterrupt;
use super::server::{DeviceId, Effect, OpenEffect, Server, ServerConfig, ServerSnapshot};
use super::trace::{BusEvent, BusObserver};
use super::vsp::{
    ChannelServices, GuestRing, NextPoll, OpenRequest, PollWaker, SubChannelRequest, Vsp,
};
use super::worker::{ChannelRun, ChannelShared};
use crate::hv::{EventPort, Hv, MessagePort, PortError, PostError};
use crate::memory::GuestMemory;

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

struct ServerPort {
    bus: Weak<Inner>,
    connection: u32,
}

impl MessagePort for ServerPort {
    fn post(&self, message_type: u32, payload: &[u8]) -> Status {
        let Some(bus) = self.bus.upgrade() else {
            return Status::INVALID_CONNECTION_ID;
        };
        if message_type != VMBUS_MESSAGE {
            tracing::debug!(message_type, "message of a type that VMBus doesn't have");
            return Status::SUCCESS;
        }
        bus.post(Input::Message {
            connection: self.connection,
            payload: payload.into(),
        })
    }
}

/// Tells the bus, when dropped, that a worker is at its end: the device's end has been dropped before, so nothing
/// touches the guest's memory any more.
struct WorkerEnd {
    bus: Weak<Inner>,
    channel: ChannelId,
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.post(Input::Closed(self.channel));
        }
    }
}

/// The port for signals of channels without one of their own: the guest marks them in the interrupt page.
struct SharedPort(Weak<Inner>);

impl EventPort for SharedPort {
    fn signal(&self, _flag: u16) -> Status {
        if let Some(bus) = self.0.upgrade() {
            bus.scan_interrupt_page();
        }
        Status::SUCCESS
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Input>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, event: impl FnOnce() -> BusEvent) {
        if let Some(observer) = &self.observer {
            observer.observe(self.hv.reference_time(), &event());
        }
    }

    fn post(&self, input: Input) -> Status {
        let mut inbox = self.inbox();
        match input {
            Input::Message { .. } => {
                if self.messages.load(Ordering::Relaxed) >= INBOX_LIMIT as u64 {
                    return Status::INSUFFICIENT_BUFFERS;
                }
                self.messages.fetch_add(1, Ordering::Relaxed);
            }
            // A device may be made to ask by its guest, and as often as the guest likes.
            Input::SubChannels { device, count } => {
                let waiting = inbox.iter_mut().find_map(|input| match input {
                    Input::SubChannels {
                        device: other,
                        count,
                    } if *other == device => Some(count),
                    _ => None,
                });
                if let Some(waiting) = waiting {
                    *waiting = count.max(*waiting);
                    return Status::SUCCESS;
                }
            }
            Input::Closed(_) => {}
        }
        inbox.push_back(input);
        drop(inbox);
        self.wake.notify_one();
        Status::SUCCESS
    }

    /// The oldest input; from a guest that reads no messages (`blocked`), only the ends of channels.
    fn take_input(&self, blocked: bool) -> Option<Input> {
        let mut inbox = self.inbox();
        if blocked {
            let closed = |input: &Input| matches!(input, Input::Closed(_));
            let first = inbox.iter().position(closed)?;
            return inbox.remove(first);
        }
        let input = inbox.pop_front();
        if matches!(input, Some(Input::Message { .. })) {
            self.messages.fetch_sub(1, Ordering::Relaxed);
        }
        input
    }

    /// Forgets the guest's messages that wait.
    fn drop_messages(&self) {
        let mut inbox = self.inbox();
        inbox.retain(|input| !matches!(input, Input::Message { .. }));
        self.messages.store(0, Ordering::Relaxed);
    }

    /// Rings the doorbells that the guest has marked in its half of the interrupt page.
    fn scan_interrupt_page(&self) {
        let state = self.state();
        let Some(page) = state.server.interrupt_page() else {
            return;
        };
        for word in 0..SEND_WORDS {
            let address = page
                .saturating_add(SEND_HALF)
                .saturating_add(u64::from(word) * 4);
            let Ok(bits) = self.memory.atomic_u32(address) else {
                return;
            };
            let mut bits = bits.swap(0, Ordering::SeqCst);
            while bits != 0 {
                let channel = ChannelId(word * 32 + bits.trailing_zeros());
                bits &= bits - 1;
                if let Some(running) = state.running.get(&channel) {
                    running.shared.doorbell.ring_by_guest();
                }
            }
        }
    }

    /// Takes one input; `false` if there was none, or none that can be taken while the guest reads no messages.
    fn handle_input(self: &Arc<Self>, state: &mut State) -> bool {
        match self.take_input(state.unsent.is_some()) {
            None => return false,
            Some(Input::Message {
                connection,
                payload,
            }) => {
                self.observe(|| BusEvent::from_guest(connection, &payload));
                state.server.handle_message(connection, &payload);
            }
            Some(Input::SubChannels { device, count }) => {
                state.server.request_sub_channels(device, count)
            }
            Some(Input::Closed(channel)) => self.finish_close(state, channel),
        }
        true
    }

    /// Carries out one effect; `false` if there is none or it has to wait for the guest.
    fn handle_effect(self: &Arc<Self>, state: &mut State) -> bool {
        if let Some((vp, sint, message)) = state.unsent.take() {
            if self.send(state, vp, sint, message) {
                return true;
            }
            // A guest that reads no messages does not keep its channels from being closed.
            let close = state.server.poll_close();
            if let Some(channel) = close {
                self.begin_close(state, channel);
            }
            return close.is_some();
        }
        match state.server.poll_effect() {
            None => return false,
            Some(Effect::Message { vp, sint, message }) => {
                return self.send(state, vp, sint, message);
            }
            Some(Effect::Open(open)) => self.open(state, &open),
            Some(Effect::Close(channel)) => self.begin_close(state, channel),
            Some(Effect::Retarget { channel, vp }) => {
                if let Some(running) = state.running.get(&channel) {
                    running.shared.interrupt.retarget(vp);
                }
            }
        }
        true
    }

    fn send(&self, state: &mut State, vp: u32, sint: u8, message: HostMessage) -> bool {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer);
        match self
            .hv
            .post_message(vp, sint, VMBUS_MESSAGE, buffer.as_bytes())
        {
            Ok(()) => {
                self.observe(|| BusEvent::to_guest(vp, buffer.as_bytes()));
                true
            }
            Err(PostError::QueueFull) => {
                state.unsent = Some((vp, sint, message));
                false
            }
            Err(error) => {
                tracing::warn!(%error, "message for the guest lost");
                true
            }
        }
    }

    fn open(self: &Arc<Self>, state: &mut State, open: &OpenEffect) {
        let opened = self.open_channel(state, open);
        if let Err(reason) = &opened {
            tracing::debug!(channel = open.channel.0, %reason, "open refused");
        }
        state.server.opened(open.channel, opened.is_ok());
    }

    fn open_channel(self: &Arc<Self>, state: &mut State, open: &OpenEffect) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let ring =
            |frames: &[u64]| GuestRing::new(&self.memory, frames).map_err(|error| text(&error));
        let incoming = IncomingRing::attach(ring(&open.incoming)?).map_err(|error| text(&error))?;
        let outgoing = OutgoingRing::attach(ring(&open.outgoing)?).map_err(|error| text(&error))?;
        let doorbell = Arc::new(Doorbell::default());
        let services = ChannelServices {
            waker: {
                let doorbell = Arc::clone(&doorbell);
                PollWaker::new(move || doorbell.ring())
            },
            sub_channels: {
                let (bus, device) = (Arc::downgrade(self), open.device);
                SubChannelRequest::new(move |count| {
                    if let Some(bus) = bus.upgrade() {
                        bus.post(Input::SubChannels { device, count });
                    }
                })
            },
        };
        // The guest may signal as soon as it has the answer, so the port comes first.
        if let Some(connection) = open.connection_id {
            let port = Arc::new(ChannelPort(Arc::clone(&doorbell)));
            self.hv
                .add_event_port(connection, port)
                .map_err(|error| text(&error))?;
        }
        let request = OpenRequest {
            sub_channel_index: open.sub_channel_index,
            user_data: open.user_data,
            vmbus_version: open.version,
            vp: open.vp.unwrap_or(0),
        };
        let device = state
            .devices
            .get_mut(&open.device)
            .ok_or("the device is gone".to_owned());
        let device =
            device.and_then(|device| device.open(request, services).map_err(|error| text(&error)));
        let device = match device {
            Ok(device) => device,
            Err(reason) => {
                if let Some(connection) = open.connection_id {
                    self.hv.remove_event_port(connection);
                }
                return Err(reason);
            }
        };
        let has_flags = open.version.has_channel_event_flags();
        let page = state.server.interrupt_page().filter(|_| !has_flags);
        let page = page.map(|page| (self.memory.clone(), page));
        let flag = open.event_flag;
        let shared = Arc::new(ChannelShared {
            hv: Arc::clone(&self.hv),
            doorbell,
            interrupt: GuestInterrupt::new(Arc::clone(&self.hv), open.vp, flag, page),
            stop: AtomicBool::new(false),
            polls: AtomicU64::new(0),
        });
        let run = ChannelRun {
            device,
            incoming,
            outgoing,
            memory: self.memory.clone(),
            shared: Arc::clone(&shared),
        };
        let (stepped, worker) = match self.execution {
            Execution::Stepped => {
                shared.doorbell.ring();
                (Some((run, NextPoll::OnSignal)), None)
            }
            Execution::Threaded => match self.spawn(open.channel, run) {
                Ok(worker) => (None, Some(worker)),
                Err(reason) => {
                    if let Some(connection) = open.connection_id {
                        self.hv.remove_event_port(connection);
                    }
                    return Err(reason);
                }
            },
        };
        self.observe(|| BusEvent::Opened {
            channel: open.channel.0,
            vp: open.vp,
        });
        let running = Running {
            shared,
            connection: open.connection_id,
            stepped,
            worker,
        };
        state.running.insert(open.channel, running);
        Ok(())
    }

    fn spawn(
        self: &Arc<Self>,
        channel: ChannelId,
        run: ChannelRun,
    ) -> Result<JoinHandle<()>, String> {
        let bus = Arc::downgrade(self);
        std::thread::Builder::new()
            .name(format!("channel-{}", channel.0))
            .spawn(move || {
                // Reports the end also if the device panics, or the channel could never be closed.
                let end = WorkerEnd { bus, channel };
                run.work(|fault| {
                    if let Some(bus) = end.bus.upgrade() {
                        bus.note_fault(&mut bus.state(), channel, fault);
                    }
                });
            })
            .map_err(|error| format!("cannot start a worker: {error}"))
    }

    fn note_fault(&self, state: &mut State, channel: ChannelId, fault: &dyn std::fmt::Display) {
        state.faults += 1;
        state.last_fault = Some(format!("channel {}: {fault}", channel.0));
        tracing::warn!(channel = channel.0, %fault, "the guest broke a channel");
        self.observe(|| BusEvent::Fault {
            channel: channel.0,
            fault: fault.to_string(),
        });
    }

    fn begin_close(&self, state: &mut State, channel: ChannelId) {
        let Some(running) = state.running.get_mut(&channel) else {
            return state.server.closed(channel);
        };
        running.shared.stop.store(true, Ordering::Release);
        running.shared.doorbell.ring();
        if running.worker.is_none() {
            running.stepped = None;
            self.finish_close(state, channel);
        }
    }

    fn finish_close(&self, state: &mut State, channel: ChannelId) {
        if let Some(mut running) = state.running.remove(&channel) {
            if let Some(connection) = running.connection {
                self.hv.remove_event_port(connection);
            }
            if let Some(worker) = running.worker.take()
                && worker.join().is_err()
            {
                tracing::error!(channel = channel.0, "a channel's worker panicked");
            }
            state.closed_interrupts += running.shared.interrupt.raised();
            state.closed_signals += running.shared.doorbell.guest_signals();
            self.observe(|| BusEvent::Closed { channel: channel.0 });
        }
        state.server.closed(channel);
    }

    /// The control plane's thread.
    fn serve(self: &Arc<Self>) {
        while !self.stop.load(Ordering::Acquire) {
            let mut state = self.state();
            while self.handle_effect(&mut state) {}
            let blocked = state.unsent.is_some();
            // A guest that doesn't read its messages gets no further ones handled.
            let worked = self.handle_input(&mut state);
            drop(state);
            if worked {
                continue;
            }
            self.rest(blocked);
        }
    }

    /// Sleeps until there is something to do or, if the guest has no room for a message, for a moment.
    fn rest(&self, blocked: bool) {
        let inbox = self.inbox();
        if self.stop.load(Ordering::Acquire) {
            return;
        }
        if blocked {
            drop(self.wake.wait_timeout(inbox, RETRY_INTERVAL));
        } else if inbox.is_empty() && !self.poked.swap(false, Ordering::Relaxed) {
            drop(self.wake.wait(inbox));
        }
    }

    /// Whether no device touches the guest's memory, or will without a further message of the guest.
    fn is_quiet(state: &State) -> bool {
        state.running.is_empty() && !state.server.has_busy_channels()
    }
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
#[path = "bus_tests.rs"]
mod tests;
