//! What a lying peer writes into a ring, case by case, without concurrency.
#![cfg(not(loom))]

mod ring_support;

use ring_support::*;
use vmbus_core::packet::*;
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::*;
use vmbus_core::transaction::TransactionTable;

const SIZE: u32 = 512;

/// A reader of a ring into which the peer has put `bytes` and claims to have written `available`.
fn reader_of(bytes: &[u8], available: u32) -> IncomingRing<HeapRing> {
    let (heap, _, incoming) = ends(SIZE);
    heap.poke(0, bytes);
    heap.store(ControlField::WriteIndex, available);
    incoming
}

/// The error that ends a ring holding `bytes`, which must then stay.
fn lie(bytes: &[u8], available: u32) -> RingError {
    let mut incoming = reader_of(bytes, available);
    let error = receive(&mut incoming).unwrap_err();
    assert_eq!(incoming.error(), Some(error));
    // Telling the truth afterwards does not help.
    incoming.memory().store(ControlField::WriteIndex, 0);
    assert_eq!(incoming.has_data(), Err(error));
    assert_eq!(incoming.unmask_interrupts(), Err(error));
    assert_eq!(incoming.batch().err(), Some(error));
    assert!(!error.to_string().is_empty() && !error.field().is_empty());
    error
}

fn packet_lie(bytes: &[u8], available: u32) -> PacketError {
    match lie(bytes, available) {
        RingError::Packet(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn fault_01_write_index_out_of_range() {
    for value in [SIZE, SIZE + 8, u32::MAX, !7] {
        let expected = RingError::IndexOutOfRange {
            field: IndexField::Write,
            value,
            size: SIZE,
        };
        assert_eq!(lie(&[], value), expected);
        assert_eq!(
            (expected.field(), expected.value()),
            ("write index", value.into())
        );
        // An end that takes a prepared ring over, either way.
        let heap = HeapRing::new(SIZE);
        heap.store(ControlField::WriteIndex, value);
        assert_eq!(IncomingRing::attach(heap.clone()).err(), Some(expected));
        assert_eq!(OutgoingRing::attach(heap).err(), Some(expected));
    }
}

#[test]
fn fault_01_write_index_turns_bad_before_a_space_signal() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let _ = OwnedPacket::in_band(1, b"x")
        .with(|packet| outgoing.send(packet))
        .unwrap();
    heap.store(ControlField::PendingSendSize, SIZE - 8);
    let mut batch = incoming.batch().unwrap();
    batch.next(&mut [0; 64]).unwrap().unwrap();
    heap.store(ControlField::WriteIndex, SIZE);
    assert!(!batch.commit().is_needed());
    assert!(matches!(
        incoming.has_data(),
        Err(RingError::IndexOutOfRange { .. })
    ));
}

#[test]
fn fault_02_read_index_moved() {
    let packet = OwnedPacket::in_band(1, &[0; 100]);
    for value in [SIZE, SIZE + 1, u32::MAX] {
        let (heap, mut outgoing, _) = ends(SIZE);
        heap.store(ControlField::ReadIndex, value);
        let error = RingError::IndexOutOfRange {
            field: IndexField::Read,
            value,
            size: SIZE,
        };
        let sent = packet.with(|packet| outgoing.send(packet));
        assert_eq!(sent, Err(WriteError::Ring(error)));
        heap.store(ControlField::ReadIndex, 0);
        assert_eq!(outgoing.free_space(), Err(error));
        assert_eq!(outgoing.announce_blocked(24), Err(error));
        assert_eq!(outgoing.batch().err(), Some(error));
        assert_eq!(outgoing.error(), Some(error));
    }
    // Valid but wrong: the writer believes to have more or less room, never more than the ring.
    for value in (0..SIZE).step_by(8) {
        let (heap, mut outgoing, _) = ends(SIZE);
        heap.store(ControlField::ReadIndex, value);
        assert!(outgoing.free_space().unwrap() <= SIZE - 8);
        for _ in 0..10 {
            let _ = packet.with(|packet| outgoing.send(packet));
        }
    }
    // The reader's own index is private: forging its copy moves only what the forger sees.
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
    heap.store(ControlField::ReadIndex, 88);
    assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
    assert_eq!(heap.load(ControlField::ReadIndex), packet.cost());
    // So is the writer's.
    heap.store(ControlField::WriteIndex, 0);
    let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
    assert_eq!(heap.load(ControlField::WriteIndex), 2 * packet.cost());
    assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
}

#[test]
fn fault_03_unaligned_index() {
    for value in [1, 4, 7, 9, 100, SIZE - 1] {
        let unaligned = |field| RingError::IndexUnaligned { field, value };
        assert_eq!(lie(&[], value), unaligned(IndexField::Write));
        let (heap, mut outgoing, _) = ends(SIZE);
        heap.store(ControlField::ReadIndex, value);
        assert_eq!(outgoing.free_space(), Err(unaligned(IndexField::Read)));
        assert_eq!(
            OutgoingRing::attach(heap.clone()).err(),
            Some(unaligned(IndexField::Read))
        );
        assert_eq!(
            IncomingRing::attach(heap).err(),
            Some(unaligned(IndexField::Read))
        );
    }
}

#[test]
fn fault_04_length_below_descriptor() {
    for length8 in [0, 1] {
        let error = packet_lie(&descriptor(6, 2, length8, 0), 64);
        assert_eq!(error, PacketError::LengthTooShort { length8 });
    }
    for offset8 in [0, 1] {
        let error = packet_lie(&descriptor(6, offset8, 4, 0), 64);
        assert_eq!(error, PacketError::OffsetTooShort { offset8 });
    }
    // Not even room for a descriptor.
    assert_eq!(lie(&[], 8), RingError::AvailableTooShort { available: 8 });
    let mut incoming = reader_of(&descriptor(6, 2, 2, 0), 32);
    let mut batch = incoming.batch().unwrap();
    assert!(batch.next(&mut []).unwrap().is_some());
    let error = RingError::AvailableTooShort { available: 8 };
    assert_eq!(batch.next(&mut []).err(), Some(error));
    assert_eq!(batch.next(&mut []).err(), Some(error));
}

#[test]
fn fault_05_length_beyond_available() {
    for (length8, available) in [(4, 32), (2, 16), (5, 40), (65535, 504), (64, 504)] {
        let length = u32::from(length8) * 8 + 8;
        assert_eq!(
            lie(&descriptor(6, 2, length8, 0), available),
            RingError::LengthBeyondAvailable { length, available }
        );
    }
}

#[test]
fn fault_05_packet_beyond_the_receivers_buffer() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    for length in [64, 72] {
        let packet = OwnedPacket::in_band(9, &vec![1; length]);
        let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
    }
    let mut batch = incoming.batch().unwrap();
    assert!(batch.next(&mut [0; 64]).unwrap().is_some());
    batch.accept();
    let error = RingError::BufferTooSmall {
        length: 72,
        buffer: 64,
    };
    assert_eq!(batch.next(&mut [0; 64]).err(), Some(error));
    // What was accepted before can still be given back, nothing else happens.
    let _ = batch.commit();
    assert_eq!(incoming.memory().load(ControlField::ReadIndex), 88);
    assert_eq!(incoming.error(), Some(error));
}

#[test]
fn fault_06_offset_beyond_length() {
    for (offset8, length8) in [(3, 2), (65535, 4), (5, 4)] {
        assert_eq!(
            packet_lie(&descriptor(6, offset8, length8, 0), 256),
            PacketError::OffsetBeyondLength { offset8, length8 }
        );
    }
}

#[test]
fn fault_06_unknown_flags_and_types() {
    for bit in 1..16 {
        let flags = 1 << bit | 1;
        assert_eq!(
            packet_lie(&descriptor(6, 2, 2, flags), 64),
            PacketError::UnknownFlags { flags }
        );
    }
    for packet_type in (0..=u16::MAX).filter(|code| ![6, 7, 9, 11].contains(code)) {
        assert_eq!(
            Descriptor::parse(u64::from_le_bytes(descriptor(packet_type, 2, 2, 0))),
            Err(PacketError::UnknownType { packet_type })
        );
    }
    assert_eq!(
        packet_lie(&descriptor(12, 2, 2, 0), 64),
        PacketError::UnknownType { packet_type: 12 }
    );
}

/// A packet whose extension consists of `words`.
fn with_extension(packet_type: u16, words: &[u64]) -> PacketError {
    let length8 = 2 + words.len() as u16;
    let mut bytes = descriptor(packet_type, length8, length8, 0).to_vec();
    bytes.extend([0; 8]);
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    packet_lie(&bytes, 8 * u32::from(length8) + 8)
}

#[test]
fn fault_39_range_lists_of_packets() {
    let range = |byte_offset: u64, byte_count: u64| byte_count | byte_offset << 32;
    let count = |count: u64| count << 32;
    let truncated = |range, pages, available| PacketError::RangeTruncated {
        range,
        pages,
        available,
    };
    for (words, expected) in [
        (&[][..], PacketError::ExtensionTooShort { length: 0 }),
        (
            &[count(0)],
            PacketError::RangeCount {
                count: 0,
                available: 0,
            },
        ),
        (
            &[count(1)],
            PacketError::RangeCount {
                count: 1,
                available: 0,
            },
        ),
        (
            &[count(0), 1, 2],
            PacketError::RangeCount {
                count: 0,
                available: 16,
            },
        ),
        (
            &[count(3), 1, 2],
            PacketError::RangeCount {
                count: 3,
                available: 16,
            },
        ),
        (
            &[count(0xFFFF_FFFF), 1],
            PacketError::RangeCount {
                count: u32::MAX,
                available: 8,
            },
        ),
        (
            &[count(1), range(0, 0), 5],
            PacketError::RangeEmpty { range: 0 },
        ),
        (
            &[count(1), range(4096, 1), 5],
            PacketError::RangeOffset {
                range: 0,
                byte_offset: 4096,
            },
        ),
        (
            &[count(2), range(0, 1), 5, range(u32::MAX.into(), 1), 6],
            PacketError::RangeOffset {
                range: 1,
                byte_offset: u32::MAX,
            },
        ),
        (
            &[count(1), range(4095, 0xFFFF_FFFF), 5],
            PacketError::RangeOverflow {
                range: 0,
                byte_offset: 4095,
                byte_count: u32::MAX,
            },
        ),
        (&[count(1), range(0, 1)], truncated(0, 1, 0)),
        (&[count(1), range(4095, 2), 5], truncated(0, 2, 1)),
        (
            &[count(1), range(0, 0xFFFF_FFFF), 5],
            truncated(0, 1 << 20, 1),
        ),
        (
            &[count(2), range(0, 4096), 5, range(1, 4096), 6],
            truncated(1, 2, 1),
        ),
        (&[count(2), range(0, 4097), 5, 6], truncated(1, 1, 0)),
    ] {
        assert_eq!(with_extension(9, words), expected, "{words:x?}");
    }
    for (words, expected) in [
        (&[][..], PacketError::ExtensionTooShort { length: 0 }),
        (
            &[count(1)],
            PacketError::RangeCount {
                count: 1,
                available: 0,
            },
        ),
        (
            &[count(u32::MAX.into()), 0, 0],
            PacketError::RangeCount {
                count: u32::MAX,
                available: 16,
            },
        ),
        (
            &[count(1), range(1, 0xFFFF_FFFF)],
            PacketError::RangeOverflow {
                range: 0,
                byte_offset: 1,
                byte_count: u32::MAX,
            },
        ),
    ] {
        assert_eq!(with_extension(7, words), expected, "{words:x?}");
    }
}

#[test]
fn fault_09_packet_spanning_the_end_at_every_offset() {
    for packet in OwnedPacket::samples() {
        let size = packet.cost() + 16;
        for start in (0..size).step_by(8) {
            for memory in AnyMemory::all(size) {
                let heap = memory.heap.clone();
                let (mut outgoing, mut incoming) = ends_at(&memory, &heap, start);
                assert_eq!(
                    packet.with(|packet| outgoing.send(packet)),
                    Ok(Signal::Needed)
                );
                assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
                // The trailer holds where the packet started.
                let mut trailer = [0; 8];
                heap.peek((start + packet.cost() - 8) % size, &mut trailer);
                assert_eq!(u64::from_le_bytes(trailer), u64::from(start) << 32);
            }
        }
    }
}

#[test]
fn fault_10_zero_length_payload() {
    for mut packet in OwnedPacket::samples() {
        for pieces in [vec![], vec![vec![]], vec![vec![]; 3]] {
            packet.pieces = pieces;
            let (_, mut outgoing, mut incoming) = ends(SIZE);
            let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
            assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
        }
    }
}

#[test]
fn fault_11_payload_not_a_multiple_of_8() {
    for length in 0..40usize {
        let (heap, mut outgoing, mut incoming) = ends(SIZE);
        heap.poke(0, &[0xFF; SIZE as usize]);
        let packet = OwnedPacket::in_band(1, &vec![0xAA; length]);
        assert_eq!(packet.cost() as usize, 24 + length.next_multiple_of(8));
        let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
        // Padding is zeros, not what was there.
        assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
    }
}

#[test]
fn fault_12_largest_packet() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let largest = OwnedPacket::in_band(1, &[7; SIZE as usize - 8 - 24]);
    assert_eq!(largest.cost(), outgoing.largest_cost());
    for _ in 0..100 {
        assert_eq!(
            largest.with(|packet| outgoing.send(packet)),
            Ok(Signal::Needed)
        );
        assert_eq!(outgoing.free_space(), Ok(0));
        let small = OwnedPacket::samples()[1].clone();
        assert_eq!(
            small.with(|packet| outgoing.send(packet)),
            Err(WriteError::Full { needed: 24 })
        );
        assert_eq!(receive(&mut incoming), Ok(Some(largest.as_received())));
    }
    let larger = OwnedPacket::in_band(1, &[7; SIZE as usize - 8 - 23]);
    assert_eq!(
        larger.with(|packet| outgoing.send(packet)),
        Err(WriteError::TooLarge {
            cost: SIZE,
            maximum: SIZE - 8
        })
    );
    assert_eq!(
        heap.load(ControlField::WriteIndex),
        heap.load(ControlField::ReadIndex)
    );
}

