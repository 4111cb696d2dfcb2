//! What `qemu-img` writes we read, what we write `qemu-img` reads. Skipped where there is none.

mod disk_support;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use disk_support::*;
use host_sim::disk::vhd::{CreateOptions, Kind, create_file};
use host_sim::disk::{DiskImage, FormatChoice, ImageFormat, OpenOptions, check_path, open};

const MIB: u64 = 1 << 20;

/// Some data, some holes, to the last sector.
fn sample_raw(path: &Path, size: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, length) in [
        (0, 5000),
        (3 * MIB - 700, 1400),
        (7 * MIB, 70_000),
        (size - 512, 512),
    ] {
        let data: Vec<u8> = (at..at + length).map(|at| (at % 253 + 1) as u8).collect();
        if at + length <= size {
            file.write_all_at(&data, at).unwrap();
        }
    }
}

fn open_as(path: &Path, format: FormatChoice, read_only: bool) -> Arc<dyn DiskImage> {
    let options = OpenOptions {
        format,
        read_only,
        ..OpenOptions::default()
    };
    open(path, &options).unwrap()
}

/// Same bytes as far as `with` goes, and zeros after.
fn assert_same(disk: &dyn DiskImage, with: &dyn DiskImage) {
    let common = with.info().size.min(disk.info().size);
    let (mut one, mut other) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for at in (0..common).step_by(MIB as usize) {
        let count = (common - at).min(MIB) as usize;
        disk.read_bytes(at, &mut one[..count]).unwrap();
        with.read_bytes(at, &mut other[..count]).unwrap();
        assert!(one[..count] == other[..count], "at {at:#x}");
    }
    let mut at = common;
    while at < disk.info().size {
        let count = (disk.info().size - at).min(MIB) as usize;
        disk.read_bytes(at, &mut one[..count]).unwrap();
        assert!(one[..count].iter().all(|byte| *byte == 0), "at {at:#x}");
        at += count as u64;
    }
}

/// I2.
#[test]
fn we_read_what_qemu_writes() {
    let directory = tempfile::tempdir().unwrap();
    for size in [MIB, 10 * MIB, 17 * MIB + 512] {
        let raw = directory.path().join("raw");
        sample_raw(&raw, size);
        for (subformat, force_size) in [
            ("fixed", "off"),
            ("fixed", "on"),
            ("dynamic", "off"),
            ("dynamic", "on"),
        ] {
            let path = directory.path().join("vhd");
            let options = format!("subformat={subformat},force_size={force_size}");
            let convert = ["convert", "-f", "raw", "-O", "vpc", "-o", &options];
            let mut arguments = convert.to_vec();
            arguments.extend([text(&raw), text(&path)]);
            if !qemu_img_succeeds(&arguments) {
                return;
            }
            let disk = open_as(&path, FormatChoice::Auto, true);
            let format = if subformat == "fixed" {
                ImageFormat::VhdFixed
            } else {
                ImageFormat::VhdDynamic
            };
            assert_eq!(disk.info().format, format);
            if force_size == "on" {
                assert_eq!(disk.info().size, size);
            } else {
                assert!(disk.info().size >= size && disk.info().size < size + MIB);
            }
            assert_same(&*disk, &*open_as(&raw, FormatChoice::Raw, true));
            assert!(check_path(&path).unwrap().is_clean());
            drop(disk);

            // We write into QEMU's file, QEMU sees it.
            let disk = open_as(&path, FormatChoice::Vhd, false);
            let data = vec![0xA5; 3 * 512];
            disk.write_bytes(disk.info().size / 2 / 512 * 512, &data)
                .unwrap();
            disk.flush().unwrap();
            drop(disk);
            let back = directory.path().join("back");
            assert!(qemu_img_succeeds(&[
                "convert",
                "-f",
                "vpc",
                "-O",
                "raw",
                text(&path),
                text(&back)
            ]));
            assert_same(
                &*open_as(&back, FormatChoice::Raw, true),
                &*open_as(&path, FormatChoice::Vhd, true),
            );
        }
    }
}

