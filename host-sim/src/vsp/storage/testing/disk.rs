//! A disk in memory.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use vm_memory::VolatileSlice;

use crate::disk::{DiskError, DiskImage, DiskInfo, Durability, ImageFormat, Scatter};
use crate::memory::{GuestMemory, PAGE_SIZE};

/// A disk in anonymous memory, all zeros at first. Memory is taken when it is first touched.
///
/// Reads run side by side; a write excludes all else, so that sectors never mix.
#[derive(Debug)]
pub struct MemoryDisk {
    content: GuestMemory,
    info: DiskInfo,
    exclusion: RwLock<()>,
    flushes: AtomicU64,
    forced_writes: AtomicU64,
}

impl MemoryDisk {
    /// A disk of `size` bytes with sectors of 512 bytes that discards, reads discarded blocks as zeros and has a
    /// volatile cache.
    ///
    /// # Panics
    /// If `size` is not a positive multiple of 4096 or memory is short.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self::with_info(DiskInfo {
            size,
            logical_sector_size: 512,
            physical_sector_size: 4096,
            read_only: false,
            identity: *b"viridian-memdisk",
            format: ImageFormat::Raw,
            discard: true,
            discard_reads_zero: true,
            volatile_cache: true,
        })
    }

    /// A disk that describes itself so.
    ///
    /// # Panics
    /// If the size is 0 or memory is short.
    #[must_use]
    pub fn with_info(info: DiskInfo) -> Self {
        let content = GuestMemory::new(info.size.next_multiple_of(PAGE_SIZE))
            .expect("memory for a test disk");
        Self {
            content,
            info,
            exclusion: RwLock::new(()),
            flushes: AtomicU64::new(0),
            forced_writes: AtomicU64::new(0),
        }
    }

    /// Flushes so far.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Writes with [`Durability::ForceUnitAccess`] so far.
    #[must_use]
    pub fn forced_writes(&self) -> u64 {
        self.forced_writes.load(Ordering::Relaxed)
    }

    /// The disk's bytes in a range that has been checked.
    fn bytes(&self, offset: u64, length: u64) -> Result<VolatileSlice<'_>, DiskError> {
        usize::try_from(length)
            .ok()
            .and_then(|length| self.content.slice(offset, length).ok())
            .ok_or(DiskError::OutOfRange {
                offset,
                length,
                size: self.info.size,
            })
    }
}

impl DiskImage for MemoryDisk {
    fn info(&self) -> &DiskInfo {
        &self.info
    }

    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let into = Scatter::new(into);
        self.info.check_range(offset, into.len())?;
        let _shared = self
            .exclusion
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for piece in into.pieces() {
            self.bytes(at, piece.len() as u64)?
                .copy_to_volatile_slice(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let from = Scatter::new(from);
        self.info.check_change(offset, from.len())?;
        if durability == Durability::ForceUnitAccess {
            self.forced_writes.fetch_add(1, Ordering::Relaxed);
        }
        let _exclusive = self
            .exclusion
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for piece in from.pieces() {
            piece.copy_to_volatile_slice(self.bytes(at, piece.len() as u64)?);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.info.check_change(offset, length)?;
        if !self.info.discard {
            return Ok(());
        }
        let _exclusive = self
            .exclusion
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Scatter::new(&[self.bytes(offset, length)?]).zero();
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.info.check_range(offset, 0)?;
        Ok((offset < self.info.size).then_some(offset..self.info.size))
    }
}
