//! Every state with every operation.

use vsc_storage::wire::{PacketFlags, SubChannelCount};

use super::*;

const LIMITS: Limits = Limits {
    highest_version: Version::Win10,
    max_sub_channels: 4,
    max_transfer: 0x4_0000,
};

const STATES: [State; 5] = [
    State::Begin,
    State::Version,
    State::Properties,
    State::End,
    State::Ready,
];

fn message(operation: Operation) -> Packet {
    Packet::new(
        operation,
        PacketFlags::REQUEST_COMPLETION,
        NtStatus::SUCCESS,
        52,
    )
}

fn query(word: u16) -> Packet {
    let mut packet = message(Operation::QUERY_PROTOCOL_VERSION);
    packet.set_payload(&VersionPayload {
        version: word.into(),
        revision: 0.into(),
    });
    packet
}

fn sub_channels(count: u16) -> Packet {
    let mut packet = message(Operation::CREATE_SUB_CHANNELS);
    packet.set_payload(&SubChannelCount {
        count: count.into(),
    });
    packet
}

/// A machine that has come to this state at this version.
fn at(state: State, version: Version) -> Protocol {
    let mut protocol = Protocol::new(LIMITS);
    for packet in [
        message(Operation::BEGIN_INIT),
        query(version.wire()),
        message(Operation::QUERY_PROPERTIES),
        message(Operation::END_INIT),
    ] {
        if protocol.state() == state {
            break;
        }
        protocol.receive(&packet);
    }
    assert_eq!(protocol.state(), state);
    protocol
}

fn status(reaction: &Reaction) -> Option<NtStatus> {
    match reaction {
        Reaction::Answer(packet, _) => {
            assert_eq!(packet.operation(), Operation::COMPLETE_IO);
            assert_eq!(packet.flags(), PacketFlags::empty());
            assert_eq!(packet.payload_length(), 52);
            Some(packet.status())
        }
        _ => None,
    }
}

/// H1: every (state, operation) pair has the listed reply and next state.
#[test]
fn every_pair_of_state_and_operation() {
    let ok = NtStatus::SUCCESS;
    for state in STATES {
        for word in 0..20u32 {
            let operation = Operation(word);
            let packet = match operation {
                Operation::QUERY_PROTOCOL_VERSION => query(0x0602),
                Operation::CREATE_SUB_CHANNELS => sub_channels(2),
                other => message(other),
            };
            let mut protocol = at(state, Version::Win10);
            let reaction = protocol.receive(&packet);
            let expected = match (state, operation) {
                (State::Begin, Operation::BEGIN_INIT) => (Some(ok), State::Version),
                (State::Version, Operation::QUERY_PROTOCOL_VERSION) => {
                    (Some(ok), State::Properties)
                }
                (State::Properties, Operation::QUERY_PROPERTIES) => (Some(ok), State::End),
                (State::End | State::Ready, Operation::CREATE_SUB_CHANNELS) => (Some(ok), state),
                (State::End, Operation::END_INIT) => (Some(ok), State::Ready),
                (State::Ready, Operation::EXECUTE_SRB) => (None, State::Ready),
                (
                    State::Ready,
                    Operation::RESET_LUN | Operation::RESET_ADAPTER | Operation::RESET_BUS,
                ) => (Some(ok), State::Ready),
                (_, Operation(1..=14)) => (Some(NtStatus::INVALID_DEVICE_STATE), state),
                // fault 48: unknown operations are refused, and change nothing.
                _ => (Some(NtStatus::INVALID_DEVICE_REQUEST), state),
            };
            assert_eq!(
                (status(&reaction), protocol.state()),
                expected,
                "{operation:?} in {state:?}"
            );
            let executes = matches!(reaction, Reaction::Execute);
            assert_eq!(
                executes,
                state == State::Ready && operation == Operation::EXECUTE_SRB
            );
        }
    }
}

