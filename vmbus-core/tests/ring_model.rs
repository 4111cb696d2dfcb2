//! Random traffic of all kinds against a queue, signals included.
#![cfg(not(loom))]

mod ring_support;

use std::collections::VecDeque;

use proptest::prelude::*;
use ring_support::*;
use vmbus_core::ring::testing::ControlField;
use vmbus_core::ring::*;

#[derive(Clone, Debug)]
enum Step {
    /// Push packets; commit them or revert.
    Write(Vec<OwnedPacket>, bool),
    /// Read at most so many packets; then end the batch in one of three ways.
    Read(usize, End),
    Mask,
    Unmask,
    Announce(u32),
    Withdraw,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Drop,
    AcceptAndDrop,
}

fn any_step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        3 => Just(End::Commit),
        1 => Just(End::Drop),
        1 => Just(End::AcceptAndDrop)
    ];
    prop_oneof![
        6 => (proptest::collection::vec(any_packet(), 0..4), prop::bool::weighted(0.8))
            .prop_map(|(packets, commit)| Step::Write(packets, commit)),
        6 => (0usize..5, end).prop_map(|(count, end)| Step::Read(count, end)),
        1 => Just(Step::Mask),
        1 => Just(Step::Unmask),
        1 => (1u32..600).prop_map(Step::Announce),
        1 => Just(Step::Withdraw),
    ]
}

/// What the ring must do, in terms of a queue.
struct Model {
    size: u32,
    /// Committed packets that the reader has not consumed.
    queue: VecDeque<OwnedPacket>,
    /// Bytes consumed by the reader but not given back.
    unpublished: u32,
    masked: bool,
    pending: u32,
}

impl Model {
    fn used(&self) -> u32 {
        self.unpublished + self.queue.iter().map(OwnedPacket::cost).sum::<u32>()
    }
}

struct World {
    model: Model,
    outgoing: OutgoingRing<AnyMemory>,
    incoming: IncomingRing<AnyMemory>,
}

impl World {
    fn write(&mut self, packets: Vec<OwnedPacket>, commit: bool) {
        let model = &mut self.model;
        let mut free = model.size - 8 - model.used();
        assert_eq!(self.outgoing.free_space(), Ok(free));
        let was_empty = model.used() == 0;
        let mut batch = self.outgoing.batch().unwrap();
        let mut pushed = Vec::new();
        for packet in packets {
            let cost = packet.cost();
            let expected = if cost > model.size - 8 {
                Err(WriteError::TooLarge {
                    cost,
                    maximum: model.size - 8,
                })
            } else if cost > free {
                Err(WriteError::Full { needed: cost })
            } else {
                Ok(())
            };
            assert_eq!(packet.with(|packet| batch.push(packet)), expected);
            if expected.is_ok() {
                free -= cost;
                pushed.push(packet);
            }
            assert_eq!(batch.free_space(), free);
        }
        assert_eq!(batch.is_empty(), pushed.is_empty());
        if commit {
            let needed = !pushed.is_empty() && was_empty && !model.masked;
            assert_eq!(batch.commit().is_needed(), needed);
            model.queue.extend(pushed);
        }
    }

    fn read(&mut self, count: usize, end: End) {
        let mut buffer = [0; 4096];
        let mut batch = self.incoming.batch().unwrap();
        let mut read = 0;
        while read < count {
            assert_eq!(batch.is_empty(), read == self.model.queue.len());
            let packet = batch.next(&mut buffer).unwrap().map(OwnedPacket::from);
            let expected = self.model.queue.get(read).map(OwnedPacket::as_received);
            assert_eq!(packet, expected);
            if expected.is_none() {
                break;
            }
            read += 1;
        }
        if matches!(end, End::AcceptAndDrop) {
            batch.accept();
        }
        let model = &mut self.model;
        let old_free = model.size - model.used();
        if !matches!(end, End::Drop) {
            model.unpublished += model
                .queue
                .drain(..read)
                .map(|packet| packet.cost())
                .sum::<u32>();
        }
        if matches!(end, End::Commit) {
            model.unpublished = 0;
            let new_free = model.size - model.used();
            let crossing =
                model.pending != 0 && old_free <= model.pending && new_free > model.pending;
            assert_eq!(batch.commit().is_needed(), crossing);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(packets, commit) => self.write(packets, commit),
            Step::Read(count, end) => self.read(count, end),
            Step::Mask => {
                self.incoming.mask_interrupts();
                self.model.masked = true;
            }
            Step::Unmask => {
                let waiting = self.incoming.unmask_interrupts().unwrap();
                assert_eq!(waiting, self.model.used() != 0);
                self.model.masked = false;
            }
            Step::Announce(needed) => {
                let needed = needed.next_multiple_of(8).min(self.model.size - 8);
                let room = self.outgoing.announce_blocked(needed).unwrap();
                assert_eq!(room, self.model.size - 8 - self.model.used() >= needed);
                self.model.pending = if room { 0 } else { needed };
            }
            Step::Withdraw => {
                self.outgoing.withdraw_blocked();
                self.model.pending = 0;
            }
        }
        let used = self.model.used();
        assert_eq!(self.incoming.has_data(), Ok(used != 0));
        let heap = &self.incoming.memory().heap;
        let (write, read) = (
            heap.load(ControlField::WriteIndex),
            heap.load(ControlField::ReadIndex),
        );
        assert_eq!((write + self.model.size - read) % self.model.size, used);
        assert_eq!(heap.load(ControlField::PendingSendSize), self.model.pending);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn behaves_as_a_queue(
        words in 13u32..200,
        start in any::<u32>(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let size = words * 8;
        for memory in AnyMemory::all(size) {
            let heap = memory.heap.clone();
            let (outgoing, incoming) = ends_at(&memory, &heap, start % words * 8);
            let model = Model {
                size,
                queue: VecDeque::new(),
                unpublished: 0,
                masked: false,
                pending: 0,
            };
            let mut world = World { model, outgoing, incoming };
            for step in steps.clone() {
                world.step(step);
            }
        }
    }
}

/// The same traffic through a `FlatRing`, whose memory is real pages.
#[test]
fn flat_ring_moves_packets_for_many_laps() {
    let layout = std::alloc::Layout::from_size_align(3 * 4096, 4096).unwrap();
    // SAFETY: the layout has a size.
    let base = std::ptr::NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: the pages live until both ends are gone, and nobody refers to them.
    let memory = || unsafe { FlatRing::new(base, 3) };
    {
        let mut outgoing = OutgoingRing::initialise(memory());
        let mut incoming = IncomingRing::attach(memory()).unwrap();
        assert_eq!(outgoing.largest_cost(), 8184);
        let mut random = Random(7);
        for lap in 0..3000u64 {
            for packet in OwnedPacket::samples() {
                let mut packet = packet;
                packet
                    .pieces
                    .push(vec![lap as u8; random.next() as usize % 700]);
                let signal = packet.with(|packet| outgoing.send(packet)).unwrap();
                assert!(signal.is_needed());
                assert_eq!(receive(&mut incoming), Ok(Some(packet.as_received())));
            }
        }
        assert_eq!(receive(&mut incoming), Ok(None));
    }
    // SAFETY: allocated above with the same layout; both ends are gone.
    unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
}

#[test]
#[should_panic(expected = "a ring has a control page")]
fn flat_ring_needs_two_pages() {
    // SAFETY: refused before the pointer is used.
    let _ = unsafe { FlatRing::new(std::ptr::NonNull::dangling(), 1) };
}
