//! Opening images by path: formats, refusals, locks, sizes.

mod disk_support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use disk_support::*;
use host_sim::disk::vhd::{CreateOptions, DEFAULT_BLOCK_SIZE, Kind, VhdError, create_file};
use host_sim::disk::{
    DiskError, DiskImage, FormatChoice, ImageFormat, OpenOptions, OpenReason, Overlay, check_path,
    open,
};

const GIB: u64 = 1 << 30;

fn read_only() -> OpenOptions {
    OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    }
}

fn writable() -> OpenOptions {
    OpenOptions::default()
}

fn file_of(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn sparse(directory: &Path, name: &str, size: u64) -> PathBuf {
    let path = directory.join(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

fn vhd(directory: &Path, name: &str, size: u64, kind: Kind) -> PathBuf {
    let path = directory.join(name);
    create_file(&path, &CreateOptions::new(size, kind)).unwrap();
    path
}

const DYNAMIC: Kind = Kind::Dynamic {
    block_size: DEFAULT_BLOCK_SIZE,
};

fn reason(path: &Path, options: &OpenOptions) -> OpenReason {
    let before = fs::metadata(path).map(|data| (data.len(), data.mtime(), data.mtime_nsec()));
    let Err(error) = open(path, options) else {
        panic!("{} was opened", path.display());
    };
    let sentence = error.to_string();
    assert!(sentence.starts_with(&format!("cannot open disk image '{}': ", path.display())));
    assert!(!sentence.contains('\n'));
    let after = fs::metadata(path).map(|data| (data.len(), data.mtime(), data.mtime_nsec()));
    assert_eq!(before.ok(), after.ok());
    error.reason
}

#[test]
fn formats_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (path, format) in [
        (sparse(directory, "raw", 1 << 20), ImageFormat::Raw),
        (
            vhd(directory, "fixed", 1 << 20, Kind::Fixed),
            ImageFormat::VhdFixed,
        ),
        (
            vhd(directory, "dynamic", 1 << 20, DYNAMIC),
            ImageFormat::VhdDynamic,
        ),
    ] {
        for options in [read_only(), writable()] {
            let disk = open(&path, &options).unwrap();
            assert_eq!(disk.info().format, format);
            assert_eq!(disk.info().size, 1 << 20);
            assert_eq!(disk.info().read_only, options.read_only);
            assert_eq!(disk.info().sectors(), 2048);
        }
        // As raw, whatever it is.
        let raw = OpenOptions {
            format: FormatChoice::Raw,
            ..writable()
        };
        let disk = open(&path, &raw).unwrap();
        assert_eq!(disk.info().format, ImageFormat::Raw);
        assert_eq!(disk.info().size, fs::metadata(&path).unwrap().len());
    }
}

#[test]
fn identities_are_stable() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let identity = |path: &Path, options| open(path, &options).unwrap().info().identity;
    let one = sparse(directory, "one", 4096);
    let two = sparse(directory, "two", 4096);
    assert_eq!(identity(&one, read_only()), identity(&one, writable()));
    assert_ne!(identity(&one, read_only()), identity(&two, read_only()));
    std::os::unix::fs::symlink(&one, directory.join("link")).unwrap();
    assert_eq!(
        identity(&one, read_only()),
        identity(&directory.join("link"), read_only())
    );
    let named = OpenOptions {
        identity: Some([5; 16]),
        ..read_only()
    };
    assert_eq!(identity(&one, named), [5; 16]);
    let options = CreateOptions::new(4096, Kind::Fixed);
    let path = directory.join("vhd");
    create_file(&path, &options).unwrap();
    assert_eq!(identity(&path, read_only()), options.unique_id);
    assert_ne!(
        options.unique_id,
        CreateOptions::new(4096, Kind::Fixed).unique_id
    );
}

#[test]
fn bad_images_are_refused_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let both = |path: &Path| {
        let first = reason(path, &read_only());
        assert_eq!(first, reason(path, &writable()));
        first
    };
    assert!(matches!(
        both(&directory.join("missing")),
        OpenReason::Host {
            kind: std::io::ErrorKind::NotFound,
            ..
        }
    ));
    assert_eq!(both(directory), OpenReason::NotAFile);
    assert_eq!(both(Path::new("/dev/null")), OpenReason::NotAFile);
    assert_eq!(both(&file_of(directory, "empty", b"")), OpenReason::Empty);
    assert_eq!(
        both(&file_of(directory, "odd", &[0; 1000])),
        OpenReason::PartialSector {
            size: 1000,
            sector_size: 512
        }
    );
    let vhd_only = |path: &Path| {
        reason(
            path,
            &OpenOptions {
                format: FormatChoice::Vhd,
                ..writable()
            },
        )
    };
    let raw = sparse(directory, "raw", 4096);
    assert_eq!(vhd_only(&raw), OpenReason::Vhd(VhdError::NotVhd));

    // Truncated and corrupt VHDs, which must not be taken as raw.
    let dynamic = vhd(directory, "dynamic", 8 << 20, DYNAMIC);
    let disk = open(&dynamic, &writable()).unwrap();
    disk.write_bytes(0, &stamped(0, 1)).unwrap();
    drop(disk);
    let bytes = fs::read(&dynamic).unwrap();
    let cut = file_of(directory, "cut", &bytes[..1 << 20]);
    assert!(matches!(
        both(&cut),
        OpenReason::Vhd(VhdError::Malformed { .. })
    ));
    let fixed = fs::read(vhd(directory, "fixed", 1 << 20, Kind::Fixed)).unwrap();
    for at in 0..85 {
        let mut bytes = fixed.clone();
        bytes[(1 << 20) + at] ^= 1;
        let path = file_of(directory, "corrupt", &bytes);
        assert!(matches!(both(&path), OpenReason::Vhd(_)), "byte {at}");
    }
    let short = file_of(directory, "short", &fixed[512..]);
    let sentence = both(&short).to_string();
    assert!(sentence.contains("current size"), "{sentence}");
}

