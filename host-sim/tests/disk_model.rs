//! Random requests against every kind of disk, compared with plain memory.

mod disk_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use disk_support::*;
use host_sim::disk::check::check;
use host_sim::disk::vhd::{Kind, VhdDisk};
use host_sim::disk::{
    DiskImage, Durability, FileStorage, MemoryStorage, Overlay, RawDisk, RawOptions, Storage,
};
use proptest::prelude::*;

const SECTORS: u64 = 96;

fn raw(storage: impl Storage + 'static) -> Arc<dyn DiskImage> {
    storage.set_size(SECTORS * SECTOR).unwrap();
    let options = RawOptions {
        logical_sector_size: 512,
        physical_sector_size: 512,
        read_only: false,
        identity: [0; 16],
        discard: true,
    };
    shared(RawDisk::new(storage, options).unwrap())
}

fn file() -> FileStorage {
    FileStorage::new(tempfile::tempfile().unwrap()).unwrap()
}

fn vhd_in(storage: impl Storage + 'static, kind: Kind) -> Arc<dyn DiskImage> {
    host_sim::disk::vhd::create(&storage, &fixed_options(SECTORS * SECTOR, kind)).unwrap();
    shared(VhdDisk::open(storage, false).unwrap())
}

/// A disk with data that an overlay hides and shows.
fn base() -> Arc<dyn DiskImage> {
    let disk = vhd_in(MemoryStorage::new(), SMALL_BLOCK);
    for sector in (0..SECTORS).filter(|sector| sector / 12 % 2 == 1) {
        disk.write_bytes(sector * SECTOR, &stamped(sector, 7))
            .unwrap();
    }
    disk
}

fn all_kinds() -> Vec<(&'static str, Arc<dyn DiskImage>)> {
    vec![
        ("raw in memory", raw(MemoryStorage::new())),
        ("raw file", raw(file())),
        ("fixed VHD file", vhd_in(file(), Kind::Fixed)),
        (
            "dynamic VHD in memory",
            vhd_in(MemoryStorage::new(), SMALL_BLOCK),
        ),
        (
            "dynamic VHD file",
            vhd_in(file(), Kind::Dynamic { block_size: 8192 }),
        ),
        ("overlay file", shared(Overlay::new(base()).unwrap())),
        (
            "overlay in memory",
            shared(Overlay::with_scratch(base(), MemoryStorage::new()).unwrap()),
        ),
    ]
}

#[derive(Clone, Debug)]
enum Request {
    Write(u64, u64, u8, Durability),
    Discard(u64, u64),
    Read(u64, u64),
    Data(u64),
    Flush,
}

fn request() -> impl Strategy<Value = Request> {
    let range = || (0..SECTORS, 0u64..30).prop_map(|(at, count)| (at, count.min(SECTORS - at)));
    prop_oneof![
        4 => (range(), 1u8.., any::<bool>()).prop_map(|((at, count), fill, fua)| {
            let durability = if fua { Durability::ForceUnitAccess } else { Durability::Cached };
            Request::Write(at, count, fill, durability)
        }),
        1 => range().prop_map(|(at, count)| Request::Discard(at, count)),
        3 => range().prop_map(|(at, count)| Request::Read(at, count)),
        1 => (0..=SECTORS).prop_map(Request::Data),
        1 => Just(Request::Flush),
    ]
}

fn bytes(at: u64, count: u64) -> std::ops::Range<usize> {
    (at * SECTOR) as usize..((at + count) * SECTOR) as usize
}

