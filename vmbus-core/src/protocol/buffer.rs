//! The buffer into which messages are emitted.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{MESSAGE_HEADER_SIZE, MESSAGE_SIZE_MAX, MessageError, MessageType};

/// Header of every message.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) message_type: U32,
    pub(super) padding: U32,
}

const _: () = assert!(size_of::<Header>() == MESSAGE_HEADER_SIZE);

/// A buffer for one message: 240 bytes, of which the message uses the first ones.
#[derive(Clone)]
pub struct MessageBuffer {
    bytes: [u8; MESSAGE_SIZE_MAX],
    length: usize,
}

impl MessageBuffer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; MESSAGE_SIZE_MAX],
            length: 0,
        }
    }

    /// The message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Empties the buffer and starts a message.
    pub(super) fn start(&mut self, message_type: MessageType) {
        let header = Header {
            message_type: U32::new(message_type.0),
            padding: U32::ZERO,
        };
        self.length = 0;
        // A header always fits an empty buffer.
        let _ = self.append(header.as_bytes());
    }

    /// Adds bytes to the message.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        let length = self.length.saturating_add(bytes.len());
        self.bytes
            .get_mut(self.length..length)
            .ok_or(MessageError::TooLong { length })?
            .copy_from_slice(bytes);
        self.length = length;
        Ok(())
    }

    /// Adds a structure whose size makes an overflow of the buffer impossible.
    pub(super) fn append_wire<T: IntoBytes + Immutable>(&mut self, wire: &T) {
        const {
            assert!(size_of::<T>() <= MESSAGE_SIZE_MAX - MESSAGE_HEADER_SIZE);
        }
        // Every message is a header and at most one such structure, plus optional parts whose sum the
        // tests of each message check.
        let _ = self.append(wire.as_bytes());
    }
}

impl Default for MessageBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MessageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageBuffer")
            .field(&self.as_bytes())
            .finish()
    }
}
