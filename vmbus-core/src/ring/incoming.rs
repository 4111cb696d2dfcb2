//! The reader's end of a ring.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::barrier::{observe, publish};
use super::error::RingError;
use super::memory::RingMemory;
use super::{Signal, advance, readable};
use crate::packet::{DESCRIPTOR_SIZE, Descriptor, IncomingPacket, TRAILER_SIZE};
use crate::shared::copy_from_shared;

/// The reader's end of a ring.
#[derive(Debug)]
pub struct IncomingRing<M> {
    memory: M,
    size: u32,
    /// Everything before it has been consumed.
    read_index: u32,
    /// What the writer knows of `read_index`: written to shared memory, but never read back.
    published: u32,
    error: Option<RingError>,
}

impl<M: RingMemory> IncomingRing<M> {
    /// Takes a fresh ring: zeroes the control page.
    ///
    /// For the guest before it opens a channel; nobody else may be using the ring yet.
    #[must_use]
    pub fn initialise(memory: M) -> Self {
        memory.control().reset(0);
        Self {
            size: memory.data_size(),
            memory,
            read_index: 0,
            published: 0,
            error: None,
        }
    }

    /// Takes over a ring that the peer has prepared, with the indices that are in it, and unmasks
    /// interrupts.
    ///
    /// # Errors
    /// One of the indices is not valid.
    pub fn attach(memory: M) -> Result<Self, RingError> {
        let size = memory.data_size();
        let control = memory.control();
        let read_index = control.checked_read_index(size)?;
        control.checked_write_index(size)?;
        publish(&control.interrupt_mask, 0);
        Ok(Self {
            memory,
            size,
            read_index,
            published: read_index,
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

    /// Whether the peer takes part in the protocol for blocked writers: as this ring's writer it announces
    /// itself, and as the reader of the opposite ring it honours our announcements. If not, a writer that
    /// is blocked has to look again by a timer.
    #[must_use]
    pub fn peer_announces_blocked(&self) -> bool {
        self.memory.control().writer_announces()
    }

    /// Begins to read what has been written until now.
    ///
    /// # Errors
    /// The peer has broken the ring.
    #[inline]
    pub fn batch(&mut self) -> Result<ReadBatch<'_, M>, RingError> {
        let available = self.available(self.read_index)?;
        if available != 0 && available < DESCRIPTOR_SIZE {
            return Err(self.fail(RingError::AvailableTooShort { available }));
        }
        Ok(ReadBatch {
            position: self.read_index,
            accepted: self.read_index,
            available,
            ring: self,
        })
    }

    /// Whether there is something to read, or something read of which the writer has not been told.
    ///
    /// This is also the look to take after a [`ReadBatch::commit`] and before sleeping, when interrupts
    /// have not been masked.
    ///
    /// # Errors
    /// The peer has broken the ring.
    #[inline]
    pub fn has_data(&mut self) -> Result<bool, RingError> {
        let available = self.available(self.published)?;
        Ok(available != 0)
    }

    /// Tells the writer that we are awake: it need not interrupt us for data. A hint; interrupts that come
    /// nevertheless are harmless.
    pub fn mask_interrupts(&mut self) {
        publish(&self.memory.control().interrupt_mask, 1);
    }

    /// Tells the writer that we are going to sleep, then looks once more whether there is something to
    /// read.
    ///
    /// `true`: there is; mask interrupts again and read on. `false`: the writer will interrupt.
    ///
    /// # Errors
    /// The peer has broken the ring.
    pub fn unmask_interrupts(&mut self) -> Result<bool, RingError> {
        // Full barrier between mask and look: the writer publishes its index, then looks at the mask, so
        // one of the two sees the other.
        publish(&self.memory.control().interrupt_mask, 0);
        self.has_data()
    }

    /// Bytes written beyond `read_index`.
    #[inline]
    fn available(&mut self, read_index: u32) -> Result<u32, RingError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let size = self.size;
        match self.memory.control().checked_write_index(size) {
            Ok(write_index) => Ok(readable(write_index, read_index, size)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends the ring.
    #[cold]
    fn fail(&mut self, error: RingError) -> RingError {
        self.error = Some(error);
        error
    }
}

/// Packets being read. Dropping it leaves unread what has not been [accepted](Self::accept).
#[derive(Debug)]
pub struct ReadBatch<'r, M: RingMemory> {
    ring: &'r mut IncomingRing<M>,
    /// Where the next packet starts.
    position: u32,
    /// Where the next packet starts if the batch is dropped.
    accepted: u32,
    /// Bytes written beyond `position`.
    available: u32,
}

impl<M: RingMemory> ReadBatch<'_, M> {
    /// Copies the next packet into `buffer` and validates it; `None` at the end of the batch.
    ///
    /// The buffer must hold extension and payload of the largest packet that the peer may send: any
    /// buffer of the channel's maximum packet size will do.
    ///
    /// # Errors
    /// The peer has broken the ring, or sent a packet larger than the buffer. The packets read before
    /// stay good; [`accept`](Self::accept) keeps them.
    // Always: a packet that is handed over in memory costs a small one an eighth of its round's instructions.
    #[inline(always)]
    pub fn next<'b>(
        &mut self,
        buffer: &'b mut [u8],
    ) -> Result<Option<IncomingPacket<'b>>, RingError> {
        if self.available == 0 {
            return self.ring.error.map_or(Ok(None), Err);
        }
        match self.take(buffer) {
            Ok(packet) => Ok(Some(packet)),
            Err(error) => {
                self.available = 0;
                Err(self.ring.fail(error))
            }
        }
    }