/// H2: the versions accepted; a refused one is echoed, and the guest may try another.
#[test]
fn versions_up_to_the_limit_are_accepted() {
    for highest_version in Version::ALL_NEWEST_FIRST {
        let mut protocol = Protocol::new(Limits {
            highest_version,
            ..LIMITS
        });
        protocol.receive(&message(Operation::BEGIN_INIT));
        for word in 0..=0xFFFF_u16 {
            let accepted = Version::try_from(word).is_ok_and(|version| version <= highest_version);
            let mut fresh = protocol.clone();
            let Reaction::Answer(packet, None) = fresh.receive(&query(word)) else {
                panic!("a query is answered");
            };
            assert_eq!(packet.version().unwrap().version.get(), word);
            let (status, state, version) = if accepted {
                let version = Version::try_from(word).unwrap();
                (NtStatus::SUCCESS, State::Properties, Some(version))
            } else {
                (NtStatus::REVISION_MISMATCH, State::Version, None)
            };
            assert_eq!(packet.status(), status, "{word:#06x}");
            assert_eq!((fresh.state(), fresh.version()), (state, version));
        }
    }
}

#[test]
fn properties_fit_the_dialect() {
    for version in Version::ALL_NEWEST_FIRST {
        let mut protocol = at(State::Properties, version);
        let Reaction::Answer(packet, None) =
            protocol.receive(&message(Operation::QUERY_PROPERTIES))
        else {
            panic!("properties are answered");
        };
        let properties = packet.properties().unwrap();
        let (count, flags) = if version.has_extension() {
            (4, PropertyFlags::MULTI_CHANNEL)
        } else {
            (0, PropertyFlags::empty())
        };
        assert_eq!(properties.max_sub_channels.get(), count);
        assert_eq!(properties.property_flags(), flags);
        assert_eq!(properties.max_transfer_bytes.get(), 0x4_0000);
    }
}

/// H6: more sub-channels than there are is an error and offers none; before END_INIT it may be asked once.
#[test]
fn sub_channels_are_offered_as_asked() {
    for state in [State::End, State::Ready] {
        let mut protocol = at(state, Version::Win8);
        for count in [5, u16::MAX] {
            let reaction = protocol.receive(&sub_channels(count));
            assert!(matches!(
                reaction,
                Reaction::Answer(packet, None) if packet.status() == NtStatus::INVALID_PARAMETER
            ));
        }
        let reaction = protocol.receive(&sub_channels(4));
        assert!(matches!(
            reaction,
            Reaction::Answer(packet, Some(Event::OfferSubChannels(4)))
                if packet.status() == NtStatus::SUCCESS
        ));
        let again = protocol.receive(&sub_channels(2));
        let expected = if state == State::End {
            NtStatus::INVALID_DEVICE_STATE
        } else {
            NtStatus::SUCCESS
        };
        assert_eq!(status(&again), Some(expected));
        let none = at(State::Ready, Version::Win10).receive(&sub_channels(0));
        assert!(matches!(
            none,
            Reaction::Answer(packet, None) if packet.status() == NtStatus::SUCCESS
        ));
        for old in [Version::Win7, Version::Win6] {
            let refused = at(state, old).receive(&sub_channels(1));
            assert_eq!(status(&refused), Some(NtStatus::INVALID_DEVICE_STATE));
        }
    }
}

/// A sub-channel takes commands, and resets once ready; everything else is for the primary channel.
#[test]
fn sub_channels_negotiate_nothing() {
    for word in 0..20u32 {
        let operation = Operation(word);
        for ready in [false, true] {
            let reaction = sub_channel(&message(operation), ready);
            let expected = match operation {
                Operation::EXECUTE_SRB => None,
                Operation::RESET_LUN | Operation::RESET_ADAPTER | Operation::RESET_BUS if ready => {
                    Some(NtStatus::SUCCESS)
                }
                Operation(1..=14) => Some(NtStatus::INVALID_DEVICE_STATE),
                _ => Some(NtStatus::INVALID_DEVICE_REQUEST),
            };
            assert_eq!(status(&reaction), expected, "{operation:?}");
            if operation == Operation::EXECUTE_SRB {
                assert_eq!(matches!(reaction, Reaction::Execute), ready);
                assert_eq!(matches!(reaction, Reaction::Hold), !ready);
            }
        }
    }
}

#[test]
fn short_payloads_are_refused() {
    for (state, operation) in [
        (State::Version, Operation::QUERY_PROTOCOL_VERSION),
        (State::End, Operation::CREATE_SUB_CHANNELS),
    ] {
        let mut protocol = at(state, Version::Win10);
        let packet = Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            1,
        );
        let Reaction::Answer(reply, None) = protocol.receive(&packet) else {
            panic!("a short message is answered");
        };
        assert_eq!(reply.status(), NtStatus::INVALID_PARAMETER);
        assert_eq!(reply.payload_length(), 1);
        assert_eq!(protocol.state(), state);
    }
}
