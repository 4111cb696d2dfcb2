//! Failing hosts: errors, full file systems, torn writes, lost flushes.

mod disk_support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use disk_support::*;
use host_sim::disk::check::check;
use host_sim::disk::faulty::{Fault, Operation, Rule, When};
use host_sim::disk::vhd::{Kind, VhdDisk};
use host_sim::disk::{
    DiskError, DiskImage, Durability, FaultyDisk, MemoryStorage, RawDisk, RawOptions, Storage,
    StorageChange,
};

fn raw_options() -> RawOptions {
    RawOptions {
        logical_sector_size: 512,
        physical_sector_size: 4096,
        read_only: false,
        identity: [7; 16],
        discard: true,
    }
}

fn raw(sectors: u64) -> RawDisk<MemoryStorage> {
    let storage = MemoryStorage::new();
    storage.set_size(sectors * SECTOR).unwrap();
    RawDisk::new(storage, raw_options()).unwrap()
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn io_error(operation: &'static str) -> DiskError {
    DiskError::Io {
        operation,
        offset: 0,
        kind: eio().kind(),
        code: Some(libc::EIO),
    }
}

/// I18: each change of an allocation in turn fails. The disk then goes on (nothing was done) or is
/// poisoned; it never claims a flush that it can't know of; reopened, it has all flushed data.
#[test]
fn fault_52_error_at_every_step_of_an_allocation() {
    let (mut went_on, mut poisoned) = (0, 0);
    for code in [libc::EIO, libc::ENOSPC] {
        // The changes of an allocation are: footer, flush, bitmap, data, flush, table entry.
        for failing in 0..7 {
            for failures in [1, 100] {
                let disk = open_vhd(new_vhd(64 * SECTOR, SMALL_BLOCK));
                disk.write_bytes(0, &stamped(0, 1)).unwrap();
                disk.flush().unwrap();
                let mut count = 0;
                disk.storage().set_fault(Some(Box::new(move |_| {
                    count += 1;
                    (failing < count && count <= failing + failures)
                        .then(|| io::Error::from_raw_os_error(code))
                })));
                let written = disk.write_bytes(8 * SECTOR, &stamped(8, 2));
                let flushed = disk.flush();
                disk.storage().set_fault(None);
                let later = disk
                    .write_bytes(8 * SECTOR, &stamped(8, 3))
                    .and_then(|()| disk.write_bytes(20 * SECTOR, &stamped(20, 3)))
                    .and_then(|()| disk.flush());
                if flushed.is_err() {
                    assert_eq!(later, Err(DiskError::Poisoned), "step {failing}");
                }
                match &later {
                    Ok(()) => went_on += 1,
                    Err(error) => {
                        assert_eq!(*error, DiskError::Poisoned);
                        poisoned += 1;
                    }
                }
                // Reads go on in any case.
                let now = content(&disk);
                assert_eq!(version_of(0, &now[..512]), 1);
                let report = check(disk.storage()).unwrap();
                assert!(report.is_usable(), "{report}");
                if later.is_ok() {
                    assert!(report.is_clean() && report.leaked == 0, "{report}");
                }

                let disk = open_vhd(disk.into_storage());
                let now = content(&disk);
                for (sector, bytes) in now.chunks(512).enumerate() {
                    let version = version_of(sector as u64, bytes);
                    match sector {
                        0 => assert_eq!(version, 1),
                        8 | 20 if later.is_ok() => assert_eq!(version, 3),
                        8 if written.is_ok() && flushed.is_ok() => assert_eq!(version, 2),
                        8 => assert!(version <= 2),
                        _ => assert_eq!(version, 0),
                    }
                }
                disk.write_bytes(40 * SECTOR, &stamped(40, 4)).unwrap();
                disk.flush().unwrap();
            }
        }
    }
    // A footer, bitmap or data write that fails once is taken back.
    assert_eq!((went_on, poisoned), (6, 22));
}

/// I19: no space for a block leaves a valid file, of the same size, that works once there is space.
#[test]
fn full_file_systems_leave_the_vhd_valid() {
    for refused in ["footer", "bitmap", "data"] {
        let disk = open_vhd(new_vhd(64 * SECTOR, SMALL_BLOCK));
        disk.write_bytes(0, &stamped(0, 1)).unwrap();
        disk.flush().unwrap();
        let size = disk.storage().size().unwrap();
        let before = disk.storage().to_bytes();
        disk.storage().set_fault(Some(Box::new(move |change| {
            let StorageChange::Write { offset, data } = change else {
                return None;
            };
            let kind = match data.len() {
                512 if data.starts_with(b"conectix") => "footer",
                512 if data.iter().all(|byte| *byte == 0xFF) => "bitmap",
                _ => "data",
            };
            // The old footer may be put back; what would extend the disk may not be written.
            let refuse =
                kind == refused && (*offset >= size || kind != "footer" && *offset >= size - 512);
            refuse.then(|| io::Error::from_raw_os_error(libc::ENOSPC))
        })));
        for _ in 0..3 {
            let data: Vec<u8> = (8..24).flat_map(|sector| stamped(sector, 2)).collect();
            assert_eq!(disk.write_bytes(8 * SECTOR, &data), Err(DiskError::NoSpace));
            assert!(disk.storage().to_bytes() == before, "{refused}");
        }
        // In place goes.
        disk.write_bytes(0, &stamped(0, 3)).unwrap();
        disk.flush().unwrap();
        disk.storage().set_fault(None);
        disk.write_bytes(8 * SECTOR, &stamped(8, 4)).unwrap();
        disk.flush().unwrap();
        assert!(check(disk.storage()).unwrap().is_clean());
        let now = content(&open_vhd(disk.into_storage()));
        for (sector, bytes) in now.chunks(512).enumerate() {
            let version = version_of(sector as u64, bytes);
            let wanted = match sector {
                0 => 3,
                8 => 4,
                _ => 0,
            };
            assert_eq!(version, wanted);
        }
    }
}

#[test]
fn fault_52_a_failed_flush_poisons_every_format() {
    type Open = fn(MemoryStorage) -> Arc<dyn DiskImage>;
    let raw: Open = |storage| shared(RawDisk::new(storage, raw_options()).unwrap());
    let vhd: Open = |storage| shared(open_vhd(storage));
    for (open, kind) in [
        (raw, None),
        (vhd, Some(Kind::Fixed)),
        (vhd, Some(SMALL_BLOCK)),
    ] {
        for fua in [false, true] {
            let (disk, failures) = failing_flush(open, kind);
            disk.write_bytes(0, &stamped(0, 1)).unwrap();
            failures.store(1, Ordering::Relaxed);
            let failed = if fua {
                write_in_pieces(
                    &*disk,
                    0,
                    &stamped(0, 2),
                    &[512],
                    Durability::ForceUnitAccess,
                )
            } else {
                disk.flush()
            };
            assert_eq!(failed, Err(io_error("flush")));
            // The host would say yes now; the disk does not.
            assert_eq!(disk.flush(), Err(DiskError::Poisoned));
            assert_eq!(
                disk.write_bytes(0, &stamped(0, 3)),
                Err(DiskError::Poisoned)
            );
            assert_eq!(disk.discard(0, 512), Err(DiskError::Poisoned));
            disk.read_bytes(0, &mut [0; 512]).unwrap();
        }
    }
}

fn failing_flush(
    open: fn(MemoryStorage) -> Arc<dyn DiskImage>,
    kind: Option<Kind>,
) -> (Arc<dyn DiskImage>, Arc<AtomicU64>) {
    let storage = kind.map_or_else(
        || {
            let storage = MemoryStorage::new();
            storage.set_size(64 * SECTOR).unwrap();
            storage
        },
        |kind| new_vhd(64 * SECTOR, kind),
    );
    let failures = Arc::new(AtomicU64::new(0));
    let left = failures.clone();
    storage.set_fault(Some(Box::new(move |change| {
        let take = || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        };
        (*change == StorageChange::Flush && take()).then(eio)
    })));
    (open(storage), failures)
}

