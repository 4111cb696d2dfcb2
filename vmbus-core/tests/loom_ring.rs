//! Models of the ring's three hand-offs between two processors, run over every interleaving and every
//! outcome that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmbus-core --test loom_ring --release`
//!
//! The models drive the real ring; only its atomics come from `loom`. Each has a twin in which one end
//! leaves one step of the protocol out, and which must fail: a model that cannot fail proves nothing.
#![cfg(loom)]

use loom::sync::Notify;
use loom::thread;
use std::sync::Arc;
use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::{IncomingRing, OutgoingRing, WriteError};

/// Ring cost of a packet with 8 bytes of payload.
const COST: u32 = 32;

/// Runs a model: completely, or up to a number of preemptions where that would take minutes.
fn model(preemptions: Option<usize>, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

fn with_packet<R>(id: u64, run: impl FnOnce(&OutgoingPacket<'_>) -> R) -> R {
    run(&OutgoingPacket {
        transaction_id: id,
        completion_requested: false,
        kind: OutgoingKind::InBand,
        payload: &[&id.wrapping_mul(0x0101_0101_0101_0101).to_le_bytes()],
    })
}

fn ends(data_size: u32) -> (HeapRing, OutgoingRing<HeapRing>, IncomingRing<HeapRing>) {
    let memory = HeapRing::new(data_size);
    let outgoing = OutgoingRing::initialise(memory.clone());
    let incoming = IncomingRing::attach(memory.clone()).unwrap();
    (memory, outgoing, incoming)
}

/// Reads and checks what is there, counting on from `received`.
fn drain(incoming: &mut IncomingRing<HeapRing>, received: &mut u64) {
    let mut batch = incoming.batch().unwrap();
    let mut buffer = [0; 8];
    while let Some(packet) = batch.next(&mut buffer).unwrap() {
        *received += 1;
        assert_eq!(packet.transaction_id, *received);
        let expected = received.wrapping_mul(0x0101_0101_0101_0101).to_le_bytes();
        assert_eq!(packet.payload, expected);
    }
    let _ = batch.commit();
}

/// Whatever part of the packets the reader sees, it sees whole packets.
fn index_publication(ordered: bool) {
    model(None, move || {
        let (memory, mut outgoing, mut incoming) = ends(3 * COST);
        let writer = thread::spawn(move || {
            for id in 1..=2 {
                if ordered {
                    let _ = with_packet(id, |packet| outgoing.send(packet)).unwrap();
                } else {
                    with_packet(id, |packet| outgoing.batch().unwrap().push(packet)).unwrap();
                    memory.store_unordered(ControlField::WriteIndex, COST);
                    return 1;
                }
            }
            2
        });
        let mut received = 0;
        drain(&mut incoming, &mut received);
        drain(&mut incoming, &mut received);
        let sent = writer.join().unwrap();
        drain(&mut incoming, &mut received);
        assert_eq!(received, sent);
    });
}

#[test]
fn payload_is_visible_before_the_index() {
    index_publication(true);
}

#[test]
#[should_panic]
fn payload_is_not_visible_without_the_release() {
    index_publication(false);
}

/// What a reader does before it goes to sleep.
#[derive(Clone, Copy)]
enum Unmask {
    /// As the ring does.
    Properly,
    /// Looks again, but without the full barrier between.
    WithoutBarrier,
    /// Does not look again.
    WithoutLook,
}

/// A reader that sleeps whenever the ring lets it gets every packet.
fn interrupt_mask(unmask: Unmask, packets: u64, preemptions: Option<usize>) {
    model(preemptions, move || {
        let (memory, mut outgoing, mut incoming) = ends(3 * COST);
        let interrupt = Arc::new(Notify::new());
        let bell = Arc::clone(&interrupt);
        let writer = thread::spawn(move || {
            for id in 1..=packets {
                if with_packet(id, |packet| outgoing.send(packet))
                    .unwrap()
                    .is_needed()
                {
                    bell.notify();
                }
            }
        });
        let mut received = 0;
        loop {
            incoming.mask_interrupts();
            drain(&mut incoming, &mut received);
            let waiting = match unmask {
                Unmask::Properly => incoming.unmask_interrupts().unwrap(),
                Unmask::WithoutBarrier => {
                    memory.store_unordered(ControlField::InterruptMask, 0);
                    incoming.has_data().unwrap()
                }
                Unmask::WithoutLook => {
                    memory.store(ControlField::InterruptMask, 0);
                    false
                }
            };
            if received == packets {
                break;
            }
            if !waiting {
                interrupt.wait();
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn unmasking_loses_no_wake_up() {
    interrupt_mask(Unmask::Properly, 1, None);
    interrupt_mask(Unmask::Properly, 2, Some(5));
}

#[test]
#[should_panic(expected = "deadlock")]
fn unmasking_without_a_barrier_loses_wake_ups() {
    interrupt_mask(Unmask::WithoutBarrier, 2, None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn unmasking_without_a_look_loses_wake_ups() {
    interrupt_mask(Unmask::WithoutLook, 2, None);
}

/// A reader that never masks, but looks once more before it sleeps, gets every packet.
#[test]
fn sleeping_unmasked_loses_no_wake_up() {
    model(None, || {
        let (_, mut outgoing, mut incoming) = ends(3 * COST);
        let interrupt = Arc::new(Notify::new());
        let bell = Arc::clone(&interrupt);
        let writer = thread::spawn(move || {
            for id in 1..=2 {
                if with_packet(id, |packet| outgoing.send(packet))
                    .unwrap()
                    .is_needed()
                {
                    bell.notify();
                }
            }
        });
        let mut received = 0;
        loop {
            drain(&mut incoming, &mut received);
            if received == 2 {
                break;
            }
            if !incoming.has_data().unwrap() {
                interrupt.wait();
            }
        }
        writer.join().unwrap();
    });
}

/// What a writer does before it goes to sleep.
#[derive(Clone, Copy)]
enum Announce {
    /// As the ring does.
    Properly,
    /// Looks again, but without the full barrier between.
    WithoutBarrier,
    /// Does not look again.
    WithoutLook,
}

/// A writer that sleeps whenever the ring lets it gets every packet out, through a ring that holds one.
fn pending_send_size(announce: Announce) {
    model(None, move || {
        let (memory, mut outgoing, mut incoming) = ends(COST + 8);
        let _ = with_packet(1, |packet| outgoing.send(packet)).unwrap();
        let space = Arc::new(Notify::new());
        let bell = Arc::clone(&space);
        let reader = thread::spawn(move || {
            let mut batch = incoming.batch().unwrap();
            assert_eq!(batch.next(&mut [0; 8]).unwrap().unwrap().transaction_id, 1);
            if batch.commit().is_needed() {
                bell.notify();
            }
        });
        while let Err(error) = with_packet(2, |packet| outgoing.send(packet)) {
            let WriteError::Full { needed } = error else {
                panic!("{error}");
            };
            let room = match announce {
                Announce::Properly => outgoing.announce_blocked(needed).unwrap(),
                Announce::WithoutBarrier => {
                    memory.store_unordered(ControlField::PendingSendSize, needed);
                    outgoing.free_space().unwrap() >= needed
                }
                Announce::WithoutLook => {
                    memory.store(ControlField::PendingSendSize, needed);
                    false
                }
            };
            if !room {
                space.wait();
            }
        }
        outgoing.withdraw_blocked();
        reader.join().unwrap();
    });
}

#[test]
fn blocking_loses_no_wake_up() {
    pending_send_size(Announce::Properly);
}

#[test]
#[should_panic(expected = "deadlock")]
fn blocking_without_a_barrier_loses_wake_ups() {
    pending_send_size(Announce::WithoutBarrier);
}

#[test]
#[should_panic(expected = "deadlock")]
fn blocking_without_a_look_loses_wake_ups() {
    pending_send_size(Announce::WithoutLook);
}
