//! The writer's end of a ring.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::barrier::{observe, publish};
use super::error::{RingError, WriteError};
use super::memory::RingMemory;
use super::{Signal, advance, readable};
use crate::packet::{Layout, OutgoingPacket, PacketSink};
use crate::shared::copy_to_shared;

/// The writer's end of a ring.
#[derive(Debug)]
pub struct OutgoingRing<M> {
    memory: M,
    size: u32,
    /// Our index: published, but never read back.
    write_index: u32,
    error: Option<RingError>,
}

impl<M: RingMemory> OutgoingRing<M> {
    /// Takes a fresh ring: zeroes the control page and declares that we announce ourselves when blocked.
    ///
    /// For the guest before it opens a channel; nobody else may be using the ring yet.
    #[must_use]
    pub fn initialise(memory: M) -> Self {
        memory.control().reset_as_writer();
        Self {
            size: memory.data_size(),
            memory,
            write_index: 0,
            error: None,
        }
    }

    /// Takes over a ring that the peer has prepared, with the indices that are in it.
    ///
    /// # Errors
    /// One of the indices is not valid.
    pub fn attach(memory: M) -> Result<Self, RingError> {
        let size = memory.data_size();
        let control = memory.control();
        let write_index = control.checked_write_index(size)?;
        control.checked_read_index(size)?;
        publish(&control.pending_send_size, 0);
        control.declare_features();
        Ok(Self {
            memory,
            size,
            write_index,
            error: None,
        })
    }

    /// The memory under the ring.
    #[must_use]
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// The error that has ended the ring, if one has.
    #[must_use]
    pub const fn error(&self) -> Option<RingError> {
        self.error
    }

    /// The largest [ring cost](OutgoingPacket::ring_cost) that ever fits, in bytes.
    #[must_use]
    pub const fn largest_cost(&self) -> u32 {
        self.size - 8
    }

    /// Bytes of ring cost that fit now.
    ///
    /// # Errors
    /// The peer has broken the ring.
    #[inline]
    pub fn free_space(&mut self) -> Result<u32, RingError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let size = self.size;
        match self.memory.control().checked_read_index(size) {
            // 8 bytes stay free, so that a full ring does not look empty.
            Ok(read_index) => Ok(size - readable(self.write_index, read_index, size) - 8),
            Err(error) => {
                self.error = Some(error);
                Err(error)
            }
        }
    }

    /// Begins to write packets; the peer sees none of them before [`WriteBatch::commit`].
    ///
    /// # Errors
    /// The peer has broken the ring.
    #[inline]
    pub fn batch(&mut self) -> Result<WriteBatch<'_, M>, RingError> {
        let free = self.free_space()?;
        Ok(WriteBatch {
            position: self.write_index,
            free,
            ring: self,
        })
    }

    /// Writes and publishes one packet.
    ///
    /// # Errors
    /// No room, too large, invalid ranges, or the peer has broken the ring; nothing is written.
    #[inline]
    pub fn send(&mut self, packet: &OutgoingPacket<'_>) -> Result<Signal, WriteError> {
        let mut batch = self.batch()?;
        batch.push(packet)?;
        Ok(batch.commit())
    }

    /// Asks the reader for a signal when packets costing `needed` bytes fit, then looks again.
    ///
    /// `true`: there is room already and the request has been withdrawn; write now. `false`: wait for the
    /// channel's signal, then try again. The request stays until [`withdraw_blocked`](Self::withdraw_blocked).
    /// A peer without the feature never signals for space: see
    /// [`IncomingRing::peer_announces_blocked`](super::IncomingRing::peer_announces_blocked).
    ///
    /// # Errors
    /// The peer has broken the ring.
    pub fn announce_blocked(&mut self, needed: u32) -> Result<bool, RingError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let needed = needed.min(self.size - 8).next_multiple_of(8);
        // Full barrier between the request and the second look: the reader publishes its index, then
        // looks for requests, so one of the two sees the other.
        publish(&self.memory.control().pending_send_size, needed);
        let room = self.free_space()? >= needed;
        if room {
            self.withdraw_blocked();
        }
        Ok(room)
    }

    /// Withdraws the request of [`announce_blocked`](Self::announce_blocked).
    pub fn withdraw_blocked(&mut self) {
        // No barrier: a reader that still sees the request sends one signal too many.
        let control = self.memory.control();
        control
            .pending_send_size
            .store(0, super::barrier::Ordering::Relaxed);
    }
}

