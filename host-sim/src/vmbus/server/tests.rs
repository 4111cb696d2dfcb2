//! The control plane against scripted guests. Numbers are those of the protocol's host checklist.

use proptest::prelude::*;
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    CloseChannel, CloseReservedChannel, ConnectionState, ContactTarget, GpadlBody, GpadlHeader,
    GpadlId, GpadlTeardown, InitiateContact, MessageBuffer, ModifyChannel, ModifyConnection,
    MonitorPages, OfferChannel, OpenChannel, OpenFlags, OpenSignal, Pause, RelIdReleased,
    RequestOffers, Resume, TlConnectRequest, USER_DATA_SIZE, Unload, VP_NONE, VersionResponse,
    connection_id,
};

use super::*;

const RAM: u64 = 16 << 20;

/// A server, the messages that it has sent, and the effects that a device would see.
struct Bench {
    server: Server,
    sent: Vec<HostMessage>,
    opens: Vec<OpenEffect>,
    closes: Vec<ChannelId>,
    retargets: Vec<(ChannelId, u32)>,
    /// Channels are opened and closed at once.
    prompt: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with_config(ServerConfig::new(2))
    }

    fn with_config(config: ServerConfig) -> Self {
        let mut server = Server::new(config, GuestMemory::new(RAM).unwrap());
        for (interface, instance) in [(class::SCSI, 2), (class::HEARTBEAT, 1)] {
            let mut description =
                OfferDescription::new(interface, Guid::from_fields(instance, 0, 0, [0; 8]));
            description.max_sub_channels = 2;
            server.add_device(description);
        }
        Self {
            server,
            sent: vec![],
            opens: vec![],
            closes: vec![],
            retargets: vec![],
            prompt: true,
        }
    }

    fn connected(version: ProtocolVersion) -> Self {
        let mut bench = Self::new();
        assert!(bench.contact(version).supported);
        bench.post(RequestOffers {});
        bench.take();
        bench
    }

    fn run(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::Message { message, .. } => self.sent.push(message),
                Effect::Open(open) => {
                    let id = open.channel;
                    self.opens.push(*open);
                    if self.prompt {
                        self.server.opened(id, true);
                    }
                }
                Effect::Close(id) => {
                    self.closes.push(id);
                    if self.prompt {
                        self.server.closed(id);
                    }
                }
                Effect::Retarget { channel, vp } => self.retargets.push((channel, vp)),
            }
        }
    }

    fn post<'a>(&mut self, message: impl Into<GuestMessage<'a>>) {
        let mut buffer = MessageBuffer::new();
        message.into().emit(&mut buffer).unwrap();
        self.server
            .handle_message(connection_id::MESSAGE, buffer.as_bytes());
        self.run();
    }

    fn take(&mut self) -> Vec<HostMessage> {
        std::mem::take(&mut self.sent)
    }

    fn contact(&mut self, version: ProtocolVersion) -> VersionResponse {
        self.contact_with(&contact(version))
    }

    fn contact_with(&mut self, message: &InitiateContact) -> VersionResponse {
        let mut buffer = MessageBuffer::new();
        GuestMessage::InitiateContact(*message)
            .emit(&mut buffer)
            .unwrap();
        let id = if message.version >= ProtocolVersion::V5_0.wire() {
            4
        } else {
            1
        };
        self.server.handle_message(id, buffer.as_bytes());
        self.run();
        match self.take().pop() {
            Some(HostMessage::VersionResponse(response)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    fn gpadl(&mut self, channel: u32, id: u32, pages: u32) -> HostMessage {
        let mut data = u64::from(pages * 4096).to_le_bytes().to_vec();
        data.extend((0..u64::from(pages)).flat_map(u64::to_le_bytes));
        let header = GpadlHeader {
            channel_id: ChannelId(channel),
            gpadl_id: GpadlId(id),
            range_bytes: data.len() as u16,
            range_count: 1,
            data: &data,
        };
        self.post(header);
        self.take().pop().unwrap()
    }

    fn open(&mut self, channel: u32) {
        let HostMessage::GpadlCreated(created) = self.gpadl(channel, channel + 100, 8) else {
            panic!()
        };
        assert!(created.status.is_success());
        self.post(open(channel, channel + 100));
        assert!(
            matches!(self.take()[..], [HostMessage::OpenChannelResult(result)] if result.status.is_success())
        );
        assert_eq!(
            self.server.channel_phase(ChannelId(channel)),
            Some(ChannelPhase::Open)
        );
    }
}

fn contact(version: ProtocolVersion) -> InitiateContact {
    InitiateContact {
        version: version.wire(),
        target_message_vp: 1,
        target: if version >= ProtocolVersion::V5_0 {
            ContactTarget::Signal {
                sint: 2,
                vtl: 0,
                features: FeatureFlags::empty(),
            }
        } else {
            ContactTarget::InterruptPage(0x5000)
        },
        monitor_pages: MonitorPages {
            parent_to_child: 0x6000,
            child_to_parent: 0x7000,
        },
        client_id: None,
    }
}

fn open(channel: u32, gpadl: u32) -> OpenChannel {
    OpenChannel {
        channel_id: ChannelId(channel),
        open_id: 77,
        ring_gpadl_id: GpadlId(gpadl),
        target_vp: 1,
        downstream_page_offset: 4,
        user_data: [9; USER_DATA_SIZE],
        signal: None,
    }
}

fn offers(messages: &[HostMessage]) -> Vec<OfferChannel> {
    let offers = messages.iter().filter_map(|message| match message {
        HostMessage::OfferChannel(offer) => Some(*offer),
        _ => None,
    });
    offers.collect()
}

// 1, 2
#[test]
fn every_version_is_accepted_up_to_the_cap() {
    for cap in ProtocolVersion::ALL_NEWEST_FIRST {
        let mut bench = Bench::with_config(ServerConfig {
            newest: cap,
            ..ServerConfig::new(2)
        });
        for version in ProtocolVersion::ALL_NEWEST_FIRST {
            let response = bench.contact(version);
            assert_eq!(
                response.supported,
                version <= cap,
                "{version} at a host of {cap}"
            );
            if version > cap {
                assert_eq!(response, VersionResponse::UNSUPPORTED);
                assert_eq!(bench.server.version(), None);
            } else {
                let expected = if version >= ProtocolVersion::V5_0 {
                    1
                } else {
                    version.wire()
                };
                assert_eq!(response.version_or_connection_id, expected);
                assert_eq!(
                    response.features.is_some(),
                    version >= ProtocolVersion::V6_0
                );
                assert_eq!(bench.server.version(), Some(version));
            }
        }
    }
    let mut unknown = contact(ProtocolVersion::V5_3);
    unknown.version = 0x0005_0004;
    assert_eq!(
        Bench::new().contact_with(&unknown),
        VersionResponse::UNSUPPORTED
    );
}

// 3
#[test]
fn one_monitor_page_alone_is_a_failure() {
    let mut bench = Bench::new();
    let mut message = contact(ProtocolVersion::V5_2);
    message.monitor_pages.child_to_parent = 0;
    let response = bench.contact_with(&message);
    assert!(response.supported);
    assert_eq!(response.connection_state, ConnectionState::UNKNOWN_FAILURE);
    assert_eq!(bench.server.version(), None);
    let mut old = contact(ProtocolVersion::V1_1);
    old.monitor_pages.child_to_parent = 0;
    assert_eq!(bench.contact_with(&old), VersionResponse::UNSUPPORTED);
}

// 4
#[test]
fn contact_while_connected_closes_everything_first() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    let mut buffer = MessageBuffer::new();
    GuestMessage::InitiateContact(contact(ProtocolVersion::V5_3))
        .emit(&mut buffer)
        .unwrap();
    bench.server.handle_message(4, buffer.as_bytes());
    bench.run();
    assert_eq!(bench.closes, [ChannelId(1)]);
    assert!(
        bench.take().is_empty(),
        "no answer before the channel is closed"
    );
    bench.server.closed(ChannelId(1));
    bench.run();
    assert!(
        matches!(bench.take()[..], [HostMessage::VersionResponse(response)] if response.supported)
    );
    assert_eq!(bench.server.snapshot().gpadls, 0);
}

// 5, 6, 7, 8, 43
#[test]
fn offers_come_once_sorted_and_complete() {
    let mut bench = Bench::new();
    bench.post(RequestOffers {});
    assert!(bench.take().is_empty(), "not connected");
    let mut first = None;
    for _ in 0..2 {
        bench.contact(ProtocolVersion::V5_3);
        bench.post(RequestOffers {});
        let messages = bench.take();
        assert!(matches!(
            messages.last(),
            Some(HostMessage::AllOffersDelivered(_))
        ));
        let offers = offers(&messages);
        assert_eq!(offers.len(), 2);
        assert!(offers.is_sorted_by_key(|offer| offer.interface));
        for (offer, id) in offers.iter().zip(1..) {
            assert_eq!(
                (offer.channel_id, offer.sub_channel_index),
                (ChannelId(id), 0)
            );
            assert!(offer.dedicated_interrupt);
            assert_eq!(offer.connection_id, 0x2000 | id);
            assert_eq!(offer.monitor_id, None);
        }
        assert_eq!(
            *first.get_or_insert(offers.clone()),
            offers,
            "ids are stable over reconnects"
        );
        bench.post(RequestOffers {});
        assert!(bench.take().is_empty(), "only once");
    }
}

#[test]
fn shared_signals_before_version_1_1() {
    let mut bench = Bench::new();
    bench.contact(ProtocolVersion::V0_13);
    bench.post(RequestOffers {});
    for offer in offers(&bench.take()) {
        assert!(!offer.dedicated_interrupt);
    }
    bench.open(1);
    assert_eq!(bench.opens[0].connection_id, None);
    assert_eq!(bench.opens[0].vp, Some(0));
    assert_eq!(bench.server.interrupt_page(), Some(0x5000));
}

// 16
#[test]
fn open_is_refused_where_the_ring_is_wrong() {
    let good = open(1, 101);
    for (change, why) in [
        (
            Box::new(|open: &mut OpenChannel| open.ring_gpadl_id = GpadlId(5))
                as Box<dyn Fn(&mut OpenChannel)>,
            "GPADL",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 0),
            "no upstream ring",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 1),
            "no upstream data",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 7),
            "no downstream data",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 8),
            "no downstream ring",
        ),
        (
            Box::new(|open| open.downstream_page_offset = u32::MAX),
            "offset beyond",
        ),
        (Box::new(|open| open.target_vp = 2), "no such processor"),
        (
            Box::new(|open| open.ring_gpadl_id = GpadlId(102)),
            "another channel's GPADL",
        ),
    ] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.gpadl(1, 101, 8);
        bench.gpadl(2, 102, 8);
        let mut bad = good;
        change(&mut bad);
        bench.post(bad);
        let [HostMessage::OpenChannelResult(result)] = bench.take()[..] else {
            panic!("{why}")
        };
        assert!(!result.status.is_success(), "{why}");
        assert_eq!((result.channel_id, result.open_id), (ChannelId(1), 77));
        assert_eq!(
            bench.server.channel_phase(ChannelId(1)),
            Some(ChannelPhase::Closed)
        );
        // The GPADL lives on until the guest tears it down, and a good open succeeds.
        bench.post(good);
        assert!(
            matches!(bench.take()[..], [HostMessage::OpenChannelResult(result)] if result.status.is_success())
        );
    }
}

