//! Opening a disk image by its path.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::check::{Report, check};
use super::vhd::{
    DiskType, DynamicHeader, FOOTER_SIZE, Footer, HEADER_SIZE, Likeness, VhdDisk, VhdError,
    footer_bytes, footer_place,
};
use super::{DiskError, DiskImage, FileStorage, RawDisk, RawOptions, Storage, device};

/// Logical sector size unless asked otherwise, in bytes.
const SECTOR: u32 = 512;

/// Physical sector size of a raw file unless asked otherwise, in bytes: the host's page.
const PHYSICAL_SECTOR: u32 = 4096;

/// Which format to expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FormatChoice {
    /// VHD if the file ends with a VHD footer (or begins with its copy and a dynamic header), else raw.
    ///
    /// A guest that writes to a raw disk can make it look like a VHD for the next time: name the format
    /// of disks that untrusted guests write.
    #[default]
    Auto,
    /// The file's bytes, whatever they look like.
    Raw,
    /// A VHD, or fail.
    Vhd,
}

/// How to open an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Which format to expect.
    pub format: FormatChoice,
    /// Whether changes are refused. The file is then never changed by a byte.
    pub read_only: bool,
    /// Bytes in a logical sector: 512 or, in a raw image, 4096. By default the device's, or 512.
    pub sector_size: Option<u32>,
    /// Bytes in a physical sector of a raw image: a power of two up to 32 KiB, at least the logical
    /// size. By default the device's, or 4096.
    pub physical_sector_size: Option<u32>,
    /// What a raw disk calls itself. By default derived from its canonical path. A VHD has its own.
    pub identity: Option<[u8; 16]>,
}

/// An image couldn't be opened. Displays as one sentence that names the path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot open disk image '{}': {reason}", path.display())]
pub struct OpenError {
    /// The path as given.
    pub path: PathBuf,
    /// Why not.
    pub reason: OpenReason,
}