fn run(disk: &dyn DiskImage, model: &mut [u8], request: &Request, cuts: &[usize]) {
    match *request {
        Request::Write(at, count, fill, durability) => {
            let range = bytes(at, count);
            let data: Vec<u8> = range
                .clone()
                .map(|at| fill.wrapping_add(at as u8))
                .collect();
            write_in_pieces(disk, at * SECTOR, &data, cuts, durability).unwrap();
            model[range].copy_from_slice(&data);
        }
        Request::Discard(at, count) => {
            disk.discard(at * SECTOR, count * SECTOR).unwrap();
            if disk.info().discard_reads_zero {
                model[bytes(at, count)].fill(0);
            }
        }
        Request::Read(at, count) => {
            let range = bytes(at, count);
            let mut data = vec![0xEE; range.len()];
            read_in_pieces(disk, at * SECTOR, &mut data, cuts).unwrap();
            assert!(data == model[range]);
        }
        Request::Data(at) => {
            let found = disk.next_data(at * SECTOR).unwrap();
            let zeros_until = found.as_ref().map_or(disk.info().size, |found| found.start);
            let zeros = (at * SECTOR) as usize..zeros_until as usize;
            assert!(model[zeros].iter().all(|byte| *byte == 0));
            if let Some(found) = found {
                assert!(found.start >= at * SECTOR && found.start < found.end);
                assert!(found.end <= disk.info().size);
                assert!(found.start % SECTOR == 0 && found.end % SECTOR == 0);
            }
        }
        Request::Flush => disk.flush().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_disk_is_an_array_of_sectors(
        requests in prop::collection::vec(request(), 1..40),
        cuts in prop::collection::vec(0usize..2000, 1..6),
    ) {
        for (name, disk) in all_kinds() {
            let mut model = content(&*disk);
            for request in &requests {
                run(&*disk, &mut model, request, &cuts);
            }
            assert!(content(&*disk) == model, "{name}");
        }
    }

    #[test]
    fn a_dynamic_vhd_is_the_same_when_opened_again(
        requests in prop::collection::vec(request(), 1..40),
    ) {
        let mut disk = open_vhd(new_vhd(SECTORS * SECTOR, SMALL_BLOCK));
        let mut model = content(&disk);
        for (index, request) in requests.iter().enumerate() {
            run(&disk, &mut model, request, &[4096]);
            if index % 5 == 4 {
                let storage = disk.into_storage();
                let report = check(&storage).unwrap();
                assert!(report.is_clean(), "{report}");
                // What was given up is used again: never more places than the disk has blocks.
                const SPAN: u64 = 512 + 4096;
                assert!(report.leaked.is_multiple_of(SPAN), "{report}");
                assert!(report.leaked / SPAN + report.allocated <= report.blocks, "{report}");
                disk = open_vhd(storage);
            }
        }
        assert!(content(&disk) == model);
    }
}

/// More slices than the kernel takes in one call, of all odd lengths.
#[test]
fn more_slices_than_one_system_call_takes() {
    for (name, disk) in all_kinds() {
        let data: Vec<u8> = (0..SECTORS * SECTOR)
            .map(|at| (at * 31 % 251) as u8)
            .collect();
        write_in_pieces(&*disk, 0, &data, &[1, 0, 7, 3, 13], Durability::Cached).unwrap();
        assert!(content(&*disk) == data, "{name}");
        let mut read = vec![0; data.len()];
        read_in_pieces(&*disk, 0, &mut read, &[5, 1, 0, 2]).unwrap();
        assert!(read == data, "{name}");
        // Whole sectors, from the middle on.
        read[1024..5 * 512].fill(0);
        read_in_pieces(&*disk, 1024, &mut read[1024..5 * 512], &[511, 2]).unwrap();
        assert!(read == data, "{name}");
    }
}

/// Guest memory itself, pages out of order.
#[test]
fn guest_pages_in_any_order() {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
    let disk = vhd_in(file(), SMALL_BLOCK);
    let pages = [9u64, 2, 14, 3];
    for (index, page) in pages.iter().enumerate() {
        memory
            .write_slice(&[index as u8 + 1; 4096], GuestAddress(page * 4096))
            .unwrap();
    }
    let slices: Vec<_> = pages
        .iter()
        .map(|page| memory.get_slice(GuestAddress(page * 4096), 4096).unwrap())
        .collect();
    disk.write(512, &slices, Durability::ForceUnitAccess)
        .unwrap();
    for slice in &slices {
        slice.copy_from(&[0u8; 4096]);
    }
    let backwards: Vec<_> = slices.iter().rev().copied().collect();
    disk.read(512, &backwards).unwrap();
    for (index, page) in pages.iter().rev().enumerate() {
        let mut byte = [0; 4096];
        memory
            .read_slice(&mut byte, GuestAddress(page * 4096))
            .unwrap();
        assert_eq!(byte, [index as u8 + 1; 4096]);
    }
}

/// Writers of their own sectors, in shared blocks, with readers and flushes.
#[test]
fn many_threads_at_once() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 30;
    for (name, disk) in all_kinds() {
        disk.write_bytes(0, &vec![0; (SECTORS * SECTOR) as usize])
            .unwrap();
        if name == "dynamic VHD in memory" {
            // The others also begin with all blocks in place.
            continue;
        }
        many_threads_on(&disk, THREADS, ROUNDS);
    }
    for _ in 0..5 {
        let storage = Arc::new(new_vhd(SECTORS * SECTOR, SMALL_BLOCK));
        let disk = shared(VhdDisk::open(storage.clone(), false).unwrap());
        many_threads_on(&disk, THREADS, ROUNDS);
        let report = check(&storage).unwrap();
        assert!(report.is_clean() && report.leaked == 0, "{report}");
    }
}

