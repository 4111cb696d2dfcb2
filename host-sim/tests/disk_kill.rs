//! A process that writes to an image is killed at random moments: what it had flushed is there.

mod disk_support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use disk_support::*;
use host_sim::disk::vhd::{CreateOptions, Kind, create_file};
use host_sim::disk::{DiskImage, OpenOptions, check_path, open};

/// Names the image to the child.
const IMAGE: &str = "DISK_KILL_IMAGE";

/// The first version that the child writes.
const VERSION: &str = "DISK_KILL_VERSION";

const SECTORS: u64 = 4096;

/// The sector that a version is written to: neighbours are far apart.
fn place(version: u64) -> u64 {
    version * 1021 % SECTORS
}

fn writable(path: &Path) -> Arc<dyn DiskImage> {
    open(path, &OpenOptions::default()).unwrap()
}

/// The child: not a test by itself.
#[test]
fn writer() {
    let Ok(path) = std::env::var(IMAGE) else {
        return;
    };
    let mut version: u64 = std::env::var(VERSION).unwrap().parse().unwrap();
    let disk = writable(Path::new(&path));
    loop {
        for _ in 0..3 {
            let sector = place(version);
            disk.write_bytes(sector * SECTOR, &stamped(sector, version))
                .unwrap();
            version += 1;
        }
        disk.flush().unwrap();
        println!("\nflushed {}", version - 1);
    }
}

#[test]
fn a_killed_writer_loses_nothing_it_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let kind = Kind::Dynamic {
        block_size: 64 << 10,
    };
    let mut random = 12_345u64;
    let mut version = 1;
    let mut flushed_versions: Vec<u64> = Vec::new();
    let mut total = 0;
    for round in 0..24 {
        if round % 6 == 0 {
            let _ = std::fs::remove_file(&path);
            create_file(&path, &CreateOptions::new(SECTORS * SECTOR, kind)).unwrap();
            version = 1;
            flushed_versions.clear();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(IMAGE, &path)
            .env(VERSION, version.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let wanted = 1 + (random >> 60);
        let mut flushed = version - 1;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the writer ended by itself").unwrap();
            if let Some(last) = line.strip_prefix("flushed ") {
                flushed = last.parse().unwrap();
                seen += 1;
            }
        }
        // Not at a flush, but somewhere behind one.
        for _ in 0..random >> 40 & 0xFFFF {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            if let Some(last) = line.unwrap().strip_prefix("flushed ") {
                flushed = last.parse().unwrap();
            }
        }
        flushed_versions.extend(version..=flushed);
        total += flushed + 1 - version;

        let report = check_path(&path).unwrap();
        assert!(report.is_usable(), "{report}");
        let disk = writable(&path);
        let mut newest = vec![0; SECTORS as usize];
        for version in &flushed_versions {
            newest[place(*version) as usize] = *version;
        }
        for (sector, bytes) in content(&*disk).chunks(512).enumerate() {
            let held = version_of(sector as u64, bytes);
            assert!(held >= newest[sector], "round {round}, sector {sector}");
        }
        drop(disk);
        assert!(check_path(&path).unwrap().is_clean());
        // The child wrote a little more than it said.
        version = flushed + 10;
    }
    assert!(total > 100);
    if has_qemu_img() {
        let raw = directory.path().join("raw");
        assert!(qemu_img_succeeds(&[
            "convert",
            "-f",
            "vpc",
            "-O",
            "raw",
            text(&path),
            text(&raw)
        ]));
        assert!(content(&*writable(&raw)) == content(&*writable(&path)));
    }
}