#[test]
fn fault_12_largest_expressible_packet() {
    let (_, mut outgoing, mut incoming) = ends(1 << 20);
    let payload = vec![0x33; 65535 * 8 - 16];
    let packet = OwnedPacket::in_band(1, &payload);
    let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
    let mut buffer = vec![0; payload.len()];
    let mut batch = incoming.batch().unwrap();
    assert_eq!(batch.next(&mut buffer).unwrap().unwrap().payload, payload);
    let larger = OwnedPacket::in_band(1, &vec![0; 65535 * 8 - 15]);
    assert_eq!(
        larger.with(|packet| outgoing.send(packet)),
        Err(WriteError::TooLarge {
            cost: 65536 * 8 + 8,
            maximum: 65535 * 8 + 8
        })
    );
}

#[test]
fn fault_15_trailer_is_not_read() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let mut random = Random(3);
    for round in 0..500u64 {
        let start = heap.load(ControlField::WriteIndex);
        let packet = &OwnedPacket::samples()[round as usize % 4];
        let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
        let trailer = (start + packet.cost() - 8) % SIZE;
        heap.poke(trailer, &random.next().to_le_bytes());
        assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
    }
}

#[test]
fn fault_16_writer_stalls_after_reserving() {
    let (heap, mut outgoing, mut incoming) = ends(SIZE);
    let [first, ..] = OwnedPacket::samples();
    let _ = first.with(|packet| outgoing.send(packet)).unwrap();
    let mut batch = outgoing.batch().unwrap();
    first.with(|packet| batch.push(packet)).unwrap();
    // Laid out, but nothing of it is there for the reader, however long it takes.
    assert_eq!(receive(&mut incoming), Ok(Some(first.as_received())));
    assert_eq!(receive(&mut incoming), Ok(None));
    assert_eq!(incoming.unmask_interrupts(), Ok(false));
    // The writer thinks better of it.
    let _ = batch;
    assert_eq!(outgoing.free_space(), Ok(SIZE - 8));
    assert_eq!(heap.load(ControlField::WriteIndex), first.cost());
    let _ = first.with(|packet| outgoing.send(packet)).unwrap();
    assert_eq!(receive(&mut incoming), Ok(Some(first.as_received())));
}

