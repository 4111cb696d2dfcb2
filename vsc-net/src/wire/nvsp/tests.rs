//! Known bytes, round trips and any bytes.

use proptest::prelude::*;

use super::*;

#[test]
fn versions_have_their_words() {
    for (version, word, highest) in [
        (Version::V1, 2, 108),
        (Version::V2, 0x30002, 127),
        (Version::V4, 0x40000, 130),
        (Version::V5, 0x50000, 134),
        (Version::V6, 0x60000, 136),
        (Version::V6_1, 0x60001, 136),
    ] {
        assert_eq!(version.wire(), word);
        assert_eq!(Version::try_from(word), Ok(version));
        assert_eq!(version.highest_message().0, highest);
    }
    assert_eq!(Version::try_from(0x30000), Err(UnknownVersion(0x30000)));
    assert_eq!(Version::try_from(u32::MAX), Err(UnknownVersion(u32::MAX)));
}

// The vector of the specification's section 21.
#[test]
fn an_init_has_its_known_bytes() {
    let message = Message::full(&Init {
        min_version: 0x60001.into(),
        max_version: 0x60001.into(),
    });
    let mut expected = [0; 40];
    expected[..12].copy_from_slice(&[1, 0, 0, 0, 1, 0, 6, 0, 1, 0, 6, 0]);
    assert_eq!(message.as_bytes(), expected);
}

#[test]
fn messages_are_as_long_as_their_version_makes_them() {
    let body = RndisPacketComplete { status: 1.into() };
    assert_eq!(Message::new(&body, Version::V6).as_bytes().len(), 28);
    assert_eq!(Message::new(&body, Version::V6_1).as_bytes().len(), 40);
    assert_eq!(Message::full(&body).as_bytes().len(), 40);
    let table = IndirectionTable::new([3; 16]);
    let message = Message::new(&table, Version::V5);
    assert_eq!(message.as_bytes().len(), 76);
    assert_eq!(message.indirection_table(Version::V5), Ok([3; 16]));
}

#[test]
fn indirection_tables_are_checked() {
    let table = IndirectionTable::new(core::array::from_fn(|index| index as u32));
    let good = Message::full(&table);
    let mut padded = [0u8; 104];
    padded[..12].copy_from_slice(&good.as_bytes()[..12]);
    padded[40..].copy_from_slice(&good.as_bytes()[12..]);
    let padded = Message::parse(&padded).unwrap();
    let expected = core::array::from_fn(|index| index as u32);
    assert_eq!(padded.indirection_table(Version::V6), Ok(expected));
    assert_eq!(good.indirection_table(Version::V6_1), Ok(expected));
    for (count, offset) in [(15, 12), (17, 12), (16, 13), (16, 8), (16, u32::MAX)] {
        let message = Message::full(&IndirectionTable {
            count: count.into(),
            offset: offset.into(),
            ..table
        });
        assert_eq!(
            message.indirection_table(Version::V6_1),
            Err(MessageError::IndirectionTable {
                count,
                offset,
                length: 76
            })
        );
    }
}

#[test]
fn bodies_need_their_bytes() {
    assert_eq!(
        Message::parse(&[1, 0, 0]).unwrap_err(),
        MessageError::NoType { length: 3 }
    );
    let message = Message::parse(&[107, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(
        message.body::<RndisPacket>(),
        Err(MessageError::ShortBody {
            message: MessageType::SEND_RNDIS_PACKET,
            length: 8,
            needed: 16
        })
    );
    assert_eq!(
        message.body::<Init>(),
        Err(MessageError::WrongType {
            message: MessageType::SEND_RNDIS_PACKET,
            wanted: MessageType::INIT
        })
    );
}

#[test]
fn dead_messages_are_those_of_the_old_offloads() {
    for number in 0..200 {
        let dead = (109..=127).contains(&number) && number != 125;
        assert_eq!(MessageType(number).is_dead(), dead, "{number}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let Ok(message) = Message::parse(&bytes) else { return Ok(()) };
        let _ = message.body_as::<NdisConfig>();
        let _ = message.body_as::<ReceiveBufferComplete>();
        for version in Version::ALL_NEWEST_FIRST {
            let _ = message.indirection_table(version);
        }
        prop_assert_eq!(message.as_bytes(), &bytes[..bytes.len().min(MAX_MESSAGE_SIZE)]);
    }

    #[test]
    fn bodies_survive_the_wire(mtu: u32, capabilities: u64, gpadl: u32, id: u16) {
        let config = NdisConfig {
            mtu: mtu.into(),
            reserved: 0.into(),
            capabilities: capabilities.into(),
        };
        let message = Message::full(&config);
        prop_assert_eq!(Message::parse(message.as_bytes()).unwrap().body::<NdisConfig>(), Ok(config));
        let buffer = SendBuffer { gpadl: gpadl.into(), id: id.into(), reserved: 0.into() };
        let message = Message::full_as(MessageType::SEND_SEND_BUFFER, &buffer);
        prop_assert_eq!(message.message_type(), MessageType::SEND_SEND_BUFFER);
        prop_assert_eq!(message.body_as::<SendBuffer>(), Ok(buffer));
        prop_assert!(message.body::<SendBuffer>().is_err());
    }
}
