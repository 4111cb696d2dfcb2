//! Connecting, pausing, leaving, and messages that are no channel's.

use super::*;

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

/// The guest chooses the processor from 3.0 on.
#[test]
fn messages_go_where_the_guest_wants_them() {
    for version in ProtocolVersion::ALL_NEWEST_FIRST {
        let mut bench = Bench::new();
        assert!(bench.contact(version).supported);
        bench.post(RequestOffers {});
        let vp = u32::from(version >= ProtocolVersion::V3_0);
        assert_eq!(bench.targets, [(vp, VMBUS_SINT); 4], "{version}");
    }
}

/// There is no server for another trust level; below the multi-client connection nobody asks for one.
#[test]
fn another_trust_level_gets_no_answer() {
    let mut message = contact(ProtocolVersion::V5_3);
    message.target = ContactTarget::Signal {
        sint: 2,
        vtl: 2,
        features: FeatureFlags::empty(),
    };
    for (connection, connects) in [(4, false), (1, true)] {
        let mut bench = Bench::new();
        let mut buffer = MessageBuffer::new();
        GuestMessage::from(message).emit(&mut buffer).unwrap();
        bench.server.handle_message(connection, buffer.as_bytes());
        bench.run();
        assert_eq!(bench.take().len(), usize::from(connects));
        assert_eq!(bench.server.version().is_some(), connects);
    }
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

/// These flags speak of features of 6.0 that are not granted.
#[test]
fn offers_claim_no_feature_that_is_not_granted() {
    let mut bench = Bench::connected(ProtocolVersion::V6_0);
    let mut description = OfferDescription::new(class::VIDEO, Guid::ZERO);
    description.flags = u16::MAX;
    bench.server.add_device(description);
    bench.run();
    assert_eq!(offers(&bench.take())[0].flags.bits(), !0xE);
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

// 35
#[test]
fn what_comes_up_during_a_pause_is_told_after_it() {
    let mut bench = Bench::new();
    bench.contact_quietly();
    bench.post(RequestOffers {});
    bench.post(Pause {});
    bench.take();
    bench
        .server
        .add_device(OfferDescription::new(class::VIDEO, Guid::ZERO));
    bench.server.remove_device(DeviceId(0));
    bench.run();
    assert_eq!(bench.take(), []);
    bench.post(Resume {});
    assert!(matches!(
        bench.take()[..],
        [
            HostMessage::OfferChannel(_),
            HostMessage::RescindChannelOffer(_)
        ]
    ));
}

// 35
#[test]
fn a_paused_connection_drops_all_but_what_ends_the_pause() {
    let paused = || {
        let mut bench = Bench::new();
        bench.contact_quietly();
        bench.post(Pause {});
        bench.take();
        bench
    };
    let reserved = CloseReservedChannel {
        channel_id: ChannelId(9),
        target_vp: 1,
        target_sint: 5,
    };
    let mut bench = paused();
    bench.post(reserved);
    bench.post(Pause {});
    assert_eq!(bench.take(), []);
    assert_eq!(bench.server.snapshot().counters.unexpected, 2);
    bench.post(Resume {});
    assert_eq!(bench.take(), [], "what was dropped is not made up for");
    bench.post(reserved);
    assert_eq!(bench.take().len(), 1);
    let mut bench = paused();
    bench.post(Unload {});
    assert!(matches!(bench.take()[..], [HostMessage::UnloadResponse(_)]));
    let mut bench = paused();
    assert!(bench.contact(ProtocolVersion::V6_0).supported);
}

/// A device that comes while the guest leaves is for the guest's next connection.
#[test]
fn a_device_that_comes_during_the_unload_does_not_hold_it_up() {
    for again in [false, true] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.open(1);
        bench.prompt = false;
        bench.post(Unload {});
        bench
            .server
            .add_device(OfferDescription::new(class::VIDEO, Guid::ZERO));
        if again {
            bench.contact_quietly();
        }
        assert_eq!(bench.take(), [], "neither an offer nor an early answer");
        bench.server.closed(ChannelId(1));
        bench.run();
        match bench.take()[..] {
            [HostMessage::UnloadResponse(_)] => assert!(!again),
            [HostMessage::VersionResponse(response)] => assert!(again && response.supported),
            ref other => panic!("{other:?}"),
        }
        if !again {
            bench.contact_quietly();
            bench.take();
        }
        bench.post(RequestOffers {});
        assert_eq!(offers(&bench.take()).len(), 3);
    }
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