/// I3.
#[test]
fn qemu_reads_what_we_write() {
    let directory = tempfile::tempdir().unwrap();
    for size in [MIB, 10 * MIB, 17 * MIB + 512, 300 * MIB, 129 << 30] {
        let raw_path = directory.path().join("raw");
        sample_raw(&raw_path, size);
        let raw = open_as(&raw_path, FormatChoice::Raw, true);
        for kind in [
            Kind::Fixed,
            Kind::Dynamic {
                block_size: 2 << 20,
            },
            Kind::Dynamic {
                block_size: 512 << 10,
            },
            Kind::Dynamic {
                block_size: 8 << 20,
            },
        ] {
            let path = directory.path().join("vhd");
            let _ = std::fs::remove_file(&path);
            create_file(&path, &CreateOptions::new(size, kind)).unwrap();
            let disk = open_as(&path, FormatChoice::Vhd, false);
            let mut at = 0;
            // Backwards within each run, to allocate out of order.
            while let Some(range) = raw.next_data(at).unwrap() {
                for sector in (range.start / 512..range.end / 512).rev() {
                    let at = sector * 512;
                    let mut sector = [0; 512];
                    raw.read_bytes(at, &mut sector).unwrap();
                    disk.write_bytes(at, &sector).unwrap();
                }
                at = range.end;
            }
            disk.flush().unwrap();
            drop(disk);
            let report = check_path(&path).unwrap();
            assert!(report.is_clean() && report.leaked == 0, "{report}");
            if qemu_img(&["--version"]).is_none() {
                return;
            }
            assert!(qemu_img_succeeds(&[
                "compare",
                "-f",
                "raw",
                "-F",
                "vpc",
                text(&raw_path),
                text(&path)
            ]));
            // The format has no checker in QEMU 10: it says so with status 63.
            let output = qemu_img(&["check", "-f", "vpc", text(&path)]).unwrap();
            assert!(
                matches!(output.status.code(), Some(0 | 63)),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let output = qemu_img(&["info", "-f", "vpc", "--output=json", text(&path)]).unwrap();
            let info = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                info.contains(&format!("\"virtual-size\": {size},")),
                "{info}"
            );
        }
    }
}

/// I4: sizes are the footer's, whatever the geometry says.
#[test]
fn sizes_agree_with_qemu() {
    let directory = tempfile::tempdir().unwrap();
    for (size, rounded) in [
        ("1M", 1_079_296u64),
        ("10M", 10_514_432),
        ("100M", 104_865_792),
        ("1G", 1_073_995_776),
        ("127G", 136_365_219_840),
        ("128G", 128 << 30),
        ("2040G", 2040 << 30),
    ] {
        let path = directory.path().join("vhd");
        if !qemu_img_succeeds(&["create", "-q", "-f", "vpc", text(&path), size]) {
            return;
        }
        let disk = open_as(&path, FormatChoice::Auto, false);
        assert_eq!(disk.info().size, rounded, "{size}");
        let last = disk.info().size - 512;
        disk.write_bytes(last, &stamped(last, 1)).unwrap();
        disk.flush().unwrap();
        drop(disk);
        assert!(check_path(&path).unwrap().is_clean());
    }
}

/// While we write, QEMU's tools are kept out.
#[test]
fn qemu_respects_our_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vhd");
    create_file(&path, &CreateOptions::new(MIB, Kind::Fixed)).unwrap();
    let disk = open_as(&path, FormatChoice::Vhd, false);
    let Some(output) = qemu_img(&["info", "-f", "vpc", text(&path)]) else {
        return;
    };
    assert!(!output.status.success());
    drop(disk);
    // While we read, they may read, but not write.
    let raw = directory.path().join("raw");
    File::create(&raw).unwrap().set_len(MIB).unwrap();
    let reader = open_as(&raw, FormatChoice::Raw, true);
    assert!(qemu_img_succeeds(&["info", "-f", "raw", text(&raw)]));
    let resize = ["resize", "-q", "-f", "raw", text(&raw), "2M"];
    assert!(!qemu_img(&resize).unwrap().status.success());
    drop(reader);
    assert!(qemu_img_succeeds(&resize));
}
