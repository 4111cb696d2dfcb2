//! An adapter's end of one open channel.

use std::sync::Arc;

use vmbus_core::packet::{GpaRanges, IncomingKind, IncomingPacket};
use vmbus_core::protocol::GpadlId;
use vsc_net::wire::nvsp::{Message, RndisPacket, Status};
use vsc_net::wire::rndis;

use super::control::MAX_CONTROL;
use super::counters::ChannelCounters;
use super::deliver::{self, Deliverer, ONE_FRAME_COST, reserve};
use super::distribute;
use super::outbox::{COMPLETION_COST, MAX_REPLIES, Outbox};
use super::primary::{Role, TooManyReplies};
use super::protocol::Reaction;
use super::settings::Settings;
use super::shared::{ReceiveQueue, Shared};
use super::stream::Stream;
use super::transmit::{Transmitter, message_type};
use crate::memory::GuestMemory;
use crate::net::BackendWaker;
use crate::vmbus::vsp::{ChannelFault, ChannelIo, ChannelServices, NextPoll, VspChannel};

/// Messages read before their completions are written.
const BATCH: usize = 64;
/// Batches per poll.
const ROUNDS: usize = 8;
/// Largest packet on any ring.
const MAX_PACKET: usize = 8 << 16;
/// Time until a guest that never says when it makes room is looked at again: 1 ms.
const RETRY_INTERVAL: u64 = 10_000;

/// Why reading stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nothing is left to read.
    Drained,
    /// A batch is full.
    Batch,
    /// The guest left no room for another completion.
    RingFull,
}

pub(super) struct NetworkChannel {
    role: Role,
    shared: Arc<Shared>,
    services: ChannelServices,
    id: u64,
    counters: Arc<ChannelCounters>,
    settings: Arc<Settings>,
    generation: u64,
    /// Private copies of packets.
    buffer: Vec<u8>,
    stream: Stream,
    transmitter: Transmitter,
    deliverer: Deliverer,
    queue: Arc<ReceiveQueue>,
    outbox: Outbox,
    control_bytes: Vec<u8>,
}

fn fault(reason: impl Into<String>) -> ChannelFault {
    ChannelFault::Protocol {
        device: "network adapter",
        reason: reason.into(),
    }
}

impl NetworkChannel {
    pub(super) fn new(role: Role, shared: Arc<Shared>, services: ChannelServices) -> Self {
        let counters = Arc::new(ChannelCounters::default());
        counters.channels_opened.increment();
        let queue = Arc::new(ReceiveQueue::default());
        if let Role::Primary(primary) = &role {
            shared.publish(primary.control.settings.clone());
            shared.set_state(Some(primary.protocol.state()), None);
            let waker = services.waker.clone();
            shared
                .backend
                .set_waker(Some(BackendWaker::new(move || waker.wake())));
            // What came while nobody was there is of no use to who comes now.
            shared.backend.discard();
        }
        let id = shared.opened(
            role.index(),
            services.waker.clone(),
            Arc::clone(&counters),
            Arc::clone(&queue),
        );
        let (settings, generation) = shared.settings();
        Self {
            role,
            shared,
            services,
            id,
            counters,
            settings,
            generation,
            buffer: vec![0; MAX_PACKET],
            stream: Stream::default(),
            transmitter: Transmitter::default(),
            deliverer: Deliverer::default(),
            queue,
            outbox: Outbox::default(),
            control_bytes: Vec::new(),
        }
    }

    #[inline]
    fn refresh(&mut self) {
        if self.generation != self.shared.generation() {
            (self.settings, self.generation) = self.shared.settings();
        }
    }

