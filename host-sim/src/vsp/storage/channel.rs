//! A controller's end of one open channel.

use std::collections::VecDeque;
use std::sync::Arc;

use vmbus_core::packet::{IncomingKind, IncomingPacket};
use vsc_storage::wire::{NtStatus, Operation, Packet, PacketFlags, Version};

use super::MAX_IN_FLIGHT;
use super::completion::{Completion, ReplyTo};
use super::counters::ChannelCounters;
use super::executor::{Executor, Job, Scratch, execute};
use super::outbox::{MESSAGE_COST, Outbox};
use super::parked::Parked;
use super::protocol::{self, Event, Protocol, Reaction, State};
use super::request::{Command, GuestBuffer, Malformed};
use super::shared::{CommandRecord, Observer, Shared};
use super::waiting::{earlier, wait};
use crate::memory::GuestMemory;
use crate::vmbus::vsp::{ChannelFault, ChannelIo, ChannelServices, NextPoll, VspChannel};
use crate::vsp::scsi::{Outcome, UnitTable};

/// Requests read before their completions are written.
const BATCH: usize = 64;
/// Batches per poll.
const ROUNDS: usize = 8;
/// Packets without any meaning in a row after which the channel is stopped.
const MAX_DROPPED_IN_A_ROW: u32 = 16;
/// Largest packet on any ring: its length counts 16-bit units of 8 bytes. Memory that no packet fills is never
/// touched.
const MAX_PACKET: usize = 8 << 16;

/// Which of a controller's channels.
pub(super) enum Role {
    /// The one that negotiates.
    Primary(Protocol),
    /// A sub-channel, by its number.
    Sub(u16),
}

/// Why reading requests stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nothing is left to read.
    Drained,
    /// A batch is full.
    Batch,
    /// The guest left no room for another completion.
    RingFull,
    /// As many commands as allowed are being executed or held.
    QueueFull,
}

pub(super) struct StorageChannel {
    role: Role,
    shared: Arc<Shared>,
    executor: Option<Box<dyn Executor>>,
    observer: Option<Observer>,
    services: ChannelServices,
    id: u64,
    counters: Arc<ChannelCounters>,
    units: Arc<UnitTable>,
    generation: u64,
    /// Private copies of packets.
    buffer: Vec<u8>,
    scratch: Scratch,
    /// Empty, for reuse.
    buffers: Vec<GuestBuffer>,
    /// Commands that wait for the initialisation, in order.
    held: VecDeque<Command>,
    /// Commands with the executor.
    submitted: usize,
    /// Commands that wait for space on the host.
    parked: Parked,
    collected: Vec<Completion>,
    outbox: Outbox,
    /// What follows when all answers are written.
    events: Vec<Event>,
    /// The protocol's state has changed and has to be published when all answers are written.
    state_changed: bool,
    dropped_in_a_row: u32,
}

impl StorageChannel {
    pub(super) fn new(
        role: Role,
        shared: Arc<Shared>,
        executor: Option<Box<dyn Executor>>,
        observer: Option<Observer>,
        services: ChannelServices,
    ) -> Self {
        let counters = Arc::new(ChannelCounters::default());
        counters.channels_opened.increment();
        let index = match &role {
            Role::Primary(protocol) => {
                shared.set_state(Some(protocol.state()), protocol.version());
                0
            }
            Role::Sub(index) => *index,
        };
        let id = shared.opened(index, services.waker.clone(), Arc::clone(&counters));
        let (units, generation) = shared.units();
        Self {
            role,
            shared,
            executor,
            observer,
            services,
            id,
            counters,
            units,
            generation,
            buffer: vec![0; MAX_PACKET],
            scratch: Scratch::default(),
            buffers: Vec::new(),
            held: VecDeque::new(),
            submitted: 0,
            parked: Parked::default(),
            collected: Vec::new(),
            outbox: Outbox::default(),
            events: Vec::new(),
            state_changed: false,
            dropped_in_a_row: 0,
        }
    }

