//! Known bytes, round trips and any bytes.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::wire::ndis::Oid;

// The vectors of the specification's section 21.
#[test]
fn packets_have_their_known_bytes() {
    let header = PacketHeader::new(120, 16, 60, 60);
    let mut expected = [0u8; 44];
    expected[..16].copy_from_slice(&[1, 0, 0, 0, 0x78, 0, 0, 0, 0x34, 0, 0, 0, 0x3C, 0, 0, 0]);
    expected[28..36].copy_from_slice(&[0x24, 0, 0, 0, 0x10, 0, 0, 0]);
    assert_eq!(header.as_bytes(), expected);

    let info = PacketInfo {
        checksum: Some(TransmitChecksum::tcp(false, 34).0),
        ..PacketInfo::default()
    };
    let mut bytes = [0; 16];
    assert_eq!(info.emit(&mut bytes), Some(16));
    assert_eq!(
        bytes,
        [0x10, 0, 0, 0, 0, 0, 0, 0, 0x0C, 0, 0, 0, 0x05, 0, 0x22, 0]
    );
    assert_eq!(LargeSend::version_2(false, 1460, 34).0, 0x4220_05B4);
    assert_eq!(LargeSend::version_2(true, 1440, 54).0, 0xC360_05A0);
    assert_eq!(
        ReceiveChecksum::TCP_SUCCEEDED | ReceiveChecksum::IP_HEADER_SUCCEEDED,
        0x28
    );
    let tag = VlanTag(0x645);
    assert_eq!((tag.tci(), tag.id(), tag.priority()), (0xA064, 100, 5));
}

#[test]
fn fault_57_lengths_and_offsets_of_packets() {
    let good = PacketHeader::new(120, 16, 60, 60);
    let layout = PacketLayout::parse(&good, 120).unwrap();
    assert_eq!((layout.data_start, layout.ppi_start), (60, 44));
    let with = |change: fn(&mut PacketHeader)| {
        let mut header = good;
        change(&mut header);
        PacketLayout::parse(&header, 120).unwrap_err()
    };
    assert!(matches!(
        PacketLayout::parse(&good, 119).unwrap_err(),
        PacketError::Length { .. }
    ));
    let max = u32::MAX;
    assert!(matches!(
        with(|h| h.message_length = 43.into()),
        PacketError::Length { .. }
    ));
    assert!(matches!(
        with(|h| h.message_length = 0.into()),
        PacketError::Length { .. }
    ));
    assert!(matches!(
        with(|h| h.data_offset = 35.into()),
        PacketError::Data { .. }
    ));
    assert!(matches!(
        with(|h| h.data_offset = u32::MAX.into()),
        PacketError::Data { .. }
    ));
    assert!(matches!(
        with(|h| h.data_length = 61.into()),
        PacketError::Data { .. }
    ));
    assert!(matches!(
        with(|h| h.data_length = u32::MAX.into()),
        PacketError::Data { .. }
    ));
    assert!(matches!(
        with(|h| h.ppi_offset = 0.into()),
        PacketError::PerPacketInfo { .. }
    ));
    assert!(matches!(
        with(|h| h.ppi_length = u32::MAX.into()),
        PacketError::PerPacketInfo { .. }
    ));
    assert!(matches!(
        with(|h| h.ppi_length = 17.into()),
        PacketError::Overlap
    ));
    assert!(matches!(
        with(|h| h.oob_length = 1.into()),
        PacketError::OutOfBand { .. }
    ));
    assert!(matches!(
        with(|h| h.message_type = 2.into()),
        PacketError::NotPacket(_)
    ));
    let mut wrapped = good;
    wrapped.data_offset = (max - 8).into();
    wrapped.data_length = 16.into();
    assert!(PacketLayout::parse(&wrapped, 120).is_err());
}

