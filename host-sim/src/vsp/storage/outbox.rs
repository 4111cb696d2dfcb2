//! Messages to the guest that have not been written yet.

use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{Signal, WriteError};
use vsc_storage::wire::Packet;

use super::completion::ReplyTo;
use super::counters::ChannelCounters;
use crate::vmbus::vsp::{ChannelFault, ChannelIo};

/// Ring cost of the largest message to the guest: descriptor, 64 bytes, trailer.
pub(super) const MESSAGE_COST: u32 = 16 + 64 + 8;

/// An answer to be written.
struct Answer {
    transaction_id: u64,
    packet: Packet,
}

/// Answers in the order in which they are written.
#[derive(Default)]
pub(super) struct Outbox {
    answers: Vec<Answer>,
    /// The guest has been asked to signal when it makes room.
    asked_for_room: bool,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds an answer, if one is wanted.
    #[inline]
    pub(super) fn push(&mut self, reply: ReplyTo, packet: Packet) {
        if reply.wanted {
            self.answers.push(Answer {
                transaction_id: reply.transaction_id,
                packet,
            });
        }
    }

    /// Writes all answers and then the announcement, published at once. Returns whether the announcement had
    /// room, too.
    pub(super) fn write(
        &mut self,
        io: &mut ChannelIo<'_>,
        announcement: Option<&Packet>,
        counters: &ChannelCounters,
    ) -> Result<bool, ChannelFault> {
        if self.answers.is_empty() && announcement.is_none() {
            return Ok(false);
        }
        if self.asked_for_room {
            io.outgoing.withdraw_blocked();
            self.asked_for_room = false;
        }
        let mut batch = io.outgoing.batch()?;
        let mut push = |kind, transaction_id, packet: &Packet| {
            let written = batch.push(&OutgoingPacket {
                transaction_id,
                completion_requested: false,
                kind,
                payload: &[packet.as_bytes()],
            });
            match written {
                Ok(()) => Ok(true),
                // Room was reserved for the answers; the guest has taken it back, and waits for it now.
                Err(WriteError::Full { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let mut written = 0;
        for Answer {
            transaction_id,
            packet,
        } in &self.answers
        {
            if !push(OutgoingKind::Completion, *transaction_id, packet)? {
                break;
            }
            written += 1;
        }
        let announced = match announcement {
            Some(packet) if written == self.answers.len() => push(OutgoingKind::InBand, 0, packet)?,
            _ => false,
        };
        let signal = batch.commit();
        io.notify(signal);
        counters.batches.increment();
        if signal == Signal::Needed {
            counters.signals.increment();
        }
        self.answers.drain(..written);
        Ok(announced)
    }

    /// Asks the guest to signal when there is room for so many messages. `true`: there is already.
    pub(super) fn ask_for_room(
        &mut self,
        io: &mut ChannelIo<'_>,
        messages: usize,
    ) -> Result<bool, ChannelFault> {
        let needed = u32::try_from(messages)
            .unwrap_or(u32::MAX)
            .saturating_mul(MESSAGE_COST);
        let room = io.outgoing.announce_blocked(needed)?;
        self.asked_for_room = !room;
        Ok(room)
    }
}
