//! Requests in flight on one channel.
//!
//! A [`RequestQueue`] turns commands into packets and completions into typed outcomes. It does no
//! I/O, keeps no clock, takes no lock and allocates only when it is made: an interrupt handler can
//! drive it. The owner's context of type `B` (a buffer, a pointer to an operating system's request)
//! travels through the queue and comes back exactly once: in the [`Completion`], from
//! [`RequestQueue::withdraw`] or from [`RequestQueue::cancel_next`].
//!
//! The host is not believed: an id that isn't in flight is dropped, a transfer is cut to what was
//! asked for, sense data to its room, and a command counts as successful only if both of its
//! statuses say so.

mod counters;
mod outcome;
mod request;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use outcome::{CommandError, Outcome};
pub use request::{Address, Data, Request, Reset};

use core::fmt;

use alloc::collections::TryReserveError;
use vmbus_core::packet::{IncomingKind, IncomingPacket, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{OutgoingRing, RingError, RingMemory, Signal, WriteBatch, WriteError};
use vmbus_core::transaction::TransactionTable;

use crate::wire::{NtStatus, Operation, Packet, PacketFlags, Srb, Version};

/// Why a request was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmitReason {
    /// The ring has no room now; try again when completions have come in.
    RingFull {
        /// Bytes that the packet needs; what to announce to the host.
        needed: u32,
    },
    /// As many requests are in flight as the queue has slots.
    QueueFull,
    /// The data is longer than the negotiated limit.
    TransferTooLong {
        /// Bytes of data.
        length: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// The packet never fits the ring, or its range isn't valid: the caller's mistake.
    InvalidPacket(WriteError),
    /// The queue is closed.
    Closed,
    /// The host broke the ring; the channel is to be closed.
    Ring(RingError),
}

impl fmt::Display for SubmitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RingFull { needed } => write!(f, "no room in the ring for {needed} bytes now"),
            Self::QueueFull => f.write_str("no free slot for another request"),
            Self::TransferTooLong { length, limit } => {
                write!(f, "transfer of {length} bytes exceeds the limit of {limit}")
            }
            Self::InvalidPacket(error) => error.fmt(f),
            Self::Closed => f.write_str("the channel is closed"),
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SubmitReason {}

/// A request that was not queued, with its context.
#[derive(Debug)]
pub struct SubmitError<B> {
    /// Why.
    pub reason: SubmitReason,
    /// The context given to the queue, back.
    pub context: B,
}

/// Why a packet from the host was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// No request with this id is in flight: unknown, completed already, or 0.
    UnknownId(u64),
    /// The packet is too short for the protocol version.
    Short {
        /// Bytes received.
        length: usize,
    },
    /// The packet's type is neither in-band nor completion.
    WrongType,
    /// A completion with another operation than [`Operation::COMPLETE_IO`].
    WrongOperation(Operation),
    /// An unsolicited message without meaning.
    UnknownEvent(Operation),
    /// The queue is closed.
    Closed,
}

/// A finished request.
#[derive(Debug)]
pub struct Completion<B> {
    /// Its id.
    pub id: u64,
    /// The owner's context.
    pub context: B,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a packet from the host meant.
#[derive(Debug)]
#[must_use]
pub enum Received<B> {
    /// A command is finished.
    Completed(Completion<B>),
    /// A reset is acknowledged. Requests in flight stay so until their own completions.
    ResetDone {
        /// The owner's context.
        context: B,
        /// The host's answer.
        status: NtStatus,
    },
    /// The set of devices changed: scan again when [`RequestQueue::take_rescan`] says so.
    DevicesChanged,
    /// The packet was dropped and counted.
    Dropped(Dropped),
}

struct InFlight<B> {
    context: B,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Command { requested: u32 },
    Reset,
}

/// Requests in flight on one channel, each with a context of type `B`.
pub struct RequestQueue<B> {
    table: TransactionTable<InFlight<B>>,
    version: Version,
    max_transfer_bytes: u32,
    rescan: bool,
    closed: bool,
    counters: Counters,
}

impl<B> RequestQueue<B> {
    /// A queue with room for `capacity` requests, for a channel of a controller that negotiated
    /// `version` and `max_transfer_bytes`. This is the only time that it allocates.
    ///
    /// # Errors
    ///
    /// Memory for the slots cannot be had.
    pub fn new(
        capacity: usize,
        version: Version,
        max_transfer_bytes: u32,
    ) -> Result<Self, TryReserveError> {
        Ok(Self {
            table: TransactionTable::try_new(capacity)?,
            version,
            max_transfer_bytes,
            rescan: false,
            closed: false,
            counters: Counters::default(),
        })
    }

