//! Packets to send: described by the caller, laid out straight into the ring.

use core::fmt;

use zerocopy::IntoBytes;

use super::ranges::pages_of;
use super::{
    DESCRIPTOR_SIZE, FLAG_COMPLETION_REQUESTED, MAXIMUM_PACKET_SIZE, PAGE_SIZE, PacketType,
    TRAILER_SIZE,
};

/// A packet to send.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingPacket<'a> {
    /// Id that a completion shall carry, or that of the packet which this one completes.
    pub transaction_id: u64,
    /// Whether the peer shall send exactly one completion.
    pub completion_requested: bool,
    /// Type of the packet, with its ranges if it has any.
    pub kind: OutgoingKind<'a>,
    /// Data, in pieces that are sent one after the other and padded with zeros to 8 bytes.
    pub payload: &'a [&'a [u8]],
}

/// Type of a packet to send.
#[derive(Clone, Copy, Debug)]
pub enum OutgoingKind<'a> {
    /// Data in the packet itself.
    InBand,
    /// Completion of an earlier packet of the peer.
    Completion,
    /// Data in guest pages: several ranges of a page or so each, or one range of many pages.
    GpaDirect(&'a [GpaRange<'a>]),
    /// Data in ranges of a transfer-page set.
    TransferPages {
        /// Id of the set.
        set_id: u16,
        /// Whether the set belongs to the sender.
        sender_owns_set: bool,
        /// Ranges within the set's buffer.
        ranges: &'a [TransferRange],
    },
}

/// A range of guest memory in a GPA-direct packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpaRange<'a> {
    /// Length in bytes, not 0.
    pub byte_count: u32,
    /// Offset of the first byte within the first page, below 4096.
    pub byte_offset: u32,
    /// Frame numbers of exactly the pages that the range touches.
    pub page_frames: &'a [u64],
}

/// A range within the buffer of a transfer-page set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferRange {
    /// Length in bytes.
    pub byte_count: u32,
    /// Offset of the first byte within the buffer.
    pub byte_offset: u32,
}

/// The ranges of a packet to send are not ones that a receiver would accept: there is none, or one
/// covers no bytes, starts past its first page, overflows, or lists more or fewer pages than it touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidRange {
    /// Position of the first offending range.
    pub range: u32,
}

impl fmt::Display for InvalidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "range {} of the packet to send is not valid", self.range)
    }
}

impl core::error::Error for InvalidRange {}

/// Takes the bytes of a packet in order.
pub(crate) trait PacketSink {
    /// The next 8 bytes; only called at multiples of 8 bytes from the packet's start.
    fn put_word(&mut self, word: u64);
    /// The next bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl GpaRange<'_> {
    /// Bytes that the range takes in a packet, `None` if no receiver would accept it.
    #[inline]
    fn size(&self) -> Option<usize> {
        let pages = pages_of(self.byte_offset, self.byte_count)?;
        let valid = self.byte_count != 0
            && self.byte_offset < PAGE_SIZE
            && pages as usize == self.page_frames.len();
        valid.then_some(8 + size_of_val(self.page_frames))
    }
}

impl TransferRange {
    /// Bytes that the range takes in a packet, `None` if no receiver would accept it.
    #[inline]
    fn size(&self) -> Option<usize> {
        self.byte_offset.checked_add(self.byte_count)?;
        Some(size_of_val(self))
    }
}

/// `first` and the sizes of all parts, or the first part that has none.
///
/// More than `u32::MAX` counts as that, which no packet can be: parts may name the same memory over and
/// over, so that the true sum need not fit even 64 bits.
#[inline]
fn total<T>(
    first: u64,
    parts: &[T],
    size: impl Fn(&T) -> Option<usize>,
) -> Result<u64, InvalidRange> {
    let mut sum = first;
    for (position, part) in parts.iter().enumerate() {
        let size = size(part).ok_or(InvalidRange {
            range: position as u32,
        })?;
        sum += size as u64;
        if sum > u32::MAX.into() {
            return Ok(u32::MAX.into());
        }
    }
    Ok(sum)
}

/// Sizes of a packet to send, in bytes, each at most `u32::MAX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    extension: u64,
    payload: u64,
}

