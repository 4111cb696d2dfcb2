//! Layout of packets against the protocol's worked sizes.

use alloc::vec;

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

/// Pieces may name the same memory over and over: their sum is not bounded by what there is of it.
#[test]
fn sizes_beyond_all_rings_do_not_overflow() {
    let piece: &[u8] = &[0; 1 << 16];
    let cost = |pieces| packet(OutgoingKind::InBand, &vec![piece; pieces]).ring_cost();
    assert_eq!(cost(65_535), 0xFFFF_0000 + 24);
    assert_eq!(cost(65_536), u32::MAX);
    assert_eq!(cost(65_538), u32::MAX);
    let pages = GpaRange {
        byte_count: 0xFFFF_F000,
        byte_offset: 0,
        page_frames: &vec![7; 0xF_FFFF],
    };
    let ranges = [pages; 513];
    let direct = |ranges| packet(OutgoingKind::GpaDirect(ranges), &[]).ring_cost();
    assert_eq!(direct(&ranges[..511]), 24 + 8 + 511 * (1 << 23));
    assert_eq!(direct(&ranges), u32::MAX);
}

#[test]
fn packets_that_no_receiver_accepts_fit_no_ring() {
    let page = GpaRange {
        byte_count: 4097,
        byte_offset: 0,
        page_frames: &[7],
    };
    assert_eq!(
        packet(OutgoingKind::GpaDirect(&[page]), &[]).ring_cost(),
        u32::MAX
    );
    assert_eq!(
        packet(OutgoingKind::GpaDirect(&[]), &[]).ring_cost(),
        u32::MAX
    );
}
