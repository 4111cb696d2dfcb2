//! Messages from host to guest.

use super::layout::{Body, split};
use super::{
    AllOffersDelivered, CloseReservedChannelResponse, Direction, GpadlCreated, GpadlTorndown,
    MessageBuffer, MessageError, MessageType, ModifyChannelResponse, ModifyConnectionResponse,
    OfferChannel, OpenChannelResult, PauseResponse, RescindChannelOffer, TlConnectResult,
    UnloadResponse, VersionResponse,
};
use crate::version::{FeatureFlags, ProtocolVersion};

macro_rules! host_messages {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// A message from host to guest.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum HostMessage {
            $($(#[$attribute])* $name($name),)*
        }

        impl HostMessage {
            /// Reads a message.
            ///
            /// # Errors
            /// The message is too short for its type or longer than 240 bytes, or the type is not one
            /// that a host sends.
            pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
                let (message_type, body) = split(message)?;
                match message_type {
                    $($name::TYPE => $name::read(body).map(Self::$name),)*
                    _ => Err(match message_type.direction() {
                        Some(direction @ Direction::GuestToHost) => {
                            MessageError::WrongDirection { message_type, direction }
                        }
                        _ => MessageError::UnknownType { message_type },
                    }),
                }
            }

            /// Writes the message, in place of what the buffer holds.
            pub fn emit(&self, buffer: &mut MessageBuffer) {
                // No message of a host has parts of variable length, so all fit.
                let _ = match self {
                    $(Self::$name(body) => body.write_message(buffer),)*
                };
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
            impl From<$name> for HostMessage {
                fn from(body: $name) -> Self {
                    Self::$name(body)
                }
            }
        )*
    };
}

host_messages! {
    /// A channel is offered.
    OfferChannel,
    /// An offer is taken back.
    RescindChannelOffer,
    /// The offers of the devices that exist now have been sent.
    AllOffersDelivered,
    /// Answer to [`OpenChannel`](super::OpenChannel).
    OpenChannelResult,
    /// Answer to [`GpadlHeader`](super::GpadlHeader) and its bodies.
    GpadlCreated,
    /// Answer to [`GpadlTeardown`](super::GpadlTeardown).
    GpadlTorndown,
    /// Answer to [`InitiateContact`](super::InitiateContact).
    VersionResponse,
    /// Answer to [`Unload`](super::Unload).
    UnloadResponse,
    /// Answer to [`CloseReservedChannel`](super::CloseReservedChannel).
    CloseReservedChannelResponse,
    /// Answer to a [`TlConnectRequest`](super::TlConnectRequest) that failed.
    TlConnectResult,
    /// Answer to [`ModifyChannel`](super::ModifyChannel).
    ModifyChannelResponse,
    /// Answer to [`ModifyConnection`](super::ModifyConnection).
    ModifyConnectionResponse,
    /// Answer to [`Pause`](super::Pause).
    PauseResponse,
}

impl HostMessage {
    /// As [`parse`](Self::parse), and refuses what a connection of this version with these features does
    /// not carry.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`MessageError::NotAgreed`].
    pub fn parse_for(
        message: &[u8],
        version: ProtocolVersion,
        features: FeatureFlags,
    ) -> Result<Self, MessageError> {
        let parsed = Self::parse(message)?;
        let message_type = parsed.message_type();
        if message_type.is_agreed(version, features) {
            Ok(parsed)
        } else {
            Err(MessageError::NotAgreed {
                message_type,
                version,
            })
        }
    }
}
