//! Layouts of control messages, and the arithmetic of their lengths.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MessageType;
use crate::wire::{read_prefix, window};

/// Bytes of type and length in front of every message, from whose end offsets count.
pub const HEADER_SIZE: u32 = 8;

macro_rules! layout {
    ($(#[$attribute:meta])* $name:ident, $size:literal { $( $(#[$field_attribute:meta])* $field:ident, )+ }) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $( $(#[$field_attribute])* pub $field: U32, )+ }

        const _: () = assert!(size_of::<$name>() == $size);
    };
}

layout! {
    /// Front of every message.
    Header, 8 {
        /// See [`MessageType`].
        message_type,
        /// Bytes of the whole message.
        message_length,
    }
}

layout! {
    /// [`MessageType::INITIALIZE`], after the header.
    InitializeRequest, 16 {
        /// Comes back in the answer.
        request_id,
        /// 1.
        major_version,
        /// 0.
        minor_version,
        /// Bytes of the longest message that the guest takes; hosts ignore it.
        max_transfer_size,
    }
}

layout! {
    /// [`MessageType::INITIALIZE_COMPLETE`], after the header.
    InitializeComplete, 44 {
        /// The request's.
        request_id,
        /// See [`Status`](super::Status).
        status,
        /// 1.
        major_version,
        /// 0.
        minor_version,
        /// 1: connectionless.
        device_flags,
        /// 0: Ethernet.
        medium,
        /// Most packets that one message of the channel may carry.
        max_packets_per_message,
        /// Bytes of the longest message of the channel.
        max_transfer_size,
        /// Packets begin at multiples of 2 to this power.
        packet_alignment_factor,
        /// 0.
        af_list_offset,
        /// 0.
        af_list_size,
    }
}

layout! {
    /// [`MessageType::QUERY`] and [`MessageType::SET`], after the header; the information follows.
    RequestHeader, 20 {
        /// Comes back in the answer.
        request_id,
        /// See [`Oid`](crate::wire::ndis::Oid).
        oid,
        /// Bytes of information.
        information_length,
        /// Where it begins.
        information_offset,
        /// 0.
        vc_handle,
    }
}

layout! {
    /// [`MessageType::QUERY_COMPLETE`], after the header; the information follows.
    QueryComplete, 16 {
        /// The request's.
        request_id,
        /// See [`Status`](super::Status).
        status,
        /// Bytes of information.
        information_length,
        /// Where it begins.
        information_offset,
    }
}

layout! {
    /// [`MessageType::SET_COMPLETE`] and [`MessageType::KEEPALIVE_COMPLETE`], after the header.
    StatusComplete, 8 {
        /// The request's.
        request_id,
        /// See [`Status`](super::Status).
        status,
    }
}

layout! {
    /// [`MessageType::RESET_COMPLETE`], after the header.
    ResetComplete, 8 {
        /// See [`Status`](super::Status).
        status,
        /// Not 0: the guest has to set its filters anew.
        addressing_reset,
    }
}

layout! {
    /// [`MessageType::INDICATE_STATUS`], after the header; the information follows.
    IndicateStatus, 12 {
        /// See [`Status`](super::Status).
        status,
        /// Bytes of information.
        information_length,
        /// Where it begins.
        information_offset,
    }
}

/// Why bytes are no sound control message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlError {
    /// Fewer bytes than a header.
    NoHeader {
        /// Bytes present.
        length: usize,
    },
    /// The message's length is less than its fields, or more than the bytes present.
    Length {
        /// The message.
        message_type: MessageType,
        /// Its length.
        message_length: u32,
        /// Bytes present.
        available: usize,
    },
    /// The information does not lie within the message, or in its fields.
    Information {
        /// The message.
        message_type: MessageType,
        /// Where it begins, from the ninth byte.
        offset: u32,
        /// Its bytes.
        length: u32,
        /// Bytes that it may lie in, from the message's start.
        available: usize,
    },
    /// The message is none that this end takes.
    Unexpected {
        /// The message.
        message_type: MessageType,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { length } => write!(f, "RNDIS message of {length} bytes"),
            Self::Length {
                message_type,
                message_length,
                available,
            } => write!(
                f,
                "{message_type:?} of {message_length} bytes in {available}"
            ),
            Self::Information {
                message_type,
                offset,
                length,
                available,
            } => write!(
                f,
                "information of {message_type:?} at {offset} of {length} bytes in {available}"
            ),
            Self::Unexpected { message_type } => write!(f, "{message_type:?} is not expected"),
        }
    }
}

impl core::error::Error for ControlError {}

/// Type, and the bytes of the message as far as its length says.
///
/// # Errors
/// There is no header, or the length is less than 8 or more than what is there.
pub fn parse_header(bytes: &[u8]) -> Result<(MessageType, &[u8]), ControlError> {
    let header: Header = read_prefix(bytes).ok_or(ControlError::NoHeader {
        length: bytes.len(),
    })?;
    let message_type = MessageType(header.message_type.get());
    let message_length = header.message_length.get();
    let message = (message_length >= HEADER_SIZE)
        .then(|| window(bytes, 0, message_length))
        .flatten();
    match message {
        Some(message) => Ok((message_type, message)),
        None => Err(ControlError::Length {
            message_type,
            message_length,
            available: bytes.len(),
        }),
    }
}

/// The fields of a message after its header.
pub(super) fn fields<T: FromBytes>(
    message_type: MessageType,
    message: &[u8],
) -> Result<T, ControlError> {
    let fields = message.get(HEADER_SIZE as usize..).unwrap_or_default();
    read_prefix(fields).ok_or(ControlError::Length {
        message_type,
        message_length: message.len() as u32,
        available: message.len(),
    })
}

/// The information of a message: `length` bytes at `offset` from the ninth byte, behind the `fields` bytes of fields.
///
/// # Errors
/// It does not lie within `message`, or reaches into its fields. Offset 0 stands for no information.
pub fn information(
    message_type: MessageType,
    message: &[u8],
    fields: u32,
    offset: u32,
    length: u32,
) -> Result<&[u8], ControlError> {
    let invalid = ControlError::Information {
        message_type,
        offset,
        length,
        available: message.len(),
    };
    if length == 0 && offset == 0 {
        return Ok(&[]);
    }
    if offset < fields {
        return Err(invalid);
    }
    let start = offset.checked_add(HEADER_SIZE).ok_or(invalid)?;
    window(message, start, length).ok_or(invalid)
}

/// Lays out a message: header, fields, information. Returns its bytes; `None` if they do not fit.
pub(super) fn emit<'b, T: IntoBytes + Immutable>(
    into: &'b mut [u8],
    message_type: MessageType,
    fields: &T,
    information: &[u8],
) -> Option<&'b [u8]> {
    let fields = fields.as_bytes();
    let length = fields
        .len()
        .checked_add(information.len())?
        .checked_add(HEADER_SIZE as usize)?;
    let header = Header {
        message_type: message_type.0.into(),
        message_length: u32::try_from(length).ok()?.into(),
    };
    let message = into.get_mut(..length)?;
    let (front, rest) = message.split_at_mut_checked(HEADER_SIZE as usize)?;
    front.copy_from_slice(header.as_bytes());
    let (middle, end) = rest.split_at_mut_checked(fields.len())?;
    middle.copy_from_slice(fields);
    end.copy_from_slice(information);
    Some(message)
}
