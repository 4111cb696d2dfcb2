//! Known bytes of the wire formats.

use super::*;

#[test]
fn versions_have_their_words_and_sizes() {
    for (version, word, packet, sense) in [
        (Version::Win6, 0x0200, 48, 18),
        (Version::Win7, 0x0402, 48, 18),
        (Version::Win8, 0x0501, 64, 20),
        (Version::Win8_1, 0x0600, 64, 20),
        (Version::Win10, 0x0602, 64, 20),
    ] {
        assert_eq!(version.wire(), word);
        assert_eq!(Version::try_from(word), Ok(version));
        assert_eq!(version.packet_size(), packet);
        assert_eq!(version.srb_size() + HEADER_SIZE, packet);
        assert_eq!(version.sense_size(), sense);
    }
    assert_eq!(Version::try_from(0x0100), Err(UnknownVersion(0x0100)));
}

#[test]
fn a_version_query_has_its_known_bytes() {
    let mut packet = Packet::new(
        Operation::QUERY_PROTOCOL_VERSION,
        PacketFlags::REQUEST_COMPLETION,
        NtStatus::SUCCESS,
        MAX_PAYLOAD_SIZE,
    );
    packet.set_payload(&VersionPayload {
        version: Version::Win10.wire().into(),
        revision: 0.into(),
    });
    let mut expected = [0u8; 64];
    expected[..16].copy_from_slice(&[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 6, 0, 0]);
    assert_eq!(packet.as_bytes(), expected);
    assert_eq!(
        Packet::parse(&expected).unwrap().version().unwrap().version,
        0x0602
    );
}

#[test]
fn short_and_long_packets_keep_to_their_bytes() {
    assert_eq!(
        Packet::parse(&[1; 11]).unwrap_err(),
        PacketError::NoHeader { length: 11 }
    );
    let short = Packet::parse(&[0xFF; 12 + 36]).unwrap();
    let srb = short.srb().unwrap();
    assert_eq!(srb.queue_action, 0, "the absent extension reads as zero");
    assert_eq!(srb.command_or_sense, [0xFF; 20]);
    assert_eq!(short.completion(NtStatus::SUCCESS).as_bytes().len(), 48);
    assert_eq!(
        Packet::parse(&[0; 12 + 35]).unwrap().srb().unwrap_err(),
        PacketError::ShortPayload {
            operation: Operation(0),
            length: 35,
            needed: 36
        }
    );
    let long = Packet::parse(&[0; 100]).unwrap();
    assert_eq!(long.as_bytes().len(), 64);
}

#[test]
fn statuses_name_themselves() {
    assert_eq!(
        std::format!("{:?}", SrbStatus::ERROR.with_autosense()),
        "ERROR+AUTOSENSE_VALID"
    );
    assert_eq!(std::format!("{:?}", SrbStatus(0x3F)), "SrbStatus(0x3f)");
    assert_eq!(std::format!("{:?}", Operation(99)), "Operation(0x63)");
    assert_eq!(
        std::format!("{:?}", NtStatus(0xC000_0059)),
        "REVISION_MISMATCH"
    );
}
