//! An operator's access to a controller in use.

mod drives;
mod snapshot;

use std::sync::Arc;

use thiserror::Error;
use vsc_storage::wire::Version;

use super::counters::StorageCounters;
use super::protocol::State;
use super::shared::Shared;
use crate::disk::{DiskImage, DiskInfo, FaultyDisk, OnFull};
use crate::vsp::scsi::{LogicalUnit, Unit, UnitAttention, UnsuitableImage};

pub use snapshot::{DiskSnapshot, DriveSnapshot, StorageSnapshot};

/// Why the set of disks was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LunError {
    /// The controller has no such number.
    #[error("logical unit {lun} does not exist here; the highest is {highest}")]
    Number {
        /// The number asked for.
        lun: u8,
        /// The highest that the controller can have.
        highest: u8,
    },
    /// There is a disk already.
    #[error("logical unit {lun} is in use")]
    InUse {
        /// Its number.
        lun: u8,
    },
    /// There is no disk.
    #[error("there is no logical unit {lun}")]
    Absent {
        /// The number asked for.
        lun: u8,
    },
    /// The image cannot be a SCSI disk or a medium.
    #[error(transparent)]
    Image(#[from] UnsuitableImage),
    /// The unit is an optical drive, not a disk.
    #[error("logical unit {lun} is an optical drive, not a disk")]
    NotADisk {
        /// Its number.
        lun: u8,
    },
    /// The unit is a disk, not an optical drive.
    #[error("logical unit {lun} is a disk, not an optical drive")]
    NotADrive {
        /// Its number.
        lun: u8,
    },
    /// Accelerated IDE is for disks.
    #[error("an accelerated IDE channel has no optical drives")]
    NoDrives,
    /// There is no medium in the drive.
    #[error("there is no medium in the drive at logical unit {lun}")]
    NoMedium {
        /// The drive's number.
        lun: u8,
    },
    /// The guest has locked the drive. It has been told that somebody wants the medium.
    #[error(
        "the guest has locked the drive at logical unit {lun}; it has been asked to give the medium back"
    )]
    MediumLocked {
        /// The drive's number.
        lun: u8,
    },
}

/// How a disk is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LunOptions {
    /// What becomes of writes for which the host has no space.
    pub on_full: OnFull,
}

/// Access to a controller from outside of the server: any thread, any time. Cheap to clone; outlives the
/// controller harmlessly.
#[derive(Clone)]
pub struct StorageHandle {
    pub(super) shared: Arc<Shared>,
}

impl StorageHandle {
    /// Plugs a disk in and tells the guest.
    ///
    /// # Errors
    /// The number is taken or out of range, or the image unsuitable.
    pub fn add_lun(&self, lun: u8, image: Arc<dyn DiskImage>) -> Result<(), LunError> {
        self.add_lun_with(lun, image, LunOptions::default())
    }

    /// As [`add_lun`](Self::add_lun), with options.
    ///
    /// # Errors
    /// As `add_lun`.
    pub fn add_lun_with(
        &self,
        lun: u8,
        image: Arc<dyn DiskImage>,
        options: LunOptions,
    ) -> Result<(), LunError> {
        self.check(lun)?;
        let unit = LogicalUnit::new(image, self.shared.limits.max_transfer)?;
        unit.set_on_full(options.on_full);
        self.add_unit(lun, unit.into())
    }

    /// Adds a unit whose number has been checked.
    fn add_unit(&self, lun: u8, unit: Unit) -> Result<(), LunError> {
        if self.shared.units().0.get(lun).is_some() {
            return Err(LunError::InUse { lun });
        }
        self.shared.change_units(true, |units| {
            if units.get(lun).is_some() {
                return Err(LunError::InUse { lun });
            }
            units.set(lun, Some(unit));
            Ok(())
        })
    }

    /// Pulls a disk out and tells the guest. Commands that come from now on find no disk; those running end on
    /// it. The image is closed with the last reference: the one returned, those of running commands, and those
    /// of channels that have not been polled since (they have been woken).
    ///
    /// # Errors
    /// There is no such disk.
    pub fn remove_lun(&self, lun: u8) -> Result<Arc<dyn DiskImage>, LunError> {
        self.disk(lun)?;
        self.shared
            .change_units(true, |units| match units.get(lun) {
                Some(Unit::Disk(disk)) => {
                    let image = Arc::clone(disk.image());
                    units.set(lun, None);
                    Ok(image)
                }
                Some(Unit::Optical(_)) => Err(LunError::NotADisk { lun }),
                None => Err(LunError::Absent { lun }),
            })
    }

