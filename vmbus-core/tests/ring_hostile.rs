//! A peer that writes into the ring while it is being used, on a second thread.
//!
//! Whatever the thread scheduler makes of it, an end gets valid packets or a typed error, and ends. All loops
//! are bounded by iterations.
#![cfg(not(loom))]

mod ring_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ring_support::*;
use vmbus_core::packet::*;
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::*;

const SIZE: u32 = 1024;
const ROUNDS: u64 = 20_000;

/// Runs `work` while another thread calls `attack` over and over.
fn under_attack<R>(
    heap: &HeapRing,
    attack: impl Fn(&HeapRing, &mut Random) + Send + Sync,
    work: impl FnOnce() -> R,
) -> R {
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(0x9E37_79B9_7F4A_7C15);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    attack(heap, &mut random);
                }
                started.store(true, Ordering::Relaxed);
            }
        });
        let _stop = StopOnDrop(&stop);
        while !started.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        work()
    })
}

/// Reads one packet from a fresh reader and checks what any packet must fulfil.
fn read_one(heap: &HeapRing) -> Result<Option<(u32, OwnedPacket)>, RingError> {
    let mut incoming = IncomingRing::attach(heap.clone())?;
    let mut buffer = [0; 512];
    let mut batch = incoming.batch()?;
    let Some(packet) = batch.next(&mut buffer)? else {
        return Ok(None);
    };
    if let IncomingKind::GpaDirect(ranges) = &packet.kind {
        assert!(ranges.len() > 0);
        let walked = ranges.inspect(|range| {
            let end = u64::from(range.byte_offset) + u64::from(range.byte_count);
            assert!(range.byte_count > 0 && range.byte_offset < 4096);
            assert_eq!(range.page_frames.len() as u64, end.div_ceil(4096));
        });
        assert_eq!(walked.count(), ranges.len());
    }
    let extension = match &packet.kind {
        IncomingKind::GpaDirect(ranges) => {
            8 + ranges
                .map(|range| 8 + 8 * range.page_frames.len())
                .sum::<usize>()
        }
        IncomingKind::TransferPages(ranges) => 8 + 8 * ranges.len(),
        _ => 0,
    };
    let least = 24 + (extension + packet.payload.len()) as u32;
    let packet = OwnedPacket::from(packet);
    let _ = batch.commit();
    Ok(Some((least, packet)))
}

#[test]
fn fault_03_indices_change_under_both_ends() {
    let (heap, ..) = ends(SIZE);
    let attack = |heap: &HeapRing, random: &mut Random| {
        let field = ControlField::ALL[random.next() as usize % 5];
        let value = random.next() as u32;
        // Half of the values are plausible.
        heap.store_unordered(field, if value & 1 == 0 { value % SIZE } else { value });
    };
    under_attack(&heap, attack, || {
        let packets = OwnedPacket::samples();
        let mut ended = 0;
        for round in 0..ROUNDS {
            if let Ok(mut outgoing) = OutgoingRing::attach(heap.clone()) {
                for packet in &packets {
                    match packet.with(|packet| outgoing.send(packet)) {
                        Ok(_) | Err(WriteError::Full { .. }) => {}
                        Err(WriteError::Ring(error)) => {
                            assert_eq!(outgoing.error(), Some(error));
                            ended += 1;
                        }
                        Err(error) => panic!("{error} in round {round}"),
                    }
                }
                let _ = outgoing.announce_blocked(64);
                outgoing.withdraw_blocked();
            }
            if let Err(error) = read_one(&heap) {
                assert!(!error.to_string().is_empty());
                ended += 1;
            }
        }
        assert!(ended > 0, "the attack never hit");
    });
}

#[test]
fn fault_07_descriptor_changes_after_the_first_read() {
    let (heap, ..) = ends(SIZE);
    heap.poke(0, &[0x11; SIZE as usize]);
    heap.store(ControlField::WriteIndex, 512);
    let words = [
        descriptor(6, 2, 4, 0),
        descriptor(6, 3, 60, 1),
        descriptor(11, 2, 2, 0),
        descriptor(6, 2, 63, 0),
        descriptor(6, 2, 64, 0),
        descriptor(6, 2, 65535, 0),
        descriptor(6, 65535, 4, 0),
        descriptor(9, 5, 9, 0),
        descriptor(6, 2, 0, 0),
    ];
    let attack = |heap: &HeapRing, random: &mut Random| {
        heap.poke(0, &words[random.next() as usize % words.len()]);
    };
    let (packets, errors) = under_attack(&heap, attack, || {
        let (mut packets, mut errors) = (0u64, 0u64);
        for _ in 0..ROUNDS {
            heap.store(ControlField::ReadIndex, 0);
            match read_one(&heap) {
                Ok(Some((_, packet))) => {
                    // The length that was copied is the one that was validated, and the one by which
                    // the reader moved on.
                    let payload = packet.pieces.concat();
                    let length8 = match (packet.kind, packet.completion_requested) {
                        (OwnedKind::Completion, _) => 2,
                        (_, true) => 60,
                        (_, false) if payload.len() == 16 => 4,
                        (_, false) => 63,
                    };
                    let offset8 = if packet.completion_requested { 3 } else { 2 };
                    assert_eq!(payload, vec![0x11; (length8 - offset8) * 8]);
                    assert_eq!(heap.load(ControlField::ReadIndex) as usize, length8 * 8 + 8);
                    packets += 1;
                }
                Ok(None) => panic!("there is always something to read"),
                Err(RingError::IndexOutOfRange { .. } | RingError::IndexUnaligned { .. }) => {
                    panic!("indices are not attacked")
                }
                Err(_) => errors += 1,
            }
        }
        (packets, errors)
    });
    assert_eq!(packets + errors, ROUNDS);
}

