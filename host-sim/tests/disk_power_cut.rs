//! Power cuts: whatever part of the unflushed writes reached the medium, the VHD opens and holds what was
//! flushed.

mod disk_support;

use disk_support::*;
use host_sim::disk::check::check;
use host_sim::disk::vhd::{Kind, VhdDisk};
use host_sim::disk::{CutState, DiskImage, Durability, MemoryStorage, PowerCut, Storage};

/// What the guest knows: the version written to each sector, before and after each of its requests.
struct History {
    sectors: usize,
    /// Per request: the number of storage changes recorded when it ended, the sectors it wrote with the
    /// version, and whether all data is durable from then on.
    requests: Vec<Request>,
}

struct Request {
    changes: usize,
    written: Vec<(u64, u64)>,
    flushed: bool,
}

impl History {
    /// Runs a script of writes and flushes on a VHD, recording.
    fn run(disk: &VhdDisk<MemoryStorage>, script: &[Step]) -> Self {
        let mut requests = Vec::new();
        let mut version = 0;
        for step in script {
            let mut written = Vec::new();
            let mut flushed = true;
            match *step {
                Step::Flush => disk.flush().unwrap(),
                Step::Discard(first, count) => {
                    disk.discard(first * SECTOR, count * SECTOR).unwrap();
                    written.extend((first..first + count).map(|sector| (sector, 0)));
                    flushed = false;
                }
                Step::Write(first, count, durability) => {
                    version += 1;
                    let mut data = Vec::new();
                    for sector in first..first + count {
                        written.push((sector, version));
                        data.extend(stamped(sector, version));
                    }
                    write_in_pieces(disk, first * SECTOR, &data, &[700, 3, 0, 65], durability)
                        .unwrap();
                    flushed = durability == Durability::ForceUnitAccess;
                }
            }
            requests.push(Request {
                changes: disk.storage().recorded_count(),
                written,
                flushed,
            });
        }
        Self {
            sectors: (disk.info().size / SECTOR) as usize,
            requests,
        }
    }

