//! VHD images: any file, opened, checked, read and written.
//!
//! The file is taken twice: as it is, and with its checksums put right, since a fuzzer does not guess those.

use host_sim::disk::vhd::{FOOTER_SIZE, HEADER_SIZE, VhdDisk};
use host_sim::disk::{DiskImage, MemoryStorage, check};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Bytes of memory that writing to a few blocks may take: bitmaps of large blocks, for the most part.
const GROWTH: u64 = 4 << 20;

pub(crate) fn run(bytes: &[u8]) {
    exercise(bytes);
    let repaired = with_checksums(bytes);
    if repaired != bytes {
        exercise(&repaired);
    }
}

fn exercise(bytes: &[u8]) {
    let report = check::check(&MemoryStorage::from_bytes(bytes)).expect("memory does not fail");
    assert!(!report.to_string().is_empty());
    let read_only = VhdDisk::open(MemoryStorage::from_bytes(bytes), true);
    let disk = VhdDisk::open(MemoryStorage::from_bytes(bytes), false);
    assert_eq!(read_only.is_ok(), disk.is_ok());
    // Opening may refuse more than the checker finds, but what it takes has no fatal damage.
    assert!(report.is_usable() || disk.is_err(), "{report}");
    let (Ok(read_only), Ok(disk)) = (read_only, disk) else {
        return;
    };
    let stored = disk.storage().stored_bytes();
    let places = places(bytes, disk.info().size);
    let mut sector = [0; SECTOR];
    for place in places {
        let same = disk.read_bytes(place, &mut sector);
        assert_eq!(same, read_only.read_bytes(place, &mut sector));
    }
    assert!(read_only.write_bytes(0, &sector).is_err());
    let _ = read_only.flush();
    assert!(
        read_only.storage().to_bytes() == bytes,
        "read-only, yet changed"
    );

    // What is written is there at once, and everything else as before.
    let mut written = std::collections::BTreeMap::new();
    for (index, place) in places.into_iter().enumerate() {
        let content = [index as u8 + 1; SECTOR];
        if disk.write_bytes(place, &content).is_ok() {
            written.insert(place, content);
        }
        // Neighbours, which may be in the same block or in another.
        for other in [place.saturating_sub(SECTOR as u64), place] {
            check_sector(&disk, &read_only, &written, other);
        }
    }
    let flushed = disk.flush().is_ok();
    assert!(disk.storage().stored_bytes() <= stored + GROWTH);
    let next = disk.next_data(0).expect("memory does not fail");
    assert!(next.is_none_or(|data| data.start < data.end && data.end <= disk.info().size));
    if !flushed {
        return;
    }
    // And it is there after the next opening, in a file that is sound.
    let storage = disk.into_storage();
    let report = check::check(&storage).expect("memory does not fail");
    assert!(report.is_clean(), "{report}");
    let disk = VhdDisk::open(storage, true).expect("it was open a moment ago");
    for place in places {
        check_sector(&disk, &read_only, &written, place);
    }
}

fn check_sector(
    disk: &impl DiskImage,
    original: &impl DiskImage,
    written: &std::collections::BTreeMap<u64, [u8; SECTOR]>,
    place: u64,
) {
    let (mut now, mut expected) = ([0; SECTOR], [0; SECTOR]);
    match written.get(&place) {
        Some(content) => expected = *content,
        None => {
            if original.read_bytes(place, &mut expected).is_err() {
                return;
            }
        }
    }
    disk.read_bytes(place, &mut now)
        .expect("memory does not fail");
    assert!(now == expected, "sector at {place:#x}");
}

/// Where to read and write: the ends, the middle and wherever the file itself says.
fn places(bytes: &[u8], size: u64) -> [u64; 5] {
    let sectors = size / SECTOR as u64;
    let seed = bytes
        .iter()
        .rev()
        .take(8)
        .fold(0, |sum: u64, byte| sum.rotate_left(8) ^ u64::from(*byte));
    [
        0,
        sectors - 1,
        sectors / 2,
        seed % sectors,
        seed.rotate_left(32) % sectors,
    ]
    .map(|sector| sector * SECTOR as u64)
}

/// The file with the checksums of whatever is in the places of footers and header.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut data_offset = None;
    let last = match file.len() % SECTOR {
        0 => file.len().checked_sub(FOOTER_SIZE),
        511 => Some(file.len() - 511),
        _ => None,
    };
    for at in [Some(0), last].into_iter().flatten() {
        if put_checksum(&mut file, at, FOOTER_SIZE, 64) {
            let field = file.get(at + 16..at + 24);
            let field = field.and_then(|field| <[u8; 8]>::try_from(field).ok());
            data_offset = field.map(u64::from_be_bytes).or(data_offset);
        }
    }
    if let Some(at) = data_offset.and_then(|at| usize::try_from(at).ok()) {
        put_checksum(&mut file, at, HEADER_SIZE, 36);
    }
    file
}

/// Puts the checksum of `length` bytes at `start` into the four of them at `field`.
fn put_checksum(file: &mut [u8], start: usize, length: usize, field: usize) -> bool {
    let end = start.saturating_add(length).min(file.len());
    let Some(part) = file.get_mut(start..end) else {
        return false;
    };
    let Some(checksum) = part.get_mut(field..field + 4) else {
        return false;
    };
    checksum.fill(0);
    let sum: u32 = part.iter().map(|byte| u32::from(*byte)).sum();
    part[field..field + 4].copy_from_slice(&(!sum).to_be_bytes());
    true
}