// 18, 38
#[test]
fn an_open_channel_is_not_opened_again() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.post(open(1, 101));
    assert!(bench.take().is_empty());
    bench.gpadl(2, 102, 8);
    bench.post(OpenChannel {
        target_vp: VP_NONE,
        ..open(2, 102)
    });
    assert_eq!(bench.opens[1].vp, None);
}

// 19, 20
#[test]
fn close_answers_nothing_and_teardown_waits_for_its_end() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    bench.post(CloseChannel {
        channel_id: ChannelId(1),
    });
    let teardown = GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: GpadlId(101),
    };
    bench.post(teardown);
    bench.post(teardown);
    assert!(bench.take().is_empty());
    bench.server.closed(ChannelId(1));
    bench.run();
    assert!(
        matches!(bench.take()[..], [HostMessage::GpadlTorndown(torn)] if torn.gpadl_id == GpadlId(101))
    );
}

#[test]
fn an_open_during_the_close_follows_it() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    bench.post(CloseChannel {
        channel_id: ChannelId(1),
    });
    bench.gpadl(1, 500, 8);
    bench.post(open(1, 500));
    bench.post(open(1, 500));
    assert_eq!(bench.opens.len(), 1);
    bench.prompt = true;
    bench.server.closed(ChannelId(1));
    bench.run();
    assert_eq!(bench.opens.len(), 2);
    assert_eq!(
        bench.server.channel_phase(ChannelId(1)),
        Some(ChannelPhase::Open)
    );
}

