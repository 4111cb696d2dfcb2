//! What the state machine wants done.

use vmbus_core::protocol::{ChannelId, HostMessage, USER_DATA_SIZE};
use vmbus_core::version::ProtocolVersion;

use super::DeviceId;

/// Something for the server's surroundings to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Post a message to the guest.
    Message {
        /// Virtual processor that gets it.
        vp: u32,
        /// Its interrupt source.
        sint: u8,
        /// The message.
        message: HostMessage,
    },
    /// Open a channel on its device, then call [`Server::opened`](super::Server::opened). The guest may signal the
    /// channel as soon as it gets the answer.
    Open(Box<OpenEffect>),
    /// Close a channel: once nothing touches its memory any more, call [`Server::closed`](super::Server::closed).
    Close(ChannelId),
    /// Interrupt another virtual processor for this channel from now on.
    Retarget {
        /// The channel.
        channel: ChannelId,
        /// The virtual processor.
        vp: u32,
    },
}

/// A channel to be opened; everything in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenEffect {
    /// The channel.
    pub channel: ChannelId,
    /// Its device.
    pub device: DeviceId,
    /// 0 for the primary channel.
    pub sub_channel_index: u16,
    /// The guest's user data.
    pub user_data: [u8; USER_DATA_SIZE],
    /// Version of the connection.
    pub version: ProtocolVersion,
    /// Pages of the ring from the guest: control page, data pages.
    pub incoming: Vec<u64>,
    /// Pages of the ring to the guest.
    pub outgoing: Vec<u64>,
    /// Virtual processor to interrupt; `None` if the guest polls.
    pub vp: Option<u32>,
    /// Event flag to set for the guest.
    pub event_flag: u16,
    /// Connection id that the guest signals, if the channel has one of its own.
    pub connection_id: Option<u32>,
}
