//! UNMAP and WRITE SAME.

use vm_memory::VolatileSlice;
use vsc_storage::scsi::{UnmapDescriptor, UnmapHeader, WriteSame, unmap_descriptors};

use super::block::ByteRange;
use super::{DataBuffer, LogicalUnit, Outcome};
use crate::disk::{DiskError, DiskImage as _, Durability};

/// Most descriptors of one UNMAP; stated in the block limits page.
pub(super) const MAX_UNMAP_DESCRIPTORS: usize = 256;
/// Bytes of the longest parameter list.
const MAX_UNMAP_LIST: usize =
    size_of::<UnmapHeader>() + MAX_UNMAP_DESCRIPTORS * size_of::<UnmapDescriptor>();
/// Most bytes of one WRITE SAME, unless the controller's largest transfer is less.
const MAX_WRITE_SAME: u32 = 8 * 1024 * 1024;
/// Bytes that WRITE SAME writes at a time; a multiple of every sector size.
const FILL_CHUNK: u64 = 64 * 1024;

impl LogicalUnit {
    /// Whether the disk gives space back.
    pub(super) fn unmaps(&self) -> bool {
        self.image.info().discard && !self.read_only
    }

    /// Most blocks of one WRITE SAME.
    pub(super) fn max_write_same_blocks(&self) -> u64 {
        u64::from(MAX_WRITE_SAME.min(self.max_transfer) >> self.sector_shift)
    }

    pub(super) fn unmap(
        &self,
        anchor: bool,
        parameter_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        if self.read_only {
            return Outcome::WRITE_PROTECTED;
        }
        if !self.unmaps() {
            return Outcome::BAD_OPCODE;
        }
        if anchor {
            return Outcome::BAD_FIELD;
        }
        if parameter_length == 0 {
            return Outcome::DONE;
        }
        if u32::from(parameter_length) > data.length() {
            return Outcome::BAD_LIST_LENGTH;
        }
        let length = usize::from(parameter_length);
        // The list is copied once, whatever the guest does to it meanwhile.
        let mut list = vec![0; length.min(MAX_UNMAP_LIST)];
        data.copy_to(&mut list);
        let Some((header, descriptors)) = unmap_descriptors(&list) else {
            return Outcome::BAD_LIST_LENGTH;
        };
        if usize::from(header.data_length.get()) != length - 2 {
            return Outcome::BAD_FIELD;
        }
        let bytes = usize::from(header.descriptor_length.get());
        if bytes != length - size_of::<UnmapHeader>()
            || !bytes.is_multiple_of(size_of::<UnmapDescriptor>())
            || length > MAX_UNMAP_LIST
        {
            return Outcome::BAD_LIST;
        }
        // All are validated before any is acted on.
        let mut ranges = Vec::with_capacity(descriptors.len());
        let mut total = 0u64;
        for descriptor in descriptors {
            let blocks = u64::from(descriptor.blocks.get());
            let Some(range) = self.byte_range(descriptor.lba.get(), blocks) else {
                return Outcome::BAD_LBA;
            };
            total += blocks;
            ranges.push(range);
        }
        if total > self.sectors {
            return Outcome::BAD_LIST;
        }
        for range in ranges {
            self.discard(range);
        }
        Outcome::Good {
            transferred: parameter_length.into(),
        }
    }

    /// Discards a range. UNMAP is a hint: where the storage fails the blocks just keep their content.
    fn discard(&self, range: ByteRange) {
        if range.length != 0
            && let Err(error) = self.image.discard(range.offset, range.length)
        {
            tracing::debug!(%error, "discard failed");
        }
    }

    pub(super) fn write_same(&self, same: &WriteSame, data: &DataBuffer<'_>) -> Outcome {
        /// Obsolete bits that would put addresses into the data.
        const ADDRESS_BITS: u8 = 0x06;
        if self.read_only {
            return Outcome::WRITE_PROTECTED;
        }
        let no_data_bit = !same.sixteen && same.flags & WriteSame::NO_DATA_OUT != 0;
        let refused = WriteSame::PROTECT_MASK | WriteSame::ANCHOR | ADDRESS_BITS;
        if same.flags & refused != 0 || no_data_bit || same.blocks == 0 {
            return Outcome::BAD_FIELD;
        }
        let blocks = u64::from(same.blocks);
        let Some(range) = self.byte_range(same.lba, blocks) else {
            return Outcome::BAD_LBA;
        };
        if blocks > self.max_write_same_blocks() {
            return Outcome::BAD_FIELD;
        }
        let size = self.sector_size();
        let mut block = vec![0; size as usize];
        let mut transferred = 0;
        if !same.no_data_out() {
            if data.length() < size {
                return Outcome::BAD_FIELD;
            }
            data.copy_to(&mut block);
            transferred = size;
        }
        let written = if self.may_deallocate(same, &block) {
            self.image.discard(range.offset, range.length)
        } else {
            self.fill(range, &block)
        };
        match written {
            Ok(()) => Outcome::Good { transferred },
            Err(error) => {
                tracing::warn!(%error, "WRITE SAME failed");
                Outcome::from_write_error(&error)
            }
        }
    }

    /// Whether discarding leaves what WRITE SAME is to write.
    fn may_deallocate(&self, same: &WriteSame, block: &[u8]) -> bool {
        same.flags & WriteSame::UNMAP != 0
            && self.unmaps()
            && self.image.info().discard_reads_zero
            && block.iter().all(|&byte| byte == 0)
    }

    fn fill(&self, range: ByteRange, block: &[u8]) -> Result<(), DiskError> {
        let mut pattern = block.repeat((range.length.min(FILL_CHUNK) as usize) / block.len());
        let mut done = 0;
        while done < range.length {
            let count = (range.length - done).min(pattern.len() as u64);
            self.image.write(
                range.offset + done,
                &[VolatileSlice::from(&mut pattern[..count as usize])],
                Durability::Cached,
            )?;
            done += count;
        }
        Ok(())
    }
}