#[test]
fn errors_are_told_apart() {
    let disk = raw(16);
    let range = |error| matches!(error, Err(DiskError::OutOfRange { .. }));
    let alignment = |error| matches!(error, Err(DiskError::Unaligned { .. }));
    let mut bytes = [0; 1024];
    assert!(range(disk.read_bytes(16 * SECTOR, &mut bytes[..512])));
    assert!(range(disk.read_bytes(15 * SECTOR, &mut bytes)));
    assert!(range(disk.write_bytes(u64::MAX - 511, &bytes[..512])));
    assert!(range(disk.discard(512, u64::MAX - 511)));
    assert!(range(disk.next_data(17 * SECTOR).map(|_| ())));
    assert!(alignment(disk.read_bytes(1, &mut bytes[..512])));
    assert!(alignment(disk.write_bytes(0, &bytes[..511])));
    disk.read_bytes(16 * SECTOR, &mut []).unwrap();
    // A file that shrank under its user.
    disk.storage().set_size(8 * SECTOR).unwrap();
    assert!(matches!(
        disk.read_bytes(8 * SECTOR, &mut bytes),
        Err(DiskError::Io {
            operation: "read",
            kind: io::ErrorKind::UnexpectedEof,
            ..
        })
    ));
}

#[test]
fn fault_52_torn_writes_leave_old_or_new_sectors() {
    for seed in 0..50 {
        let disk = FaultyDisk::new(shared(raw(64)), seed);
        let all = |version| -> Vec<u8> {
            (0..64)
                .flat_map(|sector| stamped(sector, version))
                .collect()
        };
        disk.write_bytes(0, &all(1)).unwrap();
        disk.add(Rule::new(
            Operation::Write,
            When::Nth(1),
            Fault::TornRandom(io_error("write")),
        ));
        disk.add(Rule::new(
            Operation::Write,
            When::Nth(1),
            Fault::TornPrefix(5, io_error("write")),
        ));
        assert_eq!(
            write_in_pieces(&disk, 0, &all(2), &[300, 900], Durability::ForceUnitAccess),
            Err(io_error("write"))
        );
        let versions: Vec<u64> = content(&disk)
            .chunks(512)
            .enumerate()
            .map(|(sector, bytes)| version_of(sector as u64, bytes))
            .collect();
        assert!(
            versions.contains(&1) && versions.contains(&2),
            "seed {seed}"
        );
        assert_eq!(disk.write_bytes(0, &all(3)), Err(io_error("write")));
        let now = content(&disk);
        for (sector, bytes) in now.chunks(512).enumerate() {
            let version = version_of(sector as u64, bytes);
            assert_eq!(version == 3, sector < 5);
        }
        disk.write_bytes(0, &all(4)).unwrap();
        assert_eq!(disk.struck(), 2);
    }
}

