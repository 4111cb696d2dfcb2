//! Discarding: blocks of a dynamic VHD that are given up and used again, holes in files.

mod disk_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk_support::*;
use host_sim::disk::check::check;
use host_sim::disk::vhd::{CreateOptions, Kind, VhdDisk, create_file};
use host_sim::disk::{
    DiskError, DiskImage, FaultyDisk, MemoryStorage, OpenOptions, Overlay, Storage, StorageChange,
    check_path, open,
};

/// Sectors in a block of [`SMALL_BLOCK`].
const BLOCK: u64 = 8;
/// Bytes of a block in the file, its bitmap included.
const SPAN: u64 = 512 + BLOCK * SECTOR;
/// Bytes of an empty file: footer copy, header, table, footer.
const EMPTY: u64 = 512 + 1024 + 512 + 512;

/// A disk of eight blocks, all stored and flushed; every sector has version 1.
fn full() -> VhdDisk<MemoryStorage> {
    let disk = open_vhd(new_vhd(8 * BLOCK * SECTOR, SMALL_BLOCK));
    for sector in 0..8 * BLOCK {
        disk.write_bytes(sector * SECTOR, &stamped(sector, 1))
            .unwrap();
    }
    disk.flush().unwrap();
    assert_eq!(disk.storage().size().unwrap(), EMPTY + 8 * SPAN);
    disk
}

fn discard(disk: &dyn DiskImage, first: u64, count: u64) {
    disk.discard(first * SECTOR, count * SECTOR).unwrap();
}

fn versions(disk: &dyn DiskImage) -> Vec<u64> {
    let bytes = content(disk);
    let sectors = bytes.chunks(512).zip(0..);
    sectors
        .map(|(bytes, sector)| version_of(sector, bytes))
        .collect()
}

#[test]
fn whole_blocks_are_given_up_and_others_keep_their_sectors() {
    let disk = full();
    assert!(disk.info().discard && disk.info().discard_reads_zero);
    assert_eq!(disk.discard_granularity(), BLOCK * SECTOR);
    let stored = disk.storage().stored_bytes();
    // Half of block 1, blocks 2 and 3, one sector of block 4.
    discard(&disk, 12, 21);
    let expected: Vec<u64> = (0..64)
        .map(|at| u64::from(!(12..33).contains(&at)))
        .collect();
    assert_eq!(versions(&disk), expected);
    assert_eq!(disk.allocation(), Some((6, 8)));
    let report = check(disk.storage()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.allocated, report.leaked), (6, 2 * SPAN));
    // Memory stands for the host's file: pages that lie wholly in a hole are given back.
    assert!(disk.storage().stored_bytes() < stored);
    let disk = open_vhd(disk.into_storage());
    assert_eq!(versions(&disk), expected);
}

#[test]
fn places_are_used_again() {
    for reopened in [false, true] {
        let mut disk = full();
        let size = disk.storage().size().unwrap();
        discard(&disk, 8, 8);
        discard(&disk, 32, 16);
        if reopened {
            disk.flush().unwrap();
            disk = open_vhd(disk.into_storage());
        }
        for sector in [10, 35, 44] {
            disk.write_bytes(sector * SECTOR, &stamped(sector, 2))
                .unwrap();
        }
        assert_eq!(disk.storage().size().unwrap(), size, "{reopened}");
        let now = versions(&disk);
        for (sector, version) in (0u64..).zip(now) {
            let expected = match sector {
                10 | 35 | 44 => 2,
                8..16 | 32..48 => 0,
                _ => 1,
            };
            assert_eq!(version, expected, "sector {sector}");
        }
        let report = check(disk.storage()).unwrap();
        assert!(report.is_clean() && report.leaked == 0, "{report}");
    }
}

#[test]
fn the_file_shrinks_at_its_end() {
    let disk = full();
    // Blocks 0 to 6: the last one in the file stays.
    discard(&disk, 0, 56);
    assert_eq!(disk.storage().size().unwrap(), EMPTY + 8 * SPAN);
    discard(&disk, 56, 8);
    assert_eq!(disk.storage().size().unwrap(), EMPTY);
    assert_eq!(disk.allocation(), Some((0, 8)));
    let report = check(disk.storage()).unwrap();
    assert!(report.is_clean() && report.leaked == 0, "{report}");
    // It grows again, with zeros where nothing is written.
    disk.write_bytes(9 * SECTOR, &stamped(9, 3)).unwrap();
    assert_eq!(disk.storage().size().unwrap(), EMPTY + SPAN);
    assert_eq!(versions(&disk).iter().sum::<u64>(), 3);
}

/// A block at the disk's end that is only partly on the disk is given up with what there is of it.
#[test]
fn the_last_block_may_be_short() {
    let disk = open_vhd(new_vhd(11 * SECTOR, SMALL_BLOCK));
    disk.write_bytes(8 * SECTOR, &stamped(8, 1)).unwrap();
    discard(&disk, 8, 2);
    assert_eq!(disk.allocation(), Some((1, 2)));
    discard(&disk, 8, 3);
    assert_eq!(disk.allocation(), Some((0, 2)));
    assert_eq!(disk.storage().size().unwrap(), EMPTY);
}

/// Space that belongs to another program's notes is left alone.
#[test]
fn notes_before_the_first_block_are_kept() {
    for (creator, reused) in [(*b"tap\0", false), (*b"CTXS", false), (*b"win ", true)] {
        let disk = full();
        discard(&disk, 0, 8);
        disk.flush().unwrap();
        let storage = disk.into_storage();
        let end = storage.size().unwrap() - 512;
        for footer in [0, end] {
            patch(&storage, footer + 28, &creator);
            fix_checksum(&storage, footer, 512, 64);
        }
        let disk = open_vhd(storage);
        disk.write_bytes(0, &stamped(0, 2)).unwrap();
        let grown = disk.storage().size().unwrap() > end + 512;
        assert_eq!(grown, !reused, "{creator:?}");
    }
}

