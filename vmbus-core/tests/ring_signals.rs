//! When an end interrupts the other: exactly when it must.
#![cfg(not(loom))]

mod ring_support;

use ring_support::*;
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::*;

const SIZE: u32 = 256;
/// Ring cost of the packets sent here.
const COST: u32 = 32;

fn send(outgoing: &mut OutgoingRing<HeapRing>) -> Result<Signal, WriteError> {
    OwnedPacket::in_band(1, &[0; 8]).with(|packet| outgoing.send(packet))
}

fn fill(outgoing: &mut OutgoingRing<HeapRing>) {
    while send(outgoing).is_ok() {}
}

/// Reads so many packets as one batch.
fn consume(incoming: &mut IncomingRing<HeapRing>, count: u32) -> Signal {
    let mut batch = incoming.batch().unwrap();
    for _ in 0..count {
        batch.next(&mut [0; 8]).unwrap().unwrap();
    }
    batch.commit()
}

#[test]
fn data_signal_on_empty_to_non_empty_only() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    assert_eq!(send(&mut outgoing), Ok(Signal::Needed));
    assert_eq!(send(&mut outgoing), Ok(Signal::NotNeeded));
    let _ = consume(&mut incoming, 1);
    assert_eq!(send(&mut outgoing), Ok(Signal::NotNeeded));
    let _ = consume(&mut incoming, 2);
    assert_eq!(send(&mut outgoing), Ok(Signal::Needed));
}

#[test]
fn one_signal_for_a_whole_batch() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    for _ in 0..50 {
        let mut batch = outgoing.batch().unwrap();
        for _ in 0..5 {
            let packet = OwnedPacket::in_band(1, &[0; 8]);
            packet.with(|packet| batch.push(packet)).unwrap();
        }
        assert_eq!(batch.commit(), Signal::Needed);
        assert_eq!(consume(&mut incoming, 5), Signal::NotNeeded);
    }
    assert_eq!(outgoing.batch().unwrap().commit(), Signal::NotNeeded);
    assert_eq!(incoming.batch().unwrap().commit(), Signal::NotNeeded);
}

#[test]
fn no_data_signal_while_masked() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    incoming.mask_interrupts();
    assert_eq!(send(&mut outgoing), Ok(Signal::NotNeeded));
    let _ = consume(&mut incoming, 1);
    assert_eq!(incoming.unmask_interrupts(), Ok(false));
    assert_eq!(send(&mut outgoing), Ok(Signal::Needed));
    incoming.mask_interrupts();
    assert_eq!(incoming.unmask_interrupts(), Ok(true));
    // Any value but 0 masks.
    heap.store(ControlField::InterruptMask, 0x8000_0000);
    let _ = consume(&mut incoming, 1);
    assert_eq!(send(&mut outgoing), Ok(Signal::NotNeeded));
}

#[test]
fn reverted_and_unread_batches_change_nothing() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    let packet = OwnedPacket::in_band(1, &[0; 8]);
    packet
        .with(|packet| outgoing.batch().unwrap().push(packet))
        .unwrap();
    assert_eq!(incoming.has_data(), Ok(false));
    assert_eq!(send(&mut outgoing), Ok(Signal::Needed));
    incoming
        .batch()
        .unwrap()
        .next(&mut [0; 8])
        .unwrap()
        .unwrap();
    assert_eq!(incoming.has_data(), Ok(true));
    assert_eq!(outgoing.free_space(), Ok(SIZE - 8 - COST));
    assert_eq!(consume(&mut incoming, 1), Signal::NotNeeded);
}

#[test]
fn accepted_packets_stay_due_until_committed() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    let _ = send(&mut outgoing).unwrap();
    {
        let mut batch = incoming.batch().unwrap();
        batch.next(&mut [0; 8]).unwrap().unwrap();
        batch.accept();
    }
    // Read once only, but the writer has not been told: going to sleep now would be a lost wake-up.
    assert_eq!(receive(&mut incoming), Ok(None));
    assert_eq!(incoming.has_data(), Ok(false));
    let _ = send(&mut outgoing).unwrap();
    {
        let mut batch = incoming.batch().unwrap();
        batch.next(&mut [0; 8]).unwrap().unwrap();
        batch.accept();
    }
    assert_eq!(incoming.unmask_interrupts(), Ok(true));
    assert_eq!(incoming.batch().unwrap().commit(), Signal::NotNeeded);
    assert_eq!(incoming.unmask_interrupts(), Ok(false));
    assert_eq!(outgoing.free_space(), Ok(SIZE - 8));
}