    /// Requests in flight. They count from before their packet is visible to the host until their
    /// context is given back.
    #[must_use]
    pub const fn outstanding(&self) -> usize {
        self.table.len()
    }

    /// Most requests in flight.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Longest data of one request in bytes.
    #[must_use]
    pub const fn max_transfer_bytes(&self) -> u32 {
        self.max_transfer_bytes
    }

    /// Protocol version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// What the queue has counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Context of the request with this id.
    #[must_use]
    pub fn context_mut(&mut self, id: u64) -> Option<&mut B> {
        self.table.get_mut(id).map(|request| &mut request.context)
    }

    /// Queues a command in `batch`, to become visible to the host with the batch's commit.
    ///
    /// Returns the request's id. If the batch is dropped instead of committed, the requests in it
    /// were never sent: [`withdraw`](Self::withdraw) them.
    ///
    /// # Errors
    ///
    /// Gives the context back with the reason; nothing was queued and the batch is unchanged.
    #[inline]
    pub fn submit<M: RingMemory>(
        &mut self,
        batch: &mut WriteBatch<'_, M>,
        request: &Request<'_>,
        context: B,
    ) -> Result<u64, SubmitError<B>> {
        let requested = request.data.length();
        if requested > self.max_transfer_bytes {
            let reason = SubmitReason::TransferTooLong {
                length: requested,
                limit: self.max_transfer_bytes,
            };
            return Err(SubmitError { reason, context });
        }
        let packet = self.packet(Operation::EXECUTE_SRB, &request.srb(self.version));
        let ranges;
        let kind = match request.data.range() {
            Some(range) => {
                ranges = [range];
                OutgoingKind::GpaDirect(&ranges)
            }
            None => OutgoingKind::InBand,
        };
        self.push(batch, &packet, kind, Kind::Command { requested }, context)
    }

    /// Queues a command and makes it visible at once.
    ///
    /// # Errors
    ///
    /// Gives the context back with the reason; nothing was queued.
    pub fn send<M: RingMemory>(
        &mut self,
        ring: &mut OutgoingRing<M>,
        request: &Request<'_>,
        context: B,
    ) -> Result<(u64, Signal), SubmitError<B>> {
        match ring.batch() {
            Ok(mut batch) => {
                let id = self.submit(&mut batch, request, context)?;
                Ok((id, batch.commit()))
            }
            Err(error) => Err(SubmitError {
                reason: SubmitReason::Ring(error),
                context,
            }),
        }
    }

    /// Queues a reset in `batch`. Hosts acknowledge resets and otherwise ignore them: no buffer may
    /// be reused before its own request's completion.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_reset<M: RingMemory>(
        &mut self,
        batch: &mut WriteBatch<'_, M>,
        reset: Reset,
        context: B,
    ) -> Result<u64, SubmitError<B>> {
        let packet = self.packet(reset.operation(), &reset.srb(self.version));
        self.push(batch, &packet, OutgoingKind::InBand, Kind::Reset, context)
    }