/// Every change of a discard fails in turn: what is written and flushed later is never lost.
#[test]
fn fault_52_error_at_every_step_of_a_discard() {
    let mut outcomes = [0; 2];
    for code in [libc::EIO, libc::ENOSPC] {
        for failing in 0..12 {
            let disk = full();
            let mut count = 0;
            disk.storage().set_fault(Some(Box::new(move |_| {
                count += 1;
                (count - 1 == failing).then(|| std::io::Error::from_raw_os_error(code))
            })));
            // A part of block 3, then everything from block 4 on: holes, table, holes, footer, size.
            let discarded = disk.discard(30 * SECTOR, 34 * SECTOR);
            disk.storage().set_fault(None);
            let later = disk
                .write_bytes(40 * SECTOR, &stamped(40, 2))
                .and_then(|()| disk.write_bytes(63 * SECTOR, &stamped(63, 2)))
                .and_then(|()| disk.flush());
            let report = check(disk.storage()).unwrap();
            assert!(report.is_usable(), "{report}");
            outcomes[usize::from(later.is_err())] += 1;
            if let Err(error) = &later {
                assert_eq!(*error, DiskError::Poisoned);
                assert!(discarded.is_err());
            }
            let disk = open_vhd(disk.into_storage());
            for (sector, version) in (0u64..).zip(versions(&disk)) {
                match sector {
                    0..30 => assert_eq!(version, 1),
                    40 | 63 if later.is_ok() => assert_eq!(version, 2),
                    _ => assert!(version <= 2),
                }
            }
        }
    }
    // Table and flushes poison, the rest does not.
    assert!(outcomes[0] >= 12 && outcomes[1] >= 4, "{outcomes:?}");
}

/// Readers and writers of blocks that are given up and used again by others at the same time: nobody ever sees
/// another block's sectors.
#[test]
fn discards_race_with_reads_and_writes() {
    let disk = Arc::new(full());
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for start in [0u64, 24] {
            let (disk, end) = (&disk, &end);
            scope.spawn(move || {
                let mut bytes = [0; 512];
                for round in (start..).take_while(|_| !end.load(Ordering::Relaxed)) {
                    let sector = round * 7 % 64;
                    disk.read_bytes(sector * SECTOR, &mut bytes).unwrap();
                    // Panics at foreign data.
                    version_of(sector, &bytes);
                }
            });
        }
        for round in 0..3000u64 {
            let block = round * 5 % 8;
            discard(
                &*disk,
                block * BLOCK,
                BLOCK * (1 + round % 2).min(8 - block),
            );
            let sector = (round * 11 + 3) % 64;
            disk.write_bytes(sector * SECTOR, &stamped(sector, round + 1))
                .unwrap();
        }
        end.store(true, Ordering::Relaxed);
    });
    let report = check(disk.storage()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.leaked / SPAN + report.allocated <= 8, "{report}");
}

/// On a real file: the space is given back, also in the middle, and QEMU still reads it.
#[test]
fn files_give_space_back() {
    use std::os::unix::fs::MetadataExt as _;
    const MIB: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    for (name, kind) in [
        (
            "dynamic.vhd",
            Kind::Dynamic {
                block_size: 1 << 20,
            },
        ),
        ("fixed.vhd", Kind::Fixed),
    ] {
        let path = directory.path().join(name);
        create_file(&path, &CreateOptions::new(8 * MIB, kind)).unwrap();
        let disk = open(&path, &OpenOptions::default()).unwrap();
        if !disk.info().discard {
            println!("skipped: the file system has no holes");
            return;
        }
        disk.write_bytes(0, &vec![0x5A; 8 << 20]).unwrap();
        disk.flush().unwrap();
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        let before = blocks();
        disk.discard(MIB, 5 * MIB).unwrap();
        disk.flush().unwrap();
        assert!(blocks() < before / 2, "{name}");
        let bytes = content(&*disk);
        assert!(bytes[..1 << 20].iter().all(|byte| *byte == 0x5A));
        assert!(bytes[1 << 20..6 << 20].iter().all(|byte| *byte == 0));
        assert!(bytes[6 << 20..].iter().all(|byte| *byte == 0x5A));
        drop(disk);
        assert!(check_path(&path).unwrap().is_clean());
        let raw = directory.path().join("raw");
        if qemu_img_succeeds(&["convert", "-f", "vpc", "-O", "raw", text(&path), text(&raw)]) {
            assert!(std::fs::read(&raw).unwrap()[..8 << 20] == bytes);
        }
    }
}

#[test]
fn granularity_and_read_only_images() {
    let disk: Arc<dyn DiskImage> = Arc::new(full());
    assert_eq!(
        FaultyDisk::new(Arc::clone(&disk), 0).discard_granularity(),
        4096
    );
    let overlay = Overlay::with_scratch(disk, MemoryStorage::new()).unwrap();
    assert_eq!(
        overlay.discard_granularity(),
        512,
        "that of the scratch file"
    );
    let disk = VhdDisk::open(full().into_storage(), true).unwrap();
    disk.storage()
        .set_fault(Some(Box::new(|change: &StorageChange| {
            panic!("{change:?}")
        })));
    assert!(!disk.info().discard);
    assert_eq!(disk.discard(0, 4096), Err(DiskError::ReadOnly));
}
