//! The dynamic header, which says where blocks are found.

use super::VhdError;
use super::field::{bytes, checksum, put, u32_at, u64_at};

/// Bytes in a dynamic header.
pub const HEADER_SIZE: usize = 1024;

/// First bytes of a dynamic header.
const COOKIE: [u8; 8] = *b"cxsparse";

/// The only format version.
const VERSION: u32 = 0x0001_0000;

/// Where the checksum lies.
const CHECKSUM_AT: usize = 36;

/// Smallest and largest block sizes taken, in bytes.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=256 << 20;

/// Most bytes in a parent locator's data.
const MAX_LOCATOR_DATA: u32 = 64 << 10;

/// Where a parent disk's name is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentLocator {
    /// Which sort of name, four letters; 0 for none.
    pub platform: [u8; 4],
    /// Bytes in the name.
    pub length: u32,
    /// File offset of the name.
    pub offset: u64,
}

/// A dynamic header's fields. Constructed by [`DynamicHeader::parse`], all are valid in themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicHeader {
    /// File offset of the block allocation table.
    pub table_offset: u64,
    /// Entries in the table.
    pub table_entries: u32,
    /// Data bytes in a block; a power of two.
    pub block_size: u32,
    /// Parent names in use; only a differencing disk has any.
    pub locators: Vec<ParentLocator>,
}

impl DynamicHeader {
    /// Reads and validates a dynamic header.
    ///
    /// # Errors
    /// [`VhdError::Malformed`] with the field's offset in the header.
    pub fn parse(from: &[u8; HEADER_SIZE]) -> Result<Self, VhdError> {
        if bytes(from, 0) != COOKIE {
            return Err(VhdError::malformed(
                "dynamic header cookie",
                0,
                "not `cxsparse`",
            ));
        }
        let (stored, computed) = (u32_at(from, CHECKSUM_AT), checksum(from, CHECKSUM_AT));
        if stored != computed {
            return Err(VhdError::malformed(
                "dynamic header checksum",
                CHECKSUM_AT as u64,
                format!("stored {stored:#010x}, computed {computed:#010x}"),
            ));
        }
        let version = u32_at(from, 24);
        if version != VERSION {
            return Err(VhdError::malformed(
                "dynamic header version",
                24,
                format!("{version:#010x} is not {VERSION:#010x}"),
            ));
        }
        let table_offset = u64_at(from, 16);
        if !table_offset.is_multiple_of(512) {
            return Err(VhdError::malformed(
                "table offset",
                16,
                format!("{table_offset:#x} is not a multiple of 512"),
            ));
        }
        let block_size = u32_at(from, 32);
        check_block_size(block_size)
            .map_err(|problem| VhdError::malformed("block size", 32, problem))?;
        let mut locators = Vec::new();
        for at in (576..768).step_by(24) {
            let locator = ParentLocator {
                platform: bytes(from, at),
                length: u32_at(from, at + 8),
                offset: u64_at(from, at + 16),
            };
            if locator.platform == [0; 4] {
                continue;
            }
            if locator.length > MAX_LOCATOR_DATA {
                return Err(VhdError::malformed(
                    "parent locator data length",
                    at as u64 + 8,
                    format!("{} bytes are more than 64 KiB", locator.length),
                ));
            }
            locators.push(locator);
        }
        Ok(Self {
            table_offset,
            table_entries: u32_at(from, 28),
            block_size,
            locators,
        })
    }

    /// The bytes of a header without parent, with the checksum.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut into = [0; HEADER_SIZE];
        put(&mut into, 0, COOKIE);
        put(&mut into, 8, u64::MAX.to_be_bytes());
        put(&mut into, 16, self.table_offset.to_be_bytes());
        put(&mut into, 24, VERSION.to_be_bytes());
        put(&mut into, 28, self.table_entries.to_be_bytes());
        put(&mut into, 32, self.block_size.to_be_bytes());
        let checksum = checksum(&into, CHECKSUM_AT);
        put(&mut into, CHECKSUM_AT, checksum.to_be_bytes());
        into
    }

    /// Bytes the table takes in the file: whole sectors.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        (u64::from(self.table_entries) * 4).next_multiple_of(512)
    }

    /// Bytes the bitmap before each block's data takes: whole sectors.
    #[must_use]
    pub fn bitmap_bytes(&self) -> u64 {
        u64::from(self.block_size / 512)
            .div_ceil(8)
            .next_multiple_of(512)
    }

    /// Bytes a block takes in the file: bitmap and data.
    #[must_use]
    pub fn block_span(&self) -> u64 {
        self.bitmap_bytes() + u64::from(self.block_size)
    }
}

/// Says what keeps a VHD from having a block size.
pub(super) fn check_block_size(size: u32) -> Result<(), String> {
    if !size.is_power_of_two() {
        Err(format!("{size} is not a power of two"))
    } else if !BLOCK_SIZES.contains(&size) {
        Err(format!("{size} is not between 4 KiB and 256 MiB"))
    } else {
        Ok(())
    }
}