#[test]
fn bad_options_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let raw = sparse(directory.path(), "raw", 1 << 20);
    let fixed = vhd(directory.path(), "fixed", 1 << 20, Kind::Fixed);
    let sectors = |sector_size, physical_sector_size| OpenOptions {
        sector_size,
        physical_sector_size,
        ..read_only()
    };
    for options in [
        sectors(Some(0), None),
        sectors(Some(1024), None),
        sectors(Some(4096), Some(512)),
        sectors(None, Some(1000)),
        sectors(None, Some(65_536)),
    ] {
        assert!(matches!(reason(&raw, &options), OpenReason::BadOption(_)));
    }
    assert!(matches!(
        reason(&fixed, &sectors(Some(4096), None)),
        OpenReason::BadOption(_)
    ));
    let disk = open(&raw, &sectors(Some(4096), None)).unwrap();
    assert_eq!(disk.info().logical_sector_size, 4096);
    assert_eq!(disk.info().physical_sector_size, 4096);
    disk.read_bytes(512, &mut [0; 4096]).unwrap_err();
    disk.read_bytes(4096, &mut [0; 4096]).unwrap();
    let odd = sparse(directory.path(), "odd", 4096 + 512);
    assert_eq!(
        reason(&odd, &sectors(Some(4096), None)),
        OpenReason::PartialSector {
            size: 4608,
            sector_size: 4096
        }
    );
}

#[test]
fn read_only_files_are_opened_read_only_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    for path in [
        sparse(directory.path(), "raw", 1 << 20),
        vhd(directory.path(), "dynamic", 1 << 20, DYNAMIC),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(reason(&path, &writable()), OpenReason::ReadOnlyFile);
        let disk = open(&path, &read_only()).unwrap();
        assert_eq!(disk.write_bytes(0, &[0; 512]), Err(DiskError::ReadOnly));
        // A private layer may still be written.
        let overlay = Overlay::new(disk).unwrap();
        overlay.write_bytes(512, &stamped(1, 1)).unwrap();
        assert_eq!(version_of(1, &content(&overlay)[512..1024]), 1);
    }
}

