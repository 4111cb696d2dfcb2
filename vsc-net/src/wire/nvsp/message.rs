//! One NVSP message in private memory.

use core::fmt;

use super::{
    Body, ChannelType, INDIRECTION_ENTRIES, MAX_MESSAGE_SIZE, MESSAGE_SIZE, MessageType, Version,
};
use crate::wire::{copy_prefix, read_prefix, window};

/// Why bytes from the peer are not the message that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// Fewer bytes than a message number.
    NoType {
        /// Bytes present.
        length: usize,
    },
    /// The body is shorter than the message needs.
    ShortBody {
        /// The message.
        message: MessageType,
        /// Bytes present, with the number.
        length: usize,
        /// Bytes needed, with the number.
        needed: usize,
    },
    /// The message is another one than asked for.
    WrongType {
        /// The message present.
        message: MessageType,
        /// The message asked for.
        wanted: MessageType,
    },
    /// An indirection table does not have 16 entries, or they lie outside of the message.
    IndirectionTable {
        /// Entries announced.
        count: u32,
        /// Where they begin.
        offset: u32,
        /// Bytes of the message.
        length: usize,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoType { length } => write!(f, "NVSP message of {length} bytes"),
            Self::ShortBody {
                message,
                length,
                needed,
            } => write!(f, "{message:?} has {length} bytes and needs {needed}"),
            Self::WrongType { message, wanted } => {
                write!(f, "{message:?} in the place of {wanted:?}")
            }
            Self::IndirectionTable {
                count,
                offset,
                length,
            } => write!(
                f,
                "indirection table of {count} entries at {offset} in {length} bytes"
            ),
        }
    }
}

impl core::error::Error for MessageError {}

/// One message: 4 to 112 bytes, a private copy. Bytes beyond that are dropped.
#[derive(Clone, Copy)]
pub struct Message {
    bytes: [u8; MAX_MESSAGE_SIZE],
    /// Bytes of the message, at most [`MAX_MESSAGE_SIZE`].
    length: usize,
}

impl Message {
    /// A message as the version sends it: 28 bytes, 40 from 6.1 on, longer if the body is.
    #[must_use]
    pub fn new<B: Body>(body: &B, version: Version) -> Self {
        Self::with_size(B::TYPE, body, version.message_size())
    }

    /// A message of 40 bytes, longer if the body is: what answers to the first messages are like, which guests copy
    /// whole.
    #[must_use]
    pub fn full<B: Body>(body: &B) -> Self {
        Self::with_size(B::TYPE, body, MESSAGE_SIZE)
    }

    /// As [`full`](Self::full), with another number: for layouts that two messages share.
    #[must_use]
    pub fn full_as<B: Body>(message: MessageType, body: &B) -> Self {
        Self::with_size(message, body, MESSAGE_SIZE)
    }

    fn with_size<B: Body>(message: MessageType, body: &B, size: usize) -> Self {
        let mut bytes = [0; MAX_MESSAGE_SIZE];
        let (number, rest) = bytes.split_at_mut(4);
        copy_prefix(number, &message.0.to_le_bytes());
        let length = 4 + copy_prefix(rest, body.as_bytes());
        Self {
            bytes,
            length: length.max(size),
        }
    }

    /// Copies one message from `bytes`.
    ///
    /// # Errors
    /// [`MessageError::NoType`] if there are fewer than 4 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() < 4 {
            return Err(MessageError::NoType {
                length: bytes.len(),
            });
        }
        let mut copy = [0; MAX_MESSAGE_SIZE];
        let length = copy_prefix(&mut copy, bytes);
        Ok(Self {
            bytes: copy,
            length,
        })
    }

    /// The message's bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    /// What the message is.
    #[must_use]
    #[inline]
    pub fn message_type(&self) -> MessageType {
        let [a, b, c, d, ..] = self.bytes;
        MessageType(u32::from_le_bytes([a, b, c, d]))
    }

    /// The body of a message of this kind.
    ///
    /// # Errors
    /// The message is another one, or too short.
    pub fn body<B: Body>(&self) -> Result<B, MessageError> {
        if self.message_type() != B::TYPE {
            return Err(MessageError::WrongType {
                message: self.message_type(),
                wanted: B::TYPE,
            });
        }
        self.body_as()
    }

    /// The body read in this layout, whatever the message's number: for layouts that two messages share.
    ///
    /// # Errors
    /// The message is too short.
    #[inline]
    pub fn body_as<B: Body>(&self) -> Result<B, MessageError> {
        let body = self.as_bytes().get(4..).unwrap_or_default();
        read_prefix(body).ok_or(MessageError::ShortBody {
            message: self.message_type(),
            length: self.length,
            needed: 4 + size_of::<B>(),
        })
    }

    /// The queues of a [`MessageType::SEND_INDIRECTION_TABLE`]. Whether they exist, the caller knows.
    ///
    /// Hosts up to NVSP 6 that pad the message put the table at 40, whatever the offset says.
    ///
    /// # Errors
    /// The message is another one or too short, or the table does not have 16 entries within it.
    pub fn indirection_table(
        &self,
        version: Version,
    ) -> Result<[u32; INDIRECTION_ENTRIES], MessageError> {
        const FIXED: usize = 12;
        const TABLE: u32 = 4 * INDIRECTION_ENTRIES as u32;
        let wanted = MessageType::SEND_INDIRECTION_TABLE;
        let message = self.message_type();
        if message != wanted {
            return Err(MessageError::WrongType { message, wanted });
        }
        let fixed: [zerocopy::little_endian::U32; 3] =
            read_prefix(self.as_bytes()).ok_or(MessageError::ShortBody {
                message,
                length: self.length,
                needed: FIXED,
            })?;
        let [_, count, offset] = fixed.map(|word| word.get());
        let invalid = MessageError::IndirectionTable {
            count,
            offset,
            length: self.length,
        };
        let padded = version <= Version::V6 && self.length >= 40 + TABLE as usize;
        let start = if padded { 40 } else { offset };
        if count as usize != INDIRECTION_ENTRIES || (start as usize) < FIXED {
            return Err(invalid);
        }
        let table = window(self.as_bytes(), start, TABLE).ok_or(invalid)?;
        let entries: [zerocopy::little_endian::U32; INDIRECTION_ENTRIES] =
            read_prefix(table).ok_or(invalid)?;
        Ok(entries.map(|entry| entry.get()))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("type", &self.message_type())
            .field("length", &self.length)
            .finish()
    }
}

impl super::RndisPacket {
    /// What the packet carries.
    #[must_use]
    pub const fn channel(&self) -> ChannelType {
        ChannelType(self.channel_type.get())
    }
}
