//! Host block devices as disks. Loop devices stand for them, where they can be had.

mod disk_support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk_support::*;
use host_sim::disk::vhd::{CreateOptions, Kind, VhdError, create_file};
use host_sim::disk::{FormatChoice, OpenOptions, OpenReason, open};

fn raw(read_only: bool) -> OpenOptions {
    OpenOptions {
        format: FormatChoice::Raw,
        read_only,
        ..OpenOptions::default()
    }
}

/// A loop device that goes when it is closed.
///
/// There is one at a time: another test that starts `losetup` would for a moment hold a copy of this test's exclusive
/// open of its device.
struct LoopDevice {
    path: PathBuf,
    _open: File,
    _alone: MutexGuard<'static, ()>,
}

impl LoopDevice {
    /// `None`, after saying so, where they can't be had.
    fn new(image: &Path, sector: u32) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let losetup = |arguments: &[&str]| {
            let output = Command::new("losetup").args(arguments).output().ok()?;
            let name = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| PathBuf::from(name.trim()))
        };
        let sector = sector.to_string();
        let arguments = ["--find", "--show", "--sector-size", &sector, text(image)];
        let device = losetup(&arguments).and_then(|path| {
            let open = File::open(&path);
            // While it is open, this only asks to free it when it is closed.
            losetup(&["--detach", text(&path)])?;
            Some(Self {
                path,
                _open: open.ok()?,
                _alone: alone,
            })
        });
        if device.is_none() {
            skip("loop devices", "there are none");
        }
        device
    }
}

#[test]
fn block_devices_are_raw_disks() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("vhd");
    create_file(&image, &CreateOptions::new(4 << 20, Kind::Fixed)).unwrap();
    let Some(device) = LoopDevice::new(&image, 512) else {
        return;
    };
    let as_vhd = OpenOptions {
        format: FormatChoice::Vhd,
        ..raw(true)
    };
    assert!(matches!(
        open(&device.path, &as_vhd).map(|_| ()).unwrap_err().reason,
        OpenReason::Vhd(VhdError::Unsupported(_))
    ));
    let disk = open(&device.path, &raw(false)).unwrap();
    assert_eq!(disk.info().logical_sector_size, 512);
    assert_eq!(disk.info().size, (4 << 20) + 512);
    assert!(disk.info().physical_sector_size.is_power_of_two());
    disk.write_bytes(8 * 512, &stamped(8, 1)).unwrap();
    disk.flush().unwrap();
    let mut sector = [0; 512];
    disk.read_bytes(8 * 512, &mut sector).unwrap();
    assert_eq!(version_of(8, &sector), 1);
    assert_eq!(disk.next_data(512).unwrap(), Some(512..disk.info().size));
    assert!(disk.info().discard && disk.info().discard_reads_zero);
    disk.discard(8 * 512, 512).unwrap();
    disk.read_bytes(8 * 512, &mut sector).unwrap();
    assert_eq!(version_of(8, &sector), 0);
    assert!(open(&device.path, &raw(true)).is_err());
}

/// A device's own sectors are the disk's, and it is not written in parts of them.
#[test]
fn sectors_are_those_of_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let Some(device) = LoopDevice::new(&image, 4096) else {
        return;
    };
    let disk = open(&device.path, &raw(false)).unwrap();
    let info = disk.info();
    assert_eq!((info.logical_sector_size, info.sectors()), (4096, 256));
    assert!(info.physical_sector_size >= 4096);
    disk.write_bytes(4096, &[7; 4096]).unwrap();
    disk.flush().unwrap();
    disk.write_bytes(512, &[7; 512]).unwrap_err();
    drop(disk);
    let small = OpenOptions {
        sector_size: Some(512),
        ..raw(false)
    };
    let refused = open(&device.path, &small).err().unwrap();
    assert!(
        matches!(refused.reason, OpenReason::BadOption(_)),
        "{refused}"
    );
    assert!(refused.to_string().contains("4096"), "{refused}");
}