// 21, 22
#[test]
fn fault_27_rescind_closed_opening_open_and_twice() {
    for phase in [
        ChannelPhase::Closed,
        ChannelPhase::Opening,
        ChannelPhase::Open,
        ChannelPhase::Closing,
    ] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        let device = DeviceId(0);
        let id = bench.server.channels_of(device).next().unwrap();
        bench.gpadl(id.0, 7, 8);
        bench.prompt = phase == ChannelPhase::Open;
        if phase != ChannelPhase::Closed {
            bench.post(open(id.0, 7));
        }
        if phase == ChannelPhase::Closing {
            bench.server.opened(id, true);
            bench.run();
            bench.post(CloseChannel { channel_id: id });
        }
        bench.take();
        assert_eq!(bench.server.channel_phase(id), Some(phase));
        bench.prompt = false;
        bench.server.remove_device(device);
        bench.server.remove_device(device);
        bench.run();
        if phase == ChannelPhase::Open {
            // The guest has not heard of it.
            bench.post(CloseChannel { channel_id: id });
            assert_eq!(bench.server.snapshot().counters.unexpected, 0);
        }
        if phase == ChannelPhase::Opening {
            assert!(bench.take().is_empty());
            bench.server.opened(id, true);
            bench.run();
        }
        if phase != ChannelPhase::Closed {
            assert!(
                bench.take().is_empty(),
                "{phase:?}: not rescinded before it is closed"
            );
            bench.server.closed(id);
            bench.run();
        }
        let rescinded =
            |message: &HostMessage| matches!(message, HostMessage::RescindChannelOffer(_));
        assert_eq!(
            bench
                .take()
                .iter()
                .filter(|message| rescinded(message))
                .count(),
            1,
            "{phase:?}"
        );
        assert_eq!(
            bench.server.channel_phase(id),
            Some(ChannelPhase::Rescinded)
        );
        // What the guest still says about it is tolerated.
        bench.post(open(id.0, 7));
        bench.post(CloseChannel { channel_id: id });
        assert!(bench.take().is_empty());
        assert!(
            matches!(bench.gpadl(id.0, 8, 2), HostMessage::GpadlCreated(created) if created.status.is_success())
        );
        bench.post(GpadlTeardown {
            channel_id: id,
            gpadl_id: GpadlId(8),
        });
        assert!(matches!(bench.take()[..], [HostMessage::GpadlTorndown(_)]));
        bench.post(RelIdReleased { channel_id: id });
        assert_eq!(bench.server.channel_phase(id), None);
        bench.post(RelIdReleased { channel_id: id });
        assert_eq!(bench.server.snapshot().gpadls, 0);
    }
}

