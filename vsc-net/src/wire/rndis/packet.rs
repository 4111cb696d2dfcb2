//! The header of a packet, and where its parts lie.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{HEADER_SIZE, MessageType};

/// Bytes of a packet's header.
pub const PACKET_HEADER_SIZE: u32 = 44;
/// Least offset of data and per-packet information.
const LEAST_OFFSET: u32 = PACKET_HEADER_SIZE - HEADER_SIZE;

/// Header of [`MessageType::PACKET`].
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PacketHeader {
    /// [`MessageType::PACKET`].
    pub message_type: U32,
    /// Bytes of the message, with the padding that aligns the next one.
    pub message_length: U32,
    /// Where the frame begins, from the ninth byte.
    pub data_offset: U32,
    /// Bytes of the frame.
    pub data_length: U32,
    /// 0.
    pub oob_offset: U32,
    /// 0.
    pub oob_length: U32,
    /// 0.
    pub oob_elements: U32,
    /// Where the per-packet information begins, from the ninth byte; 0 without any.
    pub ppi_offset: U32,
    /// Bytes of per-packet information.
    pub ppi_length: U32,
    /// 0.
    pub vc_handle: U32,
    /// 0.
    pub reserved: U32,
}

const _: () = assert!(size_of::<PacketHeader>() == PACKET_HEADER_SIZE as usize);

/// Why a header describes no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// The message is not a packet.
    NotPacket(MessageType),
    /// The message's length is less than its header, or more than the bytes present.
    Length {
        /// Bytes of the message.
        message_length: u32,
        /// Bytes present.
        available: u32,
    },
    /// The frame does not lie within the message, or reaches into its header.
    Data {
        /// Where it begins.
        offset: u32,
        /// Its bytes.
        length: u32,
    },
    /// The per-packet information does not lie within the message, or reaches into its header.
    PerPacketInfo {
        /// Where it begins.
        offset: u32,
        /// Its bytes.
        length: u32,
    },
    /// Frame and per-packet information overlap.
    Overlap,
    /// There is out-of-band data, which nobody sends.
    OutOfBand {
        /// Its bytes.
        length: u32,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPacket(message) => write!(f, "{message:?} in the place of a packet"),
            Self::Length {
                message_length,
                available,
            } => write!(f, "packet of {message_length} bytes in {available}"),
            Self::Data { offset, length } => write!(f, "frame at {offset} of {length} bytes"),
            Self::PerPacketInfo { offset, length } => {
                write!(f, "per-packet information at {offset} of {length} bytes")
            }
            Self::Overlap => f.write_str("frame and per-packet information overlap"),
            Self::OutOfBand { length } => write!(f, "{length} bytes of out-of-band data"),
        }
    }
}

impl core::error::Error for PacketError {}

/// Where the parts of a packet lie, from the message's first byte; all of it within the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketLayout {
    /// Bytes of the message.
    pub message_length: u32,
    /// First byte of the frame.
    pub data_start: u32,
    /// Bytes of the frame.
    pub data_length: u32,
    /// First byte of the per-packet information.
    pub ppi_start: u32,
    /// Bytes of the per-packet information.
    pub ppi_length: u32,
}

/// Start and end of a part, if it lies behind the header and within the message.
fn part(offset: u32, length: u32, message_length: u32) -> Option<(u32, u32)> {
    let start = offset.checked_add(HEADER_SIZE)?;
    let end = start.checked_add(length)?;
    (offset >= LEAST_OFFSET && end <= message_length).then_some((start, end))
}

impl PacketLayout {
    /// Checks a header; the message's bytes present are `available`.
    ///
    /// # Errors
    /// A part lies outside of the message.
    #[inline]
    pub fn parse(header: &PacketHeader, available: u32) -> Result<Self, PacketError> {
        let message_type = MessageType(header.message_type.get());
        if message_type != MessageType::PACKET {
            return Err(PacketError::NotPacket(message_type));
        }
        let message_length = header.message_length.get();
        if message_length < PACKET_HEADER_SIZE || message_length > available {
            return Err(PacketError::Length {
                message_length,
                available,
            });
        }
        let oob_length = header.oob_length.get();
        if header.oob_elements.get() != 0 || oob_length != 0 {
            return Err(PacketError::OutOfBand { length: oob_length });
        }
        let (offset, length) = (header.data_offset.get(), header.data_length.get());
        let (data_start, data_end) =
            part(offset, length, message_length).ok_or(PacketError::Data { offset, length })?;
        let (offset, ppi_length) = (header.ppi_offset.get(), header.ppi_length.get());
        let (ppi_start, ppi_end) = if (offset, ppi_length) == (0, 0) {
            (PACKET_HEADER_SIZE, PACKET_HEADER_SIZE)
        } else {
            part(offset, ppi_length, message_length).ok_or(PacketError::PerPacketInfo {
                offset,
                length: ppi_length,
            })?
        };
        if ppi_length != 0 && length != 0 && ppi_start < data_end && data_start < ppi_end {
            return Err(PacketError::Overlap);
        }
        Ok(Self {
            message_length,
            data_start,
            data_length: length,
            ppi_start,
            ppi_length,
        })
    }
}

impl PacketHeader {
    /// The header of a packet with its per-packet information right behind the header, its frame at `data_start`
    /// (at least 44 and behind that information) from the message's first byte, and `message_length` bytes.
    #[must_use]
    pub fn new(message_length: u32, ppi_length: u32, data_start: u32, data_length: u32) -> Self {
        Self {
            message_type: MessageType::PACKET.0.into(),
            message_length: message_length.into(),
            data_offset: data_start.saturating_sub(HEADER_SIZE).into(),
            data_length: data_length.into(),
            ppi_offset: if ppi_length == 0 { 0 } else { LEAST_OFFSET }.into(),
            ppi_length: ppi_length.into(),
            ..Self::default()
        }
    }
}
