//! Layout of packets against the protocol's worked sizes.

use super::*;

fn packet<'a>(kind: OutgoingKind<'a>, payload: &'a [&'a [u8]]) -> OutgoingPacket<'a> {
    OutgoingPacket {
        transaction_id: 1,
        completion_requested: false,
        kind,
        payload,
    }
}

#[test]
fn worked_sizes_of_the_protocol() {
    assert_eq!(packet(OutgoingKind::InBand, &[&[0; 20]]).ring_cost(), 48);
    let page = GpaRange {
        byte_count: 4096,
        byte_offset: 0,
        page_frames: &[7],
    };
    let direct = packet(OutgoingKind::GpaDirect(&[page, page]), &[&[0; 48]]).ring_cost();
    assert_eq!(direct, 112);
    let range = TransferRange {
        byte_count: 1,
        byte_offset: 0,
    };
    let transfer = OutgoingKind::TransferPages {
        set_id: 0xCAFE,
        sender_owns_set: false,
        ranges: &[range; 3],
    };
    assert_eq!(packet(transfer, &[&[0; 40]]).ring_cost(), 96);
    assert_eq!(packet(OutgoingKind::Completion, &[]).ring_cost(), 24);
}
