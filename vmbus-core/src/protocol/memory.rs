//! GPADL_HEADER and GPADL_BODY: a list of page ranges, cut into messages.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{Body, take};
use super::{
    ChannelId, GpadlId, MESSAGE_HEADER_SIZE, MESSAGE_SIZE_MAX, MessageBuffer, MessageError,
    MessageType,
};

/// The first message of a GPADL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpadlHeader<'a> {
    /// The channel.
    pub channel_id: ChannelId,
    /// The GPADL.
    pub gpadl_id: GpadlId,
    /// Bytes of the whole list, over all messages.
    pub range_bytes: u16,
    /// Number of ranges in the list.
    pub range_count: u16,
    /// The part of the list that is in this message: at most [`GPADL_HEADER_BYTES`] bytes and, as parsed,
    /// at most [`range_bytes`](Self::range_bytes).
    pub data: &'a [u8],
}

/// A further message of a GPADL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpadlBody<'a> {
    /// Counts the messages; hosts ignore it.
    pub message_number: u32,
    /// The GPADL.
    pub gpadl_id: GpadlId,
    /// The next part of the list: at most [`GPADL_BODY_BYTES`] bytes. In the last message there may be
    /// more than is left of the list; the rest means nothing.
    pub data: &'a [u8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireHeader {
    channel_id: U32,
    gpadl_id: U32,
    range_bytes: U16,
    range_count: U16,
}

const _: () = assert!(size_of::<WireHeader>() + MESSAGE_HEADER_SIZE == 20);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireBody {
    message_number: U32,
    gpadl_id: U32,
}

const _: () = assert!(size_of::<WireBody>() + MESSAGE_HEADER_SIZE == 16);

/// Most bytes of the list in GPADL_HEADER: whole 8-byte words only.
pub const GPADL_HEADER_BYTES: usize =
    (MESSAGE_SIZE_MAX - MESSAGE_HEADER_SIZE - size_of::<WireHeader>()) / 8 * 8;
/// Most bytes of the list in GPADL_BODY.
pub const GPADL_BODY_BYTES: usize =
    (MESSAGE_SIZE_MAX - MESSAGE_HEADER_SIZE - size_of::<WireBody>()) / 8 * 8;
/// Page frame numbers in GPADL_HEADER when the list has one range.
pub const GPADL_HEADER_PFNS: usize = GPADL_HEADER_BYTES / 8 - 1;
/// Page frame numbers in GPADL_BODY.
pub const GPADL_BODY_PFNS: usize = GPADL_BODY_BYTES / 8;

const _: () = assert!(GPADL_HEADER_PFNS == 26 && GPADL_BODY_PFNS == 28);

impl<'a> Body<'a> for GpadlHeader<'a> {
    const TYPE: MessageType = MessageType::GPADL_HEADER;

    fn read(body: &'a [u8]) -> Result<Self, MessageError> {
        let (wire, data) = take::<WireHeader>(Self::TYPE, body)?;
        let length = data
            .len()
            .min(GPADL_HEADER_BYTES)
            .min(wire.range_bytes.get().into());
        Ok(Self {
            channel_id: wire.channel_id.into(),
            gpadl_id: wire.gpadl_id.into(),
            range_bytes: wire.range_bytes.get(),
            range_count: wire.range_count.get(),
            data: data.get(..length).unwrap_or_default(),
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&WireHeader {
            channel_id: self.channel_id.into(),
            gpadl_id: self.gpadl_id.into(),
            range_bytes: self.range_bytes.into(),
            range_count: self.range_count.into(),
        });
        buffer.append(self.data)
    }
}

impl<'a> Body<'a> for GpadlBody<'a> {
    const TYPE: MessageType = MessageType::GPADL_BODY;

    fn read(body: &'a [u8]) -> Result<Self, MessageError> {
        let (wire, data) = take::<WireBody>(Self::TYPE, body)?;
        Ok(Self {
            message_number: wire.message_number.get(),
            gpadl_id: wire.gpadl_id.into(),
            data,
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&WireBody {
            message_number: self.message_number.into(),
            gpadl_id: self.gpadl_id.into(),
        });
        buffer.append(self.data)
    }
}
