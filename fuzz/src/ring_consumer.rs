//! Both ends of a ring against a peer that writes whatever it likes into the shared pages.
//!
//! Three rings: one that we read and the peer forges, one that we write while the peer lies about what it has
//! read, and one between two honest ends, out of which must come what went in.

use vmbus_core::packet::{
    GpaRange, IncomingKind, IncomingPacket, OutgoingKind, OutgoingPacket, TransferRange,
};
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::{IncomingRing, OutgoingRing, RingError, RingMemory, WriteError};

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const POKE: u8 = 0;
    pub(crate) const CONTROL: u8 = 1;
    pub(crate) const FORGE_PACKET: u8 = 2;
    pub(crate) const READ: u8 = 3;
    pub(crate) const MASK: u8 = 4;
    pub(crate) const WRITE: u8 = 5;
    pub(crate) const BLOCK: u8 = 6;
    pub(crate) const COUNT: u8 = 7;
}

/// Bytes of the data area.
pub(crate) const SIZES: [u32; 8] = [8, 16, 24, 64, 256, 1024, 4096, 8192];
/// In the first byte, above the index into [`SIZES`].
pub(crate) const SCATTERED: u8 = 8;
/// The rings are taken over with the indices that follow.
pub(crate) const ATTACH: u8 = 16;
/// The reader's buffer is small.
pub(crate) const SMALL_BUFFER: u8 = 32;
/// Bytes of the smallest packet with its trailer.
const LEAST_COST: u32 = 24;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let layout = input.u8();
    let size = SIZES[usize::from(layout & 7)];
    let memory = || {
        if layout & SCATTERED == 0 {
            HeapRing::new(size)
        } else {
            HeapRing::scattered(size)
        }
    };
    let (to_us, from_us, honest) = (memory(), memory(), memory());
    let (incoming, outgoing) = if layout & ATTACH == 0 {
        (
            IncomingRing::initialise(to_us.clone()),
            OutgoingRing::initialise(from_us.clone()),
        )
    } else {
        for ring in [&to_us, &from_us] {
            ring.store(ControlField::WriteIndex, input.u32());
            ring.store(ControlField::ReadIndex, input.u32());
        }
        let rings = (
            IncomingRing::attach(to_us.clone()),
            OutgoingRing::attach(from_us.clone()),
        );
        let (Ok(incoming), Ok(outgoing)) = rings else {
            return;
        };
        (incoming, outgoing)
    };
    let buffer = if layout & SMALL_BUFFER == 0 { 8192 } else { 64 };
    let mut reader = Reader {
        shared: to_us,
        ring: incoming,
        buffer: vec![0; buffer],
    };
    let mut writer = Writer {
        position: from_us.load(ControlField::WriteIndex),
        size,
        shared: from_us,
        ring: outgoing,
        honest_writer: OutgoingRing::initialise(honest.clone()),
        honest_reader: IncomingRing::attach(honest).expect("a fresh ring"),
        buffer: vec![0; 8192],
    };
    while let Some(step) = input.step() {
        match step % op::COUNT {
            op::POKE => poke(&reader.shared, size, &mut input),
            op::CONTROL => {
                let ring = if input.flag() {
                    &writer.shared
                } else {
                    &reader.shared
                };
                let field = input.choose(&ControlField::ALL);
                ring.store(field, input.u32());
            }
            op::FORGE_PACKET => forge(&reader.shared, size, &mut input),
            op::READ => reader.read(&mut input),
            op::MASK => reader.mask(input.flag()),
            op::WRITE => writer.write(&mut input),
            _ => writer.block(&mut input),
        }
    }
}

fn poke(ring: &HeapRing, size: u32, input: &mut Input<'_>) {
    let offset = u32::from(input.u16()) % size;
    let bytes = input.bytes();
    ring.poke(offset, &bytes[..bytes.len().min(size as usize)]);
}

