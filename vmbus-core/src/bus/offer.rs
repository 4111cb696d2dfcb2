//! Offers, as the owner of a bus sees them.

use crate::connection::ChannelKey;
use crate::guid::Guid;
use crate::protocol::{ChannelId, OfferChannel};

/// An offered channel.
///
/// A copy of what the host has said. The channel may be gone when it is used, which opening it will tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    pub(crate) key: ChannelKey,
    pub(crate) description: OfferChannel,
}

impl Offer {
    /// The channel, for comparison with [`BusEvent::Rescinded`].
    #[must_use]
    pub const fn key(&self) -> ChannelKey {
        self.key
    }

    /// The host's whole description.
    #[must_use]
    pub const fn description(&self) -> &OfferChannel {
        &self.description
    }

    /// Class of the device; see [`class`](crate::class).
    #[must_use]
    pub const fn interface(&self) -> Guid {
        self.description.interface
    }

    /// The device: the same GUID after a reconnect and for all channels of the device.
    #[must_use]
    pub const fn instance(&self) -> Guid {
        self.description.instance
    }

    /// Id of the channel on this connection.
    #[must_use]
    pub const fn channel_id(&self) -> ChannelId {
        self.description.channel_id
    }

    /// 0 for a primary channel, else the number of the sub-channel.
    #[must_use]
    pub const fn sub_channel_index(&self) -> u16 {
        self.description.sub_channel_index
    }

    /// Whether this is the device's primary channel.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        self.description.sub_channel_index == 0
    }
}

/// Something has happened to the offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusEvent {
    /// A channel is offered.
    Offered(Offer),
    /// An offer is gone: taken back by the host, or ended with the connection.
    Rescinded(ChannelKey),
    /// All offers of devices that existed at the start have come.
    AllOffersDelivered,
    /// Nobody took the events for so long that some were dropped: look at
    /// [`Bus::offers`](super::Bus::offers).
    Overflowed,
}
