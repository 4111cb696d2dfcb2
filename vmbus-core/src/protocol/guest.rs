//! Messages from guest to host.

use super::layout::{Body, split};
use super::{
    CloseChannel, CloseReservedChannel, Direction, GpadlBody, GpadlHeader, GpadlTeardown,
    InitiateContact, MessageBuffer, MessageError, MessageType, ModifyChannel, ModifyConnection,
    OpenChannel, OpenReservedChannel, Pause, RelIdReleased, RequestOffers, Resume,
    TlConnectRequest, Unload,
};
use crate::version::{FeatureFlags, ProtocolVersion};

macro_rules! guest_messages {
    ($($(#[$attribute:meta])* $name:ident $(<$life:lifetime>)?,)*) => {
        /// A message from guest to host.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum GuestMessage<'a> {
            $($(#[$attribute])* $name($name $(<$life>)?),)*
        }

        impl<'a> GuestMessage<'a> {
            /// Reads a message.
            ///
            /// # Errors
            /// The message is too short for its type or longer than 240 bytes, or the type is not one
            /// that a guest sends.
            pub fn parse(message: &'a [u8]) -> Result<Self, MessageError> {
                let (message_type, body) = split(message)?;
                match message_type {
                    $($name::TYPE => $name::read(body).map(Self::$name),)*
                    _ => Err(match message_type.direction() {
                        Some(direction @ Direction::HostToGuest) => {
                            MessageError::WrongDirection { message_type, direction }
                        }
                        _ => MessageError::UnknownType { message_type },
                    }),
                }
            }

            /// Writes the message, in place of what the buffer holds.
            ///
            /// # Errors
            /// [`MessageError::TooLong`] when the part of a page list does not fit; the buffer then holds
            /// the rest of the message.
            pub fn emit(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
                match self {
                    $(Self::$name(body) => body.write_message(buffer),)*
                }
            }

            /// Type of the message.
            #[must_use]
            pub const fn message_type(&self) -> MessageType {
                match self {
                    $(Self::$name(_) => $name::TYPE,)*
                }
            }
        }

        $(
            impl<'a> From<$name $(<$life>)?> for GuestMessage<'a> {
                fn from(body: $name $(<$life>)?) -> Self {
                    Self::$name(body)
                }
            }
        )*
    };
}

guest_messages! {
    /// Asks for the offers.
    RequestOffers,
    /// Opens a channel.
    OpenChannel,
    /// Closes a channel.
    CloseChannel,
    /// Begins a GPADL.
    GpadlHeader<'a>,
    /// Continues a GPADL.
    GpadlBody<'a>,
    /// Takes the memory of a GPADL back.
    GpadlTeardown,
    /// Gives up the id of a rescinded channel.
    RelIdReleased,
    /// Asks for a connection.
    InitiateContact,
    /// Ends the connection.
    Unload,
    /// Opens a reserved channel.
    OpenReservedChannel,
    /// Closes a reserved channel.
    CloseReservedChannel,
    /// Asks for a socket.
    TlConnectRequest,
    /// Moves a channel's interrupts.
    ModifyChannel,
    /// Replaces the monitor pages.
    ModifyConnection,
    /// Stops the host's messages.
    Pause,
    /// Lets the host's messages flow again.
    Resume,
}

/// Bytes of OPEN_CHANNEL with the guest's signal parameters.
const OPEN_LONG: usize = 156;

impl<'a> GuestMessage<'a> {
    /// As [`parse`](Self::parse), and refuses what a connection of this version with these features does
    /// not carry. Fields of longer forms than the connection has agreed on are `None`.
    ///
    /// INITIATE_CONTACT itself, which starts a connection, is never refused for its version.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), [`MessageError::NotAgreed`], and [`MessageError::TooShort`] for a
    /// short form where the long one is agreed on.
    pub fn parse_for(
        message: &'a [u8],
        version: ProtocolVersion,
        features: FeatureFlags,
    ) -> Result<Self, MessageError> {
        let mut parsed = Self::parse(message)?;
        let message_type = parsed.message_type();
        if !message_type.is_agreed(version, features) {
            return Err(MessageError::NotAgreed {
                message_type,
                version,
            });
        }
        match &mut parsed {
            Self::OpenChannel(open) => {
                let long = FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS
                    | FeatureFlags::CHANNEL_INTERRUPT_REDIRECTION;
                if !version.has_feature_flags() || !features.intersects(long) {
                    open.signal = None;
                } else if open.signal.is_none() {
                    return Err(MessageError::TooShort {
                        message_type: Some(message_type),
                        length: message.len(),
                        minimum: OPEN_LONG,
                    });
                }
            }
            Self::TlConnectRequest(request) if version < ProtocolVersion::V5_2 => {
                request.silo_id = None;
            }
            _ => {}
        }
        Ok(parsed)
    }
}
