//! Reading, writing and allocating the blocks of a dynamic VHD.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::UNALLOCATED;
use super::footer::FOOTER_SIZE;
use super::layout::Blocks;
use crate::disk::poison::Poison;
use crate::disk::{DiskError, Scatter, Storage};

/// Where each block is, and where the next one goes.
#[derive(Debug)]
pub(super) struct BlockMap {
    /// Place of each block in 512-byte sectors. Entries change from [`UNALLOCATED`] to a place, once.
    table: Vec<AtomicU32>,
    table_offset: u64,
    block_size: u64,
    bitmap_bytes: u64,
    footer: [u8; FOOTER_SIZE],
    /// File offset of the footer, where the next block will begin. Held while a block is allocated.
    end: Mutex<u64>,
}

/// A request's part in one block.
struct Part {
    block: usize,
    /// First byte in the block's data.
    start: u64,
    /// Bytes.
    length: u64,
}

impl BlockMap {
    pub(super) fn new(blocks: Blocks, footer: [u8; FOOTER_SIZE], footer_offset: u64) -> Self {
        Self {
            table: blocks.table.into_iter().map(AtomicU32::new).collect(),
            table_offset: blocks.header.table_offset,
            block_size: blocks.header.block_size.into(),
            bitmap_bytes: blocks.header.bitmap_bytes(),
            footer,
            end: Mutex::new(footer_offset),
        }
    }

    /// Blocks allocated, and all.
    pub(super) fn allocation(&self) -> (u64, u64) {
        let allocated = self
            .table
            .iter()
            .filter(|entry| entry.load(Ordering::Relaxed) != UNALLOCATED);
        (allocated.count() as u64, self.table.len() as u64)
    }

    /// The part of a range of `length` bytes at `offset` that its first block holds.
    fn first_part(&self, offset: u64, length: u64) -> Part {
        let start = offset % self.block_size;
        Part {
            // The range is on the disk, and so the block in the table, whose length is a `usize`.
            block: (offset / self.block_size) as usize,
            start,
            length: length.min(self.block_size - start),
        }
    }

    /// File offset of a block's data, if it is allocated.
    fn data_offset(&self, block: usize) -> Option<u64> {
        match self.table[block].load(Ordering::Acquire) {
            UNALLOCATED => None,
            sector => Some(u64::from(sector) * 512 + self.bitmap_bytes),
        }
    }

    /// Fills the view from `offset` on; the range is on the disk.
    pub(super) fn read(
        &self,
        storage: &impl Storage,
        mut offset: u64,
        mut into: Scatter<'_>,
    ) -> Result<(), DiskError> {
        while !into.is_empty() {
            let part = self.first_part(offset, into.len());
            let (here, rest) = into.split_at(part.length);
            match self.data_offset(part.block) {
                None => here.zero(),
                Some(data) => storage
                    .read_at(data + part.start, here)
                    .map_err(|error| DiskError::from_io("read", offset, &error))?,
            }
            offset += part.length;
            into = rest;
        }
        Ok(())
    }

    /// Writes the view from `offset` on, allocating blocks; the range is on the disk.
    pub(super) fn write(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        mut offset: u64,
        mut from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        while !from.is_empty() {
            let part = self.first_part(offset, from.len());
            let (here, rest) = from.split_at(part.length);
            self.write_part(storage, poison, offset, &part, here)?;
            offset += part.length;
            from = rest;
        }
        Ok(())
    }

    fn write_part(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        offset: u64,
        part: &Part,
        from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        let mut data = self.data_offset(part.block);
        if data.is_none() {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have allocated this block, or failed badly, while this one waited.
            data = self.data_offset(part.block);
            if data.is_none() {
                poison.check()?;
                return self.allocate(storage, poison, &mut end, part, from);
            }
        }
        let data = data.unwrap_or_default() + part.start;
        storage
            .write_at(data, from)
            .map_err(|error| DiskError::from_io("write", offset, &error))
    }

    /// Adds a block that holds `from` and zeros at the file's end.
    ///
    /// What a power cut may leave: before the second flush an unreferenced hole (with a footer before or
    /// behind it, or only the footer's copy at the file's start), then an unreferenced block, then the
    /// allocated block. A table entry never leads to bytes that weren't flushed before it was written.
    fn allocate(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        end: &mut u64,
        part: &Part,
        from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        let place = *end;
        let data = place + self.bitmap_bytes;
        let new_end = data + self.block_size;
        let sector = match u32::try_from(place / 512) {
            Ok(sector) if sector != UNALLOCATED => sector,
            // The format's limit of 2 TiB, which the disk's own limit stays below unless space leaked.
            _ => return Err(DiskError::NoSpace),
        };
        // The file grows from the old footer to the new one; what lies between reads as zeros.
        let moved = storage.write_bytes(new_end, &self.footer);
        if let Err(error) = moved {
            let error = DiskError::from_io("write", new_end, &error);
            return Err(self.take_back(storage, poison, place, error));
        }
        poison.flush(storage)?;
        // The bitmap says of every sector that it is valid; those not written read as zeros.
        let bitmap = vec![0xFF; usize::try_from(self.bitmap_bytes).unwrap_or_default()];
        let filled = storage
            .write_bytes(place, &bitmap)
            .and_then(|()| storage.write_at(data + part.start, from));
        if let Err(error) = filled {
            let error = DiskError::from_io("write", data + part.start, &error);
            return Err(self.take_back(storage, poison, place, error));
        }
        poison.flush(storage)?;
        let entry = self.table_offset + part.block as u64 * 4;
        if let Err(error) = storage.write_bytes(entry, &sector.to_be_bytes()) {
            poison.set();
            return Err(DiskError::from_io("write", entry, &error));
        }
        self.table[part.block].store(sector, Ordering::Release);
        *end = new_end;
        Ok(())
    }

    /// Undoes an allocation for which there was no room, so that the file ends at `place` again and what
    /// was written there can't come back as another block's content.
    fn take_back(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        place: u64,
        error: DiskError,
    ) -> DiskError {
        let restored = storage
            .write_bytes(place, &self.footer)
            .and_then(|()| storage.flush())
            .and_then(|()| storage.set_size(place + FOOTER_SIZE as u64))
            .and_then(|()| storage.flush());
        if restored.is_err() {
            poison.set();
        }
        error
    }

    /// First range of the disk in `within` that may hold other than zeros.
    pub(super) fn next_data(
        &self,
        storage: &impl Storage,
        within: Range<u64>,
    ) -> Result<Option<Range<u64>>, DiskError> {
        let mut offset = within.start;
        while offset < within.end {
            let part = self.first_part(offset, within.end - offset);
            if let Some(data) = self.data_offset(part.block) {
                let start = data + part.start;
                let found = storage
                    .next_data(start..start + part.length)
                    .map_err(|error| DiskError::from_io("seek", offset, &error))?;
                if let Some(found) = found {
                    return Ok(Some(
                        offset + (found.start - start)..offset + (found.end - start),
                    ));
                }
            }
            offset += part.length;
        }
        Ok(None)
    }
}
