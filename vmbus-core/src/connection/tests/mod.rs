//! A scripted host against the state machine. "Statement n" is the n-th of the protocol's conformance list
//! for guests.

mod faults;
mod lifecycle;
mod memory;
mod negotiation;
mod offers;
mod random;
mod rescind;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::class;
use crate::gpadl::GpadlList;
use crate::protocol::{
    AllOffersDelivered, ConnectionState, GpadlCreated, GpadlTorndown, GuestMessage, MessageBuffer,
    OfferChannel, OfferFlags, OpenChannelResult, ReplyStatus, RescindChannelOffer, VersionResponse,
};

/// A connection and what its host has got from it.
struct Script {
    connection: Connection,
    /// Every message with the connection that it was posted to.
    log: Vec<(u32, GuestMessage<'static>)>,
}

/// Deadline of requests whose deadline does not matter.
const LATE: u64 = 1_000_000;

impl Script {
    fn new(options: ConnectionOptions) -> Self {
        Self {
            connection: Connection::new(options),
            log: Vec::new(),
        }
    }

    /// A connection of this version, all offers asked for.
    fn connected(version: ProtocolVersion) -> Self {
        let mut script = Self::new(ConnectionOptions {
            newest: version,
            oldest: version,
            ..ConnectionOptions::default()
        });
        script.connection.connect(LATE);
        script.posted();
        script.send(accept(version)).unwrap();
        assert!(matches!(script.events()[..], [Event::Connected(_)]));
        assert_eq!(script.posted().len(), 1);
        script
    }

    /// The messages since the last call.
    fn posted(&mut self) -> Vec<GuestMessage<'static>> {
        let mut posted = Vec::new();
        while let Some(outgoing) = self.connection.poll_outgoing() {
            assert!(!self.connection.is_obsolete(&outgoing));
            // Tests are short, messages are small.
            let bytes = Box::leak(outgoing.bytes().to_vec().into_boxed_slice());
            let message = GuestMessage::parse(bytes).unwrap();
            self.log.push((outgoing.connection_id(), message));
            posted.push(message);
        }
        posted
    }

    /// Numbers of the types of the messages since the last call.
    fn types(&mut self) -> Vec<u32> {
        self.posted()
            .iter()
            .map(|message| message.message_type().0)
            .collect()
    }

    fn send(&mut self, message: impl Into<HostMessage>) -> Result<(), MessageError> {
        let mut buffer = MessageBuffer::new();
        message.into().emit(&mut buffer);
        self.connection.handle_message(buffer.as_bytes())
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    /// Offers a channel and gives its key.
    fn offer(&mut self, offer: OfferChannel) -> ChannelKey {
        self.send(offer).unwrap();
        match self.events()[..] {
            [Event::Offered(key)] => key,
            ref other => panic!("{other:?}"),
        }
    }

    /// A GPADL of `pages` pages that the host has established.
    fn gpadl(&mut self, channel: ChannelKey, pages: u64) -> GpadlId {
        let gpadl = self
            .connection
            .create_gpadl(channel, pages_list(pages), LATE)
            .unwrap();
        self.posted();
        self.send(created(channel, gpadl, ReplyStatus::SUCCESS))
            .unwrap();
        assert_eq!(
            self.events(),
            [Event::GpadlCreated {
                gpadl,
                result: Ok(())
            }]
        );
        gpadl
    }

    /// Asks for a channel to be opened; gives the cookie.
    fn open_request(&mut self, channel: ChannelKey, ring_gpadl: GpadlId) -> u32 {
        self.connection
            .open(channel, &open_with(ring_gpadl), LATE)
            .unwrap();
        match self.posted()[..] {
            [GuestMessage::OpenChannel(open)] => open.open_id,
            ref other => panic!("{other:?}"),
        }
    }

    /// Opens a channel; gives the GPADL of its rings.
    fn open(&mut self, channel: ChannelKey) -> GpadlId {
        let gpadl = self.gpadl(channel, 4);
        let open_id = self.open_request(channel, gpadl);
        self.send(opened(channel, open_id, ReplyStatus::SUCCESS))
            .unwrap();
        assert_eq!(
            self.events(),
            [Event::Opened {
                channel,
                result: Ok(())
            }]
        );
        gpadl
    }
}

fn accept(version: ProtocolVersion) -> VersionResponse {
    VersionResponse {
        supported: true,
        connection_state: ConnectionState::SUCCESS,
        version_or_connection_id: if version >= ProtocolVersion::V5_0 {
            0x4321
        } else {
            version.wire()
        },
        features: (version >= ProtocolVersion::V6_0).then_some(FeatureFlags::empty()),
        monitor_pages: None,
    }
}

/// An offer of a SCSI controller.
fn scsi(id: u32, instance: u8) -> OfferChannel {
    OfferChannel {
        interface: class::SCSI,
        instance: Guid::from_bytes([instance; 16]),
        flags: OfferFlags::ENUMERATE_DEVICE_INTERFACE,
        mmio_megabytes: 0,
        user_data: [0; 120],
        sub_channel_index: 0,
        optional_mmio_megabytes: 0,
        channel_id: ChannelId(id),
        monitor_id: None,
        dedicated_interrupt: true,
        connection_id: 0x2000 | id,
    }
}

/// An offer of a sub-channel of `scsi(_, instance)`.
fn sub(id: u32, instance: u8, index: u16) -> OfferChannel {
    OfferChannel {
        sub_channel_index: index,
        ..scsi(id, instance)
    }
}

fn pages_list(pages: u64) -> GpadlList {
    let frames: Vec<u64> = (100..100 + pages).collect();
    GpadlList::of_pages(frames.into_iter()).unwrap()
}

fn open_with(ring_gpadl: GpadlId) -> OpenRequest {
    OpenRequest {
        ring_gpadl,
        downstream_page_offset: 2,
        target_vp: 1,
        user_data: [0xA5; 120],
    }
}

fn created(channel: ChannelKey, gpadl_id: GpadlId, status: ReplyStatus) -> GpadlCreated {
    GpadlCreated {
        channel_id: channel.id(),
        gpadl_id,
        status,
    }
}

fn opened(channel: ChannelKey, open_id: u32, status: ReplyStatus) -> OpenChannelResult {
    OpenChannelResult {
        channel_id: channel.id(),
        open_id,
        status,
    }
}

fn rescind(channel: ChannelKey) -> RescindChannelOffer {
    RescindChannelOffer {
        channel_id: channel.id(),
    }
}

fn torndown(gpadl_id: GpadlId) -> GpadlTorndown {
    GpadlTorndown { gpadl_id }
}

fn gone(channel: ChannelKey, departure: Departure) -> Event {
    Event::Gone { channel, departure }
}

fn unexpected<T>(result: Result<T, MessageError>) -> bool {
    matches!(
        result,
        Err(MessageError::UnexpectedReply { .. } | MessageError::UnknownChannel { .. })
    )
}
