//! Requests in flight against a scripted host.

mod faults;
mod packets;

use std::vec::Vec;

use vmbus_core::packet::GpaRange;

use super::*;
use crate::scsi::{Cdb, Command, Transfer};
use crate::testing::Link;

pub(super) const LUN_1: Address = Address {
    path: 0,
    target: 0,
    lun: 1,
};

pub(super) fn queue(capacity: usize) -> RequestQueue<usize> {
    RequestQueue::new(capacity, Version::Win10, 0x4_0000).unwrap()
}

pub(super) fn cdb(command: Command) -> Cdb {
    command.encode().unwrap()
}

pub(super) fn read(frames: &[u64]) -> Request<'_> {
    let bytes = frames.len() as u32 * 4096;
    let range = GpaRange {
        byte_count: bytes,
        byte_offset: 0,
        page_frames: frames,
    };
    let command = cdb(Command::Read(Transfer::new(0x800, bytes / 512)));
    Request::new(LUN_1, command, Data::In(range))
}

pub(super) fn ready() -> Request<'static> {
    Request::new(LUN_1, cdb(Command::TestUnitReady), Data::None)
}

pub(super) fn completions(all: Vec<Received<usize>>) -> Vec<(usize, Outcome)> {
    all.into_iter()
        .map(|received| match received {
            Received::Completed(completion) => (completion.context, completion.outcome),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn g13_a_full_ring_gives_the_request_back_and_resumes() {
    // Room for a handful of requests; ten times as many pass.
    let mut link = Link::new(1024);
    let mut queue = queue(64);
    let frames = [1, 2, 3];
    let request = read(&frames);
    let mut done = Vec::new();
    let mut next = 0;
    let mut full = 0;
    while done.len() < 100 {
        while next < 100 {
            match link.send(&mut queue, &request, next) {
                Ok(_) => next += 1,
                Err(error) => {
                    assert_eq!(error.reason, SubmitReason::RingFull { needed: 128 });
                    assert_eq!(error.context, next);
                    full += 1;
                    break;
                }
            }
        }
        for sent in link.host.take_at_most(3) {
            link.host.complete_srb(&sent, |_| ());
        }
        for (context, outcome) in completions(link.receive(&mut queue)) {
            assert_eq!(outcome.result, Ok(()));
            done.push(context);
        }
    }
    assert!(full > 10);
    assert_eq!(done, (0..100).collect::<Vec<_>>());
    assert_eq!(queue.outstanding(), 0);
    assert_eq!(queue.counters().ring_full, full);
    assert_eq!(queue.counters().completed, 100);
}

#[test]
fn g14_g15_completions_in_any_order_reach_their_owners() {
    let mut link = Link::new(16384);
    let mut queue = queue(64);
    let frames = [9];
    let request = read(&frames);
    for context in 0..64 {
        link.send(&mut queue, &request, context).unwrap();
        assert_eq!(queue.outstanding(), context + 1);
    }
    let error = link.send(&mut queue, &request, 99).unwrap_err();
    assert_eq!((error.reason, error.context), (SubmitReason::QueueFull, 99));
    let sent = link.host.take();
    // 37 is coprime to 64, so that every request has its turn.
    let order: Vec<_> = (0..64).map(|turn| turn * 37 % 64).collect();
    for &index in &order {
        link.host.complete_srb(&sent[index], |srb| {
            srb.data_transfer_length = (index as u32 * 512 % 4096).into();
        });
    }
    let all = completions(link.receive(&mut queue));
    for ((context, outcome), index) in all.into_iter().zip(order) {
        assert_eq!(context, index);
        assert_eq!(outcome.transferred, index as u32 * 512 % 4096);
    }
    assert_eq!(queue.outstanding(), 0);
}

#[test]
fn a_dropped_batch_is_withdrawn() {
    let mut link = Link::new(4096);
    let mut queue = queue(4);
    let (first, second) = {
        let mut batch = link.outgoing.batch().unwrap();
        (
            queue.submit(&mut batch, &ready(), 1).unwrap(),
            queue.submit(&mut batch, &ready(), 2).unwrap(),
        )
    };
    assert_eq!(link.host.take(), []);
    assert_eq!(queue.outstanding(), 2);
    assert_eq!(queue.context_mut(second), Some(&mut 2));
    assert_eq!(queue.withdraw(first), Some(1));
    assert_eq!(queue.withdraw(second), Some(2));
    assert_eq!(queue.withdraw(second), None);
    assert_eq!((queue.outstanding(), queue.counters().submitted), (0, 0));
}

#[test]
fn a_batch_is_seen_at_once_and_signalled_once() {
    let mut link = Link::new(16384);
    let mut queue = queue(16);
    let mut batch = link.outgoing.batch().unwrap();
    for context in 0..16 {
        queue.submit(&mut batch, &ready(), context).unwrap();
    }
    assert!(batch.commit().is_needed());
    assert_eq!(link.host.take().len(), 16);
}

#[test]
fn what_never_fits_is_refused() {
    let mut link = Link::new(4096);
    let mut queue = queue(4);
    let frames: Vec<u64> = (0..65).collect();
    let request = read(&frames);
    let error = link.send(&mut queue, &request, 7).unwrap_err();
    assert_eq!(
        error.reason,
        SubmitReason::TransferTooLong {
            length: 65 * 4096,
            limit: 0x4_0000
        }
    );
    // One frame less than the range touches.
    let range = GpaRange {
        byte_count: 8192,
        byte_offset: 1,
        page_frames: &frames[..2],
    };
    let request = Request {
        data: Data::In(range),
        ..request
    };
    let error = link.send(&mut queue, &request, 7).unwrap_err();
    assert!(matches!(error.reason, SubmitReason::InvalidPacket(_)));
    assert_eq!((error.context, queue.outstanding()), (7, 0));
    assert_eq!(link.host.take(), []);
}

#[test]
fn g24_a_thousand_events_make_one_scan() {
    let mut link = Link::new(1 << 17);
    let mut queue = queue(4);
    assert!(!queue.take_rescan());
    for turn in 0..1000 {
        link.host.announce(if turn % 2 == 0 {
            Operation::ENUMERATE_BUS
        } else {
            Operation::REMOVE_DEVICE
        });
    }
    for received in link.receive(&mut queue) {
        assert!(matches!(received, Received::DevicesChanged));
    }
    assert!(queue.take_rescan());
    assert!(!queue.take_rescan());
    assert_eq!(queue.counters().events, 1000);
}

#[test]
fn g29_a_reset_is_acknowledged_and_releases_nothing() {
    let mut link = Link::new(4096);
    let mut queue = queue(4);
    let frames = [5];
    link.send(&mut queue, &read(&frames), 1).unwrap();
    for reset in [Reset::Bus(LUN_1), Reset::LogicalUnit(LUN_1), Reset::Adapter] {
        let mut batch = link.outgoing.batch().unwrap();
        queue.submit_reset(&mut batch, reset, 2).unwrap();
        let _ = batch.commit();
        let sent = link.host.take();
        let last = sent.last().unwrap();
        assert_eq!(last.operation(), reset.operation());
        let lun = u8::from(matches!(reset, Reset::LogicalUnit(_)));
        assert_eq!(last.srb().lun, lun);
        link.host
            .complete(last.id, &last.packet().completion(NtStatus::SUCCESS));
        let all = link.receive(&mut queue);
        assert!(matches!(
            all[..],
            [Received::ResetDone {
                context: 2,
                status: NtStatus::SUCCESS
            }]
        ));
        assert_eq!(queue.outstanding(), 1, "the read is still the host's");
    }
}