/// Packets being written. Dropping it leaves the ring as it was.
#[derive(Debug)]
pub struct WriteBatch<'r, M: RingMemory> {
    ring: &'r mut OutgoingRing<M>,
    /// Where the next packet goes.
    position: u32,
    /// Bytes of ring cost that still fit.
    free: u32,
}

impl<M: RingMemory> WriteBatch<'_, M> {
    /// Bytes of ring cost that still fit into the batch.
    #[must_use]
    pub const fn free_space(&self) -> u32 {
        self.free
    }

    /// Whether nothing has been pushed yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.position == self.ring.write_index
    }

    /// Lays a packet out after those pushed before.
    ///
    /// # Errors
    /// No room, too large, or invalid ranges; the batch stays as it was and may go on.
    // Always: most callers know the kind of packet and the number of pieces, and then little of it is left.
    #[inline(always)]
    pub fn push(&mut self, packet: &OutgoingPacket<'_>) -> Result<(), WriteError> {
        let layout = packet.layout()?;
        let maximum = self.ring.size - 8;
        let cost = layout.ring_cost();
        if !layout.is_expressible() || cost > u64::from(maximum) {
            return Err(WriteError::TooLarge {
                cost: u32::try_from(cost).unwrap_or(u32::MAX),
                maximum: maximum.min(crate::packet::MAXIMUM_PACKET_SIZE + 8),
            });
        }
        let cost = cost as u32;
        if cost > self.free {
            return Err(WriteError::Full { needed: cost });
        }
        let memory = &self.ring.memory;
        match memory.contiguous(self.position) {
            Some((at, length)) if cost <= length => {
                packet.emit(layout, self.position, &mut FlatSink { at });
            }
            _ => emit_split(packet, layout, memory, self.ring.size, self.position),
        }
        self.position = advance(self.position, cost, self.ring.size);
        self.free -= cost;
        Ok(())
    }

    /// Publishes the packets pushed, all at once, and tells whether the reader must be interrupted.
    #[inline]
    pub fn commit(self) -> Signal {
        let ring = self.ring;
        let old = ring.write_index;
        if self.position == old {
            return Signal::NotNeeded;
        }
        ring.write_index = self.position;
        let control = ring.memory.control();
        // Releases the packets, and is the full barrier before the two looks at the reader's words.
        publish(&control.write_index, self.position);
        if observe(&control.interrupt_mask) != 0 {
            return Signal::NotNeeded;
        }
        // The reader had taken everything there was before this batch: it may be asleep. The value is
        // only compared; whether it is valid, the next batch asks.
        if observe(&control.read_index) == old {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }
}

/// Writes a packet to memory in one piece.
struct FlatSink {
    at: NonNull<u8>,
}

impl PacketSink for FlatSink {
    #[inline]
    fn put_word(&mut self, word: u64) {
        // SAFETY: `push` made the sink for exactly the bytes that the packet's layout counts, and packets
        // put words only at multiples of 8 from their start, which is aligned. The memory is shared.
        unsafe {
            (*self.at.as_ptr().cast::<AtomicU64>()).store(word, Ordering::Relaxed);
            self.at = self.at.add(8);
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        // SAFETY: as above: the layout counts these bytes.
        unsafe {
            copy_to_shared(self.at.as_ptr(), bytes);
            self.at = self.at.add(bytes.len());
        }
    }
}

/// Writes a packet that is not in one piece. Apart, so that the common case stays small.
#[inline(never)]
fn emit_split(
    packet: &OutgoingPacket<'_>,
    layout: Layout,
    memory: &impl RingMemory,
    size: u32,
    position: u32,
) {
    let mut sink = SplitSink {
        memory,
        size,
        position,
    };
    packet.emit(layout, position, &mut sink);
}

/// Writes a packet to memory in pieces, around the ring's end.
struct SplitSink<'m, M> {
    memory: &'m M,
    size: u32,
    position: u32,
}

impl<M: RingMemory> PacketSink for SplitSink<'_, M> {
    #[inline]
    fn put_word(&mut self, word: u64) {
        self.put(&word.to_le_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = (self.size - self.position) as usize;
        let (first, second) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        if !first.is_empty() {
            self.memory.write(self.position, first);
        }
        if !second.is_empty() {
            self.memory.write(0, second);
        }
        // `push` has checked that the whole packet fits the ring.
        self.position = advance(self.position, bytes.len() as u32, self.size);
    }
}