#[test]
fn a_writable_image_belongs_to_one() {
    let directory = tempfile::tempdir().unwrap();
    for path in [
        sparse(directory.path(), "raw", 1 << 20),
        vhd(directory.path(), "dynamic", 1 << 20, DYNAMIC),
    ] {
        let readers = [
            open(&path, &read_only()).unwrap(),
            open(&path, &read_only()).unwrap(),
        ];
        assert_eq!(
            reason(&path, &writable()),
            OpenReason::Locked { writable: true }
        );
        drop(readers);
        let writer = open(&path, &writable()).unwrap();
        assert_eq!(
            reason(&path, &writable()),
            OpenReason::Locked { writable: true }
        );
        assert_eq!(
            reason(&path, &read_only()),
            OpenReason::Locked { writable: false }
        );
        drop(writer);
        open(&path, &read_only()).unwrap();
    }
}

#[test]
fn a_lost_footer_is_restored_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = vhd(directory.path(), "dynamic", 8 << 20, DYNAMIC);
    let disk = open(&path, &writable()).unwrap();
    disk.write_bytes(4 << 20, &stamped(8192, 1)).unwrap();
    drop(disk);
    let good = fs::read(&path).unwrap();
    // As after a cut in an allocation: longer, and no footer.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 512], good.len() as u64 - 512)
        .unwrap();
    file.set_len(good.len() as u64 + 4096).unwrap();
    drop(file);
    let damaged = fs::read(&path).unwrap();
    assert!(!check_path(&path).unwrap().is_clean());
    let disk = open(&path, &read_only()).unwrap();
    assert_eq!(disk.info().format, ImageFormat::VhdDynamic);
    assert_eq!(version_of(8192, &content(&*disk)[4 << 20..][..512]), 1);
    drop(disk);
    assert!(fs::read(&path).unwrap() == damaged);
    drop(open(&path, &writable()).unwrap());
    assert!(fs::read(&path).unwrap() == good);
    assert!(check_path(&path).unwrap().is_clean());
}

#[test]
fn holes_are_found_without_being_stored() {
    let directory = tempfile::tempdir().unwrap();
    let raw = sparse(directory.path(), "raw", 40 * GIB);
    let dynamic = vhd(directory.path(), "dynamic", 40 * GIB, DYNAMIC);
    let fixed = vhd(directory.path(), "fixed", 40 * GIB, Kind::Fixed);
    for path in [raw, dynamic, fixed] {
        let disk = open(&path, &writable()).unwrap();
        assert_eq!(disk.info().size, 40 * GIB);
        let places = [0, 17 * GIB + 512, 40 * GIB - 512];
        for place in places {
            disk.write_bytes(place, &stamped(place / 512, 1)).unwrap();
        }
        disk.flush().unwrap();
        for disk in [disk.clone(), shared(Overlay::new(disk.clone()).unwrap())] {
            let (mut at, mut ranges, mut bytes) = (0, Vec::new(), 0);
            while let Some(range) = disk.next_data(at).unwrap() {
                at = range.end;
                bytes += range.end - range.start;
                ranges.push(range);
            }
            for place in places {
                assert!(ranges.iter().any(|range| range.contains(&place)));
            }
            assert!(bytes <= 3 << 20, "{} bytes of data", bytes);
            for place in places {
                let mut sector = [0; 512];
                disk.read_bytes(place, &mut sector).unwrap();
                assert_eq!(version_of(place / 512, &sector), 1);
            }
        }
        drop(disk);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 4 << 20);
    }
}

