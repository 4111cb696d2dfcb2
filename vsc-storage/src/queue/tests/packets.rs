//! Bytes of requests, and how replies are judged.

use vmbus_core::ring::testing::ControlField;

use super::*;
use crate::scsi::{AdditionalSense, ScsiStatus, Sense, SenseKey};
use crate::wire::{Srb, SrbStatus};

#[test]
fn g7_a_read_has_its_known_bytes() {
    let mut link = Link::new(4096);
    let mut queue = queue(8);
    // The example's id is 5: the fifth slot.
    for context in 0..4 {
        link.send(&mut queue, &ready(), context).unwrap();
    }
    let start = link.to_host.load(ControlField::WriteIndex);
    link.send(&mut queue, &read(&[0x1234]), 4).unwrap();
    #[rustfmt::skip]
    let expected = [
        0x09, 0x00, 0x05, 0x00, 0x0D, 0x00, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x34, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x34, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x0A, 0x14, 0x01, 0x00, 0x00, 0x10, 0x00, 0x00,
        0x28, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0xFF, 0x20, 0x4A, 0x01, 0x00, 0x00, 0x3C, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];
    let mut bytes = [0; 104];
    link.to_host.peek(start, &mut bytes);
    assert_eq!(bytes, expected);
}

#[test]
fn g8_a_command_without_data_goes_in_band() {
    let mut link = Link::new(4096);
    let mut queue = queue(8);
    link.send(&mut queue, &ready(), 0).unwrap();
    let sent = link.host.take().remove(0);
    assert!(sent.completion_requested);
    assert_eq!(sent.range, None);
    let srb = sent.srb();
    assert_eq!(
        (srb.data_in, srb.data_transfer_length.get(), srb.cdb_length),
        (2, 0, 6)
    );
    assert_eq!(srb.srb_flags, 0x10A);
}

#[test]
fn g12_ring_cost_is_104_and_8_per_page() {
    for pages in [1, 2, 32, 64] {
        let mut link = Link::new(4096);
        let mut queue = queue(8);
        let frames: Vec<u64> = (0..pages).collect();
        link.send(&mut queue, &read(&frames), 0).unwrap();
        assert_eq!(
            u64::from(link.to_host.load(ControlField::WriteIndex)),
            104 + 8 * pages
        );
    }
}

#[test]
fn old_dialects_send_48_bytes_with_18_bytes_of_sense() {
    for version in [Version::Win6, Version::Win7] {
        let mut link = Link::new(4096);
        let mut queue = RequestQueue::new(8, version, 0x4_0000).unwrap();
        link.send(&mut queue, &read(&[1]), 0).unwrap();
        let sent = link.host.take().remove(0);
        assert_eq!(sent.payload.len(), 48);
        let srb = sent.srb();
        assert_eq!((srb.length.get(), srb.sense_info_length), (36, 18));
        link.host.complete_srb(&sent, |_| ());
        let all = completions(link.receive(&mut queue));
        assert_eq!(all[0].1.transferred, 4096);
    }
}

/// Has one read of 4096 bytes answered as `edit` says.
fn outcome(edit: impl FnOnce(&mut Srb)) -> Outcome {
    let mut link = Link::new(4096);
    let mut queue = queue(1);
    link.send(&mut queue, &read(&[1]), 0).unwrap();
    let sent = link.host.take().remove(0);
    link.host.complete_srb(&sent, edit);
    let mut all = completions(link.receive(&mut queue));
    assert_eq!(queue.outstanding(), 0);
    all.remove(0).1
}

const CHANGED: Sense = Sense::new(
    SenseKey::UNIT_ATTENTION,
    AdditionalSense::CAPACITY_DATA_CHANGED,
);

fn set_sense(srb: &mut Srb, sense: Sense, length: u8) {
    srb.command_or_sense[..18].copy_from_slice(&sense.to_bytes());
    srb.sense_info_length = length;
}

#[test]
fn fault_46_g17_transferred_is_never_more_than_requested() {
    for (stated, transferred) in [
        (0, 0),
        (512, 512),
        (4096, 4096),
        (4097, 4096),
        (u32::MAX, 4096),
    ] {
        let outcome = outcome(|srb| srb.data_transfer_length = stated.into());
        assert_eq!(outcome.result, Ok(()));
        assert_eq!(outcome.transferred, transferred);
        assert_eq!(outcome.residue(), 4096 - transferred);
    }
}