// 6
#[test]
fn fault_24_an_id_is_not_reused_before_its_release() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    let id = bench.server.channels_of(DeviceId(0)).next().unwrap();
    bench.server.remove_device(DeviceId(0));
    bench
        .server
        .add_device(OfferDescription::new(class::SCSI, Guid::ZERO));
    bench.run();
    assert_ne!(offers(&bench.take())[0].channel_id, id);
    bench.post(RelIdReleased { channel_id: id });
    bench
        .server
        .add_device(OfferDescription::new(class::SCSI, Guid::ZERO));
    bench.run();
    assert_eq!(offers(&bench.take())[0].channel_id, id);
}

// 23, 24
#[test]
fn interrupts_are_moved_before_the_answer() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    for (target_vp, good) in [(0, true), (2, false), (VP_NONE, false)] {
        bench.post(ModifyChannel {
            channel_id: ChannelId(1),
            target_vp,
        });
        let [HostMessage::ModifyChannelResponse(response)] = bench.take()[..] else {
            panic!()
        };
        assert_eq!(response.status.is_success(), good);
    }
    assert_eq!(bench.retargets, [(ChannelId(1), 0)]);
    bench.post(ModifyChannel {
        channel_id: ChannelId(2),
        target_vp: 0,
    });
    assert!(
        matches!(bench.take()[..], [HostMessage::ModifyChannelResponse(r)] if !r.status.is_success())
    );
    let mut old = Bench::connected(ProtocolVersion::V4_1);
    old.open(1);
    old.post(ModifyChannel {
        channel_id: ChannelId(1),
        target_vp: 0,
    });
    assert!(old.take().is_empty(), "no answer before 5.3");
    assert_eq!(old.retargets.len(), 1);
}

