//! An optical drive: a unit whose medium comes and goes.
//!
//! The operator [inserts](OpticalDrive::insert) and [ejects](OpticalDrive::eject) media, the guest opens and closes
//! the tray and may lock it. A guest hears of a change in two ways, as with a real drive: the next command that
//! depends on the medium fails with a unit attention, and GET EVENT STATUS NOTIFICATION tells of a removal and of a
//! new medium, in this order. Reads that are running when the medium goes end on the old one.

mod bay;
mod disc;
mod identity;
mod mode;

use std::sync::Arc;

use thiserror::Error;
use vsc_storage::scsi::{
    AdditionalSense, Command, Direction, OpticalCommand, ReadCapacity10, ReadCapacity16, SenseKey,
    Transfer, TransferForm,
};
use zerocopy::IntoBytes;

use self::bay::Bay;
pub use self::bay::DriveState;
use super::reports::Reports;
use super::{DataBuffer, Outcome, UnitAttention, UnsuitableImage};
use crate::disk::{DiskImage, FaultyDisk, ISO_BLOCK_SIZE};

/// Power of two of bytes in a block.
const BLOCK_SHIFT: u32 = ISO_BLOCK_SIZE.trailing_zeros();

/// START STOP UNIT: the start bit.
const START: u8 = 0x01;
/// START STOP UNIT: load or eject.
const LOAD_EJECT: u8 = 0x02;
/// START STOP UNIT: the field for power conditions; with it, the other bits mean nothing.
const POWER_CONDITION: u8 = 0xF0;

/// Why a medium was not inserted or ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MediumError {
    /// The image cannot be a medium.
    #[error(transparent)]
    Unsuitable(#[from] UnsuitableImage),
    /// The guest has locked the door, and has been told that somebody wants the medium.
    #[error("the guest has locked the drive; it has been asked to give the medium back")]
    Locked,
}

/// A medium, as commands see it.
#[derive(Clone)]
struct Medium {
    /// Fails only as an operator wants it to.
    image: Arc<FaultyDisk>,
    /// At least 1.
    blocks: u32,
}

impl Medium {
    fn new(image: Arc<dyn DiskImage>) -> Result<Self, UnsuitableImage> {
        let info = image.info();
        let sector = info.logical_sector_size;
        if sector == 0 || !ISO_BLOCK_SIZE.is_multiple_of(sector) {
            return Err(UnsuitableImage::MediumSectorSize { size: sector });
        }
        let size = info.size;
        match u32::try_from(size >> BLOCK_SHIFT) {
            Ok(blocks) if blocks != 0 => Ok(Self {
                image: Arc::new(FaultyDisk::new(image, 0)),
                blocks,
            }),
            _ => Err(UnsuitableImage::MediumSize { size }),
        }
    }
}

/// An optical drive.
pub struct OpticalDrive {
    /// What the drive calls itself.
    identity: [u8; 16],
    bay: Bay,
    reports: Reports,
}

impl OpticalDrive {
    /// A drive with its tray closed, in which there is this medium from the start. `identity` is the drive's, whatever
    /// medium is in it: the same each time that the same guest is started.
    ///
    /// # Errors
    /// The image cannot be a medium.
    pub fn new(
        identity: [u8; 16],
        medium: Option<Arc<dyn DiskImage>>,
    ) -> Result<Self, UnsuitableImage> {
        Ok(Self {
            identity,
            bay: Bay::new(medium.map(Medium::new).transpose()?),
            reports: Reports::default(),
        })
    }

    /// What the drive calls itself.
    #[must_use]
    pub const fn identity(&self) -> [u8; 16] {
        self.identity
    }

    /// Puts a medium in, in place of the one that is in the drive, and closes the tray; returns the old one.
    ///
    /// # Errors
    /// The image cannot be a medium, or the guest has locked the door over another one and is not to be overruled by
    /// `force`. It has then been told that somebody wants the medium.
    pub fn insert(
        &self,
        image: Arc<dyn DiskImage>,
        force: bool,
    ) -> Result<Option<Arc<dyn DiskImage>>, MediumError> {
        let old = self.bay.insert(Medium::new(image)?, force)?;
        self.reports.raise(UnitAttention::MediumChanged);
        Ok(old)
    }

    /// Takes the medium out for good, and leaves the tray closed; returns it.
    ///
    /// # Errors
    /// A guest has locked the door, and it is not to be overruled by `force`. The guest has then been told that
    /// somebody wants the medium, and ejects it if it cares.
    pub fn eject(&self, force: bool) -> Result<Option<Arc<dyn DiskImage>>, MediumError> {
        let old = self.bay.eject(force)?;
        self.reports.withdraw(UnitAttention::MediumChanged);
        Ok(old)
    }

