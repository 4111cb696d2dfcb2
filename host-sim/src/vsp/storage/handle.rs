//! An operator's access to a controller in use.

use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use vsc_storage::wire::Version;

use super::counters::StorageCounters;
use super::protocol::State;
use super::shared::Shared;
use crate::disk::{DiskImage, DiskInfo};
use crate::vsp::scsi::{LogicalUnit, UnitAttention, UnsuitableImage};

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
    /// The image cannot be a SCSI disk.
    #[error(transparent)]
    Image(#[from] UnsuitableImage),
}

/// A controller at one moment, for inspection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageSnapshot {
    /// How far the guest's initialisation has come; `None` while the primary channel is closed.
    pub state: Option<State>,
    /// The protocol version in force, as "6.2".
    pub version: Option<String>,
    /// Indices of the open channels, ascending; 0 is the primary one.
    pub channels: Vec<u16>,
    /// The disks.
    pub disks: Vec<DiskSnapshot>,
    /// What has been done.
    pub counters: StorageCounters,
}

/// A disk in a [`StorageSnapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskSnapshot {
    /// Its number.
    pub lun: u8,
    /// Layout of the image.
    pub format: String,
    /// Bytes on the disk.
    pub size: u64,
    /// Bytes in a logical sector.
    pub logical_sector_size: u32,
    /// Whether changes are refused.
    pub read_only: bool,
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
        self.check(lun)?;
        let unit = Arc::new(LogicalUnit::new(image, self.shared.limits.max_transfer)?);
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
        self.check(lun)?;
        if self.shared.units().0.get(lun).is_none() {
            return Err(LunError::Absent { lun });
        }
        self.shared
            .change_units(true, |units| units.set(lun, None))
            .map(|unit| Arc::clone(unit.image()))
            .ok_or(LunError::Absent { lun })
    }

    /// Puts an image of another size (or with other limits) into the place of a disk, as after growing it.
    /// Commands running end on the old image; the next one is failed with the unit attention. The new image has
    /// to hold what the old one did, all of it flushed.
    ///
    /// # Errors
    /// There is no such disk, or the image is unsuitable.
    pub fn replace_lun(
        &self,
        lun: u8,
        image: Arc<dyn DiskImage>,
        attention: UnitAttention,
    ) -> Result<Arc<dyn DiskImage>, LunError> {
        self.check(lun)?;
        let unit = Arc::new(LogicalUnit::new(image, self.shared.limits.max_transfer)?);
        self.shared.change_units(false, |units| {
            let Some(old) = units.get(lun) else {
                return Err(LunError::Absent { lun });
            };
            unit.inherit_attentions(old);
            unit.raise(attention);
            let old = Arc::clone(old.image());
            units.set(lun, Some(unit));
            Ok(old)
        })
    }

    /// Makes the disk's next command that may report it fail with this unit attention.
    ///
    /// # Errors
    /// There is no such disk.
    pub fn raise(&self, lun: u8, attention: UnitAttention) -> Result<(), LunError> {
        self.check(lun)?;
        match self.shared.units().0.get(lun) {
            Some(unit) => {
                unit.raise(attention);
                Ok(())
            }
            None => Err(LunError::Absent { lun }),
        }
    }

    /// The disks and their numbers, ascending.
    #[must_use]
    pub fn luns(&self) -> Vec<(u8, DiskInfo)> {
        let (units, _) = self.shared.units();
        units
            .iter()
            .map(|(lun, unit)| (lun, unit.image().info().clone()))
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

    /// All of it at once.
    #[must_use]
    pub fn snapshot(&self) -> StorageSnapshot {
        let disks = self.luns().into_iter().map(|(lun, info)| DiskSnapshot {
            lun,
            format: info.format.to_string(),
            size: info.size,
            logical_sector_size: info.logical_sector_size,
            read_only: info.read_only,
        });
        StorageSnapshot {
            state: self.state(),
            version: self.version().map(|version| version.to_string()),
            channels: self.open_channels(),
            disks: disks.collect(),
            counters: self.counters(),
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
