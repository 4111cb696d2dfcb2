//! What an operator sees.

use serde::Serialize;

use super::StorageHandle;
use crate::disk::OnFull;
use crate::vsp::scsi::{DriveState, Unit};
use crate::vsp::storage::counters::StorageCounters;
use crate::vsp::storage::protocol::State;

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
    /// The optical drives.
    pub drives: Vec<DriveSnapshot>,
    /// Commands that wait for space on the host.
    pub waiting_for_space: usize,
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
    /// What becomes of writes for which the host has no space.
    pub on_full: OnFull,
}

/// An optical drive in a [`StorageSnapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DriveSnapshot {
    /// Its number.
    pub lun: u8,
    /// Tray, lock and medium.
    #[serde(flatten)]
    pub state: DriveState,
    /// Bytes of the medium.
    pub size: Option<u64>,
}

impl StorageHandle {
    /// All of it at once.
    #[must_use]
    pub fn snapshot(&self) -> StorageSnapshot {
        let (units, _) = self.shared.units();
        let (mut disks, mut drives) = (Vec::new(), Vec::new());
        for (lun, unit) in units.iter() {
            match unit {
                Unit::Disk(disk) => {
                    let info = disk.image().info();
                    disks.push(DiskSnapshot {
                        lun,
                        format: info.format.to_string(),
                        size: info.size,
                        logical_sector_size: info.logical_sector_size,
                        read_only: info.read_only,
                        on_full: disk.on_full(),
                    });
                }
                Unit::Optical(drive) => drives.push(DriveSnapshot {
                    lun,
                    state: drive.state(),
                    size: drive.medium().map(|medium| medium.info().size),
                }),
            }
        }
        StorageSnapshot {
            state: self.state(),
            version: self.version().map(|version| version.to_string()),
            channels: self.open_channels(),
            disks,
            drives,
            waiting_for_space: self.waiting_for_space(),
            counters: self.counters(),
        }
    }
}
