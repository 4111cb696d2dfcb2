use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::guid::Guid;
use crate::version::{FeatureFlags, ProtocolVersion};

/// Type, who sends it, and the sizes of its forms, as in the protocol's table of messages.
const SIZES: &[(u32, Direction, &[usize])] = &[
    (1, Direction::HostToGuest, &[196]),
    (2, Direction::HostToGuest, &[12]),
    (3, Direction::GuestToHost, &[8]),
    (4, Direction::HostToGuest, &[8]),
    (5, Direction::GuestToHost, &[148, 156]),
    (6, Direction::HostToGuest, &[20]),
    (7, Direction::GuestToHost, &[12]),
    (8, Direction::GuestToHost, &[20]),
    (9, Direction::GuestToHost, &[16]),
    (10, Direction::HostToGuest, &[20]),
    (11, Direction::GuestToHost, &[16]),
    (12, Direction::HostToGuest, &[12]),
    (13, Direction::GuestToHost, &[12]),
    (14, Direction::GuestToHost, &[40]),
    (15, Direction::HostToGuest, &[16, 20, 40]),
    (16, Direction::GuestToHost, &[8]),
    (17, Direction::HostToGuest, &[8]),
    (18, Direction::GuestToHost, &[28]),
    (19, Direction::GuestToHost, &[20]),
    (20, Direction::HostToGuest, &[12]),
    (21, Direction::GuestToHost, &[40, 56]),
    (22, Direction::GuestToHost, &[16]),
    (23, Direction::HostToGuest, &[44]),
    (24, Direction::HostToGuest, &[16]),
    (25, Direction::GuestToHost, &[24]),
    (26, Direction::HostToGuest, &[9]),
    (27, Direction::GuestToHost, &[8]),
    (28, Direction::HostToGuest, &[8]),
    (29, Direction::GuestToHost, &[8]),
];

fn message(message_type: u32, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let header = u64::from(message_type).to_le_bytes();
    let head = length.min(8);
    bytes[..head].copy_from_slice(&header[..head]);
    bytes
}

fn parse_either(direction: Direction, bytes: &[u8]) -> Result<(), MessageError> {
    match direction {
        Direction::GuestToHost => GuestMessage::parse(bytes).map(drop),
        Direction::HostToGuest => HostMessage::parse(bytes).map(drop),
    }
}

/// Parses, emits, and gives the emitted bytes, after checking that they parse to the same.
fn round_trip(direction: Direction, bytes: &[u8]) -> Vec<u8> {
    let mut buffer = MessageBuffer::new();
    match direction {
        Direction::GuestToHost => {
            let parsed = GuestMessage::parse(bytes).unwrap();
            parsed.emit(&mut buffer).unwrap();
            assert_eq!(GuestMessage::parse(buffer.as_bytes()), Ok(parsed));
        }
        Direction::HostToGuest => {
            let parsed = HostMessage::parse(bytes).unwrap();
            parsed.emit(&mut buffer);
            assert_eq!(HostMessage::parse(buffer.as_bytes()), Ok(parsed));
        }
    }
    buffer.as_bytes().to_vec()
}

#[test]
fn table_is_complete() {
    assert_eq!(SIZES.len(), MessageType::ALL.len());
    for (number, direction, _) in SIZES {
        let message_type = MessageType(*number);
        assert!(MessageType::ALL.contains(&message_type));
        assert_eq!(message_type.direction(), Some(*direction), "{message_type}");
    }
}

#[test]
fn fault_22_unknown_message_type() {
    for number in [0, 30, 31, 0xFF, 0x8000_0001, u32::MAX] {
        let bytes = message(number, 240);
        let expected = MessageError::UnknownType {
            message_type: MessageType(number),
        };
        assert_eq!(HostMessage::parse(&bytes), Err(expected));
        assert_eq!(GuestMessage::parse(&bytes), Err(expected));
    }
}

#[test]
fn fault_23_short_message_of_every_type() {
    for (number, direction, sizes) in SIZES {
        for length in 0..sizes[0] {
            let error = parse_either(*direction, &message(*number, length)).unwrap_err();
            assert!(
                matches!(error, MessageError::TooShort { length: l, minimum, .. }
                    if l == length && minimum == if length < 8 { 8 } else { sizes[0] }),
                "type {number}, {length} bytes: {error}"
            );
        }
    }
}

#[test]
fn every_longer_message_is_accepted() {
    for (number, direction, sizes) in SIZES {
        for length in sizes[0]..=MESSAGE_SIZE_MAX {
            // Byte 40 and so on would be read as flags and lengths; zeroes keep those out of the way.
            let mut bytes = vec![0; length];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            parse_either(*direction, &bytes).unwrap();
        }
        let error = parse_either(*direction, &message(*number, 241)).unwrap_err();
        assert_eq!(error, MessageError::TooLong { length: 241 });
    }
}

