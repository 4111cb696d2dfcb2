//! Reading, writing and allocating the blocks of a dynamic VHD.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use super::UNALLOCATED;
use super::footer::FOOTER_SIZE;
use super::layout::Blocks;
use super::space::Space;
use crate::disk::poison::Poison;
use crate::disk::{DiskError, Scatter, Storage};

/// Where each block is, and where the next one goes.
#[derive(Debug)]
pub(super) struct BlockMap {
    /// Place of each block in 512-byte sectors. Entries change from [`UNALLOCATED`] to a place under the lock of
    /// `space`, and back while `gate` is held exclusively.
    pub(super) table: Vec<AtomicU32>,
    pub(super) table_offset: u64,
    pub(super) block_size: u64,
    pub(super) bitmap_bytes: u64,
    pub(super) footer: [u8; FOOTER_SIZE],
    /// Held by everybody who uses a block's place, so that it stays the block's meanwhile. Taken before `space`.
    pub(super) gate: RwLock<()>,
    /// Held while a block is allocated or given up.
    pub(super) space: Mutex<Space>,
    /// Whether holes in the file give space back.
    pub(super) can_punch: bool,
}

/// A request's part in one block.
pub(super) struct Part {
    pub(super) block: usize,
    /// First byte in the block's data.
    pub(super) start: u64,
    /// Bytes.
    pub(super) length: u64,
}

impl BlockMap {
    pub(super) fn new(
        blocks: Blocks,
        footer: [u8; FOOTER_SIZE],
        footer_offset: u64,
        first_place: Option<u64>,
        can_punch: bool,
    ) -> Self {
        let allocated = blocks.table.iter().filter(|&&sector| sector != UNALLOCATED);
        let places = allocated.map(|&sector| u64::from(sector) * 512).collect();
        let space = Space::between(
            places,
            blocks.header.block_span(),
            first_place,
            footer_offset,
        );
        Self {
            table: blocks.table.into_iter().map(AtomicU32::new).collect(),
            table_offset: blocks.header.table_offset,
            block_size: blocks.header.block_size.into(),
            bitmap_bytes: blocks.header.bitmap_bytes(),
            footer,
            gate: RwLock::default(),
            space: Mutex::new(space),
            can_punch,
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

    /// Bytes of a block in the file, its bitmap included.
    pub(super) fn span(&self) -> u64 {
        self.bitmap_bytes + self.block_size
    }

    /// Data bytes in a block.
    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// The part of a range of `length` bytes at `offset` that its first block holds.
    pub(super) fn first_part(&self, offset: u64, length: u64) -> Part {
        let start = offset % self.block_size;
        Part {
            // The range is on the disk, and so the block in the table, whose length is a `usize`.
            block: (offset / self.block_size) as usize,
            start,
            length: length.min(self.block_size - start),
        }
    }

    /// File offset of a block's data, if it is allocated.
    pub(super) fn data_offset(&self, block: usize) -> Option<u64> {
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
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
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
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
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
            let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have allocated this block, or failed badly, while this one waited.
            data = self.data_offset(part.block);
            if data.is_none() {
                poison.check()?;
                return self.allocate(storage, poison, &mut space, part, from);
            }
        }
        let data = data.unwrap_or_default() + part.start;
        storage
            .write_at(data, from)
            .map_err(|error| DiskError::from_io("write", offset, &error))
    }

    /// Stores a block that holds `from` and zeros, where another one was given up or else at the file's end.
    fn allocate(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        space: &mut Space,
        part: &Part,
        from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        if !space.given_up.is_empty() {
            // From then on no table entry leads to what was given up.
            poison.flush(storage)?;
            space.flushed();
        }
        match space.free.take(self.span()) {
            Some(place) => {
                let result = self.reuse(storage, poison, place, part, from);
                if result.is_err() {
                    space.free.insert(place..place + self.span());
                }
                result
            }
            None => self.append(storage, poison, &mut space.end, part, from),
        }
    }

    /// Stores a block in a place that belongs to none.
    ///
    /// What a power cut may leave: a place that belongs to none, or the allocated block.
    fn reuse(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        place: u64,
        part: &Part,
        from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        // What another block left there must not show.
        storage
            .punch(place, self.span())
            .and_then(|()| self.fill(storage, place, part, from))
            .map_err(|error| DiskError::from_io("write", place, &error))?;
        poison.flush(storage)?;
        self.enter(storage, poison, place, part.block)
    }

    /// Adds a block at the file's end.
    ///
    /// What a power cut may leave: before the second flush an unreferenced hole (with a footer before or
    /// behind it, or only the footer's copy at the file's start), then an unreferenced block, then the
    /// allocated block. A table entry never leads to bytes that weren't flushed before it was written.
    fn append(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        end: &mut u64,
        part: &Part,
        from: Scatter<'_>,
    ) -> Result<(), DiskError> {
        let place = *end;
        let new_end = place + self.span();
        // The format's limit of 2 TiB, which the disk's own limit stays below unless space leaked.
        if place / 512 >= u64::from(UNALLOCATED) {
            return Err(DiskError::NoSpace);
        }
        // The file grows from the old footer to the new one; what lies between reads as zeros.
        let moved = storage.write_bytes(new_end, &self.footer);
        if let Err(error) = moved {
            let error = DiskError::from_io("write", new_end, &error);
            return Err(self.take_back(storage, poison, place, error));
        }
        poison.flush(storage)?;
        if let Err(error) = self.fill(storage, place, part, from) {
            let error = DiskError::from_io("write", place, &error);
            return Err(self.take_back(storage, poison, place, error));
        }
        poison.flush(storage)?;
        self.enter(storage, poison, place, part.block)?;
        *end = new_end;
        Ok(())
    }

    /// Writes a new block's bitmap, which says of every sector that it is valid, and the data that there is. The
    /// rest of the place reads as zeros.
    fn fill(
        &self,
        storage: &impl Storage,
        place: u64,
        part: &Part,
        from: Scatter<'_>,
    ) -> std::io::Result<()> {
        let bitmap = vec![0xFF; usize::try_from(self.bitmap_bytes).unwrap_or_default()];
        storage.write_bytes(place, &bitmap)?;
        storage.write_at(place + self.bitmap_bytes + part.start, from)
    }

    /// Enters a block, which is durable, into the table.
    fn enter(
        &self,
        storage: &impl Storage,
        poison: &Poison,
        place: u64,
        block: usize,
    ) -> Result<(), DiskError> {
        // Every place in a file that was opened or grown by us fits.
        let sector = u32::try_from(place / 512).map_err(|_| DiskError::NoSpace)?;
        let entry = self.table_offset + block as u64 * 4;
        if let Err(error) = storage.write_bytes(entry, &sector.to_be_bytes()) {
            poison.set();
            return Err(DiskError::from_io("write", entry, &error));
        }
        self.table[block].store(sector, Ordering::Release);
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
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
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