fn element(size: u32, info_type: u32, offset: u32, word: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (into, value) in bytes
        .chunks_exact_mut(4)
        .zip([size, info_type, offset, word])
    {
        into.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[test]
fn fault_58_elements_of_any_size_end_the_walk() {
    for size in [0, 4, 11, 13, 14, 20, u32::MAX, 1 << 31] {
        assert_eq!(
            PacketInfo::parse(&element(size, 6, 12, 1)),
            Err(PerPacketInfoError::Size {
                size,
                remaining: 16
            })
        );
    }
    for offset in [0, 11, 13, 16, 17, u32::MAX] {
        assert!(matches!(
            PacketInfo::parse(&element(16, 6, offset, 1)),
            Err(PerPacketInfoError::Data { .. })
        ));
    }
    // Unknown types are skipped, the first of two counts, and a rest of less than a header is ignored.
    let mut bytes = std::vec::Vec::new();
    bytes.extend(element(16, 77, 12, 5));
    bytes.extend(element(16, 0x8000_0077, 16, 5));
    bytes.extend(element(16, 6, 12, 0x10));
    bytes.extend(element(16, 6, 12, 0x20));
    bytes.extend([0; 11]);
    let info = PacketInfo::parse(&bytes).unwrap();
    assert_eq!(info.vlan, Some(VlanTag(0x10)));
    let many: std::vec::Vec<u8> = (0..33).flat_map(|_| element(16, 6, 12, 1)).collect();
    assert_eq!(PacketInfo::parse(&many), Err(PerPacketInfoError::TooMany));
    assert!(PacketInfo::parse(&many[..32 * 16]).is_ok());
}

#[test]
fn fault_57_information_of_requests() {
    let mut bytes = [0; 128];
    let request = Request::Query {
        request_id: 7,
        oid: Oid::GEN_LINK_SPEED,
        information: &[1, 2, 3, 4],
    };
    let length = request.emit(&mut bytes).unwrap().len();
    assert_eq!(length, 32);
    assert_eq!(Request::parse(&bytes[..length]), Ok(request));
    for (length, offset) in [
        (4, 0),
        (4, 19),
        (4, 21),
        (5, 20),
        (u32::MAX, 20),
        (4, u32::MAX),
        (0, 25),
    ] {
        let mut damaged = bytes;
        damaged[16..20].copy_from_slice(&length.to_le_bytes());
        damaged[20..24].copy_from_slice(&offset.to_le_bytes());
        assert!(
            matches!(
                Request::parse(&damaged[..32]),
                Err(ControlError::Information { .. })
            ),
            "{length} at {offset}"
        );
    }
    for message_length in [0, 7, 8, 27, 33, u32::MAX] {
        let mut damaged = bytes;
        damaged[4..8].copy_from_slice(&u32::to_le_bytes(message_length));
        assert!(
            matches!(
                Request::parse(&damaged[..32]),
                Err(ControlError::Length { .. } | ControlError::Information { .. })
            ),
            "{message_length}"
        );
    }
    assert!(matches!(
        Request::parse(&[4, 0, 0]),
        Err(ControlError::NoHeader { length: 3 })
    ));
}

#[test]
fn a_speed_may_lie_behind_the_message_of_an_old_host() {
    let mut bytes = [0; 64];
    let reply = Reply::Indicate {
        status: Status::LINK_SPEED_CHANGE,
        information: &[1, 2, 3, 4],
    };
    let length = reply.emit(&mut bytes).unwrap().len();
    bytes[4] = 20;
    assert_eq!(Reply::parse(&bytes[..length]), Ok(reply));
}

fn any_info() -> impl Strategy<Value = PacketInfo> {
    (
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<(u8, u8, u16)>>(),
    )
        .prop_map(|(checksum, large_send, vlan, hash, segment)| PacketInfo {
            checksum,
            large_send: large_send.map(LargeSend),
            vlan: vlan.map(VlanTag),
            hash_value: hash,
            hash_info: hash.map(HashInfo),
            segment: segment.map(|(version, flags, packet_id)| SegmentInfo {
                version,
                flags,
                packet_id: packet_id.into(),
            }),
        })
}

proptest! {
    #[test]
    fn information_survives_the_wire(info in any_info()) {
        let mut bytes = [0; PER_PACKET_INFO_ROOM];
        let length = info.emit(&mut bytes).unwrap();
        prop_assert_eq!(PacketInfo::parse(&bytes[..length]), Ok(info));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), offset in 0usize..9) {
        let bytes = bytes.get(offset..).unwrap_or_default();
        let _ = Request::parse(bytes);
        let _ = Reply::parse(bytes);
        let _ = PacketInfo::parse(bytes);
        if let Some(header) = crate::wire::read_prefix::<PacketHeader>(bytes)
            && let Ok(layout) = PacketLayout::parse(&header, bytes.len() as u32)
        {
            let end = |start: u32, length: u32| u64::from(start) + u64::from(length);
            prop_assert!(layout.message_length as usize <= bytes.len());
            prop_assert!(end(layout.data_start, layout.data_length) <= layout.message_length.into());
            prop_assert!(end(layout.ppi_start, layout.ppi_length) <= layout.message_length.into());
        }
    }

    #[test]
    fn damaged_requests_are_survived(
        kind in prop_oneof![Just(2u32), Just(3), Just(4), Just(5), Just(6), Just(8)],
        words in proptest::collection::vec(prop_oneof![0u32..64, any::<u32>()], 0..20),
    ) {
        let mut bytes = std::vec::Vec::from(kind.to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        if let Ok(request) = Request::parse(&bytes) {
            let mut again = [0; 256];
            let emitted = request.emit(&mut again).unwrap();
            prop_assert_eq!(Request::parse(emitted), Ok(request));
        }
        bytes[3] |= 0x80;
        if let Ok(reply) = Reply::parse(&bytes) {
            let mut again = [0; 256];
            let emitted = reply.emit(&mut again).unwrap();
            prop_assert_eq!(Reply::parse(emitted), Ok(reply));
        }
    }
}