    fn is_ready(&self) -> bool {
        match &self.role {
            Role::Primary(protocol) => protocol.state() == State::Ready,
            Role::Sub(_) => self.shared.is_ready(),
        }
    }

    fn version(&self) -> Version {
        match &self.role {
            Role::Primary(protocol) => protocol.version().unwrap_or(Version::Win10),
            Role::Sub(_) => self.shared.version(),
        }
    }

    /// Commands that have been read and not been executed yet.
    fn in_flight(&self) -> usize {
        self.submitted + self.held.len() + self.parked.len()
    }

    /// Messages that room in the ring has to be kept for.
    fn owed(&self) -> usize {
        self.in_flight() + self.outbox.len() + usize::from(self.has_announcement())
    }

    /// Whether the guest is to be told that the set of disks changed.
    fn has_announcement(&self) -> bool {
        let Role::Primary(protocol) = &self.role else {
            return false;
        };
        protocol.state() == State::Ready && self.shared.has_bus_change()
    }

    #[inline]
    fn refresh_units(&mut self) {
        if self.generation != self.shared.generation() {
            (self.units, self.generation) = self.shared.units();
        }
    }

    /// Takes what the executor has finished; returns when it wants to be asked again.
    fn collect(&mut self, now: u64) -> Option<u64> {
        let executor = self.executor.as_mut()?;
        let mut collected = std::mem::take(&mut self.collected);
        let due = executor.collect(now, &mut collected);
        self.submitted = self.submitted.saturating_sub(collected.len());
        for completion in collected.drain(..) {
            self.complete(completion, now);
        }
        self.collected = collected;
        due
    }

    /// Starts the commands that have waited for the initialisation.
    fn release_held(&mut self, memory: &GuestMemory, now: u64) {
        if self.held.is_empty() || !self.is_ready() {
            return;
        }
        while let Some(command) = self.held.pop_front() {
            self.start(command, memory, now);
        }
    }

    /// Tries those commands again that have waited for space.
    fn retry_parked(&mut self, memory: &GuestMemory, now: u64) {
        for command in self.parked.take_due(&self.shared, now) {
            self.start(command, memory, now);
        }
    }

