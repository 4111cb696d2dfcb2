//! The bytes of one message of RNDIS, wherever the guest keeps them.

use vmbus_core::packet::GpaRanges;
use vsc_net::wire::nvsp::{NO_SECTION, RndisPacket};

use super::buffers::SendBuffer;
use crate::memory::{GuestMemory, PAGE_SIZE};

/// Bytes of the longest message: a section and a frame to be cut with all of its headers.
const MAX_STREAM: u32 = 192 << 10;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadStream(pub(super) &'static str);

/// Where the bytes of a message lie, in order. The addresses are RAM; the bytes are the guest's, so each is read once.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Guest-physical address and length of pieces within pages; neighbours are joined.
    pieces: Vec<(u64, u32)>,
    length: u32,
}

impl Stream {
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Takes the places that a packet names: its section, then its ranges. What was there before is forgotten.
    pub(super) fn gather(
        &mut self,
        packet: &RndisPacket,
        ranges: Option<GpaRanges<'_>>,
        buffer: Option<&SendBuffer>,
        memory: &GuestMemory,
    ) -> Result<(), BadStream> {
        self.pieces.clear();
        self.length = 0;
        let section = packet.section_index.get();
        if section != NO_SECTION {
            let length = packet.section_size.get();
            let buffer = buffer.ok_or(BadStream("a section without a send buffer"))?;
            let offset = buffer
                .offset(section, length)
                .ok_or(BadStream("a section that does not exist, or is shorter"))?;
            let outside = |_| BadStream("a section outside of the send buffer");
            buffer
                .memory
                .addresses(offset, length as usize, |address, count| {
                    self.push(address, count as u32);
                })
                .map_err(outside)?;
        }
        for range in ranges.into_iter().flatten() {
            let total = self.length.checked_add(range.byte_count);
            if total.is_none_or(|total| total > MAX_STREAM) {
                return Err(BadStream("a message of more bytes than any has"));
            }
            let mut within = range.byte_offset;
            let mut left = range.byte_count;
            for frame in range.page_frames.iter() {
                if !memory.is_ram_page(frame) {
                    return Err(BadStream("a page that is not RAM"));
                }
                let count = left.min(PAGE_SIZE as u32 - within);
                self.push(frame * PAGE_SIZE + u64::from(within), count);
                left -= count;
                within = 0;
            }
        }
        if self.length == 0 {
            return Err(BadStream("no bytes"));
        }
        Ok(())
    }

    fn push(&mut self, address: u64, count: u32) {
        self.length += count;
        if let Some((last, length)) = self.pieces.last_mut()
            && *last + u64::from(*length) == address
        {
            *length += count;
        } else {
            self.pieces.push((address, count));
        }
    }

    /// Appends `length` bytes from `position` on to `into`; `false` if there are not so many, or memory has gone.
    pub(super) fn read(
        &self,
        memory: &GuestMemory,
        position: u32,
        length: u32,
        into: &mut Vec<u8>,
    ) -> bool {
        if position
            .checked_add(length)
            .is_none_or(|end| end > self.length)
        {
            return false;
        }
        let (mut skip, mut left) = (position, length);
        for (address, count) in &self.pieces {
            if left == 0 {
                break;
            }
            if skip >= *count {
                skip -= count;
                continue;
            }
            let take = left.min(count - skip);
            let at = into.len();
            into.resize(at + take as usize, 0);
            if memory
                .read(address + u64::from(skip), &mut into[at..])
                .is_err()
            {
                return false;
            }
            skip = 0;
            left -= take;
        }
        left == 0
    }
}
