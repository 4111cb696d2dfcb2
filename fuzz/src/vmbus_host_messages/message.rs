//! Host messages with small numbers in them, which name what exists more often than wild ones would.

use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    AllOffersDelivered, ChannelId, ConnectionState, GpadlCreated, GpadlId, GpadlTorndown,
    HostMessage, ModifyChannelResponse, OfferChannel, OfferFlags, OpenChannelResult, PauseResponse,
    ReplyStatus, RescindChannelOffer, UnloadResponse, VersionResponse,
};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

use crate::input::Input;

/// Kinds of messages.
pub(crate) mod kind {
    pub(crate) const VERSION: u8 = 0;
    pub(crate) const OFFER: u8 = 1;
    pub(crate) const ALL_OFFERS: u8 = 2;
    pub(crate) const RESCIND: u8 = 3;
    pub(crate) const GPADL_CREATED: u8 = 4;
    pub(crate) const OPENED: u8 = 5;
    pub(crate) const TORNDOWN: u8 = 6;
    pub(crate) const MODIFIED: u8 = 7;
    pub(crate) const UNLOADED: u8 = 8;
    pub(crate) const COUNT: u8 = 10;
}

/// First GPADL id that a guest of ours uses.
const FIRST_GPADL: u32 = 0xE1E10;

pub(crate) fn build(input: &mut Input<'_>) -> HostMessage {
    match input.u8() % kind::COUNT {
        kind::VERSION => version(input).into(),
        kind::OFFER => offer(input).into(),
        kind::ALL_OFFERS => AllOffersDelivered {}.into(),
        kind::RESCIND => RescindChannelOffer {
            channel_id: channel(input),
        }
        .into(),
        kind::GPADL_CREATED => GpadlCreated {
            channel_id: channel(input),
            gpadl_id: gpadl(input),
            status: status(input),
        }
        .into(),
        kind::OPENED => OpenChannelResult {
            channel_id: channel(input),
            open_id: u32::from(input.u8()),
            status: status(input),
        }
        .into(),
        kind::TORNDOWN => GpadlTorndown {
            gpadl_id: gpadl(input),
        }
        .into(),
        kind::MODIFIED => ModifyChannelResponse {
            channel_id: channel(input),
            status: status(input),
        }
        .into(),
        kind::UNLOADED => UnloadResponse {}.into(),
        _ => PauseResponse {}.into(),
    }
}

fn version(input: &mut Input<'_>) -> VersionResponse {
    let supported = input.flag();
    let version = input.choose(&ProtocolVersion::ALL_NEWEST_FIRST).wire();
    VersionResponse {
        supported,
        connection_state: ConnectionState(input.u8()),
        version_or_connection_id: if input.flag() { version } else { 1 },
        features: input
            .flag()
            .then(|| FeatureFlags::from_bits_retain(input.u32())),
        monitor_pages: None,
    }
}

fn offer(input: &mut Input<'_>) -> OfferChannel {
    let channel_id = channel(input);
    let instance = input.u8();
    OfferChannel {
        interface: class::SCSI,
        instance: Guid::from_bytes([instance; 16]),
        flags: OfferFlags::empty(),
        mmio_megabytes: 0,
        user_data: [0; 120],
        sub_channel_index: u16::from(input.u8() % 4),
        optional_mmio_megabytes: 0,
        channel_id,
        monitor_id: (input.u8() == 1).then_some(instance),
        dedicated_interrupt: true,
        connection_id: u32::from(input.u8()) + 0x2000,
    }
}

fn channel(input: &mut Input<'_>) -> ChannelId {
    match input.u8() {
        0xFF => ChannelId(input.u32()),
        small => ChannelId(u32::from(small)),
    }
}

fn gpadl(input: &mut Input<'_>) -> GpadlId {
    GpadlId(FIRST_GPADL + u32::from(input.u8()))
}

fn status(input: &mut Input<'_>) -> ReplyStatus {
    input.choose(&[ReplyStatus::SUCCESS, ReplyStatus::FAILED, ReplyStatus(1)])
}
