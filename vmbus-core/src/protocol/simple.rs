//! Messages with one fixed layout.

use zerocopy::little_endian::{U32, U64};

use super::layout::messages;
use super::{ChannelId, ConnectionState, GpadlId, ReplyStatus};

messages! {
    /// The host takes an offer back.
    RescindChannelOffer = RESCIND_CHANNEL_OFFER, 12 {
        /// The channel.
        channel_id: ChannelId => U32,
    }

    /// The guest asks for the offers, once per connection.
    RequestOffers = REQUEST_OFFERS, 8 {}

    /// The host has sent the offers of the devices that exist now.
    AllOffersDelivered = ALL_OFFERS_DELIVERED, 8 {}

    /// The host answers OPEN_CHANNEL.
    OpenChannelResult = OPEN_CHANNEL_RESULT, 20 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// The guest's cookie from the request.
        open_id: u32 => U32,
        /// Whether the channel is open.
        status: ReplyStatus => U32,
    }

    /// The guest closes a channel. There is no answer.
    CloseChannel = CLOSE_CHANNEL, 12 {
        /// The channel.
        channel_id: ChannelId => U32,
    }

    /// The host answers the last message of a GPADL.
    GpadlCreated = GPADL_CREATED, 20 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// The GPADL.
        gpadl_id: GpadlId => U32,
        /// Negative when the GPADL does not exist.
        status: ReplyStatus => U32,
    }

    /// The guest takes memory back.
    GpadlTeardown = GPADL_TEARDOWN, 16 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// The GPADL.
        gpadl_id: GpadlId => U32,
    }

    /// The host no longer accesses the memory.
    GpadlTorndown = GPADL_TORNDOWN, 12 {
        /// The GPADL.
        gpadl_id: GpadlId => U32,
    }

    /// The guest has no more use for the id of a rescinded channel.
    RelIdReleased = RELID_RELEASED, 12 {
        /// The channel.
        channel_id: ChannelId => U32,
    }

    /// The guest ends the connection.
    Unload = UNLOAD, 8 {}

    /// The host has closed and released everything.
    UnloadResponse = UNLOAD_RESPONSE, 8 {}

    /// The guest opens a reserved channel, which survives the end of the connection.
    OpenReservedChannel = OPEN_RESERVED_CHANNEL, 28 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// Virtual processor that gets the answer.
        target_vp: u32 => U32,
        /// Its interrupt source that gets the answer.
        target_sint: u32 => U32,
        /// GPADL of the two rings.
        ring_gpadl_id: GpadlId => U32,
        /// Where the ring from host to guest starts, in pages.
        downstream_page_offset: u32 => U32,
    }

    /// The guest closes a reserved channel.
    CloseReservedChannel = CLOSE_RESERVED_CHANNEL, 20 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// Virtual processor that gets the answer.
        target_vp: u32 => U32,
        /// Its interrupt source that gets the answer.
        target_sint: u32 => U32,
    }

    /// The host has closed a reserved channel.
    CloseReservedChannelResponse = CLOSE_RESERVED_CHANNEL_RESPONSE, 12 {
        /// The channel.
        channel_id: ChannelId => U32,
    }

    /// The guest moves a channel's interrupts to another virtual processor.
    ModifyChannel = MODIFY_CHANNEL, 16 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// The virtual processor.
        target_vp: u32 => U32,
    }

    /// The host answers MODIFY_CHANNEL (5.3 and later).
    ModifyChannelResponse = MODIFY_CHANNEL_RESPONSE, 16 {
        /// The channel.
        channel_id: ChannelId => U32,
        /// Whether it was moved; if so, the old virtual processor gets no more interrupts.
        status: ReplyStatus => U32,
    }

    /// The guest replaces the monitor pages. Both or neither.
    ModifyConnection = MODIFY_CONNECTION, 24 {
        /// Guest physical address of the page from parent to child; 0 for none.
        parent_to_child_page: u64 => U64,
        /// Guest physical address of the page from child to parent; 0 for none.
        child_to_parent_page: u64 => U64,
    }

    /// The host answers MODIFY_CONNECTION.
    ModifyConnectionResponse = MODIFY_CONNECTION_RESPONSE, 9 {
        /// Whether the pages were replaced.
        connection_state: ConnectionState => u8,
    }

    /// The guest stops the messages of the host.
    Pause = PAUSE, 8 {}

    /// The last message of the host before RESUME.
    PauseResponse = PAUSE_RESPONSE, 8 {}

    /// The guest lets the messages of the host flow again.
    Resume = RESUME, 8 {}
}