#[test]
fn fault_46_a_transfer_beyond_the_request_is_counted() {
    let mut link = Link::new(4096);
    let mut queue = queue(1);
    link.send(&mut queue, &read(&[1]), 0).unwrap();
    let sent = link.host.take().remove(0);
    link.host
        .complete_srb(&sent, |srb| srb.data_transfer_length = 4097.into());
    assert_eq!(completions(link.receive(&mut queue))[0].1.transferred, 4096);
    assert_eq!(queue.counters().clamped, 1);
}

#[test]
fn fault_47_g18_sense_is_cut_to_its_room_and_needs_its_flag() {
    for length in [18, 20, 21, 255] {
        let outcome = outcome(|srb| {
            srb.scsi_status = 2;
            srb.srb_status = 0x84;
            set_sense(srb, CHANGED, length);
        });
        assert_eq!(outcome.result, Err(CommandError::Check(CHANGED)));
        assert_eq!(outcome.transferred, 0);
    }
    // Without the flag, or without bytes, there is no sense.
    for (srb_status, length) in [(0x04, 18), (0x84, 0), (0x84, 2)] {
        let outcome = outcome(|srb| {
            srb.scsi_status = 2;
            srb.srb_status = srb_status;
            set_sense(srb, CHANGED, length);
        });
        assert!(matches!(outcome.result, Err(CommandError::Failed { .. })));
    }
}

#[test]
fn g19_to_g22_statuses_have_their_meaning() {
    for (scsi, srb, expected) in [
        (0x02, 0x20, CommandError::DeviceGone),
        (0x00, 0x20, CommandError::DeviceGone),
        (0x02, 0xA0, CommandError::DeviceGone),
        (0x02, 0x21, CommandError::DeviceGone),
        (0x02, 0x08, CommandError::DeviceGone),
        (0x08, 0x05, CommandError::Busy),
        (0x00, 0x05, CommandError::Busy),
        (0x08, 0x04, CommandError::Busy),
        (0x28, 0x04, CommandError::Busy),
        (0x18, 0x04, CommandError::ReservationConflict),
        (0x40, 0x02, CommandError::Aborted),
        (0x00, 0x16, CommandError::Aborted),
        (0x02, 0x0A, CommandError::TimedOut),
        (0x00, 0x09, CommandError::TimedOut),
        (0x02, 0x12, CommandError::Overrun),
        (
            0x02,
            0x04,
            CommandError::Failed {
                srb: SrbStatus::ERROR,
                scsi: ScsiStatus::CHECK_CONDITION,
            },
        ),
        (
            0x00,
            0x30,
            CommandError::Failed {
                srb: SrbStatus::INTERNAL_ERROR,
                scsi: ScsiStatus::GOOD,
            },
        ),
    ] {
        let outcome = outcome(|reply| {
            reply.scsi_status = scsi;
            reply.srb_status = srb;
        });
        assert_eq!(outcome.result, Err(expected), "{scsi:#04x} {srb:#04x}");
        let moved = if srb == 0x12 { 4096 } else { 0 };
        assert_eq!(outcome.transferred, moved);
    }
}

#[test]
fn fault_45_contradictory_statuses_are_never_success() {
    for scsi in 0..=255u8 {
        for srb in 0..=255u8 {
            let outcome = outcome(|reply| {
                reply.scsi_status = scsi;
                reply.srb_status = srb;
                set_sense(reply, CHANGED, 18);
            });
            let success = matches!(scsi, 0x00 | 0x04) && srb & 0x3F == 0x01;
            assert_eq!(outcome.result.is_ok(), success, "{scsi:#04x} {srb:#04x}");
        }
    }
    for (scsi, srb) in [(0x02, 0x01), (0x00, 0x84), (0x30, 0x01)] {
        let outcome = outcome(|reply| {
            reply.scsi_status = scsi;
            reply.srb_status = srb;
        });
        assert_eq!(
            outcome.result,
            Err(CommandError::Contradictory {
                srb: SrbStatus(srb),
                scsi: ScsiStatus(scsi)
            })
        );
    }
}
