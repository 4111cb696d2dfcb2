//! The guest's buffer of one command.

use vm_memory::VolatileSlice;
use vsc_storage::scsi::Direction;
use vsc_storage::wire::DataDirection;

use super::Outcome;
use crate::disk::Scatter;

/// The guest's buffer of one command: validated slices of guest memory and what may be done with them.
#[derive(Clone, Copy, Debug)]
pub struct DataBuffer<'a> {
    slices: &'a [VolatileSlice<'a>],
    length: u32,
    direction: Option<DataDirection>,
}

impl<'a> DataBuffer<'a> {
    /// No buffer.
    pub const NONE: Self = Self {
        slices: &[],
        length: 0,
        direction: Some(DataDirection::None),
    };

    /// A buffer in these slices. `direction` is what the guest says that the buffer is for, `None` if what it
    /// says has no meaning.
    ///
    /// At most `u32::MAX` bytes are used.
    #[must_use]
    pub fn new(slices: &'a [VolatileSlice<'a>], direction: Option<DataDirection>) -> Self {
        let length = slices
            .iter()
            .fold(0u64, |sum, slice| sum.saturating_add(slice.len() as u64));
        Self {
            slices,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            direction,
        }
    }

    /// Bytes in the buffer.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Whether a command that moves data in this direction may use the buffer. An empty one serves all.
    #[must_use]
    pub fn allows(&self, command: Direction) -> bool {
        match (self.direction, command) {
            _ if self.length == 0 => true,
            (None, _) => false,
            (Some(DataDirection::None), _) | (_, Direction::None) => true,
            (Some(DataDirection::FromDevice), wanted) => wanted == Direction::In,
            (Some(DataDirection::ToDevice), wanted) => wanted == Direction::Out,
        }
    }

    /// Answers with `reply`, cut to the allocation length and to the buffer.
    pub(super) fn reply(&self, reply: &[u8], allocation_length: usize) -> Outcome {
        let count = reply.len().min(allocation_length).min(self.length as usize);
        Scatter::new(self.slices).copy_from(reply.get(..count).unwrap_or(reply));
        Outcome::Good {
            // At most `self.length`.
            transferred: count as u32,
        }
    }

    /// Copies the first bytes of the buffer out, once.
    pub(super) fn copy_to(&self, into: &mut [u8]) {
        Scatter::new(self.slices).copy_to(into);
    }

    /// The whole buffer.
    pub(super) fn scatter(&self) -> Scatter<'a> {
        Scatter::new(self.slices)
    }

    /// Calls `act` with the first `length` bytes of the buffer, which has at least as many.
    #[inline]
    pub(super) fn with_prefix<R>(
        &self,
        length: u32,
        act: impl FnOnce(&[VolatileSlice<'_>]) -> R,
    ) -> R {
        if length == self.length {
            return act(self.slices);
        }
        let (prefix, _) = self.scatter().split_at(length.into());
        let pieces: Vec<_> = prefix.pieces().collect();
        act(&pieces)
    }
}
