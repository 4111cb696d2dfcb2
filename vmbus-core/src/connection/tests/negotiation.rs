use super::*;
use crate::protocol::{ContactTarget, InitiateContact, MessageType, UnloadResponse};

fn contacts(script: &Script) -> Vec<(u32, InitiateContact)> {
    script
        .log
        .iter()
        .filter_map(|(connection, message)| match message {
            GuestMessage::InitiateContact(contact) => Some((*connection, *contact)),
            _ => None,
        })
        .collect()
}

/// Statements 2, 3, 5 and 6: connection ids, descending versions, the first accepted one stays, one
/// REQUEST_OFFERS.
#[test]
fn every_version_is_negotiated() {
    for agreed in ProtocolVersion::ALL_NEWEST_FIRST {
        let mut script = Script::new(ConnectionOptions {
            message_vp: 3,
            interrupt_page: 0x5000,
            monitor_pages: MonitorPages {
                parent_to_child: 0x6000,
                child_to_parent: 0x7000,
            },
            ..ConnectionOptions::default()
        });
        script.connection.connect(LATE);
        for version in ProtocolVersion::ALL_NEWEST_FIRST {
            assert_eq!(script.types(), [14]);
            if version == agreed {
                break;
            }
            script.send(VersionResponse::UNSUPPORTED).unwrap();
        }
        script.send(accept(agreed)).unwrap();
        let Some(Event::Connected(agreement)) = script.connection.poll_event() else {
            panic!("not connected at {agreed}");
        };
        assert_eq!(agreement.version, agreed);
        assert_eq!(script.types(), [3]);
        assert_eq!(script.types(), []);

        let contacts = contacts(&script);
        let proposed: Vec<_> = contacts
            .iter()
            .map(|(_, contact)| contact.version)
            .collect();
        let expected: Vec<_> = ProtocolVersion::between(ProtocolVersion::NEWEST, agreed)
            .map(ProtocolVersion::wire)
            .collect();
        assert_eq!(proposed, expected);
        for (connection, contact) in contacts {
            let new = contact.version >= ProtocolVersion::V5_0.wire();
            assert_eq!(connection, if new { 4 } else { 1 });
            assert_eq!(contact.target_message_vp, 3);
            assert_eq!(contact.monitor_pages.child_to_parent, 0x7000);
            let features = if contact.version >= ProtocolVersion::V6_0.wire() {
                FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS
            } else {
                FeatureFlags::empty()
            };
            assert_eq!(
                contact.target,
                if new {
                    ContactTarget::Signal {
                        sint: 2,
                        vtl: 0,
                        features,
                    }
                } else {
                    ContactTarget::InterruptPage(0x5000)
                }
            );
        }
        let (connection, _) = script.log.last().unwrap();
        let new = agreed >= ProtocolVersion::V5_0;
        assert_eq!(*connection, if new { 0x4321 } else { 1 });
    }
}

#[test]
fn fault_31_negotiation_refused_at_every_version() {
    let mut script = Script::new(ConnectionOptions {
        newest: ProtocolVersion::V5_3,
        oldest: ProtocolVersion::V2_4,
        ..ConnectionOptions::default()
    });
    script.connection.connect(LATE);
    let mut proposals = 0;
    while script.types() == [14] {
        proposals += 1;
        script.send(VersionResponse::UNSUPPORTED).unwrap();
    }
    assert_eq!(proposals, 8);
    assert_eq!(
        script.events(),
        [Event::ConnectFailed(ConnectError::Refused {
            oldest: ProtocolVersion::V2_4
        })]
    );
    assert_eq!(script.connection.next_deadline(), None);
    assert!(unexpected(script.send(VersionResponse::UNSUPPORTED)));
}

/// Statement 4.
#[test]
fn supported_but_failed_is_a_failure() {
    for version in [ProtocolVersion::V6_0, ProtocolVersion::V2_4] {
        let mut script = Script::new(ConnectionOptions {
            newest: version,
            ..ConnectionOptions::default()
        });
        script.connection.connect(LATE);
        script.posted();
        script
            .send(VersionResponse {
                connection_state: ConnectionState::UNKNOWN_FAILURE,
                ..accept(version)
            })
            .unwrap();
        assert_eq!(
            script.events(),
            [Event::ConnectFailed(ConnectError::Failed {
                version,
                state: ConnectionState::UNKNOWN_FAILURE
            })]
        );
        assert_eq!(script.types(), []);
    }
    // The byte means nothing before 2.4.
    let mut script = Script::new(ConnectionOptions {
        newest: ProtocolVersion::V1_1,
        ..ConnectionOptions::default()
    });
    script.connection.connect(LATE);
    script.posted();
    script
        .send(VersionResponse {
            connection_state: ConnectionState(0xFF),
            ..accept(ProtocolVersion::V1_1)
        })
        .unwrap();
    assert!(script.connection.agreement().is_some());
}

