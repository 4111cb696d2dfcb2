//! The footer: the structure that makes a file a VHD.

use super::field::{bytes, checksum, put, u32_at, u64_at};
use super::{Geometry, VhdError};

/// Bytes in a footer.
pub const FOOTER_SIZE: usize = 512;

/// Largest disk: 2040 GiB.
pub const MAX_DISK_SIZE: u64 = 2040 << 30;

/// First bytes of a footer.
const COOKIE: [u8; 8] = *b"conectix";

/// The only format version.
const VERSION: u32 = 0x0001_0000;

/// Seconds from the Unix epoch to 2000-01-01 00:00 UTC, where VHD time begins.
const EPOCH: u64 = 946_684_800;

/// Where the checksum lies.
const CHECKSUM_AT: usize = 64;

/// What kind of VHD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskType {
    /// All sectors are stored, in order.
    Fixed,
    /// Blocks are stored once written.
    Dynamic,
    /// Blocks that differ from a parent disk's are stored.
    Differencing,
}

/// A footer's fields. Constructed by [`Footer::parse`], all of them are valid in themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Bit 0: temporary disk. Bit 1: always set.
    pub features: u32,
    /// File offset of the dynamic header; all ones in a fixed VHD.
    pub data_offset: u64,
    /// Creation time in seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
    /// The program that made the file.
    pub creator_application: [u8; 4],
    /// Its version: major number in the high half.
    pub creator_version: u32,
    /// The system it ran on: `Wi2k` or `Mac `.
    pub creator_host: [u8; 4],
    /// Bytes on the disk when it was made.
    pub original_size: u64,
    /// Bytes on the disk.
    pub current_size: u64,
    /// The disk in cylinders, heads and sectors; may address less than `current_size`.
    pub geometry: Geometry,
    /// What kind of VHD.
    pub disk_type: DiskType,
    /// The disk's identity.
    pub unique_id: [u8; 16],
    /// Whether a virtual machine was saved with this disk.
    pub saved_state: u8,
}

/// What the bytes where a footer should be look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::disk) enum Likeness {
    /// No footer.
    None,
    /// The cookie is there; the rest may be valid or not.
    Footer,
    /// The cookie is damaged, but the checksum tells that it was a footer.
    DamagedCookie,
}

impl Footer {
    /// Reads and validates a footer.
    ///
    /// # Errors
    /// [`VhdError::NotVhd`] without the cookie; else [`VhdError::Malformed`] with the field's offset in
    /// the footer.
    pub fn parse(from: &[u8; FOOTER_SIZE]) -> Result<Self, VhdError> {
        if bytes(from, 0) != COOKIE {
            return Err(VhdError::NotVhd);
        }
        let (stored, computed) = (u32_at(from, CHECKSUM_AT), checksum(from, CHECKSUM_AT));
        if stored != computed {
            return Err(VhdError::malformed(
                "footer checksum",
                CHECKSUM_AT as u64,
                format!("stored {stored:#010x}, computed {computed:#010x}"),
            ));
        }
        let version = u32_at(from, 12);
        if version != VERSION {
            return Err(VhdError::malformed(
                "footer version",
                12,
                format!("{version:#010x} is not {VERSION:#010x}"),
            ));
        }
        let disk_type = match u32_at(from, 60) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => {
                return Err(VhdError::malformed(
                    "disk type",
                    60,
                    format!("{other} is not 2 (fixed), 3 (dynamic) or 4 (differencing)"),
                ));
            }
        };
        let current_size = u64_at(from, 48);
        check_disk_size(current_size)
            .map_err(|problem| VhdError::malformed("current size", 48, problem))?;
        Ok(Self {
            features: u32_at(from, 8),
            data_offset: u64_at(from, 16),
            timestamp: u32_at(from, 24),
            creator_application: bytes(from, 28),
            creator_version: u32_at(from, 32),
            creator_host: bytes(from, 36),
            original_size: u64_at(from, 40),
            current_size,
            geometry: Geometry {
                cylinders: u16::from_be_bytes(bytes(from, 56)),
                heads: from[58],
                sectors_per_track: from[59],
            },
            disk_type,
            unique_id: bytes(from, 68),
            saved_state: from[84],
        })
    }

    /// The footer's bytes, reserved ones zero, with the checksum.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FOOTER_SIZE] {
        let mut into = [0; FOOTER_SIZE];
        put(&mut into, 0, COOKIE);
        put(&mut into, 8, self.features.to_be_bytes());
        put(&mut into, 12, VERSION.to_be_bytes());
        put(&mut into, 16, self.data_offset.to_be_bytes());
        put(&mut into, 24, self.timestamp.to_be_bytes());
        put(&mut into, 28, self.creator_application);
        put(&mut into, 32, self.creator_version.to_be_bytes());
        put(&mut into, 36, self.creator_host);
        put(&mut into, 40, self.original_size.to_be_bytes());
        put(&mut into, 48, self.current_size.to_be_bytes());
        put(&mut into, 56, self.geometry.cylinders.to_be_bytes());
        into[58] = self.geometry.heads;
        into[59] = self.geometry.sectors_per_track;
        let disk_type: u32 = match self.disk_type {
            DiskType::Fixed => 2,
            DiskType::Dynamic => 3,
            DiskType::Differencing => 4,
        };
        put(&mut into, 60, disk_type.to_be_bytes());
        put(&mut into, 68, self.unique_id);
        into[84] = self.saved_state;
        let checksum = checksum(&into, CHECKSUM_AT);
        put(&mut into, CHECKSUM_AT, checksum.to_be_bytes());
        into
    }

    /// Whether two valid footers describe the same disk in the same file.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        (
            self.disk_type,
            self.current_size,
            self.data_offset,
            self.unique_id,
        ) == (
            other.disk_type,
            other.current_size,
            other.data_offset,
            other.unique_id,
        )
    }

    /// What these bytes look like.
    pub(in crate::disk) fn likeness(from: &[u8; FOOTER_SIZE]) -> Likeness {
        if bytes(from, 0) == COOKIE {
            return Likeness::Footer;
        }
        let mut mended = *from;
        put(&mut mended, 0, COOKIE);
        if Self::parse(&mended).is_ok() {
            Likeness::DamagedCookie
        } else {
            Likeness::None
        }
    }
}

/// Says what keeps a VHD from having a size.
pub(super) fn check_disk_size(size: u64) -> Result<(), String> {
    if size == 0 || !size.is_multiple_of(512) {
        Err(format!(
            "{size} bytes are not a positive number of 512-byte sectors"
        ))
    } else if size > MAX_DISK_SIZE {
        Err(format!("{size} bytes are more than 2040 GiB"))
    } else {
        Ok(())
    }
}

/// A point in time as VHD counts it: seconds since the year 2000, 0 before.
#[must_use]
pub fn vhd_timestamp(time: std::time::SystemTime) -> u32 {
    let seconds = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    u32::try_from(seconds.saturating_sub(EPOCH)).unwrap_or(u32::MAX)
}
