//! Disks and drives.

use serde_json::{Value, json};

use super::{ControlError, ErrorKind, Machine, done, json};
use crate::control::request::{DiskRequest, DvdRequest, FaultRequest};
use crate::disk::faulty::{Fault, Operation, Rule, When};
use crate::disk::{
    DiskArgument, DiskArgumentError, DiskError, ISO_BLOCK_SIZE, OpenError, OpenReason, open_iso,
};
use crate::host::StorageDevice;

/// Why an image is not used.
fn cannot_open(error: OpenError) -> ControlError {
    let kind = match &error.reason {
        OpenReason::Host {
            kind: std::io::ErrorKind::NotFound,
            ..
        } => ErrorKind::NotFound,
        OpenReason::Locked { .. } => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    };
    ControlError::new(kind, error)
}

impl Machine {
    pub(super) fn disk(&self, request: DiskRequest) -> Result<Value, ControlError> {
        let disks = &self.host.disks;
        match request {
            DiskRequest::List {} => {
                let controllers = disks.controllers().iter();
                let controllers: Vec<_> = controllers.map(|handle| handle.snapshot()).collect();
                let ide: Vec<_> = disks.ide().iter().map(|handle| handle.snapshot()).collect();
                Ok(json!({"controllers": json(&controllers)?, "ide": json(&ide)?}))
            }
            DiskRequest::Add {
                controller,
                lun,
                disk,
            } => {
                let argument: DiskArgument = disk
                    .parse()
                    .map_err(|error| ControlError::new(ErrorKind::Invalid, error))?;
                if argument.ide || argument.lun.is_some() || argument.controller != 0 {
                    return Err(ControlError::new(
                        ErrorKind::Invalid,
                        "the place is told apart from the disk, and cannot be an IDE disk's",
                    ));
                }
                // Before the image is opened, and with that perhaps locked or repaired.
                disks.controller(controller)?;
                let image = argument.open().map_err(|error| match error {
                    DiskArgumentError::Open(error) => cannot_open(error),
                    error @ DiskArgumentError::Scratch(_) => {
                        ControlError::new(ErrorKind::Failed, error)
                    }
                })?;
                let device = if argument.dvd {
                    StorageDevice::Dvd {
                        medium: Some(image),
                    }
                } else {
                    StorageDevice::Disk {
                        image,
                        on_full: argument.on_full,
                    }
                };
                disks.attach(controller, lun, device)?;
                Ok(done())
            }
            DiskRequest::Remove { controller, lun } => {
                disks.detach(controller, lun)?;
                Ok(done())
            }
            DiskRequest::Fault(fault) => self.fault(&fault),
        }
    }

    fn fault(&self, request: &FaultRequest) -> Result<Value, ControlError> {
        let controller = self.host.disks.controller(request.controller)?;
        let faults = controller.faults(request.lun)?;
        let Some(first) = request.sector else {
            faults.clear();
            return Ok(done());
        };
        let sector_size = if controller.drive_state(request.lun).is_ok() {
            ISO_BLOCK_SIZE
        } else {
            let luns = controller.luns();
            let mut luns = luns.iter();
            luns.find(|(lun, _)| *lun == request.lun)
                .map_or(512, |(_, info)| info.logical_sector_size)
        };
        let offset = |sector: u64| sector.checked_mul(sector_size.into());
        let range = first
            .checked_add(request.count)
            .and_then(|end| Some(offset(first)?..offset(end)?))
            .ok_or_else(|| ControlError::new(ErrorKind::Invalid, "no disk has such sectors"))?;
        let error = DiskError::Io {
            operation: "read",
            offset: range.start,
            kind: std::io::ErrorKind::Other,
            code: Some(libc::EIO),
        };
        faults.add(Rule {
            range: Some(range),
            ..Rule::new(Operation::Read, When::Always, Fault::Fail(error))
        });
        Ok(done())
    }

    pub(super) fn dvd(&self, request: DvdRequest) -> Result<Value, ControlError> {
        match request {
            DvdRequest::Insert {
                controller,
                lun,
                image,
            } => {
                let controller = self.host.disks.controller(controller)?;
                controller.drive_state(lun)?;
                let medium = open_iso(&image).map_err(cannot_open)?;
                controller.insert_medium(lun, medium, false)?;
            }
            DvdRequest::Eject {
                controller,
                lun,
                force,
            } => {
                let controller = self.host.disks.controller(controller)?;
                controller.eject_medium(lun, force)?;
            }
        }
        Ok(done())
    }
}