    /// Checks a disk after a cut: every sector holds a version that was written (0 for zeros, after a discard), not
    /// older than the last that was flushed.
    fn check(&self, disk: &dyn DiskImage, cut: &CutState) {
        let mut allowed = vec![vec![0]; self.sectors];
        for request in &self.requests {
            for (sector, version) in &request.written {
                allowed[*sector as usize].push(*version);
            }
            if request.flushed && request.changes <= cut.durable {
                for versions in &mut allowed {
                    versions.drain(..versions.len() - 1);
                }
            }
        }
        let bytes = content(disk);
        for (sector, bytes) in bytes.chunks(512).enumerate() {
            let version = version_of(sector as u64, bytes);
            assert!(
                allowed[sector].contains(&version),
                "sector {sector} holds version {version}, not one of {:?}; cut between change {} and {}",
                allowed[sector],
                cut.durable,
                cut.reached
            );
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    Write(u64, u64, Durability),
    Discard(u64, u64),
    Flush,
}

use Durability::{Cached, ForceUnitAccess};
use Step::{Discard, Flush, Write};

/// Blocks have eight sectors.
const SCRIPT: &[Step] = &[
    Write(9, 1, Cached),
    Write(3, 2, Cached),
    Flush,
    // Over a flushed and an unallocated block, in place, and over three.
    Write(6, 4, Cached),
    Write(8, 8, Cached),
    Write(30, 12, ForceUnitAccess),
    Write(31, 1, Cached),
    Write(17, 1, ForceUnitAccess),
    Write(3, 1, Cached),
    Flush,
    Flush,
    Write(60, 4, Cached),
];

/// Blocks are given up, used again by others before and after a flush, come back, and leave the file at its end.
const DISCARDS: &[Step] = &[
    Write(0, 32, Cached),
    Flush,
    // Two whole blocks and parts of their neighbours; the next write takes the place of one.
    Discard(6, 20),
    Write(40, 1, Cached),
    Flush,
    Write(17, 1, ForceUnitAccess),
    // The last block in the file, then all that is left.
    Discard(40, 8),
    Write(48, 3, Cached),
    Discard(0, 64),
    Write(56, 8, Cached),
    Write(3, 2, ForceUnitAccess),
    Discard(0, 8),
];

fn record(start: &MemoryStorage, script: &[Step]) -> (History, PowerCut) {
    let before = start.snapshot();
    start.start_recording();
    let disk = VhdDisk::open(start.snapshot(), false).unwrap();
    disk.storage().start_recording();
    let history = History::run(&disk, script);
    let changes = disk.into_storage().recorded();
    (history, PowerCut::new(before, changes))
}

/// A block that the table leads to was written in full: its bitmap says so, and not what was there before.
fn assert_bitmaps_complete(storage: &MemoryStorage) {
    let bytes = storage.to_bytes();
    for entry in bytes[1536..1536 + 8 * 4].as_chunks::<4>().0 {
        let sector = u32::from_be_bytes(*entry);
        if sector != u32::MAX {
            let bitmap = &bytes[sector as usize * 512..][..512];
            assert!(bitmap.iter().all(|byte| *byte == 0xFF), "at {sector}");
        }
    }
}

/// I8 for allocation and overwriting in place, and cuts during the recovery itself.
#[test]
fn cut_in_dynamic_vhd_at_any_point() {
    let (states, recoveries) = cut_anywhere(SCRIPT);
    assert!(states > 4000 && recoveries > 50, "{states} {recoveries}");
}

/// The same for blocks that are given up.
#[test]
fn cut_while_blocks_are_given_up() {
    let (states, recoveries) = cut_anywhere(DISCARDS);
    assert!(states > 2000 && recoveries > 0, "{states} {recoveries}");
}

/// Cuts the script at every point; returns how many states were seen, and how many recoveries were cut again.
fn cut_anywhere(script: &[Step]) -> (u32, u32) {
    let (history, cut) = record(&new_vhd(64 * SECTOR, SMALL_BLOCK), script);
    let (mut states, mut recoveries) = (0, 0);
    cut.visit(1, 4000, |state| {
        states += 1;
        assert!(check(&state.storage).unwrap().is_usable());
        assert_bitmaps_complete(&state.storage);
        let damaged = state.storage.to_bytes();
        // I13: reading changes nothing.
        let reader = VhdDisk::open(state.storage.snapshot(), true).unwrap();
        history.check(&reader, &state);
        let seen = content(&reader);
        assert!(reader.into_storage().to_bytes() == damaged);

        let storage = state.storage.snapshot();
        storage.start_recording();
        let disk = VhdDisk::open(storage, false).unwrap();
        assert!(content(&disk) == seen);
        let storage = disk.into_storage();
        let report = check(&storage).unwrap();
        assert!(report.is_clean(), "{report}");
        let repairs = storage.recorded();
        if !repairs.is_empty() && states % 3 == 0 {
            recoveries += 1;
            PowerCut::new(state.storage.snapshot(), repairs).visit(2, 16, |again| {
                let disk = VhdDisk::open(again.storage, false).unwrap();
                assert!(content(&disk) == seen);
            });
        }
        // The disk goes on to work, and what it allocates is clean.
        let disk = VhdDisk::open(storage, false).unwrap();
        let free = (0..8).find(|block| seen[block * 4096..][..4096].iter().all(|byte| *byte == 0));
        let sector = free.unwrap_or(7) as u64 * 8;
        disk.write_bytes(sector * SECTOR, &stamped(sector, 99))
            .unwrap();
        disk.flush().unwrap();
        let now = content(&disk);
        assert_eq!(
            version_of(sector, &now[(sector * SECTOR) as usize..][..512]),
            99
        );
        for other in 0..64 {
            if other != sector {
                let at = (other * SECTOR) as usize;
                assert!(now[at..at + 512] == seen[at..at + 512], "sector {other}");
            }
        }
        assert!(check(disk.storage()).unwrap().is_usable());
    });
    (states, recoveries)
}

#[test]
fn cut_in_fixed_vhd_at_any_point() {
    for script in [SCRIPT, DISCARDS] {
        let (history, cut) = record(&new_vhd(64 * SECTOR, Kind::Fixed), script);
        cut.visit(3, 200, |state| {
            let footer_and_size = state.storage.size().unwrap();
            assert_eq!(footer_and_size, 65 * SECTOR);
            let disk = VhdDisk::open(state.storage.snapshot(), false).unwrap();
            history.check(&disk, &state);
        });
    }
}

/// A disk that was cut short, recovered, and cut short again, many times.
#[test]
fn cuts_in_a_row() {
    let mut storage = new_vhd(64 * SECTOR, SMALL_BLOCK);
    let mut durable = vec![0u64; 64];
    let mut version = 0;
    for round in 0..60u64 {
        let before = storage.snapshot();
        let opened = storage.snapshot();
        opened.start_recording();
        let disk = VhdDisk::open(opened, false).unwrap();
        let mut written = durable.clone();
        let mut durable_after = Vec::new();
        for step in 0..4 {
            let sector = (round * 7 + step * 13) % 64;
            version += 1;
            disk.write_bytes(sector * SECTOR, &stamped(sector, version))
                .unwrap();
            written[sector as usize] = version;
            if step % 2 == 1 {
                disk.flush().unwrap();
                durable_after.push((disk.storage().recorded_count(), written.clone()));
            }
        }
        let changes = disk.into_storage().recorded();
        let mut states = Vec::new();
        PowerCut::new(before, changes).visit(round, 3, |state| states.push(state));
        let state = states.swap_remove((round * 31 % states.len() as u64) as usize);
        for (changes, versions) in durable_after {
            if changes <= state.durable {
                durable = versions;
            }
        }
        storage = state.storage;
        let disk = VhdDisk::open(storage.snapshot(), true).unwrap();
        for (sector, bytes) in content(&disk).chunks(512).enumerate() {
            let version = version_of(sector as u64, bytes);
            assert!(version >= durable[sector], "round {round}, sector {sector}");
            // What survived by luck was written out by the recovery's flush.
            durable[sector] = version;
        }
    }
}

#[test]
fn a_read_only_disk_with_a_lost_footer_is_read_but_not_touched() {
    let disk = open_vhd(new_vhd(64 * SECTOR, SMALL_BLOCK));
    disk.write_bytes(0, &stamped(0, 1)).unwrap();
    disk.flush().unwrap();
    let storage = disk.into_storage();
    let size = storage.size().unwrap();
    patch(&storage, size - 512, &[0x55; 512]);
    storage.set_fault(Some(Box::new(|_| panic!("a read-only image was changed"))));
    let disk = VhdDisk::open(storage, true).unwrap();
    assert_eq!(version_of(0, &content(&disk)[..512]), 1);
    assert!(disk.info().read_only);
    disk.write_bytes(0, &[0; 512]).unwrap_err();
    disk.discard(0, 512).unwrap_err();
    disk.flush().unwrap();
}