    #[inline(always)]
    fn take<'b>(&mut self, buffer: &'b mut [u8]) -> Result<IncomingPacket<'b>, RingError> {
        let available = self.available;
        if available < DESCRIPTOR_SIZE {
            return Err(RingError::AvailableTooShort { available });
        }
        let (size, position) = (self.ring.size, self.position);
        let memory = &self.ring.memory;
        let (at, whole) = memory
            .contiguous(position)
            .unwrap_or((NonNull::dangling(), 0));
        // The length is read here, once; the peer may change it now and hurts nobody.
        let (word, transaction_id) = if DESCRIPTOR_SIZE <= whole {
            // SAFETY: the memory vouches for the bytes, aligned because the position is; they are shared.
            unsafe { load_descriptor(at) }
        } else {
            read_descriptor(memory, position, size)
        };
        let descriptor = Descriptor::parse(word)?;
        let cost = descriptor.packet_size() + TRAILER_SIZE;
        if cost > available {
            return Err(RingError::LengthBeyondAvailable {
                length: cost,
                available,
            });
        }
        let length = descriptor.body_size();
        let room = buffer.len();
        let Some(body) = buffer.get_mut(..length as usize) else {
            return Err(RingError::BufferTooSmall {
                length,
                buffer: room,
            });
        };
        if cost <= whole {
            // SAFETY: the body lies within the packet, for whose bytes the memory vouches.
            unsafe { copy_from_shared(at.as_ptr().add(DESCRIPTOR_SIZE as usize), body) }
        } else {
            read_split(memory, advance(position, DESCRIPTOR_SIZE, size), size, body);
        }
        let packet = IncomingPacket::parse_body(descriptor, transaction_id, body)?;
        self.position = advance(position, cost, size);
        self.available = available - cost;
        Ok(packet)
    }

    /// Marks the packets read so far as consumed: dropping the batch keeps them consumed. Their space goes
    /// back to the writer with the next [`commit`](Self::commit), of this batch or a later one.
    #[inline]
    pub fn accept(&mut self) {
        self.accepted = self.position;
    }

    /// Whether the batch holds no further packet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.available == 0
    }

    /// Gives the space of all packets read so far back to the writer, and tells whether the writer waits
    /// for it and must be interrupted.
    #[inline]
    pub fn commit(mut self) -> Signal {
        self.accepted = self.position;
        let ring = &mut *self.ring;
        let old = ring.published;
        let new = self.position;
        if new == old {
            return Signal::NotNeeded;
        }
        ring.published = new;
        let control = ring.memory.control();
        // Releases the space after all copies out of it, and is the full barrier before the looks at the
        // writer's words, both here and in a `has_data` that follows.
        publish(&control.read_index, new);
        // Beside the index; the feature word, in another cache line, is asked only of a writer that may wait.
        let pending = observe(&control.pending_send_size);
        if pending == 0 || !control.writer_announces() {
            return Signal::NotNeeded;
        }
        ring.space_signal(old, new, pending)
    }
}

impl<M: RingMemory> Drop for ReadBatch<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.ring.read_index = self.accepted;
    }
}

impl<M: RingMemory> IncomingRing<M> {
    /// Whether a writer that waits for `pending` bytes must be told that the read index went from `old` to
    /// `new`: exactly when that made the difference.
    #[cold]
    fn space_signal(&mut self, old: u32, new: u32, pending: u32) -> Signal {
        // Some writers ask for one byte less than the whole ring and mean "empty"; larger values can only
        // mean the same.
        let pending = (pending & !7).min(self.size - 8);
        let write_index = match self.memory.control().checked_write_index(self.size) {
            Ok(write_index) => write_index,
            Err(error) => {
                self.fail(error);
                return Signal::NotNeeded;
            }
        };
        let free = |read_index| self.size - readable(write_index, read_index, self.size);
        if free(old) <= pending && free(new) > pending {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }
}

/// The two words of a packet's descriptor.
///
/// # Safety
/// `at` must be valid for reads of 16 bytes of shared memory and aligned to 8.
#[inline]
unsafe fn load_descriptor(at: NonNull<u8>) -> (u64, u64) {
    let words = at.as_ptr().cast::<AtomicU64>();
    // SAFETY: the caller vouches for two aligned words.
    unsafe {
        (
            (*words).load(Ordering::Relaxed),
            (*words.add(1)).load(Ordering::Relaxed),
        )
    }
}

/// The two words of a descriptor that is not in one piece.
#[inline(never)]
fn read_descriptor(memory: &impl RingMemory, position: u32, size: u32) -> (u64, u64) {
    let mut words = [[0; 8]; 2];
    read_split(memory, position, size, words.as_flattened_mut());
    let [first, second] = words.map(u64::from_le_bytes);
    (first, second)
}

/// Copies out of a data area of `size` bytes what is not in one piece, around its end if need be. Apart, so
/// that the common case stays small.
#[inline(never)]
fn read_split(memory: &impl RingMemory, offset: u32, size: u32, into: &mut [u8]) {
    let room = (size - offset) as usize;
    match into.split_at_mut_checked(room) {
        None => memory.read(offset, into),
        Some((first, second)) => {
            memory.read(offset, first);
            if !second.is_empty() {
                memory.read(0, second);
            }
        }
    }
}
