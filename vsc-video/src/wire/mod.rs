//! The synthetic video protocol's messages as they lie in a pipe frame.
//!
//! Every message is an 8-byte [`Header`] followed by a body. Length comes from the pipe frame: the header's
//! own `size` is ambiguous between implementations, so it is written (header and body) and never read.
//! Both ends are here, since each needs to write its own messages and to read the other's:
//! [`GuestMessage`] is what the guest sends, [`HostMessage`] what the host sends.
//!
//! All integers are little-endian and nothing is aligned.

mod codes;
mod edid;
mod guest;
mod host;
mod layout;
#[cfg(test)]
mod tests;

pub use codes::{Acceptance, Features, MessageType, PointerFormat, ProtocolVersion, Version};
pub use edid::{EDID_SIZE, edid};
pub use guest::{Dirt, GuestMessage, PointerPosition, PointerShape, Situation, VramLocation};
pub use host::{HostMessage, Resolutions};
pub use layout::{Header, Rectangle, Resolution};

use core::fmt;

/// Bytes of the header in front of every body.
pub const HEADER_SIZE: usize = 8;
/// Most bytes of a message that either end needs to take.
pub const MAX_MESSAGE_SIZE: usize = 0x4000;
/// Most pixels of a pointer shape in either direction.
pub const MAX_POINTER_EDGE: u32 = 96;
/// Most bytes of pointer shape data in one message.
pub const MAX_POINTER_CHUNK: usize = 8192;
/// Number of a pointer shape's last, or only, chunk.
pub const LAST_POINTER_CHUNK: u8 = 0xFF;
/// Most resolutions in a list.
pub const MAX_RESOLUTIONS: usize = 64;

/// Why bytes from the peer are not a message that this end may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// Fewer bytes than a header.
    NoHeader {
        /// Bytes present.
        length: usize,
    },
    /// The message is shorter than its type needs.
    Short {
        /// Its type.
        message_type: MessageType,
        /// Bytes present, with the header.
        length: usize,
        /// Bytes needed, with the header.
        needed: usize,
    },
    /// A type that is unknown, or that this end sends itself.
    UnknownType(MessageType),
    /// A count or index in the message is more than is allowed.
    OutOfRange {
        /// The message's type.
        message_type: MessageType,
        /// Name of the field.
        field: &'static str,
        /// Value found.
        value: u32,
        /// Largest value allowed.
        maximum: u32,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { length } => {
                write!(f, "video message of {length} bytes has no 8-byte header")
            }
            Self::Short {
                message_type,
                length,
                needed,
            } => write!(f, "{message_type:?} has {length} bytes and needs {needed}"),
            Self::UnknownType(message_type) => {
                write!(f, "video message of unexpected type {message_type:?}")
            }
            Self::OutOfRange {
                message_type,
                field,
                value,
                maximum,
            } => write!(
                f,
                "{field} of {message_type:?} is {value}, at most {maximum}"
            ),
        }
    }
}

impl core::error::Error for MessageError {}