#[test]
fn fault_30_version_response_lies() {
    let feature = |bits| VersionResponse {
        features: Some(FeatureFlags::from_bits_retain(bits)),
        ..accept(ProtocolVersion::V6_0)
    };
    let value = |version, value| VersionResponse {
        version_or_connection_id: value,
        ..accept(version)
    };
    for (version, response, field, lie) in [
        (ProtocolVersion::V6_0, feature(0x21), "feature flags", 0x21),
        (
            ProtocolVersion::V6_0,
            feature(0x8000_0000),
            "feature flags",
            0x8000_0000,
        ),
        // The guest has sent no id of a client.
        (ProtocolVersion::V6_0, feature(0x08), "feature flags", 0x08),
        (
            ProtocolVersion::V5_0,
            value(ProtocolVersion::V5_0, 0),
            "message connection id",
            0,
        ),
        (
            ProtocolVersion::V5_3,
            value(ProtocolVersion::V5_3, 0x0100_0001),
            "message connection id",
            0x0100_0001,
        ),
        (
            ProtocolVersion::V4_1,
            value(ProtocolVersion::V4_1, 0x0004_0000),
            "version",
            0x0004_0000,
        ),
    ] {
        let mut script = Script::new(ConnectionOptions {
            newest: version,
            ..ConnectionOptions::default()
        });
        script.connection.connect(LATE);
        script.posted();
        script.send(response).unwrap();
        assert_eq!(
            script.events(),
            [Event::ConnectFailed(ConnectError::InvalidResponse {
                version,
                field,
                value: lie
            })]
        );
        assert_eq!(
            script.types(),
            [],
            "nothing is sent to where the host points"
        );
        assert!(script.connection.agreement().is_none());
    }
    // Features before 6.0 are no features.
    let mut script = Script::new(ConnectionOptions {
        newest: ProtocolVersion::V5_3,
        ..ConnectionOptions::default()
    });
    script.connection.connect(LATE);
    script.posted();
    script
        .send(VersionResponse {
            features: Some(FeatureFlags::all()),
            ..accept(ProtocolVersion::V5_3)
        })
        .unwrap();
    let agreement = script.connection.agreement().unwrap();
    assert_eq!(agreement.features, FeatureFlags::empty());
}

#[test]
fn client_id_is_sent_to_hosts_that_know_it() {
    let id = Guid::from_bytes([9; 16]);
    let mut script = Script::new(ConnectionOptions {
        client_id: Some(id),
        ..ConnectionOptions::default()
    });
    script.connection.connect(LATE);
    script.posted();
    script.send(VersionResponse::UNSUPPORTED).unwrap();
    script.posted();
    let contacts = contacts(&script);
    assert_eq!(contacts[0].1.client_id, Some(id));
    assert_eq!(contacts[1].1.client_id, None);
}

#[test]
fn no_answer_ends_with_the_deadline() {
    let mut script = Script::new(ConnectionOptions::default());
    script.connection.connect(500);
    script.posted();
    assert_eq!(script.connection.next_deadline(), Some(500));
    script.connection.expire(499);
    assert_eq!(script.events(), []);
    script.connection.expire(500);
    assert_eq!(
        script.events(),
        [Event::ConnectFailed(ConnectError::TimedOut)]
    );
    // Too late.
    assert!(unexpected(script.send(accept(ProtocolVersion::V6_0))));
}

#[test]
fn unknown_connection_leads_to_an_older_version() {
    let mut script = Script::new(ConnectionOptions::default());
    script.connection.connect(LATE);
    let mut seen = 0;
    while let Some(outgoing) = script.connection.poll_outgoing() {
        assert!(outgoing.is_initiate_contact());
        seen += 1;
        script.connection.post_failed(&outgoing);
    }
    // Five versions on connection 4; that connection 1 does not exist either ends it.
    assert_eq!(seen, 6);
    assert_eq!(
        script.events(),
        [Event::ConnectFailed(ConnectError::NotPosted)]
    );
    assert_eq!(script.connection.counters().not_posted, 6);
}

#[test]
fn no_versions_between_the_bounds() {
    let mut script = Script::new(ConnectionOptions {
        newest: ProtocolVersion::V2_4,
        oldest: ProtocolVersion::V3_0,
        ..ConnectionOptions::default()
    });
    script.connection.connect(LATE);
    assert_eq!(script.types(), []);
    assert_eq!(
        script.events(),
        [Event::ConnectFailed(ConnectError::NoVersions)]
    );
}

