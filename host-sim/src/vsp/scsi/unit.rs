//! One logical unit: a disk image as a SCSI disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;
use vsc_storage::scsi::Command;

use super::reports::Reports;
use super::{DataBuffer, Outcome, UnitAttention};
use crate::disk::{DiskImage, FaultyDisk, OnFull};

/// Why an image cannot be a SCSI disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnsuitableImage {
    /// Guests know sectors of 512 and 4096 bytes only.
    #[error("logical sectors of {size} bytes are not supported, only 512 or 4096")]
    LogicalSectorSize {
        /// Bytes per logical sector.
        size: u32,
    },
    /// Physical sectors are a power of two of logical ones, at most 2^15.
    #[error("physical sectors of {physical} bytes do not fit logical ones of {logical}")]
    PhysicalSectorSize {
        /// Bytes per physical sector.
        physical: u32,
        /// Bytes per logical sector.
        logical: u32,
    },
    /// The disk has no sector, or a part of one.
    #[error("a size of {size} bytes is not a positive number of sectors")]
    Size {
        /// Bytes on the disk.
        size: u64,
    },
    /// A medium for a drive has blocks of 2048 bytes, at least one and fewer than 2^32.
    #[error("a medium of {size} bytes does not have between 1 and 2^32-1 blocks of 2048 bytes")]
    MediumSize {
        /// Bytes of the medium.
        size: u64,
    },
    /// A medium's blocks are made of smaller sectors.
    #[error("sectors of {size} bytes do not make up blocks of 2048 bytes")]
    MediumSectorSize {
        /// Bytes per sector.
        size: u32,
    },
}

/// A SCSI disk.
pub struct LogicalUnit {
    /// Fails only as an operator wants it to.
    pub(super) image: Arc<FaultyDisk>,
    /// Logical sectors on the disk.
    pub(super) sectors: u64,
    /// Power of two of bytes in a logical sector.
    pub(super) sector_shift: u32,
    /// Power of two of logical sectors in a physical one.
    pub(super) physical_exponent: u8,
    pub(super) read_only: bool,
    /// Most bytes that the controller moves for one command.
    pub(super) max_transfer: u32,
    reports: Reports,
    /// Whether writes without space wait.
    pauses: AtomicBool,
}

impl LogicalUnit {
    /// The disk in this image, on a controller that moves at most `max_transfer` bytes per command.
    ///
    /// # Errors
    /// [`UnsuitableImage`].
    pub fn new(image: Arc<dyn DiskImage>, max_transfer: u32) -> Result<Self, UnsuitableImage> {
        let info = image.info();
        let (size, logical, physical) = (
            info.size,
            info.logical_sector_size,
            info.physical_sector_size,
        );
        if logical != 512 && logical != 4096 {
            return Err(UnsuitableImage::LogicalSectorSize { size: logical });
        }
        if !physical.is_power_of_two() || physical < logical || physical / logical > 1 << 15 {
            return Err(UnsuitableImage::PhysicalSectorSize { physical, logical });
        }
        if size == 0 || !size.is_multiple_of(logical.into()) {
            return Err(UnsuitableImage::Size { size });
        }
        Ok(Self {
            sectors: size / u64::from(logical),
            sector_shift: logical.trailing_zeros(),
            physical_exponent: (physical / logical).trailing_zeros() as u8,
            read_only: info.read_only,
            image: Arc::new(FaultyDisk::new(image, 0)),
            max_transfer,
            reports: Reports::default(),
            pauses: AtomicBool::new(false),
        })
    }

    /// The image behind the disk.
    #[must_use]
    pub fn image(&self) -> &Arc<dyn DiskImage> {
        self.image.inner()
    }

    /// What goes wrong with the disk.
    #[must_use]
    pub fn faults(&self) -> &Arc<FaultyDisk> {
        &self.image
    }

    /// What becomes of writes for which the host has no space.
    #[must_use]
    pub fn on_full(&self) -> OnFull {
        if self.pauses.load(Ordering::Relaxed) {
            OnFull::Pause
        } else {
            OnFull::Fail
        }
    }

    /// Sets what becomes of writes for which the host has no space. [`Outcome::NO_SPACE`] is then to be taken as "try
    /// again later" by who executes commands.
    pub fn set_on_full(&self, on_full: OnFull) {
        self.pauses
            .store(on_full == OnFull::Pause, Ordering::Relaxed);
    }

    /// Bytes in a logical sector.
    #[must_use]
    pub const fn sector_size(&self) -> u32 {
        1 << self.sector_shift
    }

    /// Makes the next command that may report it fail with this unit attention.
    pub fn raise(&self, attention: UnitAttention) {
        self.reports.raise(attention);
    }

