//! What the tests of the ring share: owned packets and rings in all kinds of memory.
#![allow(dead_code, reason = "each test file uses its part")]

use proptest::prelude::*;
use vmbus_core::packet::*;
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::*;

/// Offset, length and frames of a range in a GPA-direct packet.
pub(crate) type OwnedRange = (u32, u32, Vec<u64>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OwnedKind {
    InBand,
    Completion,
    GpaDirect(Vec<OwnedRange>),
    TransferPages(u16, bool, Vec<TransferRange>),
}

/// A packet to send, or as received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnedPacket {
    pub(crate) transaction_id: u64,
    pub(crate) completion_requested: bool,
    pub(crate) kind: OwnedKind,
    pub(crate) pieces: Vec<Vec<u8>>,
}

impl OwnedPacket {
    pub(crate) fn in_band(transaction_id: u64, payload: &[u8]) -> Self {
        Self {
            transaction_id,
            completion_requested: false,
            kind: OwnedKind::InBand,
            pieces: vec![payload.to_vec()],
        }
    }

    /// One of each kind, small.
    pub(crate) fn samples() -> [Self; 4] {
        let sample = |transaction_id, kind, payload: &[u8]| Self {
            kind,
            ..Self::in_band(transaction_id, payload)
        };
        let ranges = vec![(17, 4096, vec![3, 4]), (0, 1, vec![u64::MAX])];
        let transfer = TransferRange {
            byte_count: 1514,
            byte_offset: 4096,
        };
        [
            sample(1, OwnedKind::InBand, b"twenty bytes of data"),
            sample(2, OwnedKind::Completion, b""),
            sample(3, OwnedKind::GpaDirect(ranges), b"read"),
            sample(
                4,
                OwnedKind::TransferPages(7, true, vec![transfer; 2]),
                b"12345678",
            ),
        ]
    }

    /// Hands the packet over in the form that the ring takes.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&OutgoingPacket<'_>) -> R) -> R {
        let ranges: Vec<GpaRange<'_>> = match &self.kind {
            OwnedKind::GpaDirect(ranges) => ranges.iter().map(as_range).collect(),
            _ => Vec::new(),
        };
        let payload: Vec<&[u8]> = self.pieces.iter().map(Vec::as_slice).collect();
        run(&OutgoingPacket {
            transaction_id: self.transaction_id,
            completion_requested: self.completion_requested,
            kind: match &self.kind {
                OwnedKind::InBand => OutgoingKind::InBand,
                OwnedKind::Completion => OutgoingKind::Completion,
                OwnedKind::GpaDirect(_) => OutgoingKind::GpaDirect(&ranges),
                OwnedKind::TransferPages(set_id, sender_owns_set, ranges) => {
                    OutgoingKind::TransferPages {
                        set_id: *set_id,
                        sender_owns_set: *sender_owns_set,
                        ranges,
                    }
                }
            },
            payload: &payload,
        })
    }

    pub(crate) fn cost(&self) -> u32 {
        self.with(|packet| packet.ring_cost())
    }

    /// What the receiver of this packet gets.
    pub(crate) fn as_received(&self) -> Self {
        let mut payload = self.pieces.concat();
        payload.resize(payload.len().next_multiple_of(8), 0);
        Self {
            pieces: vec![payload],
            ..self.clone()
        }
    }
}

fn as_range((byte_offset, byte_count, page_frames): &OwnedRange) -> GpaRange<'_> {
    GpaRange {
        byte_count: *byte_count,
        byte_offset: *byte_offset,
        page_frames,
    }
}

impl From<IncomingPacket<'_>> for OwnedPacket {
    fn from(packet: IncomingPacket<'_>) -> Self {
        Self {
            transaction_id: packet.transaction_id,
            completion_requested: packet.completion_requested,
            kind: match packet.kind {
                IncomingKind::InBand => OwnedKind::InBand,
                IncomingKind::Completion => OwnedKind::Completion,
                IncomingKind::GpaDirect(ranges) => OwnedKind::GpaDirect(
                    ranges
                        .map(|range| {
                            let frames = range.page_frames.iter().collect();
                            (range.byte_offset, range.byte_count, frames)
                        })
                        .collect(),
                ),
                IncomingKind::TransferPages(ranges) => OwnedKind::TransferPages(
                    ranges.set_id(),
                    ranges.sender_owns_set(),
                    ranges.collect(),
                ),
            },
            pieces: vec![packet.payload.to_vec()],
        }
    }
}

