//! Hostile completions.

use proptest::prelude::*;
use vmbus_core::packet::{IncomingKind, IncomingPacket, OutgoingKind};

use super::*;
use crate::wire::PacketFlags;

fn one_in_flight() -> (Link, RequestQueue<usize>, crate::testing::Sent) {
    let mut link = Link::new(8192);
    let mut queue = queue(8);
    link.send(&mut queue, &read(&[1]), 7).unwrap();
    let sent = link.host.take().remove(0);
    (link, queue, sent)
}

fn dropped(all: Vec<Received<usize>>) -> Vec<Dropped> {
    all.into_iter()
        .map(|received| match received {
            Received::Dropped(dropped) => dropped,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Proves that the request in flight is still there and completes.
fn still_completes(mut link: Link, mut queue: RequestQueue<usize>, sent: &crate::testing::Sent) {
    link.host.complete_srb(sent, |_| ());
    assert_eq!(completions(link.receive(&mut queue))[0].0, 7);
    assert_eq!(queue.outstanding(), 0);
}

#[test]
fn fault_17_unknown_ids_are_dropped() {
    let (mut link, mut queue, sent) = one_in_flight();
    let reply = sent.packet().completion(NtStatus::SUCCESS);
    let ids = [2, 9, sent.id | 1 << 32, 1 << 63, u64::MAX, u64::MAX - 2];
    for id in ids {
        link.host.complete(id, &reply);
    }
    assert_eq!(
        dropped(link.receive(&mut queue)),
        ids.map(Dropped::UnknownId)
    );
    assert_eq!(queue.counters().unknown_ids, 6);
    still_completes(link, queue, &sent);
}

#[test]
fn fault_18_a_repeated_completion_is_dropped() {
    let (mut link, mut queue, sent) = one_in_flight();
    for _ in 0..3 {
        link.host.complete_srb(&sent, |_| ());
    }
    let mut all = link.receive(&mut queue);
    let rest = all.split_off(1);
    assert_eq!(completions(all).len(), 1);
    assert_eq!(dropped(rest), [Dropped::UnknownId(sent.id); 2]);
    // The slot's next request is not completed by the old id.
    link.send(&mut queue, &ready(), 8).unwrap();
    link.host.complete_srb(&sent, |_| ());
    assert_eq!(
        dropped(link.receive(&mut queue)),
        [Dropped::UnknownId(sent.id)]
    );
    assert_eq!(queue.outstanding(), 1);
}

#[test]
fn fault_19_id_zero_completes_nothing() {
    let (mut link, mut queue, sent) = one_in_flight();
    let reply = sent.packet().completion(NtStatus::SUCCESS);
    link.host.complete(0, &reply);
    let _ = link.host.send(0, OutgoingKind::InBand, reply.as_bytes());
    assert_eq!(
        dropped(link.receive(&mut queue)),
        [
            Dropped::UnknownId(0),
            Dropped::UnknownEvent(Operation::COMPLETE_IO)
        ]
    );
    still_completes(link, queue, &sent);
}

#[test]
fn fault_20_an_in_band_packet_is_no_completion() {
    let (mut link, mut queue, sent) = one_in_flight();
    let reply = sent.packet().completion(NtStatus::SUCCESS);
    let _ = link
        .host
        .send(sent.id, OutgoingKind::InBand, reply.as_bytes());
    let frames = [1];
    let range = [GpaRange {
        byte_count: 4096,
        byte_offset: 0,
        page_frames: &frames,
    }];
    let _ = link
        .host
        .send(sent.id, OutgoingKind::GpaDirect(&range), reply.as_bytes());
    // An event in a completion's clothes is none.
    let event = Packet::new(
        Operation::ENUMERATE_BUS,
        PacketFlags::empty(),
        NtStatus::SUCCESS,
        52,
    );
    link.host.complete(sent.id, &event);
    assert_eq!(
        dropped(link.receive(&mut queue)),
        [
            Dropped::UnknownEvent(Operation::COMPLETE_IO),
            Dropped::WrongType,
            Dropped::WrongOperation(Operation::ENUMERATE_BUS)
        ]
    );
    assert!(!queue.take_rescan());
    still_completes(link, queue, &sent);
}

#[test]
fn fault_21_a_completion_after_the_close_is_dropped() {
    let (mut link, mut queue, sent) = one_in_flight();
    assert_eq!(queue.cancel_next(), None, "not while it is open");
    queue.close();
    link.host.complete_srb(&sent, |_| ());
    assert_eq!(dropped(link.receive(&mut queue)), [Dropped::Closed]);
    assert_eq!(queue.cancel_next(), Some(7));
    assert_eq!(queue.cancel_next(), None);
    link.host.complete_srb(&sent, |_| ());
    assert_eq!(dropped(link.receive(&mut queue)), [Dropped::Closed]);
    let error = link.send(&mut queue, &ready(), 3).unwrap_err();
    assert_eq!((error.reason, error.context), (SubmitReason::Closed, 3));
    assert_eq!(queue.counters().late, 2);
}

#[test]
fn g16_short_completions_are_dropped() {
    let (mut link, mut queue, sent) = one_in_flight();
    let reply = sent.packet().completion(NtStatus::SUCCESS);
    for length in [0, 8, 16, 48, 56] {
        let _ = link.host.send(
            sent.id,
            OutgoingKind::Completion,
            &reply.as_bytes()[..length],
        );
        let _ = link
            .host
            .send(0, OutgoingKind::InBand, &[0; 8][..length.min(8)]);
    }
    let all = dropped(link.receive(&mut queue));
    assert_eq!(all.len(), 10);
    assert!(
        all.iter()
            .all(|dropped| matches!(dropped, Dropped::Short { .. }))
    );
    assert_eq!(queue.counters().dropped(), 10);
    still_completes(link, queue, &sent);
}

#[test]
fn fault_48_unknown_operations_are_dropped() {
    let (mut link, mut queue, sent) = one_in_flight();
    let mut expected = 0;
    for operation in (0..20).chain([0x100, u32::MAX]).map(Operation) {
        let packet = Packet::new(operation, PacketFlags::all(), NtStatus(7), 52);
        if operation != Operation::COMPLETE_IO {
            link.host.complete(sent.id, &packet);
            expected += 1;
        }
        if !matches!(
            operation,
            Operation::ENUMERATE_BUS | Operation::REMOVE_DEVICE
        ) {
            let _ = link.host.send(0, OutgoingKind::InBand, packet.as_bytes());
            expected += 1;
        }
    }
    assert_eq!(dropped(link.receive(&mut queue)).len(), expected);
    still_completes(link, queue, &sent);
}

#[test]
fn g31_a_rescind_fails_each_of_200_once() {
    let mut link = Link::new(1 << 16);
    let mut queue = queue(256);
    for context in 0..200 {
        link.send(&mut queue, &read(&[1]), context).unwrap();
    }
    let sent = link.host.take();
    link.host.complete_srb(&sent[17], |_| ());
    assert_eq!(completions(link.receive(&mut queue))[0].0, 17);
    queue.close();
    let mut cancelled: Vec<_> = core::iter::from_fn(|| queue.cancel_next()).collect();
    cancelled.sort_unstable();
    let expected: Vec<_> = (0..200).filter(|context| *context != 17).collect();
    assert_eq!(cancelled, expected);
    assert_eq!(queue.outstanding(), 0);
    assert_eq!(queue.counters().cancelled, 199);
}

#[derive(Clone, Debug)]
struct Forged {
    id: u64,
    completion: bool,
    payload: Vec<u8>,
}

fn forged() -> impl Strategy<Value = Forged> {
    let id = prop_oneof![0u64..10, any::<u64>()];
    let operation = prop_oneof![Just(1u32), Just(11u32), 0u32..16, any::<u32>()];
    let body = proptest::collection::vec(any::<u8>(), 0..88);
    (id, any::<bool>(), operation, body).prop_map(|(id, completion, operation, body)| {
        let mut payload = operation.to_le_bytes().to_vec();
        payload.extend_from_slice(&body);
        payload.truncate(payload.len() & !7);
        Forged {
            id,
            completion,
            payload,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// 2,000 runs of up to 100 forged packets: every context comes back exactly once, nothing
    /// panics, and nothing more is transferred than was asked for.
    #[test]
    fn g36_forged_packets_do_no_harm(
        packets in proptest::collection::vec(forged(), 0..100),
        version in prop_oneof![Just(Version::Win6), Just(Version::Win10)],
    ) {
        let mut link = Link::new(8192);
        let mut queue = RequestQueue::new(8, version, 0x4_0000).unwrap();
        let mut open: Vec<usize> = (0..8).collect();
        for context in 0..8 {
            link.send(&mut queue, &read(&[1, 2]), context).unwrap();
        }
        for forged in packets {
            let packet = IncomingPacket {
                transaction_id: forged.id,
                completion_requested: forged.completion,
                kind: if forged.completion { IncomingKind::Completion } else { IncomingKind::InBand },
                payload: &forged.payload,
            };
            match queue.receive(&packet) {
                Received::Completed(completion) => {
                    prop_assert!(completion.outcome.transferred <= 8192);
                    let index = open.iter().position(|context| *context == completion.context);
                    open.swap_remove(index.expect("completed once"));
                }
                Received::DevicesChanged | Received::Dropped(_) => {}
                Received::ResetDone { .. } => prop_assert!(false, "no reset was sent"),
            }
            prop_assert_eq!(queue.outstanding(), open.len());
        }
        queue.close();
        while let Some(context) = queue.cancel_next() {
            let index = open.iter().position(|open| *open == context);
            open.swap_remove(index.expect("cancelled once"));
        }
        prop_assert!(open.is_empty());
    }

    /// Random answers to an initialisation never panic, and end it or leave it waiting.
    #[test]
    fn g36_forged_answers_end_an_initialisation(
        answers in proptest::collection::vec((forged(), any::<bool>()), 0..40),
    ) {
        use crate::init::{InitOptions, Initialisation};
        let mut init = Initialisation::new(InitOptions { sub_channels: 4, ..InitOptions::default() });
        for (forged, fitting) in answers {
            let packet = IncomingPacket {
                transaction_id: if fitting { init.request().0 } else { forged.id },
                completion_requested: false,
                kind: IncomingKind::Completion,
                payload: &forged.payload,
            };
            let _ = init.receive(&packet);
        }
    }
}