// 25, 26
#[test]
fn unload_is_answered_when_all_is_released() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.open(2);
    bench.prompt = false;
    bench.post(Unload {});
    assert!(bench.take().is_empty());
    bench.server.closed(ChannelId(1));
    bench.run();
    assert!(bench.take().is_empty());
    bench.server.closed(ChannelId(2));
    bench.run();
    assert!(matches!(bench.take()[..], [HostMessage::UnloadResponse(_)]));
    assert_eq!(bench.server.snapshot().gpadl_pages, 0);
    let mut idle = Bench::connected(ProtocolVersion::V3_0);
    idle.post(Unload {});
    assert!(matches!(idle.take()[..], [HostMessage::UnloadResponse(_)]));
    let mut oldest = Bench::connected(ProtocolVersion::V0_13);
    oldest.post(Unload {});
    assert!(oldest.take().is_empty(), "the answer exists from 1.1 on");
    assert_eq!(oldest.server.version(), None);
}

#[test]
fn fault_36_reconnect_after_the_partition_was_reset() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.server.reset();
    bench.run();
    assert!(bench.take().is_empty());
    assert_eq!(bench.server.snapshot().channels, []);
    assert!(bench.contact(ProtocolVersion::V4_0).supported);
    bench.post(RequestOffers {});
    assert_eq!(offers(&bench.take()).len(), 2);
    bench.open(1);
}