prop_compose! {
    fn any_range()(byte_offset in 0u32..4096, byte_count in 1u32..20_000)
        (frames in proptest::collection::vec(any::<u64>(), (byte_offset + byte_count).div_ceil(4096) as usize),
         byte_offset in Just(byte_offset), byte_count in Just(byte_count)) -> OwnedRange {
        (byte_offset, byte_count, frames)
    }
}

fn any_kind() -> impl Strategy<Value = OwnedKind> {
    let transfer =
        (0u32..1 << 20, any::<u32>()).prop_map(|(byte_count, byte_offset)| TransferRange {
            byte_count,
            byte_offset: byte_offset >> 1,
        });
    prop_oneof![
        3 => Just(OwnedKind::InBand),
        2 => Just(OwnedKind::Completion),
        2 => proptest::collection::vec(any_range(), 1..4).prop_map(OwnedKind::GpaDirect),
        1 => (any::<u16>(), any::<bool>(), proptest::collection::vec(transfer, 0..4))
            .prop_map(|(set, owns, ranges)| OwnedKind::TransferPages(set, owns, ranges)),
    ]
}

prop_compose! {
    pub(crate) fn any_packet()(
        transaction_id in any::<u64>(),
        completion_requested in any::<bool>(),
        kind in any_kind(),
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..4),
    ) -> OwnedPacket {
        OwnedPacket { transaction_id, completion_requested, kind, pieces }
    }
}

/// Heap memory as the ring meets it: in one piece, in 64-byte "pages", or by copies alone.
#[derive(Clone, Debug)]
pub(crate) struct AnyMemory {
    pub(crate) heap: HeapRing,
    page: u32,
}

impl AnyMemory {
    pub(crate) fn all(data_size: u32) -> [Self; 3] {
        let flat = |page| Self {
            heap: HeapRing::new(data_size),
            page,
        };
        let heap = HeapRing::scattered(data_size);
        [
            flat(data_size),
            flat(64),
            Self {
                heap,
                page: data_size,
            },
        ]
    }
}

// SAFETY: everything is the heap's own; `contiguous` only gives shorter pieces.
unsafe impl RingMemory for AnyMemory {
    fn data_size(&self) -> u32 {
        self.heap.data_size()
    }
    fn control(&self) -> &ControlPage {
        self.heap.control()
    }
    fn read(&self, offset: u32, into: &mut [u8]) {
        self.heap.read(offset, into);
    }
    fn write(&self, offset: u32, from: &[u8]) {
        self.heap.write(offset, from);
    }
    fn contiguous(&self, offset: u32) -> Option<(core::ptr::NonNull<u8>, u32)> {
        let (at, length) = self.heap.contiguous(offset)?;
        Some((at, length.min(self.page - offset % self.page)))
    }
}

/// Both ends of a ring whose indices stand at `start`.
pub(crate) fn ends_at<M: RingMemory + Clone>(
    memory: &M,
    heap: &HeapRing,
    start: u32,
) -> (OutgoingRing<M>, IncomingRing<M>) {
    let _ = OutgoingRing::initialise(memory.clone());
    heap.store(ControlField::WriteIndex, start);
    heap.store(ControlField::ReadIndex, start);
    (
        OutgoingRing::attach(memory.clone()).unwrap(),
        IncomingRing::attach(memory.clone()).unwrap(),
    )
}

/// Both ends of a fresh ring on the heap, and a handle for forging.
pub(crate) fn ends(data_size: u32) -> (HeapRing, OutgoingRing<HeapRing>, IncomingRing<HeapRing>) {
    let heap = HeapRing::new(data_size);
    let (outgoing, incoming) = ends_at(&heap, &heap, 0);
    (heap, outgoing, incoming)
}

/// Reads one packet as its own batch and commits.
pub(crate) fn receive<M: RingMemory>(
    incoming: &mut IncomingRing<M>,
) -> Result<Option<OwnedPacket>, RingError> {
    let mut buffer = [0; 4096];
    let mut batch = incoming.batch()?;
    let packet = batch.next(&mut buffer)?.map(OwnedPacket::from);
    let _ = batch.commit();
    Ok(packet)
}

/// A descriptor's first word.
pub(crate) fn descriptor(packet_type: u16, offset8: u16, length8: u16, flags: u16) -> [u8; 8] {
    (u64::from(packet_type)
        | u64::from(offset8) << 16
        | u64::from(length8) << 32
        | u64::from(flags) << 48)
        .to_le_bytes()
}

/// A small generator, so that threads need no library for chance.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