#[test]
fn fault_20_only_completions_complete() {
    let (_, mut outgoing, mut incoming) = ends(SIZE);
    let mut requests = TransactionTable::new(4);
    let id = requests.insert("read").unwrap();
    let mut buffer = [0; 256];
    for mut packet in OwnedPacket::samples() {
        packet.transaction_id = id;
        let is_completion = packet.kind == OwnedKind::Completion;
        if !is_completion {
            let _ = packet.with(|packet| outgoing.send(packet)).unwrap();
            let mut batch = incoming.batch().unwrap();
            let received = batch.next(&mut buffer).unwrap().unwrap();
            assert_eq!(requests.complete(&received), None);
            let _ = batch.commit();
        }
    }
    let [_, mut completion, ..] = OwnedPacket::samples();
    completion.transaction_id = id;
    let _ = completion.with(|packet| outgoing.send(packet)).unwrap();
    let mut batch = incoming.batch().unwrap();
    let received = batch.next(&mut buffer).unwrap().unwrap();
    assert_eq!(requests.complete(&received), Some("read"));
    assert_eq!(requests.complete(&received), None);
}

#[test]
fn senders_mistakes_are_refused() {
    let (_, mut outgoing, _) = ends(SIZE);
    let good = (0, 4096, vec![1]);
    for bad in [
        (0, 0, vec![]),
        (0, 0, vec![1]),
        (4096, 1, vec![1]),
        (0, 4097, vec![1]),
        (0, 4096, vec![1, 2]),
        (1, u32::MAX, vec![1]),
    ] {
        let mut packet = OwnedPacket::in_band(1, &[]);
        packet.kind = OwnedKind::GpaDirect(vec![good.clone(), bad]);
        let error = WriteError::InvalidRange(InvalidRange { range: 1 });
        assert_eq!(packet.with(|packet| outgoing.send(packet)), Err(error));
    }
    let mut packet = OwnedPacket::in_band(1, &[]);
    packet.kind = OwnedKind::GpaDirect(vec![]);
    let error = WriteError::InvalidRange(InvalidRange { range: 0 });
    assert_eq!(packet.with(|packet| outgoing.send(packet)), Err(error));
    let overflowing = TransferRange {
        byte_count: 1,
        byte_offset: u32::MAX,
    };
    packet.kind = OwnedKind::TransferPages(1, false, vec![overflowing]);
    assert_eq!(packet.with(|packet| outgoing.send(packet)), Err(error));
    assert_eq!(outgoing.free_space(), Ok(SIZE - 8));
}