#[test]
fn wrong_direction_is_refused() {
    for (number, direction, _) in SIZES {
        let bytes = message(*number, 240);
        let (error, expected) = match direction {
            Direction::GuestToHost => (HostMessage::parse(&bytes).unwrap_err(), *direction),
            Direction::HostToGuest => (GuestMessage::parse(&bytes).unwrap_err(), *direction),
        };
        let message_type = MessageType(*number);
        assert_eq!(
            error,
            MessageError::WrongDirection {
                message_type,
                direction: expected
            }
        );
    }
}

/// Each form of each message comes back with its exact size and, but for reserved bytes, its bytes.
#[test]
fn every_form_goes_round() {
    for (number, direction, sizes) in SIZES {
        for size in *sizes {
            let bytes = message(*number, *size);
            let emitted = round_trip(*direction, &bytes);
            assert_eq!(emitted.len(), *size, "type {number}");
        }
    }
}

#[test]
fn contact_forms() {
    let mut contact = InitiateContact {
        version: ProtocolVersion::V4_1.wire(),
        target_message_vp: 1,
        target: ContactTarget::InterruptPage(0x1122_3344_5566_7788),
        monitor_pages: MonitorPages {
            parent_to_child: 0x1000,
            child_to_parent: 0x2000,
        },
        client_id: None,
    };
    let mut buffer = MessageBuffer::new();
    GuestMessage::from(contact).emit(&mut buffer).unwrap();
    assert_eq!(buffer.as_bytes().len(), 40);
    assert_eq!(buffer.as_bytes()[8..12], [1, 0, 4, 0]);
    assert_eq!(
        buffer.as_bytes()[16..24],
        [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]
    );
    assert_eq!(GuestMessage::parse(buffer.as_bytes()), Ok(contact.into()));

    contact.version = ProtocolVersion::V6_0.wire();
    contact.target = ContactTarget::Signal {
        sint: 2,
        vtl: 0,
        features: FeatureFlags::CLIENT_ID,
    };
    contact.client_id = Some(Guid::from_bytes([7; 16]));
    GuestMessage::from(contact).emit(&mut buffer).unwrap();
    assert_eq!(buffer.as_bytes().len(), 56);
    assert_eq!(buffer.as_bytes()[16..24], [2, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(GuestMessage::parse(buffer.as_bytes()), Ok(contact.into()));
    // The flag without the id.
    assert_eq!(
        GuestMessage::parse(&buffer.as_bytes()[..55]),
        Err(MessageError::TooShort {
            message_type: Some(MessageType::INITIATE_CONTACT),
            length: 55,
            minimum: 56
        })
    );
    // What is there before 6.0 in place of the flags means nothing.
    let mut bytes = buffer.as_bytes().to_vec();
    bytes[8..12].copy_from_slice(&ProtocolVersion::V5_3.wire().to_le_bytes());
    let GuestMessage::InitiateContact(parsed) = GuestMessage::parse(&bytes).unwrap() else {
        panic!("not a contact");
    };
    assert_eq!(parsed.client_id, None);
    assert!(
        matches!(parsed.target, ContactTarget::Signal { sint: 2, features, .. }
        if features.is_empty())
    );
}

#[test]
fn response_layout() {
    let response = VersionResponse {
        supported: true,
        connection_state: ConnectionState::LOW_RESOURCES,
        version_or_connection_id: 0x1234,
        features: Some(FeatureFlags::from_bits_retain(0x8000_0041)),
        monitor_pages: Some(MonitorPages {
            parent_to_child: 0,
            child_to_parent: 0x5000,
        }),
    };
    let mut buffer = MessageBuffer::new();
    HostMessage::from(response).emit(&mut buffer);
    let bytes = buffer.as_bytes();
    assert_eq!(
        bytes[8..20],
        [1, 1, 0, 0, 0x34, 0x12, 0, 0, 0x41, 0, 0, 0x80]
    );
    assert_eq!(bytes[32..40], [0, 0x50, 0, 0, 0, 0, 0, 0]);
    assert_eq!(HostMessage::parse(bytes), Ok(response.into()));
    HostMessage::from(VersionResponse::UNSUPPORTED).emit(&mut buffer);
    assert_eq!(
        buffer.as_bytes(),
        [15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn offer_layout() {
    let mut bytes = vec![0; 196];
    bytes[0] = 1;
    bytes[8] = 0xD9;
    bytes[24] = 0x11;
    bytes[56] = 0x10;
    bytes[57] = 0x80;
    bytes[58] = 8;
    bytes[60] = 4;
    bytes[179] = 0xEE;
    bytes[180] = 3;
    bytes[182] = 9;
    bytes[184] = 0xFF;
    bytes[185] = 7;
    bytes[188] = 127;
    bytes[189] = 1;
    bytes[190] = 1;
    bytes[192..196].copy_from_slice(&[0xFF, 0x27, 0, 0xAA]);
    let HostMessage::OfferChannel(offer) = HostMessage::parse(&bytes).unwrap() else {
        panic!("not an offer");
    };
    assert_eq!(offer.interface.to_bytes()[0], 0xD9);
    assert_eq!(offer.instance.to_bytes()[0], 0x11);
    assert!(offer.flags.contains(OfferFlags::NAMED_PIPE_MODE));
    assert_eq!(offer.flags.bits(), 0x8010, "unknown bits survive");
    assert_eq!(offer.pipe_mode(), Some(OfferChannel::PIPE_MODE_MESSAGE));
    assert_eq!(offer.user_data[119], 0xEE);
    assert_eq!(
        (offer.mmio_megabytes, offer.optional_mmio_megabytes),
        (8, 9)
    );
    assert_eq!(
        (offer.sub_channel_index, offer.channel_id),
        (3, ChannelId(2047))
    );
    assert_eq!(
        (offer.monitor_id, offer.dedicated_interrupt),
        (Some(127), true)
    );
    assert_eq!(offer.connection_id, 0xAA00_27FF);
    assert_eq!(round_trip(Direction::HostToGuest, &bytes), bytes);
    bytes[189] = 0xFE;
    let HostMessage::OfferChannel(offer) = HostMessage::parse(&bytes).unwrap() else {
        panic!("not an offer");
    };
    assert_eq!(offer.monitor_id, None);
}

#[test]
fn forms_follow_the_agreement() {
    let open = message(5, 156);
    let signal = |version, features| {
        GuestMessage::parse_for(&open, version, features).map(|parsed| match parsed {
            GuestMessage::OpenChannel(open) => open.signal.is_some(),
            _ => panic!("not an open"),
        })
    };
    let feature = FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS;
    assert_eq!(signal(ProtocolVersion::V6_0, feature), Ok(true));
    assert_eq!(
        signal(ProtocolVersion::V6_0, FeatureFlags::PAUSE_RESUME),
        Ok(false)
    );
    assert_eq!(signal(ProtocolVersion::V5_3, feature), Ok(false));
    assert_eq!(
        GuestMessage::parse_for(&open[..150], ProtocolVersion::V6_0, feature),
        Err(MessageError::TooShort {
            message_type: Some(MessageType::OPEN_CHANNEL),
            length: 150,
            minimum: 156
        })
    );
    let modify = message(22, 16);
    assert!(GuestMessage::parse_for(&modify, ProtocolVersion::V4_1, FeatureFlags::empty()).is_ok());
    assert_eq!(
        GuestMessage::parse_for(&modify, ProtocolVersion::V4_0, FeatureFlags::empty()),
        Err(MessageError::NotAgreed {
            message_type: MessageType::MODIFY_CHANNEL,
            version: ProtocolVersion::V4_0
        })
    );
    let pause = message(27, 8);
    let parse = |features| GuestMessage::parse_for(&pause, ProtocolVersion::V6_0, features);
    assert!(parse(FeatureFlags::PAUSE_RESUME).is_ok());
    assert!(parse(!FeatureFlags::PAUSE_RESUME).is_err());
}

#[test]
fn page_list_that_does_not_fit_is_refused() {
    let data = [0; 241];
    let mut buffer = MessageBuffer::new();
    for (length, fits) in [(GPADL_HEADER_BYTES, true), (220, true), (221, false)] {
        let header = GpadlHeader {
            channel_id: ChannelId(1),
            gpadl_id: GpadlId(1),
            range_bytes: 300,
            range_count: 1,
            data: &data[..length],
        };
        assert_eq!(GuestMessage::from(header).emit(&mut buffer).is_ok(), fits);
    }
    for (length, fits) in [(GPADL_BODY_BYTES, true), (225, false)] {
        let body = GpadlBody {
            message_number: 0,
            gpadl_id: GpadlId(1),
            data: &data[..length],
        };
        assert_eq!(GuestMessage::from(body).emit(&mut buffer).is_ok(), fits);
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail(
        number in 0u32..32,
        mut bytes in proptest::collection::vec(any::<u8>(), 0..260),
    ) {
        if let Some(head) = bytes.get_mut(..4) {
            head.copy_from_slice(&number.to_le_bytes());
        }
        let mut buffer = MessageBuffer::new();
        if let Ok(parsed) = HostMessage::parse(&bytes) {
            parsed.emit(&mut buffer);
            prop_assert_eq!(HostMessage::parse(buffer.as_bytes()), Ok(parsed));
        }
        if let Ok(parsed) = GuestMessage::parse(&bytes) {
            parsed.emit(&mut buffer).unwrap();
            prop_assert_eq!(GuestMessage::parse(buffer.as_bytes()), Ok(parsed));
        }
    }
}