#[test]
fn space_signal_when_the_announced_size_is_crossed() {
    // 7 packets of 32 bytes fill the ring of 256: 32 raw bytes are free, of which 24 usable.
    for (needed, packets_until_room) in [
        (24, 0),
        (25, 1),
        (32, 1),
        (56, 1),
        (57, 2),
        (64, 2),
        (248, 7),
    ] {
        let (heap, mut outgoing, mut incoming) = ends(SIZE);
        fill(&mut outgoing);
        assert_eq!(outgoing.free_space(), Ok(24));
        let room = outgoing.announce_blocked(needed).unwrap();
        assert_eq!(room, packets_until_room == 0, "{needed}");
        for read in 1..=7 {
            let signal = consume(&mut incoming, 1);
            assert_eq!(
                signal.is_needed(),
                read == packets_until_room,
                "{needed} after {read}"
            );
        }
        outgoing.withdraw_blocked();
        assert_eq!(heap.load(ControlField::PendingSendSize), 0);
    }
}

#[test]
fn space_signal_ignores_the_interrupt_mask() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    fill(&mut outgoing);
    assert_eq!(outgoing.announce_blocked(100), Ok(false));
    incoming.mask_interrupts();
    assert_eq!(consume(&mut incoming, 7), Signal::Needed);
}

#[test]
fn no_space_signal_to_a_writer_without_the_feature() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    assert!(incoming.peer_announces_blocked());
    heap.store(ControlField::FeatureBits, !1);
    assert!(!incoming.peer_announces_blocked());
    fill(&mut outgoing);
    heap.store(ControlField::PendingSendSize, 64);
    assert_eq!(consume(&mut incoming, 7), Signal::NotNeeded);
}

#[test]
fn writer_declares_the_feature() {
    let heap = HeapRing::new(SIZE);
    let _ = IncomingRing::initialise(heap.clone());
    assert_eq!(heap.load(ControlField::FeatureBits), 0);
    heap.store(ControlField::FeatureBits, 0xA0);
    heap.store(ControlField::PendingSendSize, 9);
    let _ = OutgoingRing::attach(heap.clone()).unwrap();
    assert_eq!(heap.load(ControlField::FeatureBits), 0xA1);
    assert_eq!(heap.load(ControlField::PendingSendSize), 0);
    heap.store(ControlField::WriteIndex, 8);
    let _ = OutgoingRing::initialise(heap.clone());
    assert_eq!(heap.load(ControlField::FeatureBits), 1);
    assert_eq!(heap.load(ControlField::WriteIndex), 0);
}

#[test]
fn fault_14_pending_size_huge() {
    // All of them can only mean "when it is empty".
    for pending in [SIZE - 8, SIZE - 1, SIZE, SIZE + 1, u32::MAX, !7] {
        let (heap, mut outgoing, mut incoming) = ends(SIZE);
        fill(&mut outgoing);
        heap.store(ControlField::PendingSendSize, pending);
        for read in 1..=7 {
            let signal = consume(&mut incoming, 1);
            assert_eq!(signal.is_needed(), read == 7, "{pending:#x} after {read}");
        }
        assert_eq!(incoming.has_data(), Ok(false));
    }
}

#[test]
fn fault_14_pending_size_set_for_ever() {
    // One signal per crossing, not one per read.
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    heap.store(ControlField::PendingSendSize, 64);
    for _ in 0..100 {
        fill(&mut outgoing);
        let signals = (0..7)
            .filter(|_| consume(&mut incoming, 1).is_needed())
            .count();
        assert_eq!(signals, 1);
    }
}

#[test]
fn fault_14_pending_size_cleared_by_the_peer() {
    // The peer takes our announcement away: it does not wake us, but nothing else breaks.
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    fill(&mut outgoing);
    assert_eq!(outgoing.announce_blocked(100), Ok(false));
    heap.store(ControlField::PendingSendSize, 0);
    assert_eq!(consume(&mut incoming, 7), Signal::NotNeeded);
    assert_eq!(outgoing.announce_blocked(100), Ok(true));
    assert_eq!(send(&mut outgoing), Ok(Signal::Needed));
}
