//! Rings: the two one-way packet queues of a channel, in memory shared with the peer.
//!
//! Each ring is a control page and a data area. The writer owns the write index, the reader owns the read
//! index; each end keeps its own index privately and only ever *publishes* it, so that a peer which
//! scribbles over the shared copy confuses nobody but itself. The peer's index is read once per batch and
//! validated. Whatever a peer does wrong ends in a [`RingError`] that names field and value, after which
//! the ring is dead: every later call gives the same error.
//!
//! Work is done in batches. A [`WriteBatch`] lays packets out beyond the published index and publishes
//! them together on [`WriteBatch::commit`]; a [`ReadBatch`] copies packets out and gives their space back
//! together on [`ReadBatch::commit`]. Both answer whether the peer must be interrupted: a data signal
//! only when the ring went from empty to non-empty and the reader has not masked it, a space signal only
//! when a writer that announced itself blocked has just got the room that it waits for. Dropping a batch
//! without committing it undoes it.
//!
//! Nothing here allocates, locks, waits or looks at a clock.
//!
//! ```
//! use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
//! use vmbus_core::ring::{IncomingRing, OutgoingRing, testing::HeapRing};
//!
//! // In use, each end has a `FlatRing` or another `RingMemory` over the same pages.
//! let memory = HeapRing::new(4096);
//! let mut outgoing = OutgoingRing::initialise(memory.clone());
//! let mut incoming = IncomingRing::attach(memory)?;
//!
//! let mut batch = outgoing.batch()?;
//! for transaction_id in 1..=3 {
//!     batch.push(&OutgoingPacket {
//!         transaction_id,
//!         completion_requested: true,
//!         kind: OutgoingKind::InBand,
//!         payload: &[b"header", b"and data"],
//!     })?;
//! }
//! // The ring was empty and the reader sleeps: one interrupt for all three.
//! assert!(batch.commit().is_needed());
//!
//! let mut buffer = [0; 256];
//! let mut batch = incoming.batch()?;
//! while let Some(packet) = batch.next(&mut buffer)? {
//!     assert!(matches!(packet.kind, IncomingKind::InBand) && packet.completion_requested);
//!     assert!(packet.payload.starts_with(b"headerand data"));
//! }
//! // Nobody waits for space: no interrupt.
//! assert!(!batch.commit().is_needed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Waiting without losing a wake-up
//! - Reader: `mask_interrupts`, drain, `unmask_interrupts`; when that reports waiting data, start over.
//! - Writer: on [`WriteError::Full`], `announce_blocked`; when that reports room, write again, else wait
//!   for a signal, try again, and `withdraw_blocked` after success.

#[cfg(not(target_endian = "little"))]
compile_error!("VMBus exists only on little-endian processors");

mod barrier;
mod control;
mod error;
mod incoming;
mod memory;
mod outgoing;
#[cfg(any(test, loom, feature = "testing"))]
pub mod testing;

pub use control::ControlPage;
pub use error::{IndexField, RingError, WriteError};
pub use incoming::{IncomingRing, ReadBatch};
pub use memory::{FlatRing, RingMemory};
pub use outgoing::{OutgoingRing, WriteBatch};

/// Whether the peer must be interrupted.
#[must_use = "a signal that is needed and not sent leaves the peer asleep"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Interrupt the peer.
    Needed,
    /// The peer is awake, or does not want to be woken.
    NotNeeded,
}

impl Signal {
    /// Whether the peer must be interrupted.
    #[must_use]
    #[inline]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Needed)
    }
}

impl core::ops::BitOr for Signal {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        if self.is_needed() { self } else { other }
    }
}

impl core::ops::BitOrAssign for Signal {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// Bytes readable between the two indices of a ring of `size` bytes.
#[inline]
const fn readable(write_index: u32, read_index: u32, size: u32) -> u32 {
    if write_index >= read_index {
        write_index - read_index
    } else {
        size - read_index + write_index
    }
}

/// `index` moved forward by `by` bytes, which is at most `size`.
#[inline]
const fn advance(index: u32, by: u32, size: u32) -> u32 {
    let moved = index + by;
    if moved >= size { moved - size } else { moved }
}
