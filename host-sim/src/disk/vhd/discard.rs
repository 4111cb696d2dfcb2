//! Giving up blocks of a dynamic VHD.

use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::UNALLOCATED;
use super::dynamic::BlockMap;
use super::footer::FOOTER_SIZE;
use super::space::Space;
use crate::disk::poison::Poison;
use crate::disk::{DiskError, Storage};

impl BlockMap {
    /// Makes a range of the disk read as zeros. Blocks that lie wholly in it are given up: their table entries are
    /// taken back, their space is a hole in the file, is used again by other blocks, and leaves the file where it is
    /// at its end.
    ///
    /// What a power cut may leave: until the next flush a block may be back, with its old content or with zeros. Its
    /// place is used by no other block before the table entry is durably gone.
    pub(super) fn discard(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        disk: u64,
        range: Range<u64>,
    ) -> Result<(), DiskError> {
        // Nobody reads or writes in a block while it is given up.
        let _exclusive = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        poison.check()?;
        let whole = self.whole_blocks(disk, &range);
        let (first, last) = (self.block_start(whole.start), self.block_start(whole.end));
        let failed = |offset| move |error| DiskError::from_io("discard", offset, &error);
        let edges = if whole.is_empty() {
            [range.clone(), range.end..range.end]
        } else {
            [range.start..first, last.min(range.end)..range.end]
        };
        for edge in edges {
            let mut offset = edge.start;
            while offset < edge.end {
                let part = self.first_part(offset, edge.end - offset);
                if let Some(data) = self.data_offset(part.block) {
                    storage
                        .punch(data + part.start, part.length)
                        .map_err(failed(offset))?;
                }
                offset += part.length;
            }
        }
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        self.give_up(storage, poison, &mut space, whole)?;
        if let Err(error) = self.shrink(storage, poison, &mut space) {
            // After a failed flush nothing is certain; else the file just stays as long as it is.
            poison.check()?;
            tracing::debug!(%error, "the file's end is not given back");
        }
        Ok(())
    }

    /// The blocks of which no byte on the disk lies outside of a range.
    fn whole_blocks(&self, disk: u64, range: &Range<u64>) -> Range<usize> {
        let first = range.start.div_ceil(self.block_size);
        let end = if range.end == disk {
            disk.div_ceil(self.block_size)
        } else {
            range.end / self.block_size
        };
        // On the disk, and so in the table, whose length is a `usize`.
        first as usize..end.max(first) as usize
    }

    fn block_start(&self, block: usize) -> u64 {
        block as u64 * self.block_size
    }

    /// Takes back the table entries of these blocks.
    fn give_up(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        space: &mut Space,
        blocks: Range<usize>,
    ) -> Result<(), DiskError> {
        let is_allocated = |block: &usize| self.data_offset(*block).is_some();
        let Some(first) = blocks.clone().find(is_allocated) else {
            return Ok(());
        };
        let end = blocks.rev().find(is_allocated).map_or(first, |last| last) + 1;
        /// Entries written at a time.
        const ENTRIES: usize = 16 << 10;
        let gone = vec![0xFF; 4 * ENTRIES.min(end - first)];
        for block in (first..end).step_by(ENTRIES) {
            let count = ENTRIES.min(end - block);
            let entry = self.table_offset + block as u64 * 4;
            if let Err(error) = storage.write_bytes(entry, &gone[..4 * count]) {
                // The table in memory and that in the file may differ now: what is written from now on to these
                // blocks could be lost.
                poison.set();
                return Err(DiskError::from_io("discard", entry, &error));
            }
        }
        for block in first..end {
            let sector = self.table[block].swap(UNALLOCATED, Ordering::AcqRel);
            if sector == UNALLOCATED {
                continue;
            }
            let place = u64::from(sector) * 512;
            space.given_up.insert(place..place + self.span());
            // Not the bitmap: if the table entry survives a power cut, the block is a sound one of zeros.
            if self.can_punch
                && let Err(error) = storage.punch(place + self.bitmap_bytes, self.block_size)
            {
                tracing::debug!(%error, place, "the space of a discarded block is not given back");
            }
        }
        Ok(())
    }

    /// Cuts off the file's end as far as it belongs to no block.
    fn shrink(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        space: &mut Space,
    ) -> Result<(), DiskError> {
        if !space.given_up.ends_at(space.end) && !space.free.ends_at(space.end) {
            return Ok(());
        }
        // No table entry leads there any more, whatever happens.
        poison.flush(storage)?;
        space.flushed();
        let Some(end) = space.free.take_last(space.end) else {
            return Ok(());
        };
        // The new footer is durable before the old one goes; both are the same.
        let moved = storage
            .write_bytes(end, &self.footer)
            .map_err(|error| DiskError::from_io("discard", end, &error))
            .and_then(|()| poison.flush(storage))
            .and_then(|()| {
                storage
                    .set_size(end + FOOTER_SIZE as u64)
                    .map_err(|error| DiskError::from_io("discard", end, &error))
            });
        match moved {
            Ok(()) => {
                space.end = end;
                Ok(())
            }
            Err(error) => {
                // The footer at the old end is still there.
                space.free.insert(end..space.end);
                Err(error)
            }
        }
    }
}
