//! Optical drives and their media.

use std::sync::Arc;

use super::{LunError, StorageHandle};
use crate::disk::DiskImage;
use crate::vsp::scsi::{DriveState, MediumError, OpticalDrive, Unit};

impl StorageHandle {
    /// Plugs an optical drive in, with a medium or empty, and tells the guest. The drive's identity follows from the
    /// controller's instance and its number.
    ///
    /// # Errors
    /// The number is taken or out of range, the image cannot be a medium, or this is an IDE channel.
    pub fn add_drive(&self, lun: u8, medium: Option<Arc<dyn DiskImage>>) -> Result<(), LunError> {
        self.check(lun)?;
        if self.shared.units().0.capacity() == 1 {
            return Err(LunError::NoDrives);
        }
        let mut identity = self.shared.instance.to_bytes();
        // Neither byte tells controllers apart.
        identity[14] ^= 0xDD;
        identity[13] ^= lun;
        let drive = OpticalDrive::new(identity, medium)?;
        self.add_unit(lun, drive.into())
    }

    /// Pulls an optical drive out and tells the guest; returns its medium.
    ///
    /// # Errors
    /// There is no such drive.
    pub fn remove_drive(&self, lun: u8) -> Result<Option<Arc<dyn DiskImage>>, LunError> {
        self.drive(lun)?;
        self.shared
            .change_units(true, |units| match units.get(lun) {
                Some(Unit::Optical(drive)) => {
                    let medium = drive.medium();
                    units.set(lun, None);
                    Ok(medium)
                }
                Some(Unit::Disk(_)) => Err(LunError::NotADrive { lun }),
                None => Err(LunError::Absent { lun }),
            })
    }

    /// Puts a medium into a drive, in place of the one that is there, and closes the tray; returns the old one. Reads
    /// that are running end on that.
    ///
    /// # Errors
    /// There is no such drive, the image cannot be a medium, or the guest has locked the drive over its medium and is
    /// not to be overruled by `force`.
    pub fn insert_medium(
        &self,
        lun: u8,
        medium: Arc<dyn DiskImage>,
        force: bool,
    ) -> Result<Option<Arc<dyn DiskImage>>, LunError> {
        let drive = self.drive(lun)?;
        drive
            .insert(medium, force)
            .map_err(|error| medium_error(lun, error))
    }

    /// Takes the medium out of a drive; returns it.
    ///
    /// # Errors
    /// There is no such drive, or the guest has locked it and is not to be overruled by `force`.
    pub fn eject_medium(
        &self,
        lun: u8,
        force: bool,
    ) -> Result<Option<Arc<dyn DiskImage>>, LunError> {
        let drive = self.drive(lun)?;
        drive.eject(force).map_err(|error| medium_error(lun, error))
    }

    /// What a drive is doing.
    ///
    /// # Errors
    /// There is no such drive.
    pub fn drive_state(&self, lun: u8) -> Result<DriveState, LunError> {
        Ok(self.drive(lun)?.state())
    }

    fn drive(&self, lun: u8) -> Result<Arc<OpticalDrive>, LunError> {
        match self.unit(lun)? {
            Unit::Optical(drive) => Ok(drive),
            Unit::Disk(_) => Err(LunError::NotADrive { lun }),
        }
    }
}

fn medium_error(lun: u8, error: MediumError) -> LunError {
    match error {
        MediumError::Unsuitable(error) => LunError::Image(error),
        MediumError::Locked => LunError::MediumLocked { lun },
    }
}