/// Writes a packet that is right but for one thing, perhaps, and publishes it.
fn forge(ring: &HeapRing, size: u32, input: &mut Input<'_>) {
    let write_index = ring.load(ControlField::WriteIndex) / 8 * 8 % size;
    let mut packet_type = input.choose(&[6, 7, 9, 0xB]);
    let mut flags = u16::from(input.flag());
    let extension = u16::from(input.u8());
    let body = input.bytes();
    let mut length8 = 2 + body.len().div_ceil(8) as u16;
    match input.u8() % 8 {
        1 => packet_type = input.u16(),
        2 => flags = input.u16(),
        3 => length8 = input.u16(),
        _ => {}
    }
    let mut bytes = Vec::new();
    for word in [packet_type, 2 + extension, length8, flags] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(input.u64().to_le_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8) + 8, 0);
    bytes.truncate(size as usize);
    ring.poke(write_index, &bytes);
    let end = (write_index + bytes.len() as u32) % size;
    ring.store(ControlField::WriteIndex, end);
}

struct Reader {
    shared: HeapRing,
    ring: IncomingRing<HeapRing>,
    buffer: Vec<u8>,
}

impl Reader {
    fn read(&mut self, input: &mut Input<'_>) {
        let (wanted, how) = (u32::from(input.u8()), input.u8() % 3);
        match self.read_batch(wanted, how) {
            Err(error) => self.check_dead(error),
            // What has been read and neither committed nor accepted comes again.
            Ok(Some((transaction_id, payload))) if how == 2 => {
                let mut batch = self.ring.batch().expect("nothing has changed");
                let again = batch.next(&mut self.buffer).expect("nothing has changed");
                let again = again.expect("the packet is unread");
                assert_eq!(again.transaction_id, transaction_id);
                assert_eq!(again.payload, payload);
            }
            Ok(_) => {}
        }
    }