    fn packet(&self, operation: Operation, srb: &Srb) -> Packet {
        let mut packet = Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            self.version.srb_size(),
        );
        packet.set_payload(srb);
        packet
    }

    #[inline]
    fn push<M: RingMemory>(
        &mut self,
        batch: &mut WriteBatch<'_, M>,
        packet: &Packet,
        outgoing: OutgoingKind<'_>,
        kind: Kind,
        context: B,
    ) -> Result<u64, SubmitError<B>> {
        if self.closed {
            let reason = SubmitReason::Closed;
            return Err(SubmitError { reason, context });
        }
        // Registered before it can be seen, so that no completion comes too early.
        let id = match self.table.insert(InFlight { context, kind }) {
            Ok(id) => id,
            Err(InFlight { context, .. }) => {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
                let reason = SubmitReason::QueueFull;
                return Err(SubmitError { reason, context });
            }
        };
        let result = batch.push(&OutgoingPacket {
            transaction_id: id,
            completion_requested: true,
            kind: outgoing,
            payload: &[packet.as_bytes()],
        });
        let Err(error) = result else {
            self.counters.submitted = self.counters.submitted.saturating_add(1);
            return Ok(id);
        };
        let reason = match error {
            WriteError::Full { needed } => {
                self.counters.ring_full = self.counters.ring_full.saturating_add(1);
                SubmitReason::RingFull { needed }
            }
            WriteError::Ring(error) => SubmitReason::Ring(error),
            error => SubmitReason::InvalidPacket(error),
        };
        match self.table.remove(id) {
            Some(InFlight { context, .. }) => Err(SubmitError { reason, context }),
            // The id was handed out above and nothing has run since.
            None => Ok(id),
        }
    }

    /// Takes back a request whose batch was dropped without commit, so that the host never saw it.
    pub fn withdraw(&mut self, id: u64) -> Option<B> {
        let request = self.table.remove(id)?;
        self.counters.submitted = self.counters.submitted.saturating_sub(1);
        Some(request.context)
    }

    /// Takes a packet from the host.
    #[inline]
    pub fn receive(&mut self, packet: &IncomingPacket<'_>) -> Received<B> {
        let dropped = match packet.kind {
            _ if self.closed => Dropped::Closed,
            IncomingKind::Completion => match self.complete(packet) {
                Ok(received) => return received,
                Err(dropped) => dropped,
            },
            IncomingKind::InBand => match self.event(packet) {
                Ok(received) => return received,
                Err(dropped) => dropped,
            },
            _ => Dropped::WrongType,
        };
        self.counters.count_dropped(dropped);
        Received::Dropped(dropped)
    }

    #[inline]
    fn complete(&mut self, packet: &IncomingPacket<'_>) -> Result<Received<B>, Dropped> {
        let id = packet.transaction_id;
        let length = packet.payload.len();
        if self.table.get(id).is_none() {
            return Err(Dropped::UnknownId(id));
        }
        if length < self.version.packet_size() {
            return Err(Dropped::Short { length });
        }
        let reply = Packet::parse(packet.payload).map_err(|_| Dropped::Short { length })?;
        if reply.operation() != Operation::COMPLETE_IO {
            return Err(Dropped::WrongOperation(reply.operation()));
        }
        let srb = reply.srb().map_err(|_| Dropped::Short { length })?;
        let InFlight { context, kind } = self.table.remove(id).ok_or(Dropped::UnknownId(id))?;
        self.counters.completed = self.counters.completed.saturating_add(1);
        match kind {
            Kind::Reset => Ok(Received::ResetDone {
                context,
                status: reply.status(),
            }),
            Kind::Command { requested } => {
                if srb.data_transfer_length.get() > requested {
                    self.counters.clamped = self.counters.clamped.saturating_add(1);
                }
                let outcome = Outcome::read(&srb, requested, self.version);
                if outcome.result.is_err() {
                    self.counters.failed = self.counters.failed.saturating_add(1);
                }
                Ok(Received::Completed(Completion {
                    id,
                    context,
                    outcome,
                }))
            }
        }
    }

    fn event(&mut self, packet: &IncomingPacket<'_>) -> Result<Received<B>, Dropped> {
        let message = Packet::parse(packet.payload).map_err(|_| Dropped::Short {
            length: packet.payload.len(),
        })?;
        match message.operation() {
            Operation::ENUMERATE_BUS | Operation::REMOVE_DEVICE => {
                self.counters.events = self.counters.events.saturating_add(1);
                self.rescan = true;
                Ok(Received::DevicesChanged)
            }
            operation => Err(Dropped::UnknownEvent(operation)),
        }
    }

    /// Whether devices changed since the last call: any number of events makes for one scan.
    pub fn take_rescan(&mut self) -> bool {
        core::mem::take(&mut self.rescan)
    }

    /// Asks for a scan, as an event from the host does.
    pub fn request_rescan(&mut self) {
        self.rescan = true;
    }

    /// Takes no more requests and no more completions. The requests in flight stay until they are
    /// [cancelled](Self::cancel_next).
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes one request out of a closed queue; each comes out once. `None` when there are no more,
    /// or while the queue is open.
    ///
    /// Memory named by the request may be reused when the host cannot touch it any more: after the
    /// offer was rescinded, or after the channel's close was acknowledged.
    pub fn cancel_next(&mut self) -> Option<B> {
        if !self.closed {
            return None;
        }
        let (_, request) = self.table.pop()?;
        self.counters.cancelled = self.counters.cancelled.saturating_add(1);
        Some(request.context)
    }
}

impl<B> fmt::Debug for RequestQueue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("outstanding", &self.table.len())
            .field("version", &self.version)
            .field("closed", &self.closed)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
