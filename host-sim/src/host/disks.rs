//! The storage controllers and what is attached to them, also while the guest runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::options::{MOST_CONTROLLERS, Place, StorageDevice};
use super::{HostError, HostOptions};
use crate::disk::{DiskImage, Snapshot, SnapshotError, Snapshots};
use crate::vsp::storage::{
    LunError, LunOptions, StorageController, StorageHandle, StorageOptions, scsi_instance,
};

/// Why the disks were not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskChangeError {
    /// There are fewer controllers.
    #[error("there is no SCSI controller {controller}; the last one is {last}")]
    Controller {
        /// The number asked for.
        controller: u8,
        /// The highest number.
        last: u8,
    },
    /// The controller refuses.
    #[error(transparent)]
    Lun(#[from] LunError),
    /// There is no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// All storage of one host.
pub struct Disks {
    controllers: Vec<StorageHandle>,
    ide: Vec<StorageHandle>,
    /// The disks by controller and LUN, through which their writes go.
    snapshots: Mutex<BTreeMap<(u8, u8), Arc<Snapshots>>>,
}

impl Disks {
    /// Makes the controllers with what is attached to them, for the bus to offer.
    pub(super) fn new(
        options: &mut HostOptions,
    ) -> Result<(Self, Vec<StorageController>), HostError> {
        let make = |wanted: StorageOptions| {
            StorageController::new(StorageOptions {
                highest_version: options.newest_storage,
                executor: options.executor.clone(),
                ..wanted
            })
        };
        let (mut devices, mut controllers) = (Vec::new(), Vec::new());
        for index in 0..options.controllers.clamp(1, MOST_CONTROLLERS) {
            let controller = make(StorageOptions {
                max_sub_channels: options.max_sub_channels,
                ..StorageOptions::scsi(scsi_instance(index))
            })?;
            controllers.push(controller.handle());
            devices.push(controller);
        }
        let mut disks = Self {
            controllers,
            ide: Vec::new(),
            snapshots: Mutex::default(),
        };
        let mut ide = Vec::new();
        for (place, device) in std::mem::take(&mut options.storage) {
            match place {
                Place::Scsi { controller, lun } => disks.attach(controller, lun, device)?,
                Place::Ide {
                    channel,
                    device: number,
                } => {
                    let disk = make(StorageOptions::ide(channel, number))?;
                    match device {
                        StorageDevice::Disk { image, on_full } => {
                            disk.handle()
                                .add_lun_with(0, image, LunOptions { on_full })?;
                        }
                        StorageDevice::Dvd { medium } => disk.handle().add_drive(0, medium)?,
                    }
                    disks.ide.push(disk.handle());
                    ide.push(disk);
                }
            }
        }
        // Guests look at the IDE disks first: a root file system may be there.
        ide.append(&mut devices);
        Ok((disks, ide))
    }

    /// The SCSI controllers.
    #[must_use]
    pub fn controllers(&self) -> &[StorageHandle] {
        &self.controllers
    }

    /// The accelerated IDE disks, in the order of the options.
    #[must_use]
    pub fn ide(&self) -> &[StorageHandle] {
        &self.ide
    }

    /// A SCSI controller.
    ///
    /// # Errors
    /// [`DiskChangeError::Controller`].
    pub fn controller(&self, controller: u8) -> Result<&StorageHandle, DiskChangeError> {
        self.controllers
            .get(usize::from(controller))
            .ok_or(DiskChangeError::Controller {
                controller,
                // There are 1 to 4.
                last: (self.controllers.len() - 1) as u8,
            })
    }

    /// Attaches a device to a SCSI controller and tells the guest.
    ///
    /// # Errors
    /// The place is taken or does not exist, or the image is unsuitable.
    pub fn attach(
        &self,
        controller: u8,
        lun: u8,
        device: StorageDevice,
    ) -> Result<(), DiskChangeError> {
        let handle = self.controller(controller)?;
        match device {
            StorageDevice::Disk { image, on_full } => {
                let disk = Snapshots::new(image);
                let mut snapshots = self.snapshots();
                let image = Arc::clone(&disk) as Arc<dyn DiskImage>;
                handle.add_lun_with(lun, image, LunOptions { on_full })?;
                snapshots.insert((controller, lun), disk);
            }
            StorageDevice::Dvd { medium } => handle.add_drive(lun, medium)?,
        }
        Ok(())
    }

    /// Takes a disk or a drive away and tells the guest.
    ///
    /// # Errors
    /// There is none.
    pub fn detach(&self, controller: u8, lun: u8) -> Result<(), DiskChangeError> {
        let handle = self.controller(controller)?;
        let mut snapshots = self.snapshots();
        match handle.remove_lun(lun) {
            Ok(_) => drop(snapshots.remove(&(controller, lun))),
            Err(LunError::NotADisk { .. }) => drop(handle.remove_drive(lun)?),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Keeps the state of a disk of this moment, to be copied into `target`.
    ///
    /// # Errors
    /// There is no such disk, or [`SnapshotError`].
    pub fn begin_snapshot(
        &self,
        controller: u8,
        lun: u8,
        target: File,
    ) -> Result<Snapshot, DiskChangeError> {
        let handle = self.controller(controller)?;
        let disk = self.snapshots().get(&(controller, lun)).map(Arc::clone);
        match disk {
            Some(disk) => Ok(disk.begin(target)?),
            None if handle.drive_state(lun).is_ok() => Err(LunError::NotADisk { lun }.into()),
            None => Err(LunError::Absent { lun }.into()),
        }
    }

    fn snapshots(&self) -> MutexGuard<'_, BTreeMap<(u8, u8), Arc<Snapshots>>> {
        self.snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
