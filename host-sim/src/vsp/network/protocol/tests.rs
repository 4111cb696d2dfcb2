//! Scripted guests against the state machine.

use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits {
        highest_version: Version::V6_1,
        max_sub_channels: 7,
    }
}

fn init(version: u32) -> Message {
    Message::full(&Init {
        min_version: version.into(),
        max_version: version.into(),
    })
}

fn status_of_init(reaction: &Reaction) -> u32 {
    match reaction {
        Reaction::Answer(Some(message)) => message.body::<InitComplete>().unwrap().status.get(),
        other => panic!("{other:?}"),
    }
}

fn config(mtu: u32) -> Message {
    Message::full(&NdisConfig {
        mtu: mtu.into(),
        reserved: 0.into(),
        capabilities: 0x28.into(),
    })
}

fn ndis() -> Message {
    Message::full(&NdisVersion {
        major: 6.into(),
        minor: 0x1E.into(),
    })
}

fn buffer(message: MessageType) -> Message {
    Message::full_as(
        message,
        &SendBuffer {
            gpadl: 7.into(),
            id: 0xCAFE.into(),
            reserved: 0.into(),
        },
    )
}

fn is_fault(reaction: &Reaction) -> bool {
    matches!(reaction, Reaction::Fault(_))
}

fn configured(version: Version) -> Protocol {
    let mut protocol = Protocol::new(limits());
    assert_eq!(status_of_init(&protocol.receive(&init(version.wire()))), 1);
    if version.has_ndis_config() {
        assert!(matches!(
            protocol.receive(&config(1514)),
            Reaction::Answer(None)
        ));
    }
    assert!(matches!(protocol.receive(&ndis()), Reaction::Answer(None)));
    protocol
}

fn running(version: Version) -> Protocol {
    let mut protocol = configured(version);
    let lend = protocol.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER));
    assert!(matches!(lend, Reaction::LendReceiveBuffer { gpadl: 7 }));
    protocol.receive_buffer_lent(Some((1824, 100)));
    let packet = Message::full(&RndisPacket {
        channel_type: 1.into(),
        section_index: u32::MAX.into(),
        section_size: 0.into(),
    });
    assert!(matches!(protocol.receive(&packet), Reaction::Rndis(_)));
    assert_eq!(protocol.state(), State::Running);
    protocol
}

// H1, H2
#[test]
fn unknown_versions_leave_the_guest_free_to_try_another() {
    let mut protocol = Protocol::new(Limits {
        highest_version: Version::V5,
        max_sub_channels: 0,
    });
    for version in [0x60001, 0x60000, 0, u32::MAX, 0x30000] {
        assert_ne!(status_of_init(&protocol.receive(&init(version))), 1);
        assert_eq!(protocol.state(), State::Init);
    }
    assert_eq!(status_of_init(&protocol.receive(&init(0x50000))), 1);
    assert_eq!(protocol.version(), Some(Version::V5));
    assert!(is_fault(&protocol.receive(&init(0x50000))), "twice");
    // Anything else comes after it.
    assert!(is_fault(&Protocol::new(limits()).receive(&config(1514))));
}

// H4
#[test]
fn fault_63_nonsense_mtus_become_the_default() {
    for (asked, given) in [
        (1514, 1514),
        (9014, 9014),
        (9216, 9216),
        (9217, 1514),
        (1500, 1514),
        (0, 1514),
        (u32::MAX, 1514),
    ] {
        let mut protocol = Protocol::new(limits());
        protocol.receive(&init(Version::V6_1.wire()));
        protocol.receive(&config(asked));
        assert_eq!(protocol.mtu(), given);
    }
}

// H5
#[test]
fn the_order_of_the_initialisation_is_kept() {
    let mut protocol = Protocol::new(limits());
    protocol.receive(&init(Version::V2.wire()));
    let mut early = protocol.clone();
    assert!(is_fault(
        &early.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER))
    ));
    let mut twice = configured(Version::V2);
    assert!(is_fault(&twice.clone().receive(&config(1514))));
    assert!(is_fault(&twice.clone().receive(&ndis())));
    let packet = Message::full(&RndisPacket {
        channel_type: 1.into(),
        section_index: u32::MAX.into(),
        section_size: 0.into(),
    });
    assert!(is_fault(&twice.clone().receive(&packet)));
    twice.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER));
    let mut failed = twice.clone();
    failed.receive_buffer_lent(None);
    assert!(matches!(
        failed.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER)),
        Reaction::LendReceiveBuffer { .. }
    ));
    twice.receive_buffer_lent(Some((1824, 10)));
    assert!(is_fault(
        &twice.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER))
    ));
    // Version 1 has no configuration.
    let mut first = configured(Version::V1);
    assert!(matches!(
        first.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER)),
        Reaction::LendReceiveBuffer { .. }
    ));
    assert!(is_fault(&first.receive(&config(1514))));
}