    /// Reads some packets; the first one's id and payload.
    fn read_batch(&mut self, wanted: u32, how: u8) -> Result<Option<(u64, Vec<u8>)>, RingError> {
        let size = self.shared.data_size();
        let mut batch = self.ring.batch()?;
        let mut first = None;
        let mut count = 0;
        let mut result = Ok(());
        while count < wanted {
            match batch.next(&mut self.buffer) {
                Ok(Some(packet)) => {
                    check_packet(&packet);
                    first.get_or_insert_with(|| (packet.transaction_id, packet.payload.to_vec()));
                    count += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        assert!(count <= size / LEAST_COST, "more packets than fit a ring");
        match how {
            0 => {
                let _ = batch.commit();
                let published = self.shared.load(ControlField::ReadIndex);
                assert!(count == 0 || published < size && published.is_multiple_of(8));
            }
            1 => batch.accept(),
            _ => {}
        }
        result.map(|()| first)
    }

    fn mask(&mut self, mask: bool) {
        if mask {
            self.ring.mask_interrupts();
            return;
        }
        if let Err(error) = self.ring.unmask_interrupts() {
            self.check_dead(error);
        }
        let _ = self.ring.peer_announces_blocked();
    }

    /// An error ends the ring: it stays.
    fn check_dead(&mut self, error: RingError) {
        assert_eq!(self.ring.error(), Some(error));
        assert_eq!(self.ring.batch().err(), Some(error));
        assert_eq!(self.ring.has_data(), Err(error));
        assert!(!error.field().is_empty() && !error.to_string().is_empty());
    }
}

/// What every packet that gets out of a ring promises.
fn check_packet(packet: &IncomingPacket<'_>) {
    assert!(packet.payload.len().is_multiple_of(8));
    match &packet.kind {
        IncomingKind::InBand | IncomingKind::Completion => {}
        IncomingKind::GpaDirect(ranges) => {
            assert!(ranges.len() > 0);
            let mut sum = 0;
            let mut count = 0;
            for range in *ranges {
                assert!(range.byte_count > 0 && range.byte_offset < 4096);
                let end = u64::from(range.byte_offset) + u64::from(range.byte_count);
                assert_eq!(range.page_frames.len() as u64, end.div_ceil(4096));
                assert_eq!(range.page_frames.iter().len(), range.page_frames.len());
                sum += u64::from(range.byte_count);
                count += 1;
            }
            assert_eq!(count, ranges.len());
            assert_eq!(sum, ranges.total_bytes());
        }
        IncomingKind::TransferPages(ranges) => {
            assert_eq!((*ranges).count(), ranges.len());
            assert!(
                ranges
                    .clone()
                    .all(|range| range.byte_offset.checked_add(range.byte_count).is_some())
            );
        }
    }
}

struct Writer {
    shared: HeapRing,
    ring: OutgoingRing<HeapRing>,
    size: u32,
    /// Where our write index must be.
    position: u32,
    honest_writer: OutgoingRing<HeapRing>,
    honest_reader: IncomingRing<HeapRing>,
    buffer: Vec<u8>,
}

impl Writer {
    fn write(&mut self, input: &mut Input<'_>) {
        let (count, keep) = (input.below(4) + 1, input.flag());
        let before = self.shared.load(ControlField::WriteIndex);
        let mut written = 0;
        let mut batch = match self.ring.batch() {
            Ok(batch) => batch,
            Err(error) => return self.check_dead(error),
        };
        for _ in 0..count {
            let specification = Specification::read(input);
            specification.with(|packet| {
                let (cost, free) = (packet.ring_cost(), batch.free_space());
                match batch.push(packet) {
                    Ok(()) => {
                        written += cost;
                        assert_eq!(batch.free_space(), free - cost);
                    }
                    Err(WriteError::Full { needed }) => {
                        assert_eq!(needed, cost);
                        assert!(cost > free);
                    }
                    Err(WriteError::TooLarge { maximum, .. }) => assert!(cost > maximum),
                    Err(WriteError::InvalidRange(invalid)) => {
                        assert!(specification.ranges.len() as u32 >= invalid.range);
                    }
                    Err(WriteError::Ring(error)) => panic!("{error} within a batch"),
                }
                exchange(
                    &mut self.honest_writer,
                    &mut self.honest_reader,
                    &mut self.buffer,
                    packet,
                );
            });
        }
        if keep {
            let _ = batch.commit();
            if written > 0 {
                self.position = (self.position + written) % self.size;
                let published = self.shared.load(ControlField::WriteIndex);
                assert_eq!(published, self.position);
            }
        } else {
            // Nothing of the batch becomes visible.
            assert_eq!(self.shared.load(ControlField::WriteIndex), before);
        }
    }

    fn block(&mut self, input: &mut Input<'_>) {
        if input.flag() {
            self.ring.withdraw_blocked();
            return;
        }
        let needed = input.u32();
        match self.ring.announce_blocked(needed) {
            Ok(room) => {
                let free = self.ring.free_space().expect("nothing has changed");
                // More than the ring ever has free means "empty".
                assert_eq!(room, free >= needed.min(self.size - 8));
            }
            Err(error) => self.check_dead(error),
        }
    }

    fn check_dead(&mut self, error: RingError) {
        assert_eq!(self.ring.error(), Some(error));
        assert_eq!(self.ring.free_space(), Err(error));
    }
}

/// Sends a packet from one honest end to the other, if it can be sent at all.
fn exchange(
    writer: &mut OutgoingRing<HeapRing>,
    reader: &mut IncomingRing<HeapRing>,
    buffer: &mut [u8],
    packet: &OutgoingPacket<'_>,
) {
    if writer.send(packet).is_err() {
        return;
    }
    let mut batch = reader.batch().expect("an honest peer");
    let received = batch.next(buffer).expect("an honest peer");
    let received = received.expect("a packet was sent");
    assert_eq!(received.transaction_id, packet.transaction_id);
    assert_eq!(received.completion_requested, packet.completion_requested);
    let sent = packet.payload.concat();
    assert_eq!(received.payload.len(), sent.len().next_multiple_of(8));
    let (payload, padding) = received.payload.split_at(sent.len());
    assert_eq!(payload, sent);
    assert!(padding.iter().all(|byte| *byte == 0));
    match (&received.kind, packet.kind) {
        (IncomingKind::InBand, OutgoingKind::InBand)
        | (IncomingKind::Completion, OutgoingKind::Completion) => {}
        (IncomingKind::GpaDirect(received), OutgoingKind::GpaDirect(sent)) => {
            assert_eq!(received.len(), sent.len());
            for (received, sent) in received.zip(sent) {
                assert_eq!(received.byte_count, sent.byte_count);
                assert_eq!(received.byte_offset, sent.byte_offset);
                assert!(
                    received
                        .page_frames
                        .iter()
                        .eq(sent.page_frames.iter().copied())
                );
            }
        }
        (
            IncomingKind::TransferPages(received),
            OutgoingKind::TransferPages {
                set_id,
                sender_owns_set,
                ranges,
            },
        ) => {
            assert_eq!(received.set_id(), set_id);
            assert_eq!(received.sender_owns_set(), sender_owns_set);
            assert!((*received).eq(ranges.iter().copied()));
        }
        (received, sent) => panic!("{sent:?} became {received:?}"),
    }
    let _ = batch.commit();
}

/// A packet to send, as the input describes it.
struct Specification {
    kind: u8,
    transaction_id: u64,
    completion_requested: bool,
    payload: Vec<u8>,
    /// Byte count, byte offset, page frames.
    ranges: Vec<(u32, u32, Vec<u64>)>,
    set_id: u16,
}

impl Specification {
    fn read(input: &mut Input<'_>) -> Self {
        let kind = input.u8() % 4;
        let mut specification = Self {
            kind,
            transaction_id: input.u64(),
            completion_requested: input.flag(),
            payload: input.bytes().to_vec(),
            ranges: Vec::new(),
            set_id: 0,
        };
        // Long payloads without long inputs.
        let padding = usize::from(input.u8()) * 64;
        specification
            .payload
            .resize(specification.payload.len() + padding, 0x5A);
        if kind >= 2 {
            specification.set_id = input.u16();
            for _ in 0..input.below(5) {
                let (byte_count, byte_offset) = (input.u32(), u32::from(input.u16()));
                let end = u64::from(byte_count) + u64::from(byte_offset);
                let honest = end.div_ceil(4096).min(600);
                // Rarely, a frame too many.
                let frames = honest + u64::from(input.u8() == 0xFF);
                let frames = (0..frames).map(|frame| frame << 8 | 1).collect();
                specification.ranges.push((byte_count, byte_offset, frames));
            }
        }
        specification
    }

    fn with(&self, act: impl FnOnce(&OutgoingPacket<'_>)) {
        let gpa: Vec<_> = self
            .ranges
            .iter()
            .map(|(byte_count, byte_offset, page_frames)| GpaRange {
                byte_count: *byte_count,
                byte_offset: *byte_offset,
                page_frames,
            })
            .collect();
        let transfer: Vec<_> = self
            .ranges
            .iter()
            .map(|(byte_count, byte_offset, _)| TransferRange {
                byte_count: *byte_count,
                byte_offset: *byte_offset,
            })
            .collect();
        let (first, second) = self.payload.split_at(self.payload.len() / 3);
        act(&OutgoingPacket {
            transaction_id: self.transaction_id,
            completion_requested: self.completion_requested,
            kind: match self.kind {
                0 => OutgoingKind::InBand,
                1 => OutgoingKind::Completion,
                2 => OutgoingKind::GpaDirect(&gpa),
                _ => OutgoingKind::TransferPages {
                    set_id: self.set_id,
                    sender_owns_set: self.set_id & 1 != 0,
                    ranges: &transfer,
                },
            },
            payload: &[first, second],
        });
    }
}
