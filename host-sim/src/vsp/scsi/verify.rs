//! VERIFY and WRITE AND VERIFY.

use vm_memory::VolatileSlice;
use vsc_storage::scsi::{AdditionalSense, SenseKey, Transfer};

use super::block::ByteRange;
use super::{DataBuffer, LogicalUnit, Outcome};
use crate::disk::{DiskImage as _, Durability, Scatter};

/// Bytes compared or read back at a time; a multiple of every sector size.
const CHUNK: u64 = 64 * 1024;
/// Most bytes that one VERIFY without data reads back. A longer range is only checked to be on the disk, so
/// that one command cannot keep the host busy for as long as the disk is large.
const MAX_READ_BACK: u64 = 64 * 1024 * 1024;

const MISCOMPARE: Outcome = Outcome::check(
    SenseKey::MISCOMPARE,
    AdditionalSense::MISCOMPARE_DURING_VERIFY,
);

impl LogicalUnit {
    pub(super) fn verify(&self, transfer: &Transfer, data: &DataBuffer<'_>) -> Outcome {
        if transfer.relative_address() || transfer.protect() != 0 {
            return Outcome::BAD_FIELD;
        }
        let Some(range) = self.byte_range(transfer.lba, transfer.blocks.into()) else {
            return Outcome::BAD_LBA;
        };
        self.check_medium(transfer, range, data)
    }

    /// Writes as with FUA, then verifies what was written.
    pub(super) fn write_and_verify(&self, transfer: &Transfer, data: &DataBuffer<'_>) -> Outcome {
        if transfer.byte_check() > 1 {
            return Outcome::BAD_FIELD;
        }
        let written = self.write_with(transfer, Durability::ForceUnitAccess, data);
        if !written.is_good() {
            return written;
        }
        let Some(range) = self.byte_range(transfer.lba, transfer.blocks.into()) else {
            return Outcome::BAD_LBA;
        };
        let checked = self.check_medium(transfer, range, data);
        if checked.is_good() { written } else { checked }
    }

    /// Reads the range back, and compares it with the data sent if the command says so.
    fn check_medium(
        &self,
        transfer: &Transfer,
        range: ByteRange,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        match transfer.byte_check() {
            0 if range.length > MAX_READ_BACK => Outcome::DONE,
            0 => self.compare(range, None),
            1 if range.length > data.length().into() => Outcome::BAD_FIELD,
            1 => match self.compare(range, Some(data.scatter())) {
                Outcome::Good { .. } => Outcome::Good {
                    // At most the buffer's length.
                    transferred: range.length as u32,
                },
                failed => failed,
            },
            _ => Outcome::BAD_FIELD,
        }
    }

    fn compare(&self, range: ByteRange, mut expected: Option<Scatter<'_>>) -> Outcome {
        let size = range.length.min(CHUNK) as usize;
        let mut medium = vec![0; size];
        let mut sent = vec![0; if expected.is_some() { size } else { 0 }];
        let mut done = 0;
        while done < range.length {
            let count = (range.length - done).min(CHUNK) as usize;
            let read = self.image.read(
                range.offset + done,
                &[VolatileSlice::from(&mut medium[..count])],
            );
            if let Err(error) = read {
                tracing::warn!(%error, "read-back failed");
                return Outcome::from_read_error(&error);
            }
            if let Some(rest) = expected {
                let (here, others) = rest.split_at(count as u64);
                here.copy_to(&mut sent[..count]);
                if sent[..count] != medium[..count] {
                    return MISCOMPARE;
                }
                expected = Some(others);
            }
            done += count as u64;
        }
        Outcome::DONE
    }
}