// H2, H40
#[test]
fn messages_beyond_the_version_and_dead_ones_are_faults() {
    for version in Version::ALL_NEWEST_FIRST {
        for number in 0..=200u32 {
            let mut bytes = [0u8; 40];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let reaction = running(version).receive(&Message::parse(&bytes).unwrap());
            let beyond = number > version.highest_message().0;
            let dead = MessageType(number).is_dead();
            if beyond || dead {
                assert!(is_fault(&reaction), "{number} in {version}");
            }
        }
    }
    let mut protocol = running(Version::V6_1);
    for message in [MessageType::OID_QUERY_EX, MessageType::PACKET_DIRECT_API] {
        let reaction = protocol.receive(&buffer(message));
        assert!(matches!(reaction, Reaction::Answer(Some(_))), "{message:?}");
    }
    // H39
    let switch = protocol.receive(&buffer(MessageType::SWITCH_DATA_PATH));
    assert!(matches!(switch, Reaction::Answer(None)));
}

// H35
#[test]
fn sub_channels_are_granted_once_and_within_the_limit() {
    let request = |operation: u32, count: u32| {
        Message::full(&SubChannelRequest {
            operation: operation.into(),
            count: count.into(),
        })
    };
    let refused = |reaction: Reaction| match reaction {
        Reaction::Answer(Some(message)) => {
            let complete: SubChannelComplete = message.body().unwrap();
            (complete.status.get(), complete.count.get()) == (2, 0)
        }
        _ => false,
    };
    let mut protocol = running(Version::V5);
    for (operation, count) in [(0, 1), (2, 1), (1, 8), (1, u32::MAX), (1, 0x1_0001)] {
        assert!(
            refused(protocol.receive(&request(operation, count))),
            "{operation} {count}"
        );
    }
    let Reaction::SubChannels { count: 0 } = protocol.receive(&request(1, 0)) else {
        panic!()
    };
    let complete: SubChannelComplete = protocol.sub_channels_granted(Some(0)).body().unwrap();
    assert_eq!((complete.status.get(), complete.count.get()), (1, 0));
    let Reaction::SubChannels { count: 7 } = protocol.receive(&request(1, 7)) else {
        panic!()
    };
    protocol.sub_channels_granted(Some(7));
    assert_eq!(protocol.sub_channels(), 7);
    assert!(refused(protocol.receive(&request(1, 1))));
}

#[test]
fn nothing_follows_the_revocation() {
    let mut protocol = running(Version::V6_1);
    let revoke = buffer(MessageType::REVOKE_RECEIVE_BUFFER);
    assert!(matches!(
        protocol.receive(&revoke),
        Reaction::RevokeReceiveBuffer
    ));
    assert_eq!(protocol.state(), State::Revoked);
    assert!(matches!(protocol.receive(&revoke), Reaction::Answer(None)));
    let again = protocol.receive(&buffer(MessageType::SEND_RECEIVE_BUFFER));
    assert!(matches!(again, Reaction::Answer(None)));
    let send = protocol.receive(&buffer(MessageType::REVOKE_SEND_BUFFER));
    assert!(matches!(send, Reaction::Answer(None)), "none was lent");
}

proptest! {
    /// Any messages in any order: no panic, and a buffer is lent only where none is.
    #[test]
    fn any_messages_are_survived(
        messages in proptest::collection::vec(
            (prop_oneof![Just(1u32), Just(100), Just(101), Just(103), Just(104), Just(106), Just(107), Just(125), Just(133), 0u32..140],
             proptest::collection::vec(prop_oneof![0u32..4, Just(0x60001), any::<u32>()], 0..9)),
            0..30,
        ),
    ) {
        let mut protocol = Protocol::new(limits());
        let mut lent = false;
        for (number, words) in messages {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            match protocol.receive(&Message::parse(&bytes).unwrap()) {
                Reaction::LendReceiveBuffer { .. } => {
                    prop_assert!(!lent);
                    lent = true;
                    protocol.receive_buffer_lent(Some((1824, 50)));
                }
                Reaction::RevokeReceiveBuffer => {
                    prop_assert!(lent);
                    lent = false;
                }
                Reaction::Rndis(_) => prop_assert!(protocol.version().is_some()),
                _ => {}
            }
        }
    }
}
