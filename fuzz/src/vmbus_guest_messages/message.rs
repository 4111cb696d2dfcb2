//! Guest messages with small numbers in them, which name what exists more often than wild ones would.

use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    ChannelId, CloseChannel, CloseReservedChannel, ContactTarget, GpadlBody, GpadlHeader, GpadlId,
    GpadlTeardown, GuestMessage, InitiateContact, MessageBuffer, ModifyChannel, ModifyConnection,
    MonitorPages, OpenChannel, OpenFlags, OpenSignal, Pause, RelIdReleased, RequestOffers, Resume,
    TlConnectRequest, Unload, VP_NONE,
};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

use crate::input::Input;

/// Kinds of messages.
pub(crate) mod kind {
    pub(crate) const CONTACT: u8 = 0;
    pub(crate) const REQUEST_OFFERS: u8 = 1;
    pub(crate) const GPADL: u8 = 2;
    pub(crate) const GPADL_BODY: u8 = 3;
    pub(crate) const OPEN: u8 = 4;
    pub(crate) const CLOSE: u8 = 5;
    pub(crate) const TEARDOWN: u8 = 6;
    pub(crate) const RELEASE: u8 = 7;
    pub(crate) const MODIFY: u8 = 8;
    pub(crate) const UNLOAD: u8 = 9;
    pub(crate) const PAUSE: u8 = 10;
    pub(crate) const RESUME: u8 = 11;
    pub(crate) const SOCKET: u8 = 12;
    pub(crate) const MODIFY_CONNECTION: u8 = 13;
    pub(crate) const CLOSE_RESERVED: u8 = 14;
    pub(crate) const COUNT: u8 = 15;
}

pub(super) fn build(input: &mut Input<'_>) -> Vec<u8> {
    let mut data = Vec::new();
    let message = match input.u8() % kind::COUNT {
        kind::CONTACT => contact(input).into(),
        kind::REQUEST_OFFERS => RequestOffers {}.into(),
        kind::GPADL => gpadl(input, &mut data).into(),
        kind::GPADL_BODY => {
            let gpadl_id = gpadl_id(input);
            data.extend(frames(input));
            GpadlBody {
                message_number: 1,
                gpadl_id,
                data: &data,
            }
            .into()
        }
        kind::OPEN => open(input).into(),
        kind::CLOSE => CloseChannel {
            channel_id: channel(input),
        }
        .into(),
        kind::TEARDOWN => GpadlTeardown {
            channel_id: channel(input),
            gpadl_id: gpadl_id(input),
        }
        .into(),
        kind::RELEASE => RelIdReleased {
            channel_id: channel(input),
        }
        .into(),
        kind::MODIFY => ModifyChannel {
            channel_id: channel(input),
            target_vp: u32::from(input.u8() % 4),
        }
        .into(),
        kind::UNLOAD => Unload {}.into(),
        kind::PAUSE => Pause {}.into(),
        kind::RESUME => Resume {}.into(),
        kind::SOCKET => TlConnectRequest {
            endpoint_id: Guid::from_bytes([1; 16]),
            service_id: Guid::from_bytes([2; 16]),
            silo_id: None,
        }
        .into(),
        kind::MODIFY_CONNECTION => ModifyConnection {
            parent_to_child_page: u64::from(input.u8()),
            child_to_parent_page: u64::from(input.u8()),
        }
        .into(),
        _ => CloseReservedChannel {
            channel_id: channel(input),
            target_vp: u32::from(input.u8() % 4),
            target_sint: u32::from(input.u8()),
        }
        .into(),
    };
    let mut buffer = MessageBuffer::new();
    // What does not fit is cut, as the emitter does.
    let _ = GuestMessage::emit(&message, &mut buffer);
    buffer.as_bytes().to_vec()
}

fn contact(input: &mut Input<'_>) -> InitiateContact {
    let version = input.choose(&ProtocolVersion::ALL_NEWEST_FIRST);
    let target_message_vp = u32::from(input.u8() % 4);
    let features = FeatureFlags::from_bits_retain(input.u32());
    let target = if version.has_message_connection() {
        ContactTarget::Signal {
            sint: if input.u8() == 1 { input.u8() } else { 2 },
            vtl: u8::from(input.u8() == 1),
            features: if version.has_feature_flags() {
                features
            } else {
                FeatureFlags::empty()
            },
        }
    } else {
        ContactTarget::InterruptPage(u64::from(input.u16()) << 12)
    };
    InitiateContact {
        version: version.wire(),
        target_message_vp,
        target,
        monitor_pages: MonitorPages {
            parent_to_child: u64::from(input.u8()),
            child_to_parent: u64::from(input.u8()),
        },
        client_id: features
            .contains(FeatureFlags::CLIENT_ID)
            .then_some(Guid::from_bytes([9; 16])),
    }
}

/// One range, right but for what the input changes.
fn gpadl<'a>(input: &mut Input<'_>, data: &'a mut Vec<u8>) -> GpadlHeader<'a> {
    let (channel_id, gpadl_id) = (channel(input), gpadl_id(input));
    let pages = u16::from(input.u8());
    let byte_offset = match input.u8() {
        small @ 1..=8 => u32::from(small) * 600,
        _ => 0,
    };
    let byte_count = u32::from(pages) * 4096 - byte_offset.min(u32::from(pages) * 4096);
    data.extend(byte_count.to_le_bytes());
    data.extend(byte_offset.to_le_bytes());
    data.extend(frames(input));
    let range_count = 1 + u16::from(input.u8() / 64);
    GpadlHeader {
        channel_id,
        gpadl_id,
        range_bytes: 8 + 8 * pages,
        range_count,
        data,
    }
}

/// As many frames as fit any message.
fn frames(input: &mut Input<'_>) -> Vec<u8> {
    let (first, stride) = (u64::from(input.u8()), u64::from(input.u8() % 4));
    (0..26)
        .flat_map(|index| (first + index * stride).to_le_bytes())
        .collect()
}

fn open(input: &mut Input<'_>) -> OpenChannel {
    OpenChannel {
        channel_id: channel(input),
        open_id: u32::from(input.u8()),
        ring_gpadl_id: gpadl_id(input),
        target_vp: input.choose(&[0, 1, 2, VP_NONE]),
        downstream_page_offset: u32::from(input.u8() % 16),
        user_data: [0; 120],
        signal: input.flag().then(|| OpenSignal {
            connection_id: u32::from(input.u16()),
            event_flag: input.u16(),
            flags: OpenFlags::empty(),
        }),
    }
}

fn channel(input: &mut Input<'_>) -> ChannelId {
    match input.u8() {
        0xFF => ChannelId(input.u32()),
        small => ChannelId(u32::from(small)),
    }
}

fn gpadl_id(input: &mut Input<'_>) -> GpadlId {
    GpadlId(u32::from(input.u8()))
}
