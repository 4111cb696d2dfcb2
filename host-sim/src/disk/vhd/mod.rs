//! VHD images: fixed and dynamic, read, written and created.
//!
//! A fixed VHD is the disk's bytes and a footer. A dynamic VHD stores blocks (of 2 MiB, usually) once they
//! are written; a table says where each block is, and a copy of the footer at the start of the file lets
//! it survive the loss of the one at the end, which moves whenever a block is added.
//!
//! Opening validates everything but the data and refuses what it doesn't understand, naming the field.
//! Writing keeps the file valid at every instant: whatever prefix of the writes a power cut lets through,
//! and whatever subset of those not yet flushed, the file opens again with all flushed data.
//!
//! Discarding gives space back: blocks that are discarded as a whole leave the table, their place becomes a hole
//! in the file and is the next block's, and at the file's end the file shrinks.

mod create;
mod discard;
mod dynamic;
mod error;
mod field;
mod footer;
mod geometry;
mod header;
mod layout;
mod space;

use std::ops::Range;

use vm_memory::VolatileSlice;

pub use create::{CreateOptions, DEFAULT_BLOCK_SIZE, Kind, create, create_file};
pub use error::VhdError;
pub use footer::{DiskType, FOOTER_SIZE, Footer, MAX_DISK_SIZE, vhd_timestamp};
pub use geometry::Geometry;
pub use header::{DynamicHeader, HEADER_SIZE, ParentLocator};

pub(super) use footer::Likeness;
pub(super) use layout::{footer_bytes, footer_place};

use self::dynamic::BlockMap;
use self::layout::{Layout, Repair};
use super::poison::Poison;
use super::storage::MemoryStorage;
use super::{DiskError, DiskImage, DiskInfo, Durability, ImageFormat, Scatter, Storage};

/// Table entry of a block that was never written.
const UNALLOCATED: u32 = u32::MAX;

/// Creators of VHDs with more in them than the format knows.
const KEEP_NOTES: [[u8; 4]; 2] = [*b"tap\0", *b"CTXS"];

/// An open VHD on some storage.
#[derive(Debug)]
pub struct VhdDisk<S> {
    storage: S,
    info: DiskInfo,
    footer: Footer,
    poison: Poison,
    /// `None` in a fixed VHD.
    blocks: Option<BlockMap>,
}

impl<S: Storage> VhdDisk<S> {
    /// Opens a VHD. Unless `read_only`, a footer lost in a power cut is restored from its copy first (or
    /// the copy from the footer); a read-only disk is never changed by a byte.
    ///
    /// # Errors
    /// What makes the file no usable VHD.
    pub fn open(storage: S, read_only: bool) -> Result<Self, VhdError> {
        let layout = Layout::read(&storage)?;
        if layout.repair != Repair::None {
            tracing::warn!(damaged = ?layout.repair, read_only, "a VHD's footer is damaged, its copy is good");
        }
        if !read_only {
            restore(&storage, &layout)?;
        }
        if layout.footer.geometry.bytes() < layout.footer.current_size {
            tracing::debug!(
                geometry = layout.footer.geometry.bytes(),
                size = layout.footer.current_size,
                "the VHD's geometry addresses less than the disk"
            );
        }
        let format = match layout.blocks {
            None => ImageFormat::VhdFixed,
            Some(_) => ImageFormat::VhdDynamic,
        };
        let can_punch = !read_only && storage.can_punch();
        // Blocks can be given up wherever they are stored.
        let discard = can_punch || (!read_only && layout.blocks.is_some());
        Ok(Self {
            storage,
            info: DiskInfo {
                size: layout.footer.current_size,
                logical_sector_size: 512,
                physical_sector_size: 512,
                read_only,
                identity: layout.footer.unique_id,
                format,
                discard,
                discard_reads_zero: discard,
                volatile_cache: !read_only,
            },
            poison: Poison::default(),
            blocks: layout.blocks.map(|blocks| {
                let footer = &layout.footer;
                // These keep a map of their own between the table and the first block.
                let keeps_notes = KEEP_NOTES.contains(&footer.creator_application);
                let first = blocks.end_of_structures(footer.data_offset);
                let first = (!keeps_notes).then_some(first);
                let (footer, offset) = (layout.footer_bytes, layout.footer_offset);
                BlockMap::new(blocks, footer, offset, first, can_punch)
            }),
            footer: layout.footer,
        })
    }