// 35
#[test]
fn a_paused_connection_holds_its_messages() {
    let mut bench = Bench::new();
    let mut message = contact(ProtocolVersion::V6_0);
    message.target = ContactTarget::Signal {
        sint: 2,
        vtl: 0,
        features: FeatureFlags::all(),
    };
    message.client_id = Some(Guid::ZERO);
    let response = bench.contact_with(&message);
    // 41
    assert_eq!(response.features, Some(ServerConfig::IMPLEMENTED_FEATURES));
    bench.post(Pause {});
    assert!(matches!(bench.take()[..], [HostMessage::PauseResponse(_)]));
    bench.post(RequestOffers {});
    bench
        .server
        .add_device(OfferDescription::new(class::VIDEO, Guid::ZERO));
    assert!(bench.take().is_empty());
    bench.post(Resume {});
    bench.post(RequestOffers {});
    assert_eq!(offers(&bench.take()).len(), 3);
    // MODIFY_CONNECTION is part of 6.0 too.
    bench.post(ModifyConnection {
        parent_to_child_page: 0x1000,
        child_to_parent_page: 0,
    });
    assert!(matches!(bench.take()[..],
        [HostMessage::ModifyConnectionResponse(r)] if r.connection_state == ConnectionState::UNKNOWN_FAILURE));
    // 42
    bench.gpadl(1, 101, 8);
    for (connection_id, event_flag, good) in [
        (0, 1, false),
        (9, 2048, false),
        (1 << 24, 1, false),
        (9, 2047, true),
    ] {
        let signal = Some(OpenSignal {
            connection_id,
            event_flag,
            flags: OpenFlags::empty(),
        });
        bench.post(OpenChannel {
            signal,
            ..open(1, 101)
        });
        let [HostMessage::OpenChannelResult(result)] = bench.take()[..] else {
            panic!()
        };
        assert_eq!(
            result.status.is_success(),
            good,
            "{connection_id}/{event_flag}"
        );
    }
    assert_eq!(
        (bench.opens[0].connection_id, bench.opens[0].event_flag),
        (Some(9), 2047)
    );
}

#[test]
fn fault_34_sub_channels_are_bounded_by_their_device() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    let device = DeviceId(0);
    bench.server.request_sub_channels(device, 1);
    bench.run();
    assert!(bench.take().is_empty(), "the primary is not open");
    let primary = bench.server.channels_of(device).next().unwrap();
    bench.open(primary.0);
    for _ in 0..2 {
        bench.server.request_sub_channels(device, u16::MAX);
        bench.run();
    }
    let offers = offers(&bench.take());
    assert_eq!(
        offers
            .iter()
            .map(|offer| offer.sub_channel_index)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    bench.open(offers[0].channel_id.0);
    bench.post(CloseChannel {
        channel_id: primary,
    });
    let messages = bench.take();
    assert_eq!(
        messages.len(),
        2,
        "both sub-channels are rescinded: {messages:?}"
    );
    assert_eq!(
        bench.server.channel_phase(primary),
        Some(ChannelPhase::Closed)
    );
}

// 36
#[test]
fn sockets_are_refused() {
    let request = TlConnectRequest {
        endpoint_id: Guid::ZERO,
        service_id: Guid::ZERO,
        silo_id: None,
    };
    let mut bench = Bench::connected(ProtocolVersion::V4_1);
    bench.post(request);
    assert!(matches!(bench.take()[..],
        [HostMessage::TlConnectResult(result)] if result.status == ReplyStatus::CONNECTION_REFUSED));
    let mut old = Bench::connected(ProtocolVersion::V4_0);
    old.post(request);
    assert!(old.take().is_empty());
}

#[test]
fn reserved_channels_are_closed_already() {
    let mut bench = Bench::new();
    bench.post(CloseReservedChannel {
        channel_id: ChannelId(9),
        target_vp: 1,
        target_sint: 5,
    });
    assert!(matches!(
        bench.take()[..],
        [HostMessage::CloseReservedChannelResponse(_)]
    ));
    bench.post(CloseReservedChannel {
        channel_id: ChannelId(9),
        target_vp: 7,
        target_sint: 5,
    });
    assert!(bench.take().is_empty());
}

