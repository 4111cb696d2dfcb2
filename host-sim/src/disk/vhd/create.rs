//! Making new VHD files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::footer::{DiskType, FOOTER_SIZE, Footer, check_disk_size, vhd_timestamp};
use super::header::{DynamicHeader, HEADER_SIZE, check_block_size};
use super::layout::MAX_TABLE_BYTES;
use super::{Geometry, VhdError};
use crate::disk::{DiskError, FileStorage, Storage};

/// Bytes of data in a block unless asked otherwise.
pub const DEFAULT_BLOCK_SIZE: u32 = 2 << 20;

/// Who we say made the file. Some readers take the disk's size from the geometry if this is `vpc ` or
/// `qemu`.
const CREATOR: [u8; 4] = *b"vrdn";

/// Version of the creator: 0.1.
const CREATOR_VERSION: u32 = 0x0000_0001;

/// Table bytes written at a time.
const CHUNK: usize = 64 << 10;

/// How sectors will be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of them, in order.
    Fixed,
    /// In blocks that are added when first written.
    Dynamic {
        /// Data bytes in a block: a power of two from 4 KiB to 256 MiB.
        block_size: u32,
    },
}

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Bytes on the disk: a positive multiple of 512, at most 2040 GiB.
    pub size: u64,
    /// How sectors will be stored.
    pub kind: Kind,
    /// The disk's identity.
    pub unique_id: [u8; 16],
    /// Creation time in seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
}

impl CreateOptions {
    /// A disk with a new random identity, made now.
    #[must_use]
    pub fn new(size: u64, kind: Kind) -> Self {
        Self {
            size,
            kind,
            unique_id: uuid::Uuid::new_v4().into_bytes(),
            timestamp: vhd_timestamp(SystemTime::now()),
        }
    }
}

/// Makes an empty disk (all zeros) in empty storage; durable on return.
///
/// # Errors
/// [`VhdError::BadRequest`], or the host's failure.
pub fn create(storage: &impl Storage, options: &CreateOptions) -> Result<(), VhdError> {
    check_disk_size(options.size).map_err(VhdError::BadRequest)?;
    let failed = |error: io::Error| VhdError::Disk(DiskError::from_io("write", 0, &error));
    let (disk_type, data_offset) = match options.kind {
        Kind::Fixed => (DiskType::Fixed, u64::MAX),
        Kind::Dynamic { .. } => (DiskType::Dynamic, FOOTER_SIZE as u64),
    };
    let footer = Footer {
        features: 2,
        data_offset,
        timestamp: options.timestamp,
        creator_application: CREATOR,
        creator_version: CREATOR_VERSION,
        creator_host: *b"Wi2k",
        original_size: options.size,
        current_size: options.size,
        geometry: Geometry::for_sectors(options.size / 512),
        disk_type,
        unique_id: options.unique_id,
        saved_state: 0,
    }
    .to_bytes();
    let end = match options.kind {
        Kind::Fixed => options.size,
        Kind::Dynamic { block_size } => {
            check_block_size(block_size).map_err(VhdError::BadRequest)?;
            let header = DynamicHeader {
                table_offset: (FOOTER_SIZE + HEADER_SIZE) as u64,
                // At most 2040 GiB in blocks of 4 KiB.
                table_entries: options.size.div_ceil(block_size.into()) as u32,
                block_size,
                locators: Vec::new(),
            };
            if header.table_bytes() > MAX_TABLE_BYTES {
                return Err(VhdError::BadRequest(format!(
                    "{block_size}-byte blocks are too small for {} bytes",
                    options.size
                )));
            }
            storage.write_bytes(0, &footer).map_err(failed)?;
            storage
                .write_bytes(data_offset, &header.to_bytes())
                .map_err(failed)?;
            write_empty_table(storage, &header).map_err(failed)?;
            header.table_offset + header.table_bytes()
        }
    };
    storage.write_bytes(end, &footer).map_err(failed)?;
    storage.flush().map_err(failed)
}

fn write_empty_table(storage: &impl Storage, header: &DynamicHeader) -> io::Result<()> {
    let chunk = [0xFF; CHUNK];
    let mut done = 0;
    while done < header.table_bytes() {
        let count = (header.table_bytes() - done).min(CHUNK as u64);
        // At most `CHUNK`, so it fits.
        storage.write_bytes(header.table_offset + done, &chunk[..count as usize])?;
        done += count;
    }
    Ok(())
}

/// Makes an empty disk in a new file; durable on return, its name included.
///
/// # Errors
/// As [`create`]. The path must not exist; no file is left behind.
pub fn create_file(path: &Path, options: &CreateOptions) -> Result<(), VhdError> {
    let failed = |error: io::Error| VhdError::Disk(DiskError::from_io("create", 0, &error));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    let made = FileStorage::new(file)
        .map_err(failed)
        .and_then(|storage| create(&storage, options))
        .and_then(|()| sync_parent(path).map_err(failed));
    if made.is_err() {
        // The error says what happened; that the rest could not be removed either adds nothing.
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Makes the file's name durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
