//! How a message struct and its wire structure belong together.

use zerocopy::FromBytes;

use super::buffer::Header;
use super::{MESSAGE_HEADER_SIZE, MESSAGE_SIZE_MAX, MessageBuffer, MessageError, MessageType};

/// A message: its type, and how its body (all behind the header) is read and written.
pub(super) trait Body<'a>: Sized {
    const TYPE: MessageType;

    /// Reads the body, which may be longer than needed.
    fn read(body: &'a [u8]) -> Result<Self, MessageError>;

    /// Writes the body behind the header that is in the buffer.
    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError>;

    /// Writes header and body.
    fn write_message(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.start(Self::TYPE);
        self.write(buffer)
    }
}

/// Splits a message into type and body.
pub(super) fn split(message: &[u8]) -> Result<(MessageType, &[u8]), MessageError> {
    if message.len() > MESSAGE_SIZE_MAX {
        return Err(MessageError::TooLong {
            length: message.len(),
        });
    }
    let (header, body) = Header::ref_from_prefix(message).map_err(|_| MessageError::TooShort {
        message_type: None,
        length: message.len(),
        minimum: MESSAGE_HEADER_SIZE,
    })?;
    Ok((MessageType(header.message_type.get()), body))
}

/// Reads a wire structure from the start of a body; also gives what follows it.
pub(super) fn take<T: FromBytes>(
    message_type: MessageType,
    body: &[u8],
) -> Result<(T, &[u8]), MessageError> {
    T::read_from_prefix(body).map_err(|_| too_short(message_type, body, size_of::<T>()))
}

/// The error for a body that has less than `minimum` bytes.
pub(super) fn too_short(message_type: MessageType, body: &[u8], minimum: usize) -> MessageError {
    MessageError::TooShort {
        message_type: Some(message_type),
        length: body.len().saturating_add(MESSAGE_HEADER_SIZE),
        minimum: minimum.saturating_add(MESSAGE_HEADER_SIZE),
    }
}

/// Defines messages of one fixed layout: a struct with plain fields and a wire structure beside it.
///
/// The size is that of the whole message, header included, and is checked at compile time.
macro_rules! messages {
    ($(
        $(#[$attribute:meta])*
        $name:ident = $type:ident, $size:literal {
            $($(#[$field_attribute:meta])* $field:ident: $plain:ty => $wire:ty,)*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $plain,)*
        }

        const _: () = {
            #[derive(
                zerocopy::FromBytes,
                zerocopy::IntoBytes,
                zerocopy::Immutable,
                zerocopy::KnownLayout,
                zerocopy::Unaligned,
            )]
            #[repr(C)]
            struct Wire {
                $($field: $wire,)*
            }

            assert!(size_of::<Wire>() + $crate::protocol::MESSAGE_HEADER_SIZE == $size);

            impl $crate::protocol::layout::Body<'_> for $name {
                const TYPE: $crate::protocol::MessageType = $crate::protocol::MessageType::$type;

                fn read(body: &[u8]) -> Result<Self, $crate::protocol::MessageError> {
                    let (_wire, _) = $crate::protocol::layout::take::<Wire>(Self::TYPE, body)?;
                    Ok(Self {
                        $($field: <$plain>::from(_wire.$field),)*
                    })
                }

                fn write(
                    &self,
                    buffer: &mut $crate::protocol::MessageBuffer,
                ) -> Result<(), $crate::protocol::MessageError> {
                    buffer.append_wire(&Wire {
                        $($field: <$wire>::from(self.$field),)*
                    });
                    Ok(())
                }
            }
        };
    )*};
}

pub(super) use messages;