// 44
#[test]
fn fault_22_to_23_unknown_and_short_messages_change_nothing() {
    let mut bench = Bench::connected(ProtocolVersion::V6_0);
    let before = bench.server.snapshot().channels;
    for number in 0..64u32 {
        for length in 0..40 {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(length, 0);
            // These two are whole in eight bytes and mean something.
            if length >= 8 && [3, 16].contains(&number) {
                continue;
            }
            bench.server.handle_message(1, &bytes);
            bench.run();
        }
    }
    // A short INITIATE_CONTACT is among them: the connection stands.
    assert_eq!(bench.server.version(), Some(ProtocolVersion::V6_0));
    assert_eq!(bench.server.snapshot().channels, before);
    assert!(bench.server.snapshot().counters.malformed > 1000);
}

#[test]
fn fault_28_messages_about_strangers() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    for id in [0, 3, 2047, 2048, u32::MAX] {
        bench.post(open(id, 1));
        bench.post(CloseChannel {
            channel_id: ChannelId(id),
        });
        bench.post(RelIdReleased {
            channel_id: ChannelId(id),
        });
        bench.post(GpadlTeardown {
            channel_id: ChannelId(id),
            gpadl_id: GpadlId(1),
        });
        bench.post(GpadlBody {
            message_number: 0,
            gpadl_id: GpadlId(id),
            data: &[0; 8],
        });
        assert!(bench.take().is_empty());
        assert!(
            matches!(bench.gpadl(id, 1, 1), HostMessage::GpadlCreated(c) if !c.status.is_success())
        );
    }
}

