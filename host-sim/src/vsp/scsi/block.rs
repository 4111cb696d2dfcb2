//! READ, WRITE, READ CAPACITY, FORMAT UNIT.

use vsc_storage::scsi::{ReadCapacity10, ReadCapacity16, Transfer};
use zerocopy::IntoBytes;

use super::{DataBuffer, LogicalUnit, Outcome};
use crate::disk::{DiskImage as _, Durability};

/// FORMAT UNIT: a parameter list comes with the command.
const FORMAT_DATA: u8 = 0x10;
/// FORMAT UNIT: bytes of the short parameter list header.
const FORMAT_HEADER_SIZE: usize = 4;
/// FORMAT UNIT: bytes of the long parameter list header.
const LONG_FORMAT_HEADER_SIZE: usize = 8;
/// FORMAT UNIT: the parameter list has the long header.
const LONG_LIST: u8 = 0x20;

/// A range of the disk in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl LogicalUnit {
    /// The bytes of a range of blocks; `None` if it is not wholly on the disk. No blocks at all may also begin
    /// right behind the last one.
    #[inline]
    pub(super) fn byte_range(&self, lba: u64, blocks: u64) -> Option<ByteRange> {
        let room = self.sectors.checked_sub(lba)?;
        // Neither product overflows: both factors' product is at most the disk's size.
        (blocks <= room).then_some(ByteRange {
            offset: lba << self.sector_shift,
            length: blocks << self.sector_shift,
        })
    }

    /// Checks what READ and WRITE have in common.
    #[inline]
    fn transfer_range(
        &self,
        transfer: &Transfer,
        data: &DataBuffer<'_>,
    ) -> Result<ByteRange, Outcome> {
        if transfer.relative_address() || transfer.protect() != 0 {
            return Err(Outcome::BAD_FIELD);
        }
        let range = self
            .byte_range(transfer.lba, transfer.blocks.into())
            .ok_or(Outcome::BAD_LBA)?;
        if range.length > data.length().into() {
            return Err(Outcome::BAD_FIELD);
        }
        Ok(range)
    }

    #[inline]
    pub(super) fn read(&self, transfer: &Transfer, data: &DataBuffer<'_>) -> Outcome {
        let range = match self.transfer_range(transfer, data) {
            Ok(range) => range,
            Err(outcome) => return outcome,
        };
        // At most the buffer's length. FUA asks for what is stable; the image's reads are coherent with its
        // writes, and no other reader of the medium exists, so it makes no difference.
        let length = range.length as u32;
        match data.with_prefix(length, |slices| self.image.read(range.offset, slices)) {
            Ok(()) => Outcome::Good {
                transferred: length,
            },
            Err(error) => {
                tracing::warn!(%error, lba = transfer.lba, blocks = transfer.blocks, "read failed");
                Outcome::from_read_error(&error)
            }
        }
    }

    #[inline]
    pub(super) fn write(&self, transfer: &Transfer, data: &DataBuffer<'_>) -> Outcome {
        let durability = if transfer.force_unit_access() {
            Durability::ForceUnitAccess
        } else {
            Durability::Cached
        };
        self.write_with(transfer, durability, data)
    }

    pub(super) fn write_with(
        &self,
        transfer: &Transfer,
        durability: Durability,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        if self.read_only {
            return Outcome::WRITE_PROTECTED;
        }
        let range = match self.transfer_range(transfer, data) {
            Ok(range) => range,
            Err(outcome) => return outcome,
        };
        let length = range.length as u32;
        if length == 0 {
            return Outcome::DONE;
        }
        let written = data.with_prefix(length, |slices| {
            self.image.write(range.offset, slices, durability)
        });
        match written {
            Ok(()) => Outcome::Good {
                transferred: length,
            },
            Err(error) => {
                tracing::warn!(%error, lba = transfer.lba, blocks = transfer.blocks, "write failed");
                Outcome::from_write_error(&error)
            }
        }
    }

    pub(super) fn read_capacity_10(&self, data: &DataBuffer<'_>) -> Outcome {
        let last = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        let reply = ReadCapacity10 {
            last_lba: last.into(),
            block_length: self.sector_size().into(),
        };
        if data.length() < size_of::<ReadCapacity10>() as u32 {
            return Outcome::Overrun;
        }
        data.reply(reply.as_bytes(), usize::MAX)
    }

    pub(super) fn read_capacity_16(
        &self,
        allocation_length: u32,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let info = self.image.info();
        let mut provisioning = 0;
        if self.unmaps() {
            provisioning |= ReadCapacity16::PROVISIONED;
            if info.discard_reads_zero {
                provisioning |= ReadCapacity16::READS_ZERO;
            }
        }
        let reply = ReadCapacity16 {
            last_lba: (self.sectors - 1).into(),
            block_length: self.sector_size().into(),
            protection: 0,
            physical_exponent: self.physical_exponent,
            provisioning: provisioning.into(),
            reserved: [0; 16],
        };
        if data.length() < ReadCapacity16::MINIMUM_SIZE as u32 {
            return Outcome::Overrun;
        }
        data.reply(reply.as_bytes(), allocation_length as usize)
    }

    /// A virtual disk has nothing to format: the command succeeds where it asks for the defaults.
    pub(super) fn format_unit(&self, flags: u8, data: &DataBuffer<'_>) -> Outcome {
        if self.read_only {
            return Outcome::WRITE_PROTECTED;
        }
        if flags & FORMAT_DATA == 0 {
            return Outcome::DONE;
        }
        let size = if flags & LONG_LIST == 0 {
            FORMAT_HEADER_SIZE
        } else {
            LONG_FORMAT_HEADER_SIZE
        };
        let mut header = [0; LONG_FORMAT_HEADER_SIZE];
        let header = &mut header[..size];
        if data.length() < size as u32 {
            return Outcome::BAD_LIST_LENGTH;
        }
        data.copy_to(header);
        if header.iter().any(|&byte| byte != 0) {
            return Outcome::BAD_FIELD;
        }
        Outcome::DONE
    }
}
