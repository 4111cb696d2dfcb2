//! What a connection tells its owner.

use super::{ConnectError, RequestError};
use crate::protocol::{ChannelId, GpadlId};
use crate::version::{FeatureFlags, ProtocolVersion};

/// What guest and host have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The version.
    pub version: ProtocolVersion,
    /// The features, none before 6.0.
    pub features: FeatureFlags,
    /// The connection for messages to the host.
    pub message_connection: u32,
}

/// A channel of this connection.
///
/// Ids are used again after a channel is gone; a key is not, so that an old key never means a new channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelKey {
    pub(super) id: ChannelId,
    pub(super) generation: u64,
}

impl ChannelKey {
    /// The id, which is also the number of the channel's event flag.
    #[must_use]
    pub const fn id(self) -> ChannelId {
        self.id
    }
}

/// Why a channel is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// The host has taken it back.
    Rescinded,
    /// The connection ended.
    Disconnected,
}

/// Something has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The connection stands. Offers will follow.
    Connected(Agreement),
    /// There is no connection.
    ConnectFailed(ConnectError),
    /// A channel is offered; [`Connection::offer`](super::Connection::offer) tells which.
    Offered(ChannelKey),
    /// The offers of all devices that existed at the start have come.
    AllOffersDelivered,
    /// An offered channel is gone. If it is open, its owner must stop and then
    /// [`close`](super::Connection::close) it.
    Gone {
        /// The channel.
        channel: ChannelKey,
        /// Why.
        departure: Departure,
    },
    /// A channel has been opened, or not.
    Opened {
        /// The channel.
        channel: ChannelKey,
        /// The outcome.
        result: Result<(), RequestError>,
    },
    /// An open sub-channel has been closed because its device's primary channel was
    /// [closed](super::Connection::close).
    ClosedWithPrimary(ChannelKey),
    /// A GPADL has been established, or not. Even if not, the host may still see the memory until
    /// [`GpadlReleased`](Self::GpadlReleased).
    GpadlCreated {
        /// The GPADL.
        gpadl: GpadlId,
        /// The outcome.
        result: Result<(), RequestError>,
    },
    /// The host no longer accesses the memory of a GPADL: it is the guest's alone.
    GpadlReleased(GpadlId),
    /// There is no more hope that the host gives the memory of a GPADL back in time: it must be leaked.
    /// [`GpadlReleased`](Self::GpadlReleased) may follow nevertheless, if the host was only late.
    GpadlLeaked {
        /// The GPADL.
        gpadl: GpadlId,
        /// Why.
        reason: RequestError,
    },
    /// A channel's interrupts have been moved to another virtual processor, or not.
    Modified {
        /// The channel.
        channel: ChannelKey,
        /// The outcome.
        result: Result<(), RequestError>,
    },
    /// The connection has been ended from this end.
    Unloaded {
        /// The host has confirmed that everything is closed and released.
        confirmed: bool,
    },
}
