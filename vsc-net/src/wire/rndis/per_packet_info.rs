//! Per-packet information: the elements behind a packet's header.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{LargeSend, PerPacketInfoType, ReceiveChecksum, TransmitChecksum, VlanTag};
use crate::wire::{read_prefix, window};

/// Elements of one packet; more are refused.
pub const MAX_ELEMENTS: usize = 32;
/// Bytes that [`PacketInfo::emit`] needs at most.
pub const PER_PACKET_INFO_ROOM: usize = 6 * ELEMENT_SIZE;

/// Front of an element.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ElementHeader {
    size: U32,
    info_type: U32,
    data_offset: U32,
}

const ELEMENT_HEADER_SIZE: usize = 12;
const _: () = assert!(size_of::<ElementHeader>() == ELEMENT_HEADER_SIZE);
/// Bytes of every element that is emitted.
const ELEMENT_SIZE: usize = ELEMENT_HEADER_SIZE + 4;

/// Why per-packet information is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PerPacketInfoError {
    /// An element's size is less than its header, more than what is left, or no multiple of 4.
    Size {
        /// Its size.
        size: u32,
        /// Bytes left.
        remaining: usize,
    },
    /// An element's data lies outside of it or in its header, or is too short.
    Data {
        /// What the element is.
        info_type: PerPacketInfoType,
        /// Where its data begins.
        offset: u32,
        /// Its size.
        size: u32,
    },
    /// Too many elements.
    TooMany,
}

impl fmt::Display for PerPacketInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size, remaining } => {
                write!(f, "element of {size} bytes in {remaining}")
            }
            Self::Data {
                info_type,
                offset,
                size,
            } => write!(
                f,
                "data of element {info_type:?} at {offset} of its {size} bytes"
            ),
            Self::TooMany => write!(f, "more than {MAX_ELEMENTS} elements"),
        }
    }
}

impl core::error::Error for PerPacketInfoError {}

/// What a hash was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HashInfo(pub u32);

/// Part of a segment that the host coalesced.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SegmentInfo {
    /// 1.
    pub version: u8,
    /// [`PART`](Self::PART), [`FIRST`](Self::FIRST), [`LAST`](Self::LAST).
    pub flags: u8,
    /// Counts packets.
    pub packet_id: U16,
}

impl SegmentInfo {
    /// Flag: the packet is part of a set.
    pub const PART: u8 = 1;
    /// Flag: it is the first.
    pub const FIRST: u8 = 2;
    /// Flag: it is the last.
    pub const LAST: u8 = 4;
}

/// What a packet's elements say. Of several elements of one type, the first counts.
///
/// The meaning of the checksum element depends on the direction, so that it is kept as a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PacketInfo {
    /// Checksum offload.
    pub checksum: Option<u32>,
    /// Large send offload.
    pub large_send: Option<LargeSend>,
    /// VLAN tag.
    pub vlan: Option<VlanTag>,
    /// Hash of the flow.
    pub hash_value: Option<u32>,
    /// What it was made of.
    pub hash_info: Option<HashInfo>,
    /// Part of a coalesced segment.
    pub segment: Option<SegmentInfo>,
}

impl PacketInfo {
    /// The checksum element of a packet that a guest sends.
    #[must_use]
    pub fn transmit_checksum(&self) -> Option<TransmitChecksum> {
        self.checksum.map(TransmitChecksum)
    }

    /// The checksum element of a packet that a host sends.
    #[must_use]
    pub fn receive_checksum(&self) -> Option<ReceiveChecksum> {
        self.checksum.map(ReceiveChecksum)
    }

    /// Reads the elements. Unknown ones are skipped, and up to 11 bytes behind the last are ignored.
    ///
    /// # Errors
    /// An element is malformed, or there are more than [`MAX_ELEMENTS`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, PerPacketInfoError> {
        let mut info = Self::default();
        let mut rest = bytes;
        for _ in 0..MAX_ELEMENTS {
            let Some(header) = read_prefix::<ElementHeader>(rest) else {
                return Ok(info);
            };
            rest = info.take(&header, rest)?;
        }
        if rest.len() < ELEMENT_HEADER_SIZE {
            Ok(info)
        } else {
            Err(PerPacketInfoError::TooMany)
        }
    }

    /// Takes one element; returns what follows it.
    fn take<'b>(
        &mut self,
        header: &ElementHeader,
        bytes: &'b [u8],
    ) -> Result<&'b [u8], PerPacketInfoError> {
        let size = header.size.get();
        let remaining = bytes.len();
        let parts = usize::try_from(size)
            .ok()
            .filter(|size| *size >= ELEMENT_HEADER_SIZE && size.is_multiple_of(4))
            .and_then(|size| bytes.split_at_checked(size));
        let Some((element, rest)) = parts else {
            return Err(PerPacketInfoError::Size { size, remaining });
        };
        let info_type = PerPacketInfoType(header.info_type.get());
        let offset = header.data_offset.get();
        let invalid = PerPacketInfoError::Data {
            info_type,
            offset,
            size,
        };
        let length = size.checked_sub(offset).ok_or(invalid)?;
        if (offset as usize) < ELEMENT_HEADER_SIZE {
            return Err(invalid);
        }
        let data = window(element, offset, length).ok_or(invalid)?;
        let word = || {
            read_prefix::<U32>(data)
                .map(|word| word.get())
                .ok_or(invalid)
        };
        match info_type {
            PerPacketInfoType::CHECKSUM => {
                self.checksum = self.checksum.or(Some(word()?));
            }
            PerPacketInfoType::LARGE_SEND => {
                self.large_send = self.large_send.or(Some(LargeSend(word()?)));
            }
            PerPacketInfoType::VLAN => self.vlan = self.vlan.or(Some(VlanTag(word()?))),
            PerPacketInfoType::HASH_VALUE => {
                self.hash_value = self.hash_value.or(Some(word()?));
            }
            PerPacketInfoType::HASH_INFO => {
                self.hash_info = self.hash_info.or(Some(HashInfo(word()?)));
            }
            PerPacketInfoType::SEGMENT => {
                let segment = read_prefix(data).ok_or(invalid)?;
                self.segment = self.segment.or(Some(segment));
            }
            _ => {}
        }
        Ok(rest)
    }

    /// Lays the elements out at the front of `into` and returns their bytes; `None` if they do not fit.
    #[inline]
    pub fn emit(&self, into: &mut [u8]) -> Option<usize> {
        let segment = self.segment.map(|segment| {
            let [a, b] = segment.packet_id.get().to_le_bytes();
            u32::from_le_bytes([segment.version, segment.flags, a, b])
        });
        let elements = [
            (PerPacketInfoType::HASH_VALUE, self.hash_value),
            (
                PerPacketInfoType::HASH_INFO,
                self.hash_info.map(|info| info.0),
            ),
            (PerPacketInfoType::VLAN, self.vlan.map(|tag| tag.0)),
            (
                PerPacketInfoType::LARGE_SEND,
                self.large_send.map(|send| send.0),
            ),
            (PerPacketInfoType::CHECKSUM, self.checksum),
            (PerPacketInfoType::SEGMENT, segment),
        ];
        let mut length = 0;
        for (info_type, word) in elements {
            let Some(word) = word else { continue };
            let element = [
                ELEMENT_SIZE as u32,
                info_type.0,
                ELEMENT_HEADER_SIZE as u32,
                word,
            ]
            .map(U32::new);
            let end = length + ELEMENT_SIZE;
            into.get_mut(length..end)?
                .copy_from_slice(element.as_bytes());
            length = end;
        }
        Some(length)
    }
}