    /// Takes over what `predecessor`, whose place this unit takes, had not reported yet.
    pub fn inherit_attentions(&self, predecessor: &Self) {
        self.reports.inherit(&predecessor.reports);
    }

    /// Executes a command on the calling thread.
    #[must_use]
    pub fn execute(&self, cdb: &[u8; 16], data: &DataBuffer<'_>) -> Outcome {
        let outcome = match Command::parse(cdb) {
            Ok(command) if !data.allows(command.direction()) => Outcome::BAD_FIELD,
            Ok(command) => self.dispatch(&command, data),
            Err(_) => match self.reports.take_attention() {
                Some(sense) => Outcome::Check(sense),
                None => Outcome::BAD_OPCODE,
            },
        };
        // What is tried again later has not failed.
        if outcome != Outcome::NO_SPACE || self.on_full() == OnFull::Fail {
            self.reports.remember(cdb[0], &outcome);
        }
        outcome
    }

    #[inline]
    fn dispatch(&self, command: &Command, data: &DataBuffer<'_>) -> Outcome {
        let reports_attention = !matches!(
            command,
            Command::Inquiry { .. } | Command::ReportLuns { .. } | Command::RequestSense { .. }
        );
        if reports_attention && let Some(sense) = self.reports.take_attention() {
            return Outcome::Check(sense);
        }
        match *command {
            Command::Read(transfer) => self.read(&transfer, data),
            Command::Write(transfer) => self.write(&transfer, data),
            Command::WriteAndVerify(transfer) => self.write_and_verify(&transfer, data),
            Command::Verify(transfer) => self.verify(&transfer, data),
            Command::SynchronizeCache(_) => self.flush(),
            Command::TestUnitReady
            | Command::ReserveRelease { .. }
            | Command::PreventAllowMediumRemoval { .. } => Outcome::DONE,
            Command::RequestSense {
                descriptor_format,
                allocation_length,
            } => self
                .reports
                .request_sense(descriptor_format, allocation_length, data),
            Command::FormatUnit { flags } => self.format_unit(flags, data),
            Command::Inquiry {
                vital_product_data,
                command_support_data,
                page,
                allocation_length,
            } => {
                if command_support_data {
                    Outcome::BAD_FIELD
                } else if vital_product_data {
                    self.vital_product_data(page, allocation_length, data)
                } else {
                    Self::standard_inquiry(page, allocation_length, data)
                }
            }
            Command::ModeSense {
                form,
                page_control,
                page,
                sub_page,
                allocation_length,
                ..
            } => self.mode_sense(form, page_control, page, sub_page, allocation_length, data),
            Command::ModeSelect {
                form,
                save_pages,
                parameter_length,
            } => self.mode_select(form, save_pages, parameter_length, data),
            Command::StartStopUnit { flags, .. } => {
                // Stopping promises that nothing volatile is left; a virtual disk is always started.
                if flags & START == 0 {
                    self.flush()
                } else {
                    Outcome::DONE
                }
            }
            Command::SendDiagnostic {
                flags,
                parameter_length,
            } => {
                if flags & (SELF_TEST_CODE | PAGE_FORMAT) != 0 || parameter_length != 0 {
                    Outcome::BAD_FIELD
                } else {
                    Outcome::DONE
                }
            }
            Command::ReadCapacity10 => self.read_capacity_10(data),
            Command::ReadCapacity16 { allocation_length } => {
                self.read_capacity_16(allocation_length, data)
            }
            Command::Unmap {
                anchor,
                parameter_length,
            } => self.unmap(anchor, parameter_length, data),
            Command::WriteSame(same) => self.write_same(&same, data),
            // REPORT LUNS is for the target, which has answered it before any unit is asked.
            Command::ReportLuns { .. }
            | Command::GetLbaStatus { .. }
            | Command::PersistentReserveIn { .. }
            | Command::PersistentReserveOut { .. } => Outcome::BAD_OPCODE,
        }
    }

    /// Makes every completed write durable.
    pub(super) fn flush(&self) -> Outcome {
        match self.image.flush() {
            Ok(()) => Outcome::DONE,
            Err(error) => {
                tracing::warn!(%error, "flush failed");
                Outcome::from_write_error(&error)
            }
        }
    }
}

/// START STOP UNIT: the start bit.
const START: u8 = 0x01;
/// SEND DIAGNOSTIC: self-test code.
const SELF_TEST_CODE: u8 = 0xE0;
/// SEND DIAGNOSTIC: the page format bit.
const PAGE_FORMAT: u8 = 0x10;

impl std::fmt::Debug for LogicalUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogicalUnit")
            .field("info", self.image.info())
            .finish_non_exhaustive()
    }
}