    /// What the drive is doing.
    #[must_use]
    pub fn state(&self) -> DriveState {
        self.bay.state()
    }

    /// The medium that the operator has put in, whether the tray is open or not.
    #[must_use]
    pub fn medium(&self) -> Option<Arc<dyn DiskImage>> {
        self.bay
            .configured()
            .map(|medium| Arc::clone(medium.image.inner()))
    }

    /// What goes wrong with the medium.
    #[must_use]
    pub fn faults(&self) -> Option<Arc<FaultyDisk>> {
        self.bay.configured().map(|medium| medium.image)
    }

    /// Makes the next command that may report it fail with this unit attention.
    pub fn raise(&self, attention: UnitAttention) {
        self.reports.raise(attention);
    }

    /// The guest has gone, and with it its lock on the door.
    pub fn release(&self) {
        self.bay.unlock();
    }

    /// Executes a command on the calling thread.
    #[must_use]
    pub fn execute(&self, cdb: &[u8; 16], data: &DataBuffer<'_>) -> Outcome {
        let outcome = match (OpticalCommand::parse(cdb), Command::parse(cdb)) {
            (Some(command), _) => self.optical(&command, data),
            (None, Ok(command)) if is_known(&command) => self.common(&command, data),
            // A command that the drive doesn't know, but a change is told of first.
            _ => match self.reports.take_attention() {
                Some(sense) => Outcome::Check(sense),
                None => Outcome::BAD_OPCODE,
            },
        };
        self.reports.remember(cdb[0], &outcome);
        outcome
    }

    /// Executes a command that disks know, too.
    fn common(&self, command: &Command, data: &DataBuffer<'_>) -> Outcome {
        if !data.allows(command.direction()) {
            return Outcome::BAD_FIELD;
        }
        match *command {
            Command::Inquiry {
                vital_product_data,
                command_support_data,
                page,
                allocation_length,
            } => {
                if command_support_data {
                    return Outcome::BAD_FIELD;
                }
                return self.inquiry(vital_product_data, page, allocation_length, data);
            }
            Command::RequestSense {
                descriptor_format,
                allocation_length,
            } => {
                return self
                    .reports
                    .request_sense(descriptor_format, allocation_length, data);
            }
            _ => {}
        }
        if let Some(sense) = self.reports.take_attention() {
            return Outcome::Check(sense);
        }
        match *command {
            Command::TestUnitReady => match self.bay.ready() {
                Ok(_) => Outcome::DONE,
                Err(outcome) => outcome,
            },
            Command::Read(transfer) => self.read(&transfer, data),
            Command::ReadCapacity10 => self.read_capacity_10(data),
            Command::ReadCapacity16 { allocation_length } => {
                self.read_capacity_16(allocation_length, data)
            }
            Command::StartStopUnit { flags, .. } => self.start_stop(flags),
            Command::PreventAllowMediumRemoval { prevent } => {
                self.bay.lock(prevent);
                Outcome::DONE
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
            } => mode::mode_select(form, save_pages, parameter_length, data),
            // Nothing is ever written, so nothing has to be flushed.
            Command::SynchronizeCache(_) => Outcome::DONE,
            _ => Outcome::BAD_OPCODE,
        }
    }

    fn optical(&self, command: &OpticalCommand, data: &DataBuffer<'_>) -> Outcome {
        let direction = if command.sends_data() {
            Direction::Out
        } else {
            Direction::In
        };
        if !data.allows(direction) {
            return Outcome::BAD_FIELD;
        }
        // Asking for events and abilities tells of changes by itself.
        let tells_itself = matches!(
            command,
            OpticalCommand::GetEventStatus { .. } | OpticalCommand::GetConfiguration { .. }
        );
        if !tells_itself && let Some(sense) = self.reports.take_attention() {
            return Outcome::Check(sense);
        }
        let result = match *command {
            OpticalCommand::ReadToc {
                msf,
                format,
                track,
                allocation_length,
            } => self.read_toc(msf, format, track, allocation_length, data),
            OpticalCommand::GetConfiguration {
                request,
                feature,
                allocation_length,
            } => self.get_configuration(request, feature, allocation_length, data),
            OpticalCommand::GetEventStatus {
                polled,
                classes,
                allocation_length,
            } => self.get_event_status(polled, classes, allocation_length, data),
            OpticalCommand::ReadDiscInformation {
                data_type,
                allocation_length,
            } => self.read_disc_information(data_type, allocation_length, data),
            OpticalCommand::ReadTrackInformation {
                address_type,
                address,
                allocation_length,
            } => self.read_track_information(address_type, address, allocation_length, data),
            OpticalCommand::ReadBufferCapacity { allocation_length } => {
                Ok(disc::read_buffer_capacity(allocation_length, data))
            }
            OpticalCommand::GetPerformance {
                data_type,
                descriptors,
            } => self.get_performance(data_type, descriptors, data),
            OpticalCommand::ReadDvdStructure {
                format,
                layer,
                allocation_length,
            } => self.read_dvd_structure(format, layer, allocation_length, data),
            OpticalCommand::MechanismStatus { allocation_length } => {
                Ok(self.mechanism_status(allocation_length, data))
            }
            OpticalCommand::SetStreaming { parameter_length } => {
                Ok(disc::set_streaming(parameter_length, data))
            }
        };
        result.unwrap_or_else(|outcome| outcome)
    }