/// Statement 29.
#[test]
fn unload_waits_for_its_answer() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.unload(LATE).unwrap();
    assert_eq!(script.types(), [16]);
    assert_eq!(script.events(), [gone(channel, Departure::Disconnected)]);
    // What the host sent before it heard of the end is of no interest now, and no fault.
    script.send(torndown(gpadl)).unwrap();
    script.send(rescind(channel)).unwrap();
    script.send(scsi(2, 2)).unwrap();
    assert_eq!(script.events(), []);
    assert_eq!(script.connection.counters().late, 3);
    assert_eq!(script.connection.counters().dropped(), 0);
    script.send(UnloadResponse {}).unwrap();
    assert_eq!(
        script.events(),
        [
            Event::GpadlReleased(gpadl),
            Event::Unloaded { confirmed: true }
        ]
    );
    assert_eq!(
        script.connection.unload(LATE),
        Err(RequestError::Disconnected)
    );
    assert!(unexpected(script.send(UnloadResponse {})));
}

#[test]
fn fault_35_unload_never_answered() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.unload(700).unwrap();
    script.posted();
    script.events();
    assert_eq!(script.connection.next_deadline(), Some(700));
    script.connection.expire(700);
    assert_eq!(
        script.events(),
        [
            Event::Unloaded { confirmed: false },
            Event::GpadlLeaked {
                gpadl,
                reason: RequestError::Disconnected
            }
        ],
        "the memory is not given back"
    );
    // A late answer changes nothing.
    assert!(unexpected(script.send(UnloadResponse {})));
    assert_eq!(script.events(), []);
}

#[test]
fn the_oldest_version_has_no_answer_to_unload() {
    let mut script = Script::connected(ProtocolVersion::V0_13);
    script.connection.unload(LATE).unwrap();
    assert_eq!(script.events(), []);
    assert_eq!(script.types(), [16]);
    assert_eq!(script.events(), [Event::Unloaded { confirmed: false }]);
}

#[test]
fn fault_36_reconnect_after_host_restart() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let old = script.offer(scsi(1, 1));
    let other = script.offer(scsi(2, 2));
    let gpadl = script.open(old);
    // The host is another one now, and the guest connects anew, with the version that it had.
    script.connection.connect(LATE);
    assert_eq!(
        script.events(),
        [
            gone(old, Departure::Disconnected),
            gone(other, Departure::Disconnected)
        ]
    );
    assert_eq!(script.types(), [14]);
    assert_eq!(script.log.last().unwrap().0, 4);
    script
        .send(VersionResponse {
            version_or_connection_id: 0x777,
            ..accept(ProtocolVersion::V5_3)
        })
        .unwrap();
    let events = script.events();
    assert_eq!(events[0], Event::GpadlReleased(gpadl));
    assert!(matches!(events[1], Event::Connected(agreement)
        if agreement.message_connection == 0x777));
    assert_eq!(script.types(), [3]);
    assert_eq!(script.log.last().unwrap().0, 0x777);
    // The first device has another id, the second one's id is the first one's.
    let new = script.offer(scsi(5, 1));
    let swapped = script.offer(scsi(1, 2));
    assert_eq!(
        script.connection.offer(new).unwrap().instance,
        Guid::from_bytes([1; 16])
    );
    assert_ne!(swapped, old);
    assert_eq!(script.connection.offer(old), None);
    assert_eq!(
        script.connection.open(old, &open_with(gpadl), LATE),
        Err(RequestError::UnknownChannel)
    );
    script.connection.close(old, LATE);
    assert_eq!(script.types(), [], "an old key closes nothing new");
    script.open(new);
}

#[test]
fn a_reconnect_that_fails_gives_no_memory_back() {
    let mut script = Script::connected(ProtocolVersion::V4_0);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    script.connection.connect(LATE);
    script.posted();
    script.events();
    script.send(VersionResponse::UNSUPPORTED).unwrap();
    assert_eq!(
        script.events(),
        [Event::ConnectFailed(ConnectError::Refused {
            oldest: ProtocolVersion::V4_0
        })]
    );
}

/// Statement 10, and what a version does not have.
#[test]
fn messages_of_newer_versions_are_dropped() {
    let mut script = Script::connected(ProtocolVersion::V5_2);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    let response = crate::protocol::ModifyChannelResponse {
        channel_id: channel.id(),
        status: ReplyStatus::SUCCESS,
    };
    assert_eq!(
        script.send(response),
        Err(MessageError::NotAgreed {
            message_type: MessageType::MODIFY_CHANNEL_RESPONSE,
            version: ProtocolVersion::V5_2
        })
    );
    assert_eq!(script.connection.counters().not_agreed, 1);
}