    /// Reads requests and executes them, as many as there is room for completions.
    fn receive(&mut self, io: &mut ChannelIo<'_>) -> Result<Stop, ChannelFault> {
        let owed = self.owed();
        let room = (io.outgoing.free_space()? / MESSAGE_COST) as usize;
        let room = room.saturating_sub(owed);
        let queue_room = self.capacity(io).saturating_sub(self.in_flight());
        let allowed = room.min(queue_room).min(BATCH);
        if allowed == 0 {
            return Ok(match io.incoming.has_data()? {
                false => Stop::Drained,
                true if queue_room == 0 => Stop::QueueFull,
                true => Stop::RingFull,
            });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut batch = io.incoming.batch()?;
        let mut result = Ok(Stop::Batch);
        for _ in 0..allowed {
            let handled = match batch.next(&mut buffer) {
                Ok(Some(packet)) => self.handle(&packet, io.memory, io.now),
                Ok(None) => {
                    result = Ok(Stop::Drained);
                    break;
                }
                Err(error) => Err(error.into()),
            };
            if let Err(fault) = handled {
                result = Err(fault);
                break;
            }
        }
        let signal = batch.commit();
        io.notify(signal);
        self.buffer = buffer;
        result
    }

    /// Commands that may be in flight: their completions have to fit an empty ring, beside an announcement.
    fn capacity(&self, io: &ChannelIo<'_>) -> usize {
        let answers = (io.outgoing.largest_cost() / MESSAGE_COST) as usize;
        MAX_IN_FLIGHT.min(answers.saturating_sub(1))
    }

    #[inline]
    fn handle(
        &mut self,
        packet: &IncomingPacket<'_>,
        memory: &GuestMemory,
        now: u64,
    ) -> Result<(), ChannelFault> {
        let ranges = match &packet.kind {
            IncomingKind::InBand => None,
            IncomingKind::GpaDirect(ranges) => Some(*ranges),
            _ => return self.drop_packet("packet of a type that carries no request"),
        };
        let Ok(message) = Packet::parse(packet.payload) else {
            return self.drop_packet("packet without a header");
        };
        self.dropped_in_a_row = 0;
        let reply = ReplyTo {
            transaction_id: packet.transaction_id,
            // At most 52.
            payload_length: message.payload_length() as u8,
            wanted: packet.completion_requested,
        };
        let reaction = match &mut self.role {
            Role::Primary(protocol) => protocol.receive(&message),
            Role::Sub(_) => protocol::sub_channel(&message, self.shared.is_ready()),
        };
        let hold = match reaction {
            Reaction::Execute => false,
            Reaction::Hold => true,
            Reaction::Answer(answer, event) => {
                self.counters.control_messages.increment();
                self.control(reply, answer, event);
                return Ok(());
            }
        };
        let buffer = self.buffers.pop().unwrap_or_default();
        let max_transfer = self.shared.limits.max_transfer;
        match Command::parse(&message, reply, ranges, max_transfer, memory, buffer) {
            Ok(command) if hold => {
                self.counters.held.increment();
                self.held.push_back(command);
            }
            Ok(command) => self.start(command, memory, now),
            Err((malformed, buffer)) => self.refuse(reply, malformed, buffer),
        }
        Ok(())
    }

    /// Drops a packet that cannot be answered; too many of them in a row are a fault.
    #[cold]
    fn drop_packet(&mut self, what: &str) -> Result<(), ChannelFault> {
        self.counters.dropped.increment();
        self.dropped_in_a_row += 1;
        if self.dropped_in_a_row <= MAX_DROPPED_IN_A_ROW {
            return Ok(());
        }
        Err(ChannelFault::Protocol {
            device: "storage controller",
            reason: format!(
                "{} packets in a row without meaning: {what}",
                self.dropped_in_a_row
            ),
        })
    }

    /// Answers a message other than a command.
    fn control(&mut self, reply: ReplyTo, packet: Packet, event: Option<Event>) {
        if event == Some(Event::Ready) {
            // The guest is about to look for disks anyway.
            self.shared.take_bus_change();
        }
        self.events.extend(event);
        self.state_changed = true;
        self.outbox.push(reply, packet);
    }

    #[cold]
    fn refuse(&mut self, reply: ReplyTo, malformed: Malformed, buffer: GuestBuffer) {
        self.counters.malformed.increment();
        self.buffers.push(buffer);
        let packet = reply.refuse(malformed, self.version());
        self.outbox.push(reply, packet);
    }

    #[inline]
    fn start(&mut self, command: Command, memory: &GuestMemory, now: u64) {
        // For each command anew: a guest that has been told of a change while this poll runs must find it.
        self.refresh_units();
        if let Some(executor) = &mut self.executor {
            self.submitted += 1;
            let job = Job {
                command,
                units: Arc::clone(&self.units),
                memory: memory.clone(),
            };
            executor.submit(job, now);
        } else {
            let completion = execute(command, &self.units, memory, &mut self.scratch);
            self.complete(completion, now);
        }
    }

    /// Answers a command that has been executed.
    #[inline]
    fn complete(&mut self, completion: Completion, now: u64) {
        let Completion { command, outcome } = completion;
        if outcome == Outcome::NO_SPACE && self.units.waits_for_space(command.address) {
            if !command.waited {
                self.counters.waited_for_space.increment();
            }
            self.parked.push(command, &self.shared, now);
            return;
        }
        let Command {
            reply,
            address,
            cdb,
            buffer,
            ..
        } = command;
        self.counters.count(cdb[0], &outcome);
        if let Some(observer) = &self.observer {
            observer(&CommandRecord {
                channel: match self.role {
                    Role::Primary(_) => 0,
                    Role::Sub(index) => index,
                },
                transaction_id: reply.transaction_id,
                address,
                cdb,
                outcome,
                now,
            });
        }
        self.buffers.push(buffer);
        if reply.wanted {
            let packet = reply.complete(&outcome, self.version());
            self.outbox.push(reply, packet);
        }
    }

    /// Writes the answers and, if the set of disks has changed, an announcement.
    fn send(&mut self, io: &mut ChannelIo<'_>) -> Result<(), ChannelFault> {
        let version = self.version();
        let mut announcement = None;
        if self.has_announcement() {
            if version.has_enumerate_bus() {
                announcement = Some(Packet::new(
                    Operation::ENUMERATE_BUS,
                    PacketFlags::empty(),
                    NtStatus::SUCCESS,
                    version.srb_size(),
                ));
            } else {
                self.shared.take_bus_change();
            }
        }
        // The note is taken before what it is about is looked at by the guest, so that no change gets lost.
        if let Some(packet) = &announcement {
            self.shared.take_bus_change();
            if self.outbox.write(io, Some(packet), &self.counters)? {
                self.counters.bus_changes.increment();
            } else {
                self.shared.note_bus_change();
            }
        } else {
            self.outbox.write(io, None, &self.counters)?;
        }
        self.follow_up();
        Ok(())
    }

    /// Does what is to be done once the guest has all its answers.
    #[inline]
    fn follow_up(&mut self) {
        if !self.state_changed || !self.outbox.is_empty() {
            return;
        }
        self.state_changed = false;
        if let Role::Primary(protocol) = &self.role {
            self.shared
                .set_state(Some(protocol.state()), protocol.version());
        }
        for event in self.events.drain(..) {
            match event {
                Event::Ready => self.shared.wake_all(),
                Event::OfferSubChannels(count) => self.services.sub_channels.request(count),
            }
        }
    }
}

impl VspChannel for StorageChannel {
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        self.refresh_units();
        self.release_held(io.memory, io.now);
        self.retry_parked(io.memory, io.now);
        for _ in 0..ROUNDS {
            let stop = match self.receive(io) {
                Ok(stop) => stop,
                Err(fault) => {
                    // What was asked for before the fault has been done, and is answered.
                    self.collect(io.now);
                    self.send(io)?;
                    return Err(fault);
                }
            };
            // After reading, so that the time when the newest command is due is known.
            let due = earlier(self.collect(io.now), self.parked.due());
            self.send(io)?;
            let unsent = !self.outbox.is_empty() || self.has_announcement();
            match stop {
                Stop::Batch => {}
                Stop::Drained if !unsent => return Ok(wait(io, due, false)),
                Stop::QueueFull if !unsent => {
                    if self.in_flight() >= self.capacity(io) {
                        self.counters.queue_full.increment();
                        io.hold_input();
                        return Ok(wait(io, due, false));
                    }
                }
                _ => {
                    let messages = self.owed() + 1;
                    if !self.outbox.ask_for_room(io, messages)? {
                        self.counters.ring_full.increment();
                        if stop != Stop::Drained {
                            io.hold_input();
                        }
                        return Ok(wait(io, due, true));
                    }
                }
            }
        }
        Ok(NextPoll::Now)
    }
}

impl Drop for StorageChannel {
    fn drop(&mut self) {
        if let Some(executor) = &mut self.executor {
            executor.close();
        }
        self.parked.drop_all(&self.shared);
        if let Role::Primary(_) = self.role {
            self.shared.set_state(None, None);
        }
        // A sub-channel may outlast its primary channel by some writes.
        if self.shared.state().is_none() {
            self.shared.guest_left();
        }
        self.shared.closed(self.id);
    }
}
