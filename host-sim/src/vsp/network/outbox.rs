//! Messages to the guest that have not been written yet.

use std::collections::VecDeque;

use vmbus_core::packet::{OutgoingKind, OutgoingPacket, TransferRange};
use vmbus_core::ring::{Signal, WriteError};
use vsc_net::wire::nvsp::{
    ChannelType, Message, RECEIVE_BUFFER_ID, RndisPacketComplete, Status, Version,
};

use super::buffers::ReceiveBuffer;
use super::counters::ChannelCounters;
use super::deliver::message;
use crate::vmbus::vsp::{ChannelFault, ChannelIo};

/// Ring cost of the longest completion: descriptor, 40 bytes, trailer.
pub(super) const COMPLETION_COST: u32 = 16 + 40 + 8;
/// Control messages that may wait; a guest that lets more wait asks without reading.
pub(super) const MAX_REPLIES: usize = 64;

/// A completion to be written.
enum Completion {
    /// Of a message of RNDIS.
    Rndis(u64, Status),
    /// With a message.
    Message(u64, Box<Message>),
    /// Without one.
    Empty(u64),
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Outbox {
    completions: VecDeque<Completion>,
    /// Messages in the packets themselves.
    in_band: VecDeque<Message>,
    /// RNDIS messages for the receive buffer.
    replies: VecDeque<Vec<u8>>,
    /// The guest has been asked to signal when it makes room.
    asked_for_room: bool,
}

impl Outbox {
    /// Completions that wait.
    pub(super) fn completions(&self) -> usize {
        self.completions.len()
    }

    /// Control messages that wait.
    pub(super) fn replies(&self) -> usize {
        self.replies.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.in_band.is_empty() && self.replies.is_empty()
    }

    /// Whether something waits that has a place of its own already, so that only the ring's room is missing.
    pub(super) fn needs_ring(&self) -> bool {
        !self.completions.is_empty() || !self.in_band.is_empty()
    }

    pub(super) fn complete_rndis(&mut self, id: u64, status: Status) {
        self.completions.push_back(Completion::Rndis(id, status));
    }

    pub(super) fn complete(&mut self, id: u64, message: Option<Message>) {
        self.completions.push_back(match message {
            Some(message) => Completion::Message(id, Box::new(message)),
            None => Completion::Empty(id),
        });
    }

    pub(super) fn send_in_band(&mut self, message: Message) {
        self.in_band.push_back(message);
    }

    pub(super) fn reply(&mut self, bytes: Vec<u8>) {
        self.replies.push_back(bytes);
    }

    /// Forgets control messages: there is nobody left to read them.
    pub(super) fn forget_replies(&mut self) {
        self.replies.clear();
    }

    /// Writes what there is room for, all published at once.
    pub(super) fn write(
        &mut self,
        channel: u16,
        io: &mut ChannelIo<'_>,
        buffer: Option<&ReceiveBuffer>,
        version: Version,
        counters: &ChannelCounters,
    ) -> Result<(), ChannelFault> {
        if self.is_empty() {
            return Ok(());
        }
        if self.asked_for_room {
            io.outgoing.withdraw_blocked();
            self.asked_for_room = false;
        }
        let mut batch = io.outgoing.batch()?;
        let mut push = |packet: &OutgoingPacket<'_>| match batch.push(packet) {
            Ok(()) => Ok(true),
            Err(WriteError::Full { .. }) => Ok(false),
            Err(error) => Err(ChannelFault::from(error)),
        };
        let plain = |kind, transaction_id| OutgoingPacket {
            transaction_id,
            completion_requested: false,
            kind,
            payload: &[],
        };
        while let Some(completion) = self.completions.front() {
            let written = match completion {
                Completion::Rndis(id, status) => {
                    let body = RndisPacketComplete {
                        status: status.0.into(),
                    };
                    let message = Message::new(&body, version);
                    push(&OutgoingPacket {
                        payload: &[message.as_bytes()],
                        ..plain(OutgoingKind::Completion, *id)
                    })?
                }
                Completion::Message(id, message) => push(&OutgoingPacket {
                    payload: &[message.as_bytes()],
                    ..plain(OutgoingKind::Completion, *id)
                })?,
                Completion::Empty(id) => push(&plain(OutgoingKind::Completion, *id))?,
            };
            if !written {
                break;
            }
            self.completions.pop_front();
        }
        while let Some(message) = self.in_band.front() {
            let packet = OutgoingPacket {
                payload: &[message.as_bytes()],
                ..plain(OutgoingKind::InBand, 0)
            };
            if !push(&packet)? {
                break;
            }
            self.in_band.pop_front();
        }
        while let (Some(reply), Some(buffer)) = (self.replies.front(), buffer) {
            let Some(section) = buffer.pool().take_control() else {
                break;
            };
            let offset = buffer.offset(section);
            let fits = reply.len() <= buffer.section_size as usize
                && buffer.memory.write(offset.into(), reply).is_ok();
            if !fits {
                // No control message is as long as a section.
                buffer.pool().return_unused(&[section]);
                self.replies.pop_front();
                continue;
            }
            let ranges = [TransferRange {
                // Less than a section.
                byte_count: reply.len() as u32,
                byte_offset: offset,
            }];
            let message = message(ChannelType::CONTROL, version);
            buffer.pool().lend(channel, &[section]);
            let written = push(&OutgoingPacket {
                transaction_id: section.into(),
                completion_requested: true,
                kind: OutgoingKind::TransferPages {
                    set_id: RECEIVE_BUFFER_ID,
                    sender_owns_set: false,
                    ranges: &ranges,
                },
                payload: &[message.as_bytes()],
            });
            if !matches!(written, Ok(true)) {
                let _ = buffer.pool().complete(channel, section.into());
                written?;
                break;
            }
            self.replies.pop_front();
        }
        let signal = batch.commit();
        io.notify(signal);
        if signal == Signal::Needed {
            counters.signals.increment();
        }
        Ok(())
    }

    /// Asks the guest to signal when so many bytes of the ring are free. `true`: they are already.
    pub(super) fn ask_for_room(
        &mut self,
        io: &mut ChannelIo<'_>,
        bytes: u32,
    ) -> Result<bool, ChannelFault> {
        let room = io.outgoing.announce_blocked(bytes)?;
        self.asked_for_room = !room;
        Ok(room)
    }
}
