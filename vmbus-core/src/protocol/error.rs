//! What can be wrong with a message.

use core::fmt;

use super::{Direction, MESSAGE_SIZE_MAX, MessageType};
use crate::version::ProtocolVersion;

/// The bytes are no message that the receiver can use. It is dropped; nothing else changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// Too few bytes for the header, or for what the message's type and form demand.
    TooShort {
        /// Type of the message; `None` when not even the header is there.
        message_type: Option<MessageType>,
        /// Bytes that are there.
        length: usize,
        /// Bytes that must be there.
        minimum: usize,
    },
    /// More bytes than a message can have.
    TooLong {
        /// Bytes that are there.
        length: usize,
    },
    /// No such message.
    UnknownType {
        /// The type.
        message_type: MessageType,
    },
    /// A message that only the receiver's own end sends.
    WrongDirection {
        /// The type.
        message_type: MessageType,
        /// Who sends messages of this type.
        direction: Direction,
    },
    /// The message is newer than the version, or belongs to a feature, that the connection agreed on.
    NotAgreed {
        /// The type.
        message_type: MessageType,
        /// Version of the connection.
        version: ProtocolVersion,
    },
    /// The message names a channel that cannot exist.
    InvalidChannel {
        /// The type.
        message_type: MessageType,
        /// The id.
        channel_id: super::ChannelId,
    },
    /// A reply that answers nothing the receiver has asked.
    UnexpectedReply {
        /// The type.
        message_type: MessageType,
    },
    /// A message about a channel that does not exist, or not in a state for it.
    UnknownChannel {
        /// The type.
        message_type: MessageType,
        /// The id.
        channel_id: super::ChannelId,
    },
    /// An offer with an id that is in use.
    DuplicateChannel {
        /// The id.
        channel_id: super::ChannelId,
    },
    /// An offer of a device that is offered already.
    DuplicateDevice {
        /// The device.
        instance: crate::guid::Guid,
    },
    /// An offer whose fields contradict themselves or the protocol.
    InvalidOffer {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort {
                message_type: None,
                length,
                minimum,
            } => write!(
                f,
                "{length} bytes are no message header, which has {minimum}"
            ),
            Self::TooShort {
                message_type: Some(message_type),
                length,
                minimum,
            } => write!(f, "{message_type} of {length} bytes, must have {minimum}"),
            Self::TooLong { length } => write!(
                f,
                "message of {length} bytes exceeds the maximum of {MESSAGE_SIZE_MAX}"
            ),
            Self::UnknownType { message_type } => {
                write!(f, "unknown message type {}", message_type.0)
            }
            Self::WrongDirection {
                message_type,
                direction,
            } => write!(f, "{message_type} goes only from {direction}"),
            Self::NotAgreed {
                message_type,
                version,
            } => write!(
                f,
                "{message_type} is not agreed on in this connection of version {version}"
            ),
            Self::InvalidChannel {
                message_type,
                channel_id,
            } => write!(f, "{message_type} names impossible channel {channel_id}"),
            Self::UnexpectedReply { message_type } => {
                write!(f, "{message_type} answers no request")
            }
            Self::UnknownChannel {
                message_type,
                channel_id,
            } => write!(f, "{message_type} for unknown channel {channel_id}"),
            Self::DuplicateChannel { channel_id } => {
                write!(f, "offer of channel {channel_id}, which exists")
            }
            Self::DuplicateDevice { instance } => {
                write!(f, "offer of device {instance}, which is offered already")
            }
            Self::InvalidOffer { field, value } => {
                write!(f, "offer with invalid {field} {value:#x}")
            }
        }
    }
}

impl core::error::Error for MessageError {}