impl Layout {
    /// Bytes in the packet without its trailer: a multiple of 8.
    #[inline]
    const fn packet_size(self) -> u64 {
        DESCRIPTOR_SIZE as u64 + self.extension + self.payload.next_multiple_of(8)
    }

    /// Bytes that the packet takes in the ring, trailer included.
    #[inline]
    pub(crate) const fn ring_cost(self) -> u64 {
        self.packet_size() + TRAILER_SIZE as u64
    }

    /// Whether a descriptor can express the packet.
    #[inline]
    pub(crate) const fn is_expressible(self) -> bool {
        self.packet_size() <= MAXIMUM_PACKET_SIZE as u64
    }
}

impl OutgoingPacket<'_> {
    /// Bytes that the packet takes in a ring, descriptor, padding and trailer included; `u32::MAX` for
    /// a packet that no ring takes: one beyond that, or with ranges that are not valid.
    #[must_use]
    #[inline]
    pub fn ring_cost(&self) -> u32 {
        let cost = self.layout().map(Layout::ring_cost);
        cost.map_or(u32::MAX, |cost| u32::try_from(cost).unwrap_or(u32::MAX))
    }

    /// Sizes of the packet; refuses ranges that no receiver would accept.
    #[inline]
    pub(crate) fn layout(&self) -> Result<Layout, InvalidRange> {
        let extension = match self.kind {
            OutgoingKind::InBand | OutgoingKind::Completion => 0,
            OutgoingKind::GpaDirect([]) => return Err(InvalidRange { range: 0 }),
            OutgoingKind::GpaDirect(ranges) => total(8, ranges, GpaRange::size)?,
            OutgoingKind::TransferPages { ranges, .. } => total(8, ranges, TransferRange::size)?,
        };
        let payload = total(0, self.payload, |piece| Some(piece.len()))?;
        Ok(Layout { extension, payload })
    }

    const fn packet_type(&self) -> PacketType {
        match self.kind {
            OutgoingKind::InBand => PacketType::IN_BAND,
            OutgoingKind::Completion => PacketType::COMPLETION,
            OutgoingKind::GpaDirect(_) => PacketType::GPA_DIRECT,
            OutgoingKind::TransferPages { .. } => PacketType::TRANSFER_PAGES,
        }
    }

    /// Writes the packet and its trailer into `sink`: exactly `layout.ring_cost()` bytes.
    ///
    /// `layout` must be that of this packet and expressible; `write_index` is where the packet starts in
    /// the ring.
    #[inline(always)]
    pub(crate) fn emit(&self, layout: Layout, write_index: u32, sink: &mut impl PacketSink) {
        let offset8 = (u64::from(DESCRIPTOR_SIZE) + layout.extension) / 8;
        let length8 = layout.packet_size() / 8;
        let flags = if self.completion_requested {
            FLAG_COMPLETION_REQUESTED
        } else {
            0
        };
        sink.put_word(
            u64::from(self.packet_type().0)
                | offset8 << 16
                | length8 << 32
                | u64::from(flags) << 48,
        );
        sink.put_word(self.transaction_id);
        match self.kind {
            OutgoingKind::InBand | OutgoingKind::Completion => {}
            OutgoingKind::GpaDirect(ranges) => {
                sink.put_word(pair(0, ranges.len() as u32));
                for range in ranges {
                    sink.put_word(pair(range.byte_count, range.byte_offset));
                    match range.page_frames {
                        [frame] => sink.put_word(*frame),
                        frames => sink.put(frames.as_bytes()),
                    }
                }
            }
            OutgoingKind::TransferPages {
                set_id,
                sender_owns_set,
                ranges,
            } => {
                let set = u32::from(set_id) | u32::from(sender_owns_set) << 16;
                sink.put_word(pair(set, ranges.len() as u32));
                for range in ranges {
                    sink.put_word(pair(range.byte_count, range.byte_offset));
                }
            }
        }
        for piece in self.payload {
            sink.put(piece);
        }
        let padding = (layout.payload.next_multiple_of(8) - layout.payload) as usize;
        if let Some(zeros @ [_, ..]) = [0u8; 7].get(..padding) {
            sink.put(zeros);
        }
        sink.put_word(pair(0, write_index));
    }
}

/// Two 32-bit fields that follow each other on the wire, as one little-endian word.
#[inline]
const fn pair(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}