/// A torn write of a VHD, whatever subset of its sectors arrives, leaves a valid file.
#[test]
fn fault_52_torn_writes_in_a_vhd() {
    for seed in 0..20 {
        let inner = Arc::new(open_vhd(new_vhd(64 * SECTOR, SMALL_BLOCK)));
        let disk = FaultyDisk::new(inner.clone(), seed);
        disk.add(Rule::new(
            Operation::Write,
            When::PerThousand(500),
            Fault::TornRandom(DiskError::NoSpace),
        ));
        let mut newest = [0; 64];
        for version in 1..20 {
            let first = version * 11 % 50;
            let data: Vec<u8> = (first..first + 14)
                .flat_map(|sector| stamped(sector, version))
                .collect();
            let result = disk.write_bytes(first * SECTOR, &data);
            for (sector, bytes) in content(&disk).chunks(512).enumerate() {
                let held = version_of(sector as u64, bytes);
                let addressed = (first..first + 14).contains(&(sector as u64));
                if addressed && result.is_ok() {
                    assert_eq!(held, version);
                } else {
                    assert!(held == newest[sector] || addressed && held == version);
                }
                newest[sector] = held;
            }
        }
        assert!(disk.struck() > 0);
        assert!(check(inner.storage()).unwrap().is_clean());
    }
}