/// Why an image couldn't be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenReason {
    /// The host says so.
    #[error("{}", code.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error))]
    Host {
        /// What sort of failure.
        kind: io::ErrorKind,
        /// The host's `errno`, where it gave one.
        code: Option<i32>,
    },
    /// A directory, pipe, character device or socket.
    #[error("it is neither a regular file nor a block device")]
    NotAFile,
    /// Asked to write to a file that nobody may write.
    #[error("the file is read-only, open it read-only instead")]
    ReadOnlyFile,
    /// Another open image excludes this one.
    #[error("it is in use by another process that {}", if *.writable { "reads or writes it" } else { "writes it" })]
    Locked {
        /// Whether write access was asked for.
        writable: bool,
    },
    /// The file has no bytes.
    #[error("the image is empty")]
    Empty,
    /// The size isn't a whole number of sectors.
    #[error("its size of {size} bytes is not a multiple of the {sector_size}-byte sector")]
    PartialSector {
        /// Bytes in the file.
        size: u64,
        /// Bytes in a logical sector.
        sector_size: u32,
    },
    /// The medium has no block, or more than an optical drive can have.
    #[error("{size} bytes are not between 1 and 2^32-1 blocks of 2048 bytes")]
    MediumSize {
        /// Bytes in the file.
        size: u64,
    },
    /// The options don't fit together, or not the format.
    #[error("{0}")]
    BadOption(String),
    /// The file is no usable VHD.
    #[error(transparent)]
    Vhd(#[from] VhdError),
    /// Reading the file failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<io::Error> for OpenReason {
    fn from(error: io::Error) -> Self {
        Self::Host {
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

/// Opens a disk image.
///
/// A writable image is locked against all other use, a read-only one against writers, until it is dropped.
/// Programs that use open-file-description locks (this one, QEMU's tools) respect this.
///
/// # Errors
/// One sentence with path and reason. Nothing was then modified.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn DiskImage>, OpenError> {
    open_image(path, options).map_err(|reason| OpenError {
        path: path.to_owned(),
        reason,
    })
}

/// Checks a VHD file without changing it.
///
/// # Errors
/// The file can't be read, or is in use by a writer.
pub fn check_path(path: &Path) -> Result<Report, OpenError> {
    open_storage(path, true)
        .and_then(|storage| Ok(check(&storage)?))
        .map_err(|reason| OpenError {
            path: path.to_owned(),
            reason,
        })
}

fn open_image(path: &Path, options: &OpenOptions) -> Result<Arc<dyn DiskImage>, OpenReason> {
    check_sectors(options.sector_size.unwrap_or(SECTOR), options)?;
    let storage = open_storage(path, options.read_only)?;
    let device_sector = device::logical_sector(&storage);
    let sector = options.sector_size.or(device_sector).unwrap_or(SECTOR);
    if let Some(device_sector) = device_sector.filter(|size| *size > sector) {
        return Err(OpenReason::BadOption(format!(
            "the device has sectors of {device_sector} bytes, which cannot be written in parts of {sector}"
        )));
    }
    check_sectors(sector, options)?;
    if storage.size()? == 0 {
        return Err(OpenReason::Empty);
    }
    let is_vhd = match options.format {
        FormatChoice::Raw => false,
        FormatChoice::Vhd => true,
        FormatChoice::Auto => looks_like_vhd(&storage)?,
    };
    if !is_vhd {
        let device_sector = device::physical_sector(&storage).unwrap_or(PHYSICAL_SECTOR);
        let raw = RawOptions {
            logical_sector_size: sector,
            physical_sector_size: options.physical_sector_size.unwrap_or(device_sector),
            read_only: options.read_only,
            identity: match options.identity {
                Some(identity) => identity,
                None => identity_of(&std::fs::canonicalize(path)?),
            },
            discard: true,
        };
        return Ok(Arc::new(RawDisk::new(storage, raw)?));
    }
    if storage.is_block_device() {
        return Err(VhdError::Unsupported("a VHD on a block device".into()).into());
    }
    if sector != 512 {
        return Err(OpenReason::BadOption(format!(
            "a VHD has sectors of 512 bytes, not {sector}"
        )));
    }
    Ok(Arc::new(VhdDisk::open(storage, options.read_only)?))
}

/// Checks that a disk can have such sectors.
fn check_sectors(sector: u32, options: &OpenOptions) -> Result<(), OpenReason> {
    if sector != 512 && sector != 4096 {
        return Err(OpenReason::BadOption(format!(
            "a sector size of {sector} bytes is neither 512 nor 4096"
        )));
    }
    if let Some(physical) = options.physical_sector_size
        && !(physical.is_power_of_two() && (sector..=32 << 10).contains(&physical))
    {
        return Err(OpenReason::BadOption(format!(
            "a physical sector size of {physical} bytes is not a power of two from {sector} to 32768"
        )));
    }
    Ok(())
}

/// Opens and locks a regular file or block device.
pub(super) fn open_storage(path: &Path, read_only: bool) -> Result<FileStorage, OpenReason> {
    // Before the file is opened: opening a pipe waits, opening a device may have effects.
    let metadata = std::fs::metadata(path)?;
    check_type(&metadata)?;
    let is_device = metadata.file_type().is_block_device();
    // The superuser could write such a file, but its owner has said that nobody should.
    if !read_only && metadata.permissions().mode() & 0o222 == 0 {
        return Err(OpenReason::ReadOnlyFile);
    }
    let mut how = File::options();
    how.read(true).write(!read_only);
    if is_device && !read_only {
        // Refused by the kernel while the device is mounted.
        how.custom_flags(libc::O_EXCL);
    }
    let file = how.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::EROFS) => OpenReason::ReadOnlyFile,
        _ => error.into(),
    })?;
    // The name may have been given to another file meanwhile.
    check_type(&file.metadata()?)?;
    let storage = FileStorage::new(file)?;
    let writable = !read_only;
    match storage.lock(writable) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenReason::Locked { writable });
        }
        Err(error) => {
            // Some network file systems have no locks; that shall not keep anybody from using them.
            tracing::warn!(%error, "the file system cannot lock the disk image");
        }
    }
    Ok(storage)
}

fn check_type(metadata: &Metadata) -> Result<(), OpenReason> {
    let file_type = metadata.file_type();
    if file_type.is_file() || file_type.is_block_device() {
        Ok(())
    } else {
        Err(OpenReason::NotAFile)
    }
}

/// Whether the file is a VHD, perhaps a damaged one.
fn looks_like_vhd(storage: &FileStorage) -> Result<bool, DiskError> {
    let size = storage
        .size()
        .map_err(|error| DiskError::from_io("read", 0, &error))?;
    if let Some(offset) = footer_place(size)
        && Footer::likeness(&footer_bytes(storage, offset, size)?) != Likeness::None
    {
        return Ok(true);
    }
    if storage.is_block_device() || size < FOOTER_SIZE as u64 {
        return Ok(false);
    }
    // A dynamic VHD that lost its footer in a power cut: must not be taken, and written, as raw. Two
    // checksums tell that this is no coincidence.
    let Ok(footer) = Footer::parse(&footer_bytes(storage, 0, size)?) else {
        return Ok(false);
    };
    let mut header = [0; HEADER_SIZE];
    Ok(footer.disk_type != DiskType::Fixed
        && storage.read_bytes(footer.data_offset, &mut header).is_ok()
        && DynamicHeader::parse(&header).is_ok())
}

/// Sixteen bytes that stay the same for a path: its 128-bit FNV-1a hash, marked as a version 8 UUID.
pub(super) fn identity_of(path: &Path) -> [u8; 16] {
    use std::os::unix::ffi::OsStrExt as _;
    const BASIS: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(BASIS, |hash, &byte| {
            (hash ^ u128::from(byte)).wrapping_mul(PRIME)
        });
    let mut identity = hash.to_be_bytes();
    identity[6] = identity[6] & 0x0F | 0x80;
    identity[8] = identity[8] & 0x3F | 0x80;
    identity
}
