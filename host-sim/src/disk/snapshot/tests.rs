use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::disk::faulty::{Fault, FaultyDisk, Operation, Rule, When};
use crate::disk::{OpenOptions, open};

const SIZE: usize = 3 * (1 << 20) + 4096;

fn disk() -> (Arc<dyn DiskImage>, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE as u64).unwrap();
    let image = open(file.path(), &OpenOptions::default()).unwrap();
    (image, file)
}

fn content(disk: &dyn DiskImage) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    disk.read_bytes(0, &mut bytes).unwrap();
    bytes
}

fn copied(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
    bytes
}

/// Numbers that repeat for a seed.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *seed >> 33
}

#[test]
fn what_is_written_after_the_moment_is_not_in_the_copy() {
    let (disk, _file) = disk();
    let disk = Snapshots::new(disk);
    disk.write_bytes(0, &[1; 512]).unwrap();
    disk.write_bytes(2 << 20, &[2; 512]).unwrap();
    let before = content(&*disk);
    let target = tempfile::tempfile().unwrap();
    target.write_all_at(&[0xEE; 100], 0).unwrap();
    let snapshot = disk.begin(target.try_clone().unwrap()).unwrap();
    assert!(matches!(
        disk.begin(tempfile::tempfile().unwrap()),
        Err(SnapshotError::InProgress)
    ));
    disk.write_bytes(0, &[3; 512]).unwrap();
    disk.write_bytes(1 << 20, &[4; 65536 * 3]).unwrap();
    disk.discard(2 << 20, 4096).unwrap();
    assert!(disk.write_bytes(SIZE as u64, &[5; 512]).is_err());
    snapshot.finish().unwrap();
    assert!(copied(&target) == before);
    assert!(disk.begin(target).is_ok(), "the next one may begin");
}

#[test]
fn a_guest_that_writes_all_the_time_does_not_change_the_copy() {
    let (disk, _file) = disk();
    let disk = Snapshots::new(disk);
    for at in (0..SIZE).step_by(SIZE / 4096 * 512) {
        disk.write_bytes(at as u64 / 512 * 512, &[7; 512]).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3_u64 {
            let (disk, stop) = (&disk, &stop);
            scope.spawn(move || {
                let mut seed = writer;
                while !stop.load(Ordering::Relaxed) {
                    let sectors = SIZE as u64 / 512;
                    let at = random(&mut seed) % sectors;
                    let length = (1 + random(&mut seed) % 300).min(sectors - at);
                    if random(&mut seed).is_multiple_of(8) {
                        disk.discard(at * 512, length * 512).unwrap();
                    } else {
                        let bytes = vec![random(&mut seed) as u8; length as usize * 512];
                        disk.write_bytes(at * 512, &bytes).unwrap();
                    }
                }
            });
        }
        for _ in 0..20 {
            let target = tempfile::tempfile().unwrap();
            let mut before = Vec::new();
            let note = |disk: &dyn DiskImage| before = content(disk);
            let snapshot = disk
                .begin_noting(target.try_clone().unwrap(), note)
                .unwrap();
            snapshot.finish().unwrap();
            assert!(copied(&target) == before);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_copy_that_fails_never_fails_the_guest() {
    let (inner, _file) = disk();
    let faulty = Arc::new(FaultyDisk::new(inner, 1));
    let disk = Snapshots::new(Arc::clone(&faulty) as Arc<dyn DiskImage>);
    disk.write_bytes(1 << 20, &[9; 512]).unwrap();
    let target = tempfile::NamedTempFile::new().unwrap();
    let read_only = File::open(target.path()).unwrap();
    assert!(matches!(
        disk.begin(read_only),
        Err(SnapshotError::Target(_))
    ));

    let snapshot = disk.begin(tempfile::tempfile().unwrap()).unwrap();
    faulty.add(Rule::new(
        Operation::Read,
        When::Always,
        Fault::Fail(DiskError::NoSpace),
    ));
    disk.write_bytes(1 << 20, &[8; 512]).unwrap();
    assert_eq!(
        snapshot.finish(),
        Err(SnapshotError::Source(DiskError::NoSpace))
    );
    disk.write_bytes(1 << 20, &[7; 512]).unwrap();
}

#[test]
fn a_snapshot_given_up_is_over() {
    let (disk, _file) = disk();
    let disk = Snapshots::new(disk);
    drop(disk.begin(tempfile::tempfile().unwrap()).unwrap());
    disk.write_bytes(0, &[1; 512]).unwrap();
    assert!(disk.begin(tempfile::tempfile().unwrap()).is_ok());
}

#[test]
fn large_disks_have_few_chunks() {
    for size in [512, 65536, 65537, 40 << 30, 64 << 40, u64::MAX >> 1] {
        let chunks = Chunks::new(size);
        let mut seen = 0;
        chunks.skip(0..size / 2);
        chunks.each(size - 1..size, |chunk| {
            seen += 1;
            assert_eq!(chunk.end, size);
            Ok(())
        });
        assert_eq!(seen, 1, "{size}");
    }
}