#[test]
fn disks_of_more_than_two_to_the_32_sectors() {
    let directory = tempfile::tempdir().unwrap();
    let size = (1u64 << 41) + 4096;
    let disk = open(&sparse(directory.path(), "raw", size), &writable()).unwrap();
    let overlay = Overlay::new(disk.clone()).unwrap();
    for disk in [&*disk, &overlay as &dyn DiskImage] {
        for place in [0, (1 << 41) - 512, 1 << 41, size - 512] {
            disk.write_bytes(place, &stamped(place, 1)).unwrap();
            let mut sector = [0; 512];
            disk.read_bytes(place, &mut sector).unwrap();
            assert_eq!(version_of(place, &sector), 1);
        }
    }
    // The largest VHD.
    for kind in [DYNAMIC, Kind::Fixed] {
        let path = directory.path().join("vhd");
        create_file(&path, &CreateOptions::new(2040 * GIB, kind)).unwrap();
        let disk = open(&path, &writable()).unwrap();
        disk.write_bytes(2040 * GIB - 512, &stamped(1, 1)).unwrap();
        let found = disk.next_data(0).unwrap().unwrap();
        assert!(found.start >= 2040 * GIB - (2 << 20));
        disk.write_bytes(2040 * GIB, &[0; 512]).unwrap_err();
        drop(disk);
        assert!(check_path(&path).unwrap().is_clean());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn discarding_gives_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse(directory.path(), "raw", 8 << 20);
    let disk = open(&path, &writable()).unwrap();
    if !disk.info().discard {
        return skip("holes", "the file system has none");
    }
    disk.write_bytes(0, &vec![1; 8 << 20]).unwrap();
    disk.flush().unwrap();
    let full = fs::metadata(&path).unwrap().blocks();
    disk.discard(512, (8 << 20) - 1024).unwrap();
    disk.flush().unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() < full / 4);
    let now = content(&*disk);
    assert!(now[..512].iter().all(|byte| *byte == 1));
    assert!(now[512..(8 << 20) - 512].iter().all(|byte| *byte == 0));
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 << 20);
}

#[test]
fn existing_files_are_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_of(directory.path(), "precious", b"data");
    create_file(&path, &CreateOptions::new(4096, Kind::Fixed)).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"data");
    let path = directory.path().join("bad");
    create_file(&path, &CreateOptions::new(1000, Kind::Fixed)).unwrap_err();
    assert!(!path.exists());
}

/// A loop device that goes when it is closed.
struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// `None`, after saying so, where they can't be had.
    fn new(image: &Path) -> Option<Self> {
        let losetup = |arguments: &[&str]| {
            let output = Command::new("losetup").args(arguments).output().ok()?;
            let name = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| PathBuf::from(name.trim()))
        };
        let device = losetup(&["--find", "--show", text(image)]).and_then(|path| {
            let open = File::open(&path);
            // While it is open, this only asks to free it when it is closed.
            losetup(&["--detach", text(&path)])?;
            Some(Self {
                path,
                _open: open.ok()?,
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
    let image = vhd(directory.path(), "vhd", 4 << 20, Kind::Fixed);
    let Some(device) = LoopDevice::new(&image) else {
        return;
    };
    let as_vhd = OpenOptions {
        format: FormatChoice::Vhd,
        ..read_only()
    };
    assert!(matches!(
        open(&device.path, &as_vhd).map(|_| ()).unwrap_err().reason,
        OpenReason::Vhd(VhdError::Unsupported(_))
    ));
    let as_raw = OpenOptions {
        format: FormatChoice::Raw,
        ..writable()
    };
    let disk = open(&device.path, &as_raw).unwrap();
    assert_eq!(disk.info().size, (4 << 20) + 512);
    assert!(disk.info().physical_sector_size.is_power_of_two());
    disk.write_bytes(8 * 512, &stamped(8, 1)).unwrap();
    disk.flush().unwrap();
    let mut sector = [0; 512];
    disk.read_bytes(8 * 512, &mut sector).unwrap();
    assert_eq!(version_of(8, &sector), 1);
    assert_eq!(disk.next_data(512).unwrap(), Some(512..disk.info().size));
    disk.discard(8 * 512, 512).unwrap();
    disk.read_bytes(8 * 512, &mut sector).unwrap();
    assert_eq!(version_of(8, &sector), 0);
    assert!(open(&device.path, &read_only()).is_err());
}
