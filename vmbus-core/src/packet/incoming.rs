//! Packets received: parsed from one private copy.

use super::{
    DESCRIPTOR_SIZE, FLAG_COMPLETION_REQUESTED, GpaRanges, PacketError, PacketType, TransferRanges,
};

/// A received packet, validated, in the receiver's private memory.
#[derive(Clone, Debug)]
pub struct IncomingPacket<'b> {
    /// Id chosen by the requester. It means something only in a completion, or when
    /// `completion_requested`.
    pub transaction_id: u64,
    /// Whether the sender wants exactly one completion with this transaction id.
    pub completion_requested: bool,
    /// Type of the packet, with its ranges if it has any.
    pub kind: IncomingKind<'b>,
    /// Data, padded to a multiple of 8 bytes: the protocol above says how many of them count.
    pub payload: &'b [u8],
}

/// Type of a received packet.
#[derive(Clone, Debug)]
pub enum IncomingKind<'b> {
    /// Data in the packet itself.
    InBand,
    /// Completion of an earlier packet.
    Completion,
    /// Data in guest pages that the packet lists.
    GpaDirect(GpaRanges<'b>),
    /// Data in ranges of a transfer-page set.
    TransferPages(TransferRanges<'b>),
}

/// A validated packet descriptor: the first word of a packet, read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    packet_type: PacketType,
    offset8: u16,
    length8: u16,
    flags: u16,
}

impl Descriptor {
    /// Checks the first 8 bytes of a packet, little-endian.
    ///
    /// # Errors
    /// Type or flags unknown, or data offset and length that contradict each other or the descriptor's
    /// own size.
    #[inline]
    pub fn parse(word: u64) -> Result<Self, PacketError> {
        let descriptor = Self {
            packet_type: PacketType(word as u16),
            offset8: (word >> 16) as u16,
            length8: (word >> 32) as u16,
            flags: (word >> 48) as u16,
        };
        let Self {
            packet_type: PacketType(packet_type),
            offset8,
            length8,
            flags,
        } = descriptor;
        if u32::from(length8) * 8 < DESCRIPTOR_SIZE {
            return Err(PacketError::LengthTooShort { length8 });
        }
        if u32::from(offset8) * 8 < DESCRIPTOR_SIZE {
            return Err(PacketError::OffsetTooShort { offset8 });
        }
        if offset8 > length8 {
            return Err(PacketError::OffsetBeyondLength { offset8, length8 });
        }
        if flags & !FLAG_COMPLETION_REQUESTED != 0 {
            return Err(PacketError::UnknownFlags { flags });
        }
        match descriptor.packet_type {
            PacketType::IN_BAND
            | PacketType::COMPLETION
            | PacketType::GPA_DIRECT
            | PacketType::TRANSFER_PAGES => Ok(descriptor),
            _ => Err(PacketError::UnknownType { packet_type }),
        }
    }

    /// Bytes in the whole packet without its trailer: a multiple of 8, at least 16.
    #[must_use]
    #[inline]
    pub fn packet_size(self) -> u32 {
        u32::from(self.length8) * 8
    }

    /// Bytes in extension and payload.
    #[must_use]
    #[inline]
    pub fn body_size(self) -> u32 {
        self.packet_size() - DESCRIPTOR_SIZE
    }

    /// Bytes in the extension.
    #[inline]
    fn extension_size(self) -> u32 {
        u32::from(self.offset8) * 8 - DESCRIPTOR_SIZE
    }

    /// The data offset lies past the end of what there is of the packet.
    #[cold]
    fn offset_beyond_length(self) -> PacketError {
        PacketError::OffsetBeyondLength {
            offset8: self.offset8,
            length8: self.length8,
        }
    }
}

impl<'b> IncomingPacket<'b> {
    /// Interprets the private copy of a packet.
    ///
    /// `body` is everything after the 16 bytes of the descriptor, [`Descriptor::body_size`] bytes;
    /// `transaction_id` is the descriptor's second word.
    ///
    /// # Errors
    /// The extension contradicts itself or its length, or `body` is shorter than the descriptor says.
    #[inline]
    pub fn parse(
        descriptor: Descriptor,
        transaction_id: u64,
        body: &'b [u8],
    ) -> Result<Self, PacketError> {
        let body = body
            .get(..descriptor.body_size() as usize)
            .ok_or_else(|| descriptor.offset_beyond_length())?;
        Self::parse_body(descriptor, transaction_id, body)
    }

    /// As [`parse`](Self::parse), with a body of exactly the size that the descriptor says.
    #[inline(always)]
    pub(crate) fn parse_body(
        descriptor: Descriptor,
        transaction_id: u64,
        body: &'b [u8],
    ) -> Result<Self, PacketError> {
        let Some((extension, payload)) =
            body.split_at_checked(descriptor.extension_size() as usize)
        else {
            return Err(descriptor.offset_beyond_length());
        };
        let kind = match descriptor.packet_type {
            PacketType::IN_BAND => IncomingKind::InBand,
            PacketType::COMPLETION => IncomingKind::Completion,
            PacketType::GPA_DIRECT => IncomingKind::GpaDirect(GpaRanges::parse(extension)?),
            PacketType::TRANSFER_PAGES => {
                IncomingKind::TransferPages(TransferRanges::parse(extension)?)
            }
            PacketType(packet_type) => return Err(PacketError::UnknownType { packet_type }),
        };
        Ok(Self {
            transaction_id,
            completion_requested: descriptor.flags & FLAG_COMPLETION_REQUESTED != 0,
            kind,
            payload,
        })
    }
}
