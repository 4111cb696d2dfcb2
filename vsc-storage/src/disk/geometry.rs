//! Size of a disk, and arithmetic in its blocks.

use super::{DiskError, UnitError};
use crate::scsi::Capacity;

/// Size of a disk and of its blocks. Its own numbers never overflow: capacity in bytes fits 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    blocks: u64,
    block_size: u32,
    physical_block_size: u32,
}

impl Geometry {
    /// Checks what a device says about its capacity.
    ///
    /// # Errors
    ///
    /// [`UnitError::BlockSize`] for a block that isn't 512, 1024, 2048 or 4096 bytes long;
    /// [`UnitError::Capacity`] if the number of bytes doesn't fit 64 bits.
    pub fn new(capacity: &Capacity) -> Result<Self, UnitError> {
        let block_size = capacity.block_length;
        if !matches!(block_size, 512 | 1024 | 2048 | 4096) {
            return Err(UnitError::BlockSize { bytes: block_size });
        }
        let too_large = UnitError::Capacity {
            last_lba: capacity.last_lba,
            block_size,
        };
        let blocks = capacity.last_lba.checked_add(1).ok_or(too_large)?;
        let _bytes = blocks.checked_mul(u64::from(block_size)).ok_or(too_large)?;
        Ok(Self {
            blocks,
            block_size,
            // At most 4096 << 15.
            physical_block_size: block_size << (capacity.physical_exponent & 0xF),
        })
    }

    /// Logical blocks, at least 1.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of a logical block: 512, 1024, 2048 or 4096.
    #[must_use]
    pub const fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Bytes of a physical block: a power of two, at least a logical block. Writes that cover whole
    /// ones are the fastest.
    #[must_use]
    pub const fn physical_block_size(&self) -> u32 {
        self.physical_block_size
    }

    /// Bytes of the disk.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size as u64)
    }

    /// Checks that a range of blocks lies on the disk. An empty range may start at its end.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`].
    pub const fn check(&self, lba: u64, blocks: u64) -> Result<(), DiskError> {
        let fits = match self.blocks.checked_sub(lba) {
            Some(rest) => blocks <= rest,
            None => false,
        };
        if fits {
            Ok(())
        } else {
            Err(DiskError::OutOfRange {
                lba,
                blocks,
                capacity: self.blocks,
            })
        }
    }

    /// Blocks in so many bytes.
    ///
    /// # Errors
    ///
    /// [`DiskError::Unaligned`] if they aren't whole blocks.
    pub fn blocks_in(&self, bytes: usize) -> Result<u64, DiskError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let size = u64::from(self.block_size);
        if bytes.is_multiple_of(size) {
            Ok(bytes.checked_div(size).unwrap_or(0))
        } else {
            Err(DiskError::Unaligned {
                bytes,
                block_size: self.block_size,
            })
        }
    }

    /// Splits a transfer of `blocks` blocks from `lba` into chunks that one request may carry.
    ///
    /// `max_transfer_bytes` is the controller's limit; `max_blocks` is the device's own, 0 for none.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`] if the range isn't on the disk; [`DiskError::TransferLimit`] if
    /// the controller's limit is below one block.
    pub fn chunks(
        &self,
        lba: u64,
        blocks: u64,
        max_transfer_bytes: u32,
        max_blocks: u32,
    ) -> Result<Chunks, DiskError> {
        self.check(lba, blocks)?;
        let mut largest = max_transfer_bytes.checked_div(self.block_size).unwrap_or(0);
        if max_blocks != 0 {
            largest = largest.min(max_blocks);
        }
        if largest == 0 {
            return Err(DiskError::TransferLimit {
                bytes: max_transfer_bytes,
                block_size: self.block_size,
            });
        }
        Ok(Chunks {
            lba,
            rest: blocks,
            largest,
            block_size: self.block_size,
            offset: 0,
        })
    }
}

/// A part of a transfer that one request carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// First logical block.
    pub lba: u64,
    /// Logical blocks, at least 1.
    pub blocks: u32,
    /// Where the chunk starts in the transfer's buffer, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u32,
}

/// Iterates over the chunks of a transfer, in order.
#[derive(Clone, Debug)]
pub struct Chunks {
    lba: u64,
    rest: u64,
    largest: u32,
    block_size: u32,
    offset: u64,
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let blocks = u32::try_from(self.rest)
            .unwrap_or(u32::MAX)
            .min(self.largest);
        if blocks == 0 {
            return None;
        }
        // `largest` blocks are at most the limit in bytes, a 32-bit number.
        let bytes = blocks.saturating_mul(self.block_size);
        let chunk = Chunk {
            lba: self.lba,
            blocks,
            offset: self.offset,
            bytes,
        };
        self.lba = self.lba.saturating_add(u64::from(blocks));
        self.rest = self.rest.saturating_sub(u64::from(blocks));
        self.offset = self.offset.saturating_add(u64::from(bytes));
        Some(chunk)
    }
}
