//! Disk images behind one trait.
//!
//! A [`DiskImage`] is an array of sectors with a promise: what a completed write wrote, every later read
//! returns; what was written before a successful [`flush`](DiskImage::flush) (or by a write with
//! [`Durability::ForceUnitAccess`]) survives a power cut. Data moves straight between the host's file and
//! guest memory, which the caller names as a list of volatile slices.
//!
//! | Item | Image |
//! |---|---|
//! | [`RawDisk`] | a regular file or block device, byte for byte |
//! | [`vhd`] | fixed and dynamic VHD, read, written and created |
//! | [`overlay`] | a private copy-on-write layer over any other image |
//! | [`snapshot`] | any other image, of which a moment can be copied |
//! | [`faulty`] | any other image, failing on request |
//!
//! [`open()`] opens a path, [`open_iso`] one that holds a medium for an optical drive; [`check`] examines a VHD for damage.

mod argument;
pub mod check;
mod device;
mod error;
pub mod faulty;
mod iso;
mod on_full;
mod open;
pub mod overlay;
mod poison;
mod raw;
mod scatter;
pub mod snapshot;
mod storage;
pub mod vhd;

use std::ops::Range;

use vm_memory::VolatileSlice;

pub use argument::{DiskArgument, DiskArgumentError};
pub use error::DiskError;
pub use faulty::FaultyDisk;
pub use iso::{ISO_BLOCK_SIZE, open_iso};
pub use on_full::OnFull;
pub use open::{FormatChoice, OpenError, OpenOptions, OpenReason, check_path, open};
pub use overlay::Overlay;
pub use raw::{RawDisk, RawOptions};
pub use scatter::Scatter;
pub use snapshot::{Snapshot, SnapshotError, Snapshots};
pub use storage::{
    CutState, FaultHook, FileStorage, MemoryStorage, PowerCut, Storage, StorageChange,
};

/// How an image is laid out in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageFormat {
    /// The file's bytes are the disk's bytes.
    Raw,
    /// VHD with every sector stored, and a footer.
    VhdFixed,
    /// VHD with blocks allocated when first written.
    VhdDynamic,
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::VhdFixed => "fixed VHD",
            Self::VhdDynamic => "dynamic VHD",
        })
    }
}

/// What an image is; constant while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Bytes on the disk; a multiple of `logical_sector_size`, never 0.
    pub size: u64,
    /// Bytes in the smallest addressable unit: 512 or 4096, or 2048 for media of optical drives.
    pub logical_sector_size: u32,
    /// Bytes the medium writes without reading first; a power of two, at least the logical size.
    pub physical_sector_size: u32,
    /// Whether every write and discard is refused.
    pub read_only: bool,
    /// Same bytes each time the same disk is opened, for the SCSI device identification page.
    pub identity: [u8; 16],
    /// Layout of the file under the image.
    pub format: ImageFormat,
    /// Whether discarding gives space back.
    pub discard: bool,
    /// Whether a discarded range reads as zeros at any sector alignment.
    pub discard_reads_zero: bool,
    /// Whether a completed write may still be lost in a power cut until the next flush.
    pub volatile_cache: bool,
}

impl DiskInfo {
    /// Number of logical sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.size / u64::from(self.logical_sector_size)
    }

    /// Checks that a range is made of whole sectors inside the disk.
    ///
    /// # Errors
    /// [`DiskError::Unaligned`] or [`DiskError::OutOfRange`].
    pub fn check_range(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let sector_size = self.logical_sector_size;
        if !offset.is_multiple_of(sector_size.into()) || !length.is_multiple_of(sector_size.into())
        {
            return Err(DiskError::Unaligned {
                offset,
                length,
                sector_size,
            });
        }
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(DiskError::OutOfRange {
                offset,
                length,
                size: self.size,
            }),
        }
    }

    /// As [`check_range`](Self::check_range), for a request that changes the medium.
    ///
    /// # Errors
    /// [`DiskError::ReadOnly`] first, then those of `check_range`.
    pub fn check_change(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        if self.read_only {
            return Err(DiskError::ReadOnly);
        }
        self.check_range(offset, length)
    }
}

/// When a write's data must have reached stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// At the next flush.
    Cached,
    /// Before the write completes.
    ForceUnitAccess,
}

/// An open disk.
///
/// All methods may be called from many threads at once. Requests that overlap in space and time may be
/// seen in any order, sector by sector; nothing outside the addressed sectors changes. `offset` and the
/// summed length of the slices are multiples of the logical sector size; a single slice may have any
/// length. A request of no bytes succeeds and does nothing.
pub trait DiskImage: Send + Sync {
    /// What this disk is.
    fn info(&self) -> &DiskInfo;

    /// Fills the slices, in order, with the disk's bytes from `offset` on.
    ///
    /// # Errors
    /// A range that isn't wholly on the disk, or a failure below; the slices' content is then unspecified.
    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError>;

    /// Writes the slices' bytes, in order, from `offset` on.
    ///
    /// The memory may change meanwhile (a guest owns it): only the addressed sectors suffer.
    ///
    /// # Errors
    /// A range that isn't wholly on the disk, a read-only disk, no space, or a failure below. Each
    /// addressed sector then holds its old or its new content.
    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durability: Durability,
    ) -> Result<(), DiskError>;

    /// Makes every write completed before the call durable.
    ///
    /// # Errors
    /// A failure below. Data may then be lost, so every later write and flush fails with
    /// [`DiskError::Poisoned`] until the image is opened anew.
    fn flush(&self) -> Result<(), DiskError>;

    /// Tells that the range's content is no longer needed.
    ///
    /// # Errors
    /// As [`write`](Self::write). Where [`DiskInfo::discard`] is false this does nothing and succeeds.
    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError>;

    /// Bytes that are best discarded together: a power of two, at least a physical sector. Ranges made of whole
    /// ones give the most space back.
    fn discard_granularity(&self) -> u64 {
        self.info().physical_sector_size.into()
    }

    /// First range at or after `offset` that may hold something else than zeros; `None` if only zeros
    /// follow. The range is made of whole sectors and may be shorter than the run of data it begins.
    ///
    /// # Errors
    /// `offset` is beyond the disk's end or inside a sector, or a failure below.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError>;

    /// [`read`](Self::read) into ordinary memory.
    ///
    /// # Errors
    /// As `read`.
    fn read_bytes(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, &[VolatileSlice::from(into)])
    }

    /// [`write`](Self::write), cached, from ordinary memory, through a private copy.
    ///
    /// # Errors
    /// As `write`.
    fn write_bytes(&self, offset: u64, from: &[u8]) -> Result<(), DiskError> {
        let mut copy = from.to_vec();
        self.write(
            offset,
            &[VolatileSlice::from(copy.as_mut_slice())],
            Durability::Cached,
        )
    }
}
