//! Messages of the VMBus control plane, for both ends.
//!
//! Each message is a struct with plain fields. What the host sends is a [`HostMessage`], what the guest
//! sends a [`GuestMessage`]; both have a checked `parse` that copies (or, for page lists, borrows) and an
//! `emit` into a [`MessageBuffer`]. Parsing accepts messages that are longer than their structure and
//! refuses shorter ones with a typed error. Where the length of a message distinguishes variants, the
//! longer form's fields are `Option`s; whether they *mean* anything is a matter of the version and the
//! features that the connection has agreed on, which [`GuestMessage::parse_for`] and
//! [`HostMessage::parse_for`] check too.
//!
//! ```
//! use vmbus_core::protocol::{GuestMessage, GpadlTeardown, ChannelId, GpadlId, MessageBuffer};
//!
//! let message = GuestMessage::GpadlTeardown(GpadlTeardown {
//!     channel_id: ChannelId(3),
//!     gpadl_id: GpadlId(7),
//! });
//! let mut buffer = MessageBuffer::new();
//! message.emit(&mut buffer)?;
//! assert_eq!(buffer.as_bytes().len(), 16);
//! assert_eq!(GuestMessage::parse(buffer.as_bytes())?, message);
//! # Ok::<(), vmbus_core::protocol::MessageError>(())
//! ```

mod buffer;
mod contact;
mod error;
mod guest;
mod host;
mod id;
mod layout;
mod memory;
mod message_type;
mod offer;
mod open;
mod simple;
mod socket;
#[cfg(test)]
mod tests;

pub use buffer::MessageBuffer;
pub use contact::{ConnectionState, ContactTarget, InitiateContact, MonitorPages, VersionResponse};
pub use error::MessageError;
pub use guest::GuestMessage;
pub use host::HostMessage;
pub use id::{ChannelId, GpadlId, ReplyStatus};
pub use memory::{
    GPADL_BODY_BYTES, GPADL_BODY_PFNS, GPADL_HEADER_BYTES, GPADL_HEADER_PFNS, GpadlBody,
    GpadlHeader,
};
pub use message_type::{Direction, MessageType};
pub use offer::{OfferChannel, OfferFlags, USER_DATA_SIZE};
pub use open::{OpenChannel, OpenFlags, OpenSignal};
pub use simple::{
    AllOffersDelivered, CloseChannel, CloseReservedChannel, CloseReservedChannelResponse,
    GpadlCreated, GpadlTeardown, GpadlTorndown, ModifyChannel, ModifyChannelResponse,
    ModifyConnection, ModifyConnectionResponse, OpenChannelResult, OpenReservedChannel, Pause,
    PauseResponse, RelIdReleased, RequestOffers, RescindChannelOffer, Resume, Unload,
    UnloadResponse,
};
pub use socket::{TlConnectRequest, TlConnectResult};

/// Most bytes of a message, header included.
pub const MESSAGE_SIZE_MAX: usize = 240;

/// Bytes of the header of every message.
pub const MESSAGE_HEADER_SIZE: usize = 8;

/// Number of values a channel id may have, 0 (never used) included.
pub const CHANNEL_ID_LIMIT: u32 = 2048;

/// Target virtual processor of a channel that wants no interrupts.
pub const VP_NONE: u32 = u32::MAX;

/// Connections that exist from the start. All ids have 24 significant bits.
pub mod connection_id {
    /// For messages, protocols before 5.0.
    pub const MESSAGE: u32 = 1;
    /// For signals of channels that have no connection of their own.
    pub const EVENT: u32 = 2;
    /// For monitored notification.
    pub const MONITOR: u32 = 3;
    /// For INITIATE_CONTACT of protocols from 5.0 on.
    pub const MESSAGE_MULTI_CLIENT: u32 = 4;
    /// For messages to a server in VTL2.
    pub const MESSAGE_REDIRECTED: u32 = 0x80_0074;
    /// The significant bits.
    pub const MASK: u32 = 0x00FF_FFFF;
}
