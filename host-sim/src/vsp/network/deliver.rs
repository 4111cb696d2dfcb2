//! Frames from a channel's queue to the guest.

use vmbus_core::packet::{OutgoingKind, OutgoingPacket, TransferRange};
use vmbus_core::ring::WriteError;
use vsc_net::wire::nvsp::{
    ChannelType, Message, NO_SECTION, RECEIVE_BUFFER_ID, RndisPacket, Version,
};
use vsc_net::wire::rndis::{PACKET_HEADER_SIZE, PacketHeader};
use zerocopy::IntoBytes;

use super::RECEIVE_HEADROOM;
use super::buffers::ReceiveBuffer;
use super::counters::ChannelCounters;
use super::settings::Settings;
use super::shared::{ReceiveQueue, Received};
use crate::vmbus::vsp::{ChannelFault, ChannelIo};

/// Ring cost of a packet without its ranges: descriptor, count, message, trailer.
const FIXED_COST: u32 = 16 + 8 + 40 + 8;
/// Ring cost of each frame.
const RANGE_COST: u32 = 8;

/// Why delivering stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing waits any more.
    Drained,
    /// The guest left no room in the ring.
    RingFull,
    /// The guest has all sections.
    NoSections,
}

/// The message of a packet whose ranges hold RNDIS messages.
pub(super) fn message(channel_type: ChannelType, version: Version) -> Message {
    let body = RndisPacket {
        channel_type: channel_type.0.into(),
        section_index: NO_SECTION.into(),
        section_size: 0.into(),
    };
    Message::new(&body, version)
}

/// Bytes of the ring that frames never fill, so that there is room for completions.
pub(super) fn reserve(io: &ChannelIo<'_>) -> u32 {
    (io.outgoing.largest_cost() / 4).min(16 << 10)
}

/// Ring cost of a packet with one frame.
pub(super) const ONE_FRAME_COST: u32 = FIXED_COST + RANGE_COST;

/// Delivers frames; keeps memory for them.
#[derive(Debug, Default)]
pub(super) struct Deliverer {
    sections: Vec<u32>,
    ranges: Vec<TransferRange>,
    frames: Vec<Received>,
}

impl Deliverer {
    /// Writes as many frames into the receive buffer and the ring as there is room for.
    pub(super) fn run(
        &mut self,
        channel: u16,
        io: &mut ChannelIo<'_>,
        buffer: &ReceiveBuffer,
        queue: &ReceiveQueue,
        settings: &Settings,
        counters: &ChannelCounters,
    ) -> Result<Stop, ChannelFault> {
        loop {
            let waiting = queue.lock().len();
            if waiting == 0 {
                return Ok(Stop::Drained);
            }
            let room = io.outgoing.free_space()?.saturating_sub(reserve(io));
            let ranges = room.saturating_sub(FIXED_COST) / RANGE_COST;
            let wanted = (ranges as usize).min(waiting).min(settings.max_ranges);
            if wanted == 0 {
                return Ok(Stop::RingFull);
            }
            self.sections.clear();
            buffer.pool().take(channel, wanted, &mut self.sections);
            if self.sections.is_empty() {
                return Ok(Stop::NoSections);
            }
            self.fill(buffer, queue, counters);
            if !self.write(channel, io, buffer, settings.version, counters)? {
                // The guest has taken back the room that there was.
                let mut queue = queue.lock();
                for frame in self.frames.drain(..).rev() {
                    queue.push_front(frame);
                }
                return Ok(Stop::RingFull);
            }
            for frame in self.frames.drain(..) {
                counters.count_received(&frame.bytes);
            }
        }
    }

    /// Writes frames into the sections that have been taken; gives the rest of them back.
    fn fill(&mut self, buffer: &ReceiveBuffer, queue: &ReceiveQueue, counters: &ChannelCounters) {
        self.ranges.clear();
        let mut used = 0;
        while let Some(section) = self.sections.get(used) {
            let Some(received) = queue.lock().pop_front() else {
                break;
            };
            match put(buffer, *section, &received) {
                Some(range) => {
                    self.ranges.push(range);
                    self.frames.push(received);
                    used += 1;
                }
                // Longer than the guest said that frames are when it lent the buffer.
                None => counters.receive_errors.increment(),
            }
        }
        if used < self.sections.len() {
            buffer.pool().return_unused(&self.sections[used..]);
            self.sections.truncate(used);
        }
    }

    /// Writes the packet; `false` if the ring has no room for it.
    fn write(
        &mut self,
        channel: u16,
        io: &mut ChannelIo<'_>,
        buffer: &ReceiveBuffer,
        version: Version,
        counters: &ChannelCounters,
    ) -> Result<bool, ChannelFault> {
        let Some(first) = self.sections.first() else {
            return Ok(true);
        };
        let message = message(ChannelType::DATA, version);
        // Before the guest can complete it.
        buffer.pool().lend(channel, &self.sections);
        let sent = io.outgoing.send(&OutgoingPacket {
            transaction_id: (*first).into(),
            completion_requested: true,
            kind: OutgoingKind::TransferPages {
                set_id: RECEIVE_BUFFER_ID,
                sender_owns_set: false,
                ranges: &self.ranges,
            },
            payload: &[message.as_bytes()],
        });
        match sent {
            Ok(signal) => {
                io.notify(signal);
                counters.receive_batches.increment();
                if signal.is_needed() {
                    counters.signals.increment();
                }
                Ok(true)
            }
            Err(error) => {
                let _ = buffer.pool().complete(channel, (*first).into());
                match error {
                    WriteError::Full { .. } => Ok(false),
                    error => Err(error.into()),
                }
            }
        }
    }
}

/// Writes one frame into its section; `None` if it does not fit.
fn put(buffer: &ReceiveBuffer, section: u32, received: &Received) -> Option<TransferRange> {
    let mut head = [0; RECEIVE_HEADROOM as usize];
    let (header, infos) = head.split_at_mut(PACKET_HEADER_SIZE as usize);
    let ppi_length = received.info.emit(infos)? as u32;
    let data_length = u32::try_from(received.bytes.len()).ok()?;
    let total = RECEIVE_HEADROOM.checked_add(data_length)?;
    if total > buffer.section_size {
        return None;
    }
    header.copy_from_slice(
        PacketHeader::new(total, ppi_length, RECEIVE_HEADROOM, data_length).as_bytes(),
    );
    let offset = buffer.offset(section);
    let start = u64::from(offset);
    buffer.memory.write(start, &head).ok()?;
    buffer
        .memory
        .write(start + u64::from(RECEIVE_HEADROOM), &received.bytes)
        .ok()?;
    Some(TransferRange {
        byte_count: total,
        byte_offset: offset,
    })
}