fn many_threads_on(disk: &Arc<dyn DiskImage>, threads: u64, rounds: u64) {
    let stop = AtomicBool::new(false);
    let done: Vec<AtomicU64> = (0..SECTORS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                for sector in 0..SECTORS {
                    let least = done[sector as usize].load(Ordering::Acquire);
                    let mut bytes = [0; 512];
                    disk.read_bytes(sector * SECTOR, &mut bytes).unwrap();
                    // The thread that writes the sector may be in the midst of it.
                    let first = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
                    assert!(first >= least, "sector {sector} went back");
                }
            }
        });
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let done = &done;
                scope.spawn(move || {
                    for version in 1..=rounds {
                        for sector in (0..SECTORS).filter(|sector| sector % threads == thread) {
                            disk.write_bytes(sector * SECTOR, &stamped(sector, version))
                                .unwrap();
                            done[sector as usize].store(version, Ordering::Release);
                        }
                        if version % 10 == thread {
                            disk.flush().unwrap();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Release);
    });
    for (sector, bytes) in content(&**disk).chunks(512).enumerate() {
        assert_eq!(version_of(sector as u64, bytes), rounds);
    }
}

#[test]
fn an_overlay_never_changes_its_base() {
    let storage = Arc::new(new_vhd(SECTORS * SECTOR, SMALL_BLOCK));
    let writer = VhdDisk::open(storage.clone(), false).unwrap();
    for sector in 20..40 {
        writer
            .write_bytes(sector * SECTOR, &stamped(sector, 1))
            .unwrap();
    }
    drop(writer);
    let before = storage.to_bytes();
    storage.set_fault(Some(Box::new(|_| panic!("the base was changed"))));
    let base = shared(VhdDisk::open(storage.clone(), true).unwrap());
    let scratch = Arc::new(MemoryStorage::new());
    let overlay = Overlay::with_scratch(base.clone(), scratch.clone()).unwrap();
    assert!(!overlay.info().read_only);
    assert_eq!(overlay.info().identity, base.info().identity);
    overlay.write_bytes(21 * SECTOR, &stamped(21, 2)).unwrap();
    overlay.discard(30 * SECTOR, 2 * SECTOR).unwrap();
    overlay.flush().unwrap();
    for (sector, bytes) in content(&overlay).chunks(512).enumerate() {
        let wanted = match sector {
            21 => 2,
            30 | 31 => 0,
            20..40 => 1,
            _ => 0,
        };
        assert_eq!(version_of(sector as u64, bytes), wanted);
    }
    assert!(scratch.stored_bytes() <= 8192);
    assert!(storage.to_bytes() == before);
}