    /// The footer.
    #[must_use]
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The storage under the disk.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Gives the storage back. Nothing is flushed.
    #[must_use]
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// Blocks stored and blocks in all; `None` in a fixed VHD.
    #[must_use]
    pub fn allocation(&self) -> Option<(u64, u64)> {
        self.blocks.as_ref().map(BlockMap::allocation)
    }
}

/// Makes the two footers whole again.
fn restore(storage: &impl Storage, layout: &Layout) -> Result<(), VhdError> {
    let failed = |operation: &'static str, offset: u64| {
        move |error: std::io::Error| VhdError::Disk(DiskError::from_io(operation, offset, &error))
    };
    let place = match layout.repair {
        Repair::None => return Ok(()),
        Repair::Copy => 0,
        Repair::Footer => layout.footer_offset,
    };
    if layout.repair == Repair::Footer {
        // No block lies beyond: what is there is left from an allocation that was cut short. It must not
        // come back as content when the file grows again. A cut from here on finds the copy still good.
        storage.set_size(place).map_err(failed("write", place))?;
    }
    storage
        .write_bytes(place, &layout.footer_bytes)
        .map_err(failed("write", place))?;
    storage.flush().map_err(failed("flush", 0))
}

impl<S: Storage> DiskImage for VhdDisk<S> {
    fn info(&self) -> &DiskInfo {
        &self.info
    }

    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let into = Scatter::new(into);
        self.info.check_range(offset, into.len())?;
        match &self.blocks {
            Some(blocks) => blocks.read(&self.storage, offset, into),
            None => self
                .storage
                .read_at(offset, into)
                .map_err(|error| DiskError::from_io("read", offset, &error)),
        }
    }

    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let from = Scatter::new(from);
        self.info.check_change(offset, from.len())?;
        self.poison.check()?;
        match &self.blocks {
            Some(blocks) => blocks.write(&self.storage, &self.poison, offset, from)?,
            None => self
                .storage
                .write_at(offset, from)
                .map_err(|error| DiskError::from_io("write", offset, &error))?,
        }
        match durability {
            Durability::Cached => Ok(()),
            Durability::ForceUnitAccess => self.poison.flush(&self.storage),
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.info.read_only {
            return Ok(());
        }
        self.poison.flush(&self.storage)
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.info.check_change(offset, length)?;
        self.poison.check()?;
        if !self.info.discard || length == 0 {
            return Ok(());
        }
        match &self.blocks {
            Some(blocks) => {
                let range = offset..offset + length;
                blocks.discard(&self.storage, &self.poison, self.info.size, range)
            }
            None => self
                .storage
                .punch(offset, length)
                .map_err(|error| DiskError::from_io("discard", offset, &error)),
        }
    }

    fn discard_granularity(&self) -> u64 {
        match &self.blocks {
            Some(blocks) => blocks.block_size(),
            None => self.info.physical_sector_size.into(),
        }
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.info.check_range(offset, 0)?;
        let found = match &self.blocks {
            Some(blocks) => blocks.next_data(&self.storage, offset..self.info.size)?,
            None => self
                .storage
                .next_data(offset..self.info.size)
                .map_err(|error| DiskError::from_io("seek", offset, &error))?,
        };
        Ok(found.map(|data| {
            let start = data.start - data.start % 512;
            start..data.end.next_multiple_of(512).min(self.info.size)
        }))
    }
}

/// Opens arbitrary bytes as a VHD and, if that succeeds, reads and writes a little: never panics, needs
/// memory in proportion to the bytes.
pub fn parse_for_fuzzing(bytes: &[u8]) {
    let _ = super::check::check(&MemoryStorage::from_bytes(bytes));
    let Ok(disk) = VhdDisk::open(MemoryStorage::from_bytes(bytes), false) else {
        return;
    };
    let mut sector = [0; 512];
    let last = disk.info.size - 512;
    for offset in [0, last / 1024 * 512, last] {
        let _ = disk.read_bytes(offset, &mut sector);
        let _ = disk.write_bytes(offset, &sector);
    }
    let _ = disk.next_data(0);
    let _ = disk.flush();
}