#[test]
fn fault_30_contact_with_a_processor_or_source_that_is_not_there() {
    let mut bench = Bench::new();
    let mut message = contact(ProtocolVersion::V5_3);
    message.target_message_vp = 2;
    assert_eq!(
        bench.contact_with(&message).connection_state,
        ConnectionState::UNKNOWN_FAILURE
    );
    let mut message = contact(ProtocolVersion::V5_3);
    message.target = ContactTarget::Signal {
        sint: 7,
        vtl: 0,
        features: FeatureFlags::empty(),
    };
    assert_eq!(bench.contact_with(&message), VersionResponse::UNSUPPORTED);
    assert_eq!(bench.server.version(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Message(u8, u32, u32),
    Bytes(Vec<u8>),
    Opened(u32, bool),
    Closed(u32),
    Remove(u32),
    Add,
    SubChannels(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..14u8, 0..6u32, 0..6u32).prop_map(|(kind, a, b)| Step::Message(kind, a, b)),
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        2 => (0..6u32, any::<bool>()).prop_map(|(id, good)| Step::Opened(id, good)),
        2 => (0..6u32).prop_map(Step::Closed),
        1 => (0..4u32).prop_map(Step::Remove),
        1 => Just(Step::Add),
        1 => (0..4u16).prop_map(Step::SubChannels),
    ]
}

proptest! {
    /// Whatever guest and devices do in whatever order: no panic, and the end is clean.
    #[test]
    fn any_order_of_events_ends_clean(steps in proptest::collection::vec(step(), 0..120)) {
        let mut bench = Bench::connected(ProtocolVersion::V6_0);
        bench.prompt = false;
        for step in steps {
            match step {
                Step::Message(kind, a, b) => {
                    let channel_id = ChannelId(a);
                    match kind {
                        0 => { bench.contact_quietly(); }
                        1 => bench.post(RequestOffers {}),
                        2 | 3 => bench.post(open(a, 100 + b)),
                        4 => bench.post(CloseChannel { channel_id }),
                        5 | 6 => {
                            let mut data = u64::from(8 * 4096u32).to_le_bytes().to_vec();
                            data.extend((0..8u64).flat_map(u64::to_le_bytes));
                            let header = GpadlHeader { channel_id, gpadl_id: GpadlId(100 + b), range_bytes: 72,
                                range_count: 1, data: &data };
                            bench.post(header);
                        }
                        7 => bench.post(GpadlTeardown { channel_id, gpadl_id: GpadlId(100 + b) }),
                        8 => bench.post(RelIdReleased { channel_id }),
                        9 => bench.post(Unload {}),
                        10 => bench.post(ModifyChannel { channel_id, target_vp: b }),
                        11 => bench.post(Pause {}),
                        _ => bench.post(Resume {}),
                    }
                }
                Step::Bytes(bytes) => { bench.server.handle_message(4, &bytes); bench.run(); }
                Step::Opened(id, good) => { bench.server.opened(ChannelId(id), good); bench.run(); }
                Step::Closed(id) => { bench.server.closed(ChannelId(id)); bench.run(); }
                Step::Remove(device) => { bench.server.remove_device(DeviceId(device)); bench.run(); }
                Step::Add => {
                    bench.server.add_device(OfferDescription::new(class::SCSI, Guid::ZERO));
                    bench.run();
                }
                Step::SubChannels(count) => {
                    bench.server.request_sub_channels(DeviceId(0), count);
                    bench.run();
                }
            }
        }
        // Devices come to their ends; then a reset leaves nothing behind.
        bench.prompt = true;
        for _ in 0..2 {
            for id in 0..MAX_CHANNELS {
                bench.server.opened(ChannelId(id), true);
                bench.server.closed(ChannelId(id));
            }
            bench.run();
        }
        bench.server.reset();
        bench.run();
        let end = bench.server.snapshot();
        prop_assert_eq!(end.channels, []);
        prop_assert_eq!((end.gpadls, end.gpadl_pages, end.version), (0, 0, None));
    }
}

impl Bench {
    fn contact_quietly(&mut self) {
        let mut buffer = MessageBuffer::new();
        let mut message = contact(ProtocolVersion::V6_0);
        message.target = ContactTarget::Signal {
            sint: 2,
            vtl: 0,
            features: FeatureFlags::PAUSE_RESUME,
        };
        GuestMessage::InitiateContact(message)
            .emit(&mut buffer)
            .unwrap();
        self.server.handle_message(4, buffer.as_bytes());
        self.run();
    }
}

/// Memory that a device uses stays lent until the device returns it, whatever the guest and its channel do.
#[test]
fn fault_41_a_teardown_waits_for_the_device() {
    let torn = |bench: &mut Bench| {
        let messages = bench.take();
        let count = |message: &&HostMessage| matches!(message, HostMessage::GpadlTorndown(torn) if torn.gpadl_id == GpadlId(200));
        messages.iter().filter(count).count()
    };
    let teardown = || GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: GpadlId(200),
    };
    for close_first in [false, true] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.open(1);
        bench.gpadl(1, 200, 4);
        let lent = bench.server.lend_gpadl(ChannelId(1), GpadlId(200)).unwrap();
        let again = bench.server.lend_gpadl(ChannelId(1), GpadlId(200)).unwrap();
        assert!(
            bench
                .server
                .lend_gpadl(ChannelId(2), GpadlId(200))
                .is_none()
        );
        assert!(
            bench
                .server
                .lend_gpadl(ChannelId(1), GpadlId(201))
                .is_none()
        );
        if close_first {
            bench.post(CloseChannel {
                channel_id: ChannelId(1),
            });
        }
        for _ in 0..2 {
            bench.post(teardown());
            assert_eq!(torn(&mut bench), 0);
            assert!(
                bench
                    .server
                    .lend_gpadl(ChannelId(1), GpadlId(200))
                    .is_none()
            );
        }
        drop(lent);
        bench.server.gpadl_returned(GpadlId(200));
        bench.run();
        assert_eq!(torn(&mut bench), 0, "one use is left");
        drop(again);
        bench.server.gpadl_returned(GpadlId(200));
        bench.server.gpadl_returned(GpadlId(200));
        bench.run();
        assert_eq!(torn(&mut bench), 1);
        bench.post(teardown());
        assert_eq!(torn(&mut bench), 0, "it is gone");
    }
}