    /// Reads messages, as many as there is room for completions.
    fn receive(&mut self, io: &mut ChannelIo<'_>) -> Result<Stop, ChannelFault> {
        let owed = self.outbox.completions();
        let room = (io.outgoing.free_space()? / COMPLETION_COST) as usize;
        let allowed = room.saturating_sub(owed).min(BATCH);
        if allowed == 0 {
            return Ok(match io.incoming.has_data()? {
                false => Stop::Drained,
                true => Stop::RingFull,
            });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut batch = io.incoming.batch()?;
        let mut result = Ok(Stop::Batch);
        for _ in 0..allowed {
            let handled = match batch.next(&mut buffer) {
                Ok(Some(packet)) => self.handle(&packet, io.memory),
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
            if self.transmitter.is_turn_over() {
                break;
            }
        }
        let signal = batch.commit();
        io.notify(signal);
        self.buffer = buffer;
        result
    }

    fn handle(
        &mut self,
        packet: &IncomingPacket<'_>,
        memory: &GuestMemory,
    ) -> Result<(), ChannelFault> {
        let ranges = match &packet.kind {
            IncomingKind::InBand => None,
            IncomingKind::GpaDirect(ranges) => Some(*ranges),
            IncomingKind::Completion => return self.complete_receive(packet.transaction_id),
            IncomingKind::TransferPages(_) => {
                return Err(fault("a guest has no transfer pages"));
            }
        };
        let wanted = packet.completion_requested.then_some(packet.transaction_id);
        let message = Message::parse(packet.payload).map_err(|error| fault(error.to_string()))?;
        let reaction = match &mut self.role {
            Role::Primary(primary) => primary.protocol.receive(&message),
            Role::Sub(index) => match message.body::<RndisPacket>() {
                Ok(body) => Reaction::Rndis(body),
                Err(error) => Reaction::Fault(format!("sub-channel {index}: {error}")),
            },
        };
        self.react(reaction, wanted, ranges, memory)
    }

    fn react(
        &mut self,
        reaction: Reaction,
        wanted: Option<u64>,
        ranges: Option<GpaRanges<'_>>,
        memory: &GuestMemory,
    ) -> Result<(), ChannelFault> {
        let control = match reaction {
            Reaction::Rndis(packet) => {
                let status = self.rndis(&packet, ranges, memory)?;
                if let Some(id) = wanted {
                    self.outbox.complete_rndis(id, status);
                }
                return Ok(());
            }
            Reaction::Fault(reason) => {
                if let Some(id) = wanted {
                    self.outbox.complete(id, None);
                }
                return Err(fault(reason));
            }
            control => control,
        };
        let Role::Primary(primary) = &mut self.role else {
            return Err(fault("sub-channels negotiate nothing"));
        };
        let shared = &*self.shared;
        let lend = |gpadl| self.services.gpadls.lend(GpadlId(gpadl));
        let answer = match control {
            Reaction::LendReceiveBuffer { gpadl } => {
                Some(primary.lend_receive_buffer(lend(gpadl), shared))
            }
            Reaction::LendSendBuffer { gpadl } => {
                Some(primary.lend_send_buffer(lend(gpadl), shared))
            }
            Reaction::RevokeReceiveBuffer => {
                primary.revoke_receive_buffer(shared);
                self.outbox.forget_replies();
                None
            }
            Reaction::RevokeSendBuffer => {
                // Waits until no other channel uses it.
                let buffer = shared.buffers_mut().send.take();
                drop(buffer);
                None
            }
            Reaction::SubChannels { count } => Some(primary.grant_sub_channels(count, shared)),
            Reaction::Answer(answer) => answer,
            Reaction::Rndis(_) | Reaction::Fault(_) => None,
        };
        let protocol = &primary.protocol;
        shared.set_state(Some(protocol.state()), protocol.version());
        if let Some(id) = wanted {
            self.outbox.complete(id, answer);
        }
        self.refresh();
        Ok(())
    }

    /// The guest has read the frames of a packet.
    fn complete_receive(&mut self, id: u64) -> Result<(), ChannelFault> {
        let buffers = self.shared.buffers();
        let Some(buffer) = &buffers.receive else {
            // It has crossed the guest's taking back of the buffer.
            return Ok(());
        };
        let channel = self.role.index();
        let mut pool = buffer.pool();
        pool.complete(channel, id).map_err(|_| {
            fault(format!(
                "completion of packet {id}, which is not outstanding"
            ))
        })?;
        let starved = pool.take_starved();
        drop(pool);
        self.shared.wake_all(&starved);
        self.counters.receive_completions.increment();
        Ok(())
    }

    /// Takes one message of RNDIS, or several packets.
    fn rndis(
        &mut self,
        packet: &RndisPacket,
        ranges: Option<GpaRanges<'_>>,
        memory: &GuestMemory,
    ) -> Result<Status, ChannelFault> {
        let shared = Arc::clone(&self.shared);
        // Held while guest memory is read, so that the guest cannot take the buffer back meanwhile.
        let buffers = shared.buffers();
        let gathered = self
            .stream
            .gather(packet, ranges, buffers.send.as_ref(), memory);
        if let Err(bad) = gathered {
            tracing::debug!(reason = bad.0, "message of the guest refused");
            self.counters.malformed.increment();
            return Ok(Status::FAIL);
        }
        match message_type(&self.stream, memory) {
            Some(rndis::MessageType::PACKET) if self.settings.is_operational => {
                Ok(self.transmitter.send_all(
                    &self.stream,
                    memory,
                    &self.settings,
                    &shared,
                    &self.counters,
                ))
            }
            Some(rndis::MessageType::PACKET) => Ok(Status::FAIL),
            Some(_) if matches!(self.role, Role::Primary(_)) => {
                let length = self.stream.length().min(MAX_CONTROL);
                self.control_bytes.clear();
                let is_read = self.stream.read(memory, 0, length, &mut self.control_bytes);
                drop(buffers);
                if !is_read {
                    return Ok(Status::FAIL);
                }
                let Role::Primary(primary) = &mut self.role else {
                    return Ok(Status::FAIL);
                };
                let status = primary
                    .control(
                        &self.control_bytes,
                        &mut self.outbox,
                        &shared,
                        &self.counters,
                    )
                    .map_err(|TooManyReplies| {
                        fault(format!(
                            "more than {MAX_REPLIES} control messages wait to be read"
                        ))
                    })?;
                self.refresh();
                Ok(status)
            }
            _ => {
                self.counters.malformed.increment();
                Ok(Status::FAIL)
            }
        }
    }

    /// Tells the guest what it is to be told; returns when it is to be told something later.
    fn tell(&mut self, now: u64) -> Option<u64> {
        let Role::Primary(primary) = &mut self.role else {
            return None;
        };
        primary.tell_table(&mut self.outbox, &self.shared, self.settings.version);
        primary.tell_link(now, &mut self.outbox, &self.shared, &self.counters)
    }

    /// Takes frames from the back end.
    fn distribute(&mut self) -> distribute::Stop {
        match &mut self.role {
            Role::Primary(primary) => {
                primary
                    .distributor
                    .run(&self.settings, &self.shared, &self.counters)
            }
            Role::Sub(_) => distribute::Stop::Drained,
        }
    }

    /// Writes frames to the guest.
    fn deliver(&mut self, io: &mut ChannelIo<'_>) -> Result<deliver::Stop, ChannelFault> {
        let buffers = self.shared.buffers();
        let Some(buffer) = buffers
            .receive
            .as_ref()
            .filter(|_| self.settings.is_operational)
        else {
            let left = self.queue.lock().drain(..).count();
            self.counters.receive_discards.add(left as u64);
            return Ok(deliver::Stop::Drained);
        };
        let stop = self.deliverer.run(
            self.role.index(),
            io,
            buffer,
            &self.queue,
            &self.settings,
            &self.counters,
        )?;
        if stop == deliver::Stop::NoSections {
            self.counters.sections_exhausted.increment();
        }
        // Another channel may have come for sections that this one had taken for a moment and not needed.
        let starved = buffer.pool().take_starved();
        self.shared.wake_all(&starved);
        drop(buffers);
        if matches!(self.role, Role::Sub(_)) {
            self.shared.wake_waiting_primary();
        }
        Ok(stop)
    }

    /// Writes the answers.
    fn send(&mut self, io: &mut ChannelIo<'_>) -> Result<(), ChannelFault> {
        let buffers = self.shared.buffers();
        self.outbox.write(
            self.role.index(),
            io,
            buffers.receive.as_ref(),
            self.settings.version,
            &self.counters,
        )?;
        drop(buffers);
        if let Role::Primary(primary) = &mut self.role
            && self.outbox.completions() == 0
            && let Some(count) = primary.to_offer.take()
        {
            self.services.sub_channels.request(count);
        }
        Ok(())
    }
}

/// The earlier of a deadline and, with a guest that never says when it makes room, a retry.
fn wait(io: &ChannelIo<'_>, due: Option<u64>, for_room: bool) -> NextPoll {
    let retry = (for_room && !io.incoming.peer_announces_blocked())
        .then(|| io.now.saturating_add(RETRY_INTERVAL));
    match (due, retry) {
        (Some(due), Some(retry)) => NextPoll::At(due.min(retry)),
        (Some(at), None) | (None, Some(at)) => NextPoll::At(at),
        (None, None) => NextPoll::OnSignal,
    }
}

impl VspChannel for NetworkChannel {
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        self.transmitter.begin_turn();
        for _ in 0..ROUNDS {
            self.refresh();
            let stop = match self.receive(io) {
                Ok(stop) => stop,
                Err(fault) => {
                    // What was asked for before the fault has been done, and is answered.
                    self.send(io)?;
                    return Err(fault);
                }
            };
            let due = self.tell(io.now);
            // Completions before frames: they are what the guest waits for.
            self.send(io)?;
            let distributed = self.distribute();
            let delivered = self.deliver(io)?;
            if self.transmitter.is_turn_over() {
                break;
            }
            if stop == Stop::Batch || distributed == distribute::Stop::Batch {
                continue;
            }
            if distributed == distribute::Stop::QueueFull
                && delivered == deliver::Stop::Drained
                && !self.is_blocked_by_others()
            {
                continue;
            }
            let room = match delivered {
                deliver::Stop::RingFull => reserve(io) + ONE_FRAME_COST,
                _ => 0,
            };
            let room = if self.outbox.needs_ring() || stop == Stop::RingFull {
                let completions = self.outbox.completions() as u32 + 1;
                room.max(
                    completions
                        .saturating_mul(COMPLETION_COST)
                        .max(2 * ONE_FRAME_COST),
                )
            } else if self.outbox.replies() != 0 && self.has_control_section() {
                room.max(ONE_FRAME_COST)
            } else {
                room
            };
            if room == 0 {
                return Ok(wait(io, due, false));
            }
            if !self.outbox.ask_for_room(io, room)? {
                self.counters.ring_full.increment();
                if stop == Stop::RingFull {
                    io.hold_input();
                }
                return Ok(wait(io, due, true));
            }
        }
        Ok(NextPoll::Now)
    }
}

impl NetworkChannel {
    /// Whether the frames that found no room are for another channel, which will wake this one.
    fn is_blocked_by_others(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.distributor.waits_for_other(&self.shared),
            Role::Sub(_) => false,
        }
    }

    /// Whether a control message would find a section.
    fn has_control_section(&self) -> bool {
        let buffers = self.shared.buffers();
        buffers
            .receive
            .as_ref()
            .is_some_and(|buffer| buffer.pool().has_control())
    }
}

impl Drop for NetworkChannel {
    fn drop(&mut self) {
        let index = self.role.index();
        if let Role::Primary(primary) = &mut self.role {
            primary.distributor.forget(&self.counters);
            self.shared.backend.set_waker(None);
            self.shared.set_state(None, None);
            self.shared.publish(Settings::initial(
                self.shared.address(),
                self.shared.policy.large_send_v1,
            ));
            // Waits until no other channel uses them.
            let buffers = std::mem::take(&mut *self.shared.buffers_mut());
            drop(buffers);
        } else if let Some(buffer) = &self.shared.buffers().receive {
            let mut pool = buffer.pool();
            pool.release_channel(index);
            let starved = pool.take_starved();
            drop(pool);
            self.shared.wake_all(&starved);
        }
        self.shared.closed(self.id);
    }
}
