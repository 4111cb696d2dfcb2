//! The logical units behind one controller.

use std::sync::Arc;

use vsc_storage::scsi::{Command, Opcode, ReportLunsHeader, ReportedLun};
use zerocopy::IntoBytes;

use super::identity::absent_inquiry;
use super::{DataBuffer, LogicalUnit, OpticalDrive, Outcome, UnitAttention};
use crate::disk::{DiskImage, FaultyDisk, OnFull};

/// Logical units that a controller can have: numbers 0 to 63.
pub const MAX_LUNS: usize = 64;

/// SELECT REPORT: well-known logical units only.
const SELECT_WELL_KNOWN: u8 = 0x01;

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// SCSI bus.
    pub path: u8,
    /// SCSI target.
    pub target: u8,
    /// Logical unit.
    pub lun: u8,
}

/// A logical unit of any kind.
#[derive(Clone, Debug)]
pub enum Unit {
    /// A disk.
    Disk(Arc<LogicalUnit>),
    /// An optical drive.
    Optical(Arc<OpticalDrive>),
}

impl Unit {
    /// Executes a command on the calling thread.
    #[must_use]
    #[inline]
    pub fn execute(&self, cdb: &[u8; 16], data: &DataBuffer<'_>) -> Outcome {
        match self {
            Self::Disk(disk) => disk.execute(cdb, data),
            Self::Optical(drive) => drive.execute(cdb, data),
        }
    }

    /// Makes the next command that may report it fail with this unit attention.
    pub fn raise(&self, attention: UnitAttention) {
        match self {
            Self::Disk(disk) => disk.raise(attention),
            Self::Optical(drive) => drive.raise(attention),
        }
    }

    /// The disk's image or the drive's medium.
    #[must_use]
    pub fn image(&self) -> Option<Arc<dyn DiskImage>> {
        match self {
            Self::Disk(disk) => Some(Arc::clone(disk.image())),
            Self::Optical(drive) => drive.medium(),
        }
    }

    /// What goes wrong with the disk or the medium.
    #[must_use]
    pub fn faults(&self) -> Option<Arc<FaultyDisk>> {
        match self {
            Self::Disk(disk) => Some(Arc::clone(disk.faults())),
            Self::Optical(drive) => drive.faults(),
        }
    }
}

impl From<LogicalUnit> for Unit {
    fn from(disk: LogicalUnit) -> Self {
        Self::Disk(Arc::new(disk))
    }
}

impl From<OpticalDrive> for Unit {
    fn from(drive: OpticalDrive) -> Self {
        Self::Optical(Arc::new(drive))
    }
}

/// How a controller understands addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// All units are at path 0, target 0.
    Scsi,
    /// One disk, unit 0, whatever path and target a command names; guests of different ages name different
    /// ones. Only the list of units is for the disk's own place alone.
    Ide {
        /// IDE channel, 0 or 1.
        channel: u8,
        /// Device on the channel, 0 or 1.
        device: u8,
    },
}

/// The logical units behind one controller at one moment. Whoever holds it may finish what it has begun, also
/// on a unit that has been removed meanwhile.
#[derive(Clone, Debug)]
pub struct UnitTable {
    addressing: Addressing,
    units: [Option<Unit>; MAX_LUNS],
}

impl UnitTable {
    /// A controller without units.
    #[must_use]
    pub const fn new(addressing: Addressing) -> Self {
        Self {
            addressing,
            units: [const { None }; MAX_LUNS],
        }
    }

    /// Numbers that units may have: 0 to one less than this.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        match self.addressing {
            Addressing::Scsi => MAX_LUNS,
            Addressing::Ide { .. } => 1,
        }
    }

    /// The unit with this number.
    #[must_use]
    #[inline]
    pub fn get(&self, lun: u8) -> Option<&Unit> {
        self.units.get(usize::from(lun))?.as_ref()
    }

    /// Puts a unit into its place, or takes it away; returns what was there.
    ///
    /// Numbers at or above [`capacity`](Self::capacity) have no place: nothing is changed.
    pub fn set(&mut self, lun: u8, unit: Option<Unit>) -> Option<Unit> {
        let capacity = self.capacity();
        let place = self.units[..capacity].get_mut(usize::from(lun))?;
        std::mem::replace(place, unit)
    }

    /// The units with their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Unit)> {
        (0u8..)
            .zip(&self.units)
            .filter_map(|(lun, unit)| Some((lun, unit.as_ref()?)))
    }

    /// The unit that an address names.
    #[inline]
    fn find(&self, address: Address) -> Option<&Unit> {
        let here = match self.addressing {
            Addressing::Scsi => address.path == 0 && address.target == 0,
            Addressing::Ide { .. } => true,
        };
        if here { self.get(address.lun) } else { None }
    }

    /// Whether a command to this address that finds no space on the host is to wait for it.
    pub(crate) fn waits_for_space(&self, address: Address) -> bool {
        matches!(self.find(address), Some(Unit::Disk(disk)) if disk.on_full() == OnFull::Pause)
    }

    /// Executes a command on the calling thread.
    #[must_use]
    pub fn execute(&self, address: Address, cdb: &[u8; 16], data: &DataBuffer<'_>) -> Outcome {
        if Opcode(cdb[0]) == Opcode::REPORT_LUNS {
            return self.report_luns(address, cdb, data);
        }
        if let Some(unit) = self.find(address) {
            return unit.execute(cdb, data);
        }
        match Command::parse(cdb) {
            Ok(Command::Inquiry { .. }) if !data.allows(vsc_storage::scsi::Direction::In) => {
                Outcome::BAD_FIELD
            }
            Ok(Command::Inquiry {
                vital_product_data,
                command_support_data,
                page,
                allocation_length,
            }) => absent_inquiry(
                address.lun,
                vital_product_data,
                command_support_data,
                page,
                allocation_length,
                data,
            ),
            _ => Outcome::NoUnit,
        }
    }

    fn report_luns(&self, address: Address, cdb: &[u8; 16], data: &DataBuffer<'_>) -> Outcome {
        let Ok(
            command @ Command::ReportLuns {
                select,
                allocation_length,
            },
        ) = Command::parse(cdb)
        else {
            return Outcome::BAD_OPCODE;
        };
        if !data.allows(command.direction()) {
            return Outcome::BAD_FIELD;
        }
        if allocation_length.min(data.length()) < size_of::<ReportLunsHeader>() as u32 {
            return Outcome::DONE;
        }
        let home = match self.addressing {
            Addressing::Scsi => (0, 0),
            Addressing::Ide { channel, device } => (channel, device),
        };
        let listed = (address.path, address.target) == home && select != SELECT_WELL_KNOWN;
        let mut list = Vec::with_capacity(size_of::<ReportedLun>() * MAX_LUNS);
        for (lun, _) in self.iter().filter(|_| listed) {
            list.extend_from_slice(ReportedLun::peripheral(lun).as_bytes());
        }
        let header = ReportLunsHeader {
            // At most 64 entries of 8 bytes.
            list_length: (list.len() as u32).into(),
            reserved: 0.into(),
        };
        data.reply(
            &[header.as_bytes(), &list].concat(),
            allocation_length as usize,
        )
    }
}