    fn read(&self, transfer: &Transfer, data: &DataBuffer<'_>) -> Outcome {
        let medium = match self.bay.ready() {
            Ok(medium) => medium,
            Err(outcome) => return outcome,
        };
        if transfer.relative_address() || transfer.protect() != 0 {
            return Outcome::BAD_FIELD;
        }
        let (blocks, capacity) = (u64::from(transfer.blocks), u64::from(medium.blocks));
        if capacity
            .checked_sub(transfer.lba)
            .is_none_or(|room| blocks > room)
        {
            return Outcome::BAD_LBA;
        }
        let length = blocks << BLOCK_SHIFT;
        if length > data.length().into() {
            return Outcome::BAD_FIELD;
        }
        // At most the buffer's length.
        let length = length as u32;
        let offset = transfer.lba << BLOCK_SHIFT;
        match data.with_prefix(length, |slices| medium.image.read(offset, slices)) {
            Ok(()) => Outcome::Good {
                transferred: length,
            },
            Err(error) => {
                tracing::warn!(%error, lba = transfer.lba, "reading a medium failed");
                Outcome::from_read_error(&error)
            }
        }
    }

    fn read_capacity_10(&self, data: &DataBuffer<'_>) -> Outcome {
        let medium = match self.bay.ready() {
            Ok(medium) => medium,
            Err(outcome) => return outcome,
        };
        if data.length() < size_of::<ReadCapacity10>() as u32 {
            return Outcome::Overrun;
        }
        let reply = ReadCapacity10 {
            last_lba: (medium.blocks - 1).into(),
            block_length: ISO_BLOCK_SIZE.into(),
        };
        data.reply(reply.as_bytes(), usize::MAX)
    }

    fn read_capacity_16(&self, allocation_length: u32, data: &DataBuffer<'_>) -> Outcome {
        let medium = match self.bay.ready() {
            Ok(medium) => medium,
            Err(outcome) => return outcome,
        };
        if data.length() < ReadCapacity16::MINIMUM_SIZE as u32 {
            return Outcome::Overrun;
        }
        let reply = ReadCapacity16 {
            last_lba: u64::from(medium.blocks - 1).into(),
            block_length: ISO_BLOCK_SIZE.into(),
            protection: 0,
            physical_exponent: 0,
            provisioning: 0.into(),
            reserved: [0; 16],
        };
        data.reply(reply.as_bytes(), allocation_length as usize)
    }

    fn start_stop(&self, flags: u8) -> Outcome {
        if flags & POWER_CONDITION != 0 {
            return Outcome::DONE;
        }
        match flags & (LOAD_EJECT | START) {
            LOAD_EJECT => self.bay.open_tray(),
            START => match self.bay.ready() {
                Ok(_) => Outcome::DONE,
                Err(outcome) => outcome,
            },
            // To stop turning means nothing here.
            0 => Outcome::DONE,
            _ => {
                if self.bay.close_tray() {
                    self.reports.raise(UnitAttention::MediumChanged);
                }
                Outcome::DONE
            }
        }
    }
}

/// Whether the drive knows a command that disks know. Reading has no six-byte form here, and nothing writes.
const fn is_known(command: &Command) -> bool {
    match command {
        Command::TestUnitReady
        | Command::RequestSense { .. }
        | Command::Inquiry { .. }
        | Command::ModeSense { .. }
        | Command::ModeSelect { .. }
        | Command::StartStopUnit { .. }
        | Command::PreventAllowMediumRemoval { .. }
        | Command::ReadCapacity10
        | Command::ReadCapacity16 { .. } => true,
        Command::Read(transfer) => !matches!(transfer.form, TransferForm::Six),
        Command::SynchronizeCache(sync) => !sync.sixteen,
        _ => false,
    }
}

/// Not ready, because of this.
const fn not_ready(additional: AdditionalSense) -> Outcome {
    Outcome::check(SenseKey::NOT_READY, additional)
}

impl std::fmt::Debug for OpticalDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpticalDrive")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