#[test]
fn fault_52_a_delayed_write_completes_late() {
    let disk = Arc::new(FaultyDisk::new(shared(raw(64)), 0));
    disk.write_bytes(0, &stamped(0, 1)).unwrap();
    disk.add(Rule::new(Operation::Write, When::Nth(1), Fault::Delay));
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    disk.on_delay(Arc::new(move |operation, offset| {
        started.send((operation, offset)).unwrap();
        released.lock().unwrap().recv().unwrap();
    }));
    let late = {
        let disk = disk.clone();
        std::thread::spawn(move || disk.write_bytes(0, &stamped(0, 2)))
    };
    assert_eq!(has_started.recv().unwrap(), (Operation::Write, 0));
    // Others are not held up.
    assert_eq!(version_of(0, &content(&*disk)[..512]), 1);
    disk.write_bytes(SECTOR, &stamped(1, 1)).unwrap();
    release.send(()).unwrap();
    late.join().unwrap().unwrap();
    assert_eq!(version_of(0, &content(&*disk)[..512]), 2);
}

#[test]
fn rules_choose_operation_range_and_time() {
    let disk = FaultyDisk::new(shared(raw(64)), 1);
    disk.add(Rule {
        operation: Operation::Read,
        range: Some(512..1024),
        when: When::First(2),
        fault: Fault::Fail(io_error("read")),
    });
    let mut sector = [0; 512];
    disk.read_bytes(0, &mut sector).unwrap();
    disk.read_bytes(512, &mut sector).unwrap_err();
    disk.read_bytes(1024, &mut sector).unwrap();
    disk.read_bytes(0, &mut [0; 1024]).unwrap_err();
    disk.read_bytes(512, &mut sector).unwrap();
    disk.clear();
    disk.add(Rule::new(
        Operation::Flush,
        When::Nth(2),
        Fault::Fail(io_error("flush")),
    ));
    disk.flush().unwrap();
    assert_eq!(
        write_in_pieces(&disk, 0, &sector, &[512], Durability::ForceUnitAccess),
        Err(io_error("flush"))
    );
    assert_eq!(disk.flush(), Err(DiskError::Poisoned));
    disk.read_bytes(0, &mut sector).unwrap();
}

#[test]
fn fault_53_a_vanished_disk_fails_every_request() {
    let disk = FaultyDisk::new(shared(raw(64)), 1);
    disk.write_bytes(0, &stamped(0, 1)).unwrap();
    disk.vanish();
    let gone = |result| {
        matches!(
            result,
            Err(DiskError::Io {
                code: Some(libc::ENODEV),
                ..
            })
        )
    };
    assert!(gone(disk.read_bytes(0, &mut [0; 512])));
    assert!(gone(disk.write_bytes(0, &[0; 512])));
    assert!(gone(disk.discard(0, 512)));
    assert!(gone(disk.flush()));
    // Its description, which a guest may still ask for, stays.
    assert_eq!(disk.info().sectors(), 64);
}

#[test]
fn a_recovery_that_fails_leaves_the_copy() {
    let disk = open_vhd(new_vhd(64 * SECTOR, SMALL_BLOCK));
    disk.write_bytes(0, &stamped(0, 1)).unwrap();
    let storage = disk.into_storage();
    storage.set_size(storage.size().unwrap() - 100).unwrap();
    for failing in 1..4 {
        let storage = storage.snapshot();
        let mut count = 0;
        storage.set_fault(Some(Box::new(move |_| {
            count += 1;
            (count == failing).then(eio)
        })));
        let copy = Arc::new(storage);
        VhdDisk::open(copy.clone(), false).unwrap_err();
        copy.set_fault(None);
        let disk = open_vhd(copy.snapshot());
        assert_eq!(version_of(0, &content(&disk)[..512]), 1);
    }
}