    /// Puts an image of another size (or with other limits) into the place of a disk, as after growing it.
    /// Commands running end on the old image; the next one is failed with the unit attention. The new image has
    /// to hold what the old one did, all of it flushed. [Faults](Self::faults) stay with the old one.
    ///
    /// # Errors
    /// There is no such disk, or the image is unsuitable.
    pub fn replace_lun(
        &self,
        lun: u8,
        image: Arc<dyn DiskImage>,
        attention: UnitAttention,
    ) -> Result<Arc<dyn DiskImage>, LunError> {
        self.disk(lun)?;
        let unit = LogicalUnit::new(image, self.shared.limits.max_transfer)?;
        self.shared
            .change_units(false, |units| match units.get(lun) {
                Some(Unit::Disk(old)) => {
                    unit.inherit_attentions(old);
                    unit.raise(attention);
                    unit.set_on_full(old.on_full());
                    let old = Arc::clone(old.image());
                    units.set(lun, Some(unit.into()));
                    Ok(old)
                }
                Some(Unit::Optical(_)) => Err(LunError::NotADisk { lun }),
                None => Err(LunError::Absent { lun }),
            })
    }

    /// Makes the unit's next command that may report it fail with this unit attention.
    ///
    /// # Errors
    /// There is no such unit.
    pub fn raise(&self, lun: u8, attention: UnitAttention) -> Result<(), LunError> {
        self.unit(lun)?.raise(attention);
        Ok(())
    }

    /// What goes wrong with a disk, or with the medium that is in a drive now: errors in ranges of it, torn writes,
    /// delays. Nothing does until rules are added; they hold as long as the image stays where it is.
    ///
    /// # Errors
    /// There is no such unit, or no medium in the drive.
    pub fn faults(&self, lun: u8) -> Result<Arc<FaultyDisk>, LunError> {
        self.unit(lun)?.faults().ok_or(LunError::NoMedium { lun })
    }

    /// Sets what becomes of writes for which the host has no space. Those that wait are tried again at once, and
    /// fail now if that is what is set.
    ///
    /// # Errors
    /// There is no such disk.
    pub fn set_on_full(&self, lun: u8, on_full: OnFull) -> Result<(), LunError> {
        self.disk(lun)?.set_on_full(on_full);
        self.shared.resume();
        Ok(())
    }

    /// Has the commands that wait for space tried again at once: somebody has made room.
    pub fn resume(&self) {
        self.shared.resume();
    }

    /// Commands that wait for space on the host.
    #[must_use]
    pub fn waiting_for_space(&self) -> usize {
        self.shared.waiting.get()
    }

    /// The disks and their numbers, ascending.
    #[must_use]
    pub fn luns(&self) -> Vec<(u8, DiskInfo)> {
        let (units, _) = self.shared.units();
        units
            .iter()
            .filter_map(|(lun, unit)| match unit {
                Unit::Disk(disk) => Some((lun, disk.image().info().clone())),
                Unit::Optical(_) => None,
            })
            .collect()
    }

    /// What the controller has done.
    #[must_use]
    pub fn counters(&self) -> StorageCounters {
        self.shared.counters()
    }

    /// How far the guest's initialisation has come; `None` while the primary channel is closed.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.shared.state()
    }

    /// The protocol version in force.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.shared.agreed_version()
    }

    /// Indices of the channels that are open, ascending; 0 is the primary one.
    #[must_use]
    pub fn open_channels(&self) -> Vec<u16> {
        self.shared.open_channels()
    }

    fn unit(&self, lun: u8) -> Result<Unit, LunError> {
        self.check(lun)?;
        let (units, _) = self.shared.units();
        units.get(lun).cloned().ok_or(LunError::Absent { lun })
    }

    fn disk(&self, lun: u8) -> Result<Arc<LogicalUnit>, LunError> {
        match self.unit(lun)? {
            Unit::Disk(disk) => Ok(disk),
            Unit::Optical(_) => Err(LunError::NotADisk { lun }),
        }
    }

    fn check(&self, lun: u8) -> Result<(), LunError> {
        let capacity = self.shared.units().0.capacity();
        if usize::from(lun) < capacity {
            Ok(())
        } else {
            // A capacity is 1 or 64.
            let highest = (capacity - 1) as u8;
            Err(LunError::Number { lun, highest })
        }
    }
}

impl std::fmt::Debug for StorageHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageHandle")
            .field("luns", &self.luns())
            .field("state", &self.state())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
