//! Raw images: the file's bytes are the disk's bytes.

use std::ops::Range;

use vm_memory::VolatileSlice;

use super::iso::MAX_BLOCKS;
use super::poison::Poison;
use super::{
    DiskError, DiskImage, DiskInfo, Durability, ISO_BLOCK_SIZE, ImageFormat, OpenReason, Scatter,
    Storage,
};

/// How a raw image presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOptions {
    /// Bytes in a logical sector: 512 or 4096.
    pub logical_sector_size: u32,
    /// Bytes in a physical sector: a power of two, at least the logical size.
    pub physical_sector_size: u32,
    /// Whether changes are refused.
    pub read_only: bool,
    /// What the disk calls itself.
    pub identity: [u8; 16],
    /// Whether to give discarded space back, if the storage can.
    pub discard: bool,
}

/// A raw image on some storage.
#[derive(Debug)]
pub struct RawDisk<S> {
    storage: S,
    info: DiskInfo,
    poison: Poison,
}

impl<S: Storage> RawDisk<S> {
    /// Takes the storage as a disk of exactly its size.
    ///
    /// # Errors
    /// The size can't be told, is 0, or isn't a whole number of logical sectors: bytes that don't exist
    /// are never made up.
    pub fn new(storage: S, options: RawOptions) -> Result<Self, OpenReason> {
        let size = storage
            .size()
            .map_err(|error| DiskError::from_io("read", 0, &error))?;
        let sector = options.logical_sector_size;
        if size == 0 {
            return Err(OpenReason::Empty);
        }
        if sector == 0 || !size.is_multiple_of(sector.into()) {
            return Err(OpenReason::PartialSector {
                size,
                sector_size: sector,
            });
        }
        let discard = options.discard && !options.read_only && storage.can_punch();
        Ok(Self {
            storage,
            info: DiskInfo {
                size,
                logical_sector_size: sector,
                physical_sector_size: options.physical_sector_size.max(sector),
                read_only: options.read_only,
                identity: options.identity,
                format: ImageFormat::Raw,
                discard,
                discard_reads_zero: discard,
                volatile_cache: !options.read_only,
            },
            poison: Poison::default(),
        })
    }

    /// Takes the storage as a medium for an optical drive: read-only, in blocks of 2048 bytes. What follows the last
    /// whole block is left out.
    ///
    /// # Errors
    /// The size can't be told, or isn't between 1 and 2^32-1 blocks.
    pub fn medium(storage: S, identity: [u8; 16]) -> Result<Self, OpenReason> {
        let size = storage
            .size()
            .map_err(|error| DiskError::from_io("read", 0, &error))?;
        let blocks = size / u64::from(ISO_BLOCK_SIZE);
        if !(1..=MAX_BLOCKS).contains(&blocks) {
            return Err(OpenReason::MediumSize { size });
        }
        Ok(Self {
            storage,
            info: DiskInfo {
                size: blocks * u64::from(ISO_BLOCK_SIZE),
                logical_sector_size: ISO_BLOCK_SIZE,
                physical_sector_size: ISO_BLOCK_SIZE,
                read_only: true,
                identity,
                format: ImageFormat::Raw,
                discard: false,
                discard_reads_zero: false,
                volatile_cache: false,
            },
            poison: Poison::default(),
        })
    }

    /// The storage under the disk.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }
}

impl<S: Storage> DiskImage for RawDisk<S> {
    fn info(&self) -> &DiskInfo {
        &self.info
    }

    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let into = Scatter::new(into);
        self.info.check_range(offset, into.len())?;
        self.storage
            .read_at(offset, into)
            .map_err(|error| DiskError::from_io("read", offset, &error))
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
        self.storage
            .write_at(offset, from)
            .map_err(|error| DiskError::from_io("write", offset, &error))?;
        match durability {
            Durability::Cached => Ok(()),
            // Not a synchronous write: its failure would not tell whether only this write found no space
            // or whether the host lost data that it had already accepted.
            Durability::ForceUnitAccess => self.flush(),
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
        if !self.info.discard {
            return Ok(());
        }
        self.storage
            .punch(offset, length)
            .map_err(|error| DiskError::from_io("discard", offset, &error))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.info.check_range(offset, 0)?;
        let found = self
            .storage
            .next_data(offset..self.info.size)
            .map_err(|error| DiskError::from_io("seek", offset, &error))?;
        let sector = u64::from(self.info.logical_sector_size);
        Ok(found.map(|data| {
            let start = data.start - data.start % sector;
            start..data.end.next_multiple_of(sector).min(self.info.size)
        }))
    }
}