#[test]
fn fault_08_body_changes_during_the_parse() {
    let (heap, ..) = ends(SIZE);
    heap.store(ControlField::WriteIndex, 512);
    let attack = |heap: &HeapRing, random: &mut Random| {
        // Extension words: plausible range counts, offsets and lengths, and nonsense.
        let at = 16 + 8 * (random.next() % 10) as u32;
        let value = random.next();
        let word = match value % 4 {
            0 => (((value >> 8) % 4) << 32) | ((value >> 16) % 4),
            1 => (((value >> 8) % 5000) << 32) | ((value >> 24) % 9000),
            2 => 1 << 32,
            _ => value,
        };
        heap.poke(at, &word.to_le_bytes());
    };
    under_attack(&heap, attack, || {
        for round in 0..ROUNDS {
            heap.store(ControlField::ReadIndex, 0);
            let packet_type = if round % 2 == 0 { 9 } else { 7 };
            heap.poke(0, &descriptor(packet_type, 12, 14, 1));
            // `read_one` checks that the ranges are consistent however often they are walked.
            match read_one(&heap) {
                Ok(packet) => {
                    let (least, packet) = packet.expect("there is always something to read");
                    assert!(least <= 120);
                    assert_eq!(packet.pieces[0].len(), 16);
                    assert_eq!(heap.load(ControlField::ReadIndex), 120);
                }
                Err(RingError::Packet(error)) => assert!(!error.field().is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn fault_13_interrupt_mask_flips_at_random() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let attack = |heap: &HeapRing, random: &mut Random| {
        heap.store_unordered(ControlField::InterruptMask, random.next() as u32 & 3);
    };
    under_attack(&heap, attack, || {
        let (mut sent, mut received) = (0, 0);
        for round in 0..2 * ROUNDS {
            let packet = OwnedPacket::in_band(sent, &sent.to_le_bytes());
            match packet.with(|packet| outgoing.send(packet)) {
                Ok(_) => sent += 1,
                Err(error) => assert_eq!(error, WriteError::Full { needed: 32 }),
            }
            incoming.mask_interrupts();
            // Stretches in which the ring fills, and stretches in which it drains.
            for _ in 0..round / 64 % 3 {
                let expected = (received < sent)
                    .then(|| OwnedPacket::in_band(received, &received.to_le_bytes()));
                received += u64::from(expected.is_some());
                assert_eq!(receive(&mut incoming), Ok(expected));
            }
            assert_eq!(incoming.unmask_interrupts(), Ok(received < sent));
        }
        assert!(received > ROUNDS);
    });
}

#[test]
fn fault_14_pending_size_flips_at_random() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let attack = |heap: &HeapRing, random: &mut Random| {
        let value = random.next() as u32;
        let value = [0, value, value % SIZE, u32::MAX][value as usize % 4];
        heap.store_unordered(ControlField::PendingSendSize, value);
    };
    under_attack(&heap, attack, || {
        let mut signals = 0u64;
        for round in 0..ROUNDS {
            let packet = OwnedPacket::in_band(round, &[round as u8; 100]);
            while let Err(error) = packet.with(|packet| outgoing.send(packet)) {
                assert_eq!(error, WriteError::Full { needed: 128 });
                assert_eq!(outgoing.announce_blocked(128), Ok(false));
                let mut batch = incoming.batch().unwrap();
                while batch.next(&mut [0; 128]).unwrap().is_some() {}
                signals += u64::from(batch.commit().is_needed());
                assert_eq!(outgoing.announce_blocked(128), Ok(true));
            }
        }
        // At most one signal for each time that the reader gave space back.
        assert!(signals <= ROUNDS);
    });
}

/// Both ends honest, on two threads, at full speed: everything arrives in order, and a sleeper is always
/// woken.
#[test]
fn two_threads_lose_nothing() {
    use std::sync::mpsc::{Receiver, Sender, channel};
    const PACKETS: u64 = 200_000;
    let wait = |bell: &Receiver<()>| {
        // The deadline only turns a hang into a failure.
        bell.recv_timeout(Duration::from_secs(60))
            .expect("a wake-up was lost");
        while bell.try_recv().is_ok() {}
    };
    let ring = |signal: Signal, bell: &Sender<()>| {
        if signal.is_needed() {
            let _ = bell.send(());
        }
    };
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    let (data_bell, data) = channel();
    let (space_bell, space) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..PACKETS {
                let packet = OwnedPacket::in_band(id, &id.to_le_bytes()[..id as usize % 9]);
                loop {
                    match packet.with(|packet| outgoing.send(packet)) {
                        Ok(signal) => break ring(signal, &data_bell),
                        Err(WriteError::Full { needed }) => {
                            if !outgoing.announce_blocked(needed).unwrap() {
                                wait(&space);
                            }
                            outgoing.withdraw_blocked();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        let mut received = 0;
        let mut buffer = [0; 64];
        while received < PACKETS {
            incoming.mask_interrupts();
            let mut batch = incoming.batch().unwrap();
            while let Some(packet) = batch.next(&mut buffer).unwrap() {
                assert_eq!(packet.transaction_id, received);
                let length = received as usize % 9;
                assert_eq!(packet.payload[..length], received.to_le_bytes()[..length]);
                received += 1;
            }
            ring(batch.commit(), &space_bell);
            if !incoming.unmask_interrupts().unwrap() && received < PACKETS {
                wait(&data);
            }
        }
    });
}
