//! The VHD format: known answers, and refusal of what is malformed.

mod disk_support;

use disk_support::*;
use host_sim::disk::check::{Severity, check};
use host_sim::disk::vhd::{
    DiskType, DynamicHeader, Footer, Geometry, Kind, VhdDisk, VhdError, parse_for_fuzzing,
};
use host_sim::disk::{DiskImage, ImageFormat, MemoryStorage, Storage};

const MIB: u64 = 1 << 20;

/// Offsets in a dynamic VHD as we make it.
const HEADER: u64 = 512;
const TABLE: u64 = 1536;

/// A dynamic disk of 16 small blocks, of which 9, 2 and 5 are stored in this order.
fn sample() -> MemoryStorage {
    let disk = open_vhd(new_vhd(16 * 4096, SMALL_BLOCK));
    for block in [9u64, 2, 5] {
        for sector in block * 8..block * 8 + 8 {
            disk.write_bytes(sector * SECTOR, &stamped(sector, 1))
                .unwrap();
        }
    }
    disk.flush().unwrap();
    disk.into_storage()
}

fn refusal(storage: MemoryStorage) -> VhdError {
    let before = storage.to_bytes();
    let report = check(&storage).unwrap();
    let read_only = VhdDisk::open(storage.snapshot(), true).unwrap_err();
    let again = storage.snapshot();
    again.set_fault(Some(Box::new(|_| panic!("a refused image was changed"))));
    let error = VhdDisk::open(again, false).unwrap_err();
    assert_eq!(error, read_only);
    assert!(!report.is_usable(), "{report}");
    assert!(storage.to_bytes() == before);
    error
}

fn refused_field(storage: MemoryStorage) -> (&'static str, u64) {
    match refusal(storage) {
        VhdError::Malformed { field, offset, .. } => (field, offset),
        other => panic!("{other}"),
    }
}

#[test]
fn known_footer() {
    let mut bytes = [0; 512];
    bytes[..8].copy_from_slice(b"conectix");
    bytes[11] = 2;
    bytes[13] = 1;
    bytes[16..24].fill(0xFF);
    bytes[24] = 0x2C;
    bytes[28..32].copy_from_slice(b"test");
    bytes[33] = 1;
    bytes[36..40].copy_from_slice(b"Wi2k");
    bytes[45] = 0x10;
    bytes[53] = 0x10;
    bytes[56..60].copy_from_slice(&[0, 30, 4, 17]);
    bytes[63] = 2;
    bytes[64..68].copy_from_slice(&0xFFFF_F090u32.to_be_bytes());
    for (index, byte) in bytes[68..84].iter_mut().enumerate() {
        *byte = index as u8;
    }
    let footer = Footer::parse(&bytes).unwrap();
    assert_eq!(footer.disk_type, DiskType::Fixed);
    assert_eq!(footer.current_size, MIB);
    assert_eq!(footer.geometry, Geometry::for_sectors(2048));
    assert_eq!(footer.timestamp, 0x2C00_0000);
    assert_eq!(footer.to_bytes(), bytes);
}

#[test]
fn known_dynamic_header() {
    let header = DynamicHeader {
        table_offset: 0x600,
        table_entries: 512,
        block_size: 0x20_0000,
        locators: Vec::new(),
    };
    let bytes = header.to_bytes();
    assert_eq!(bytes[36..40], 0xFFFF_F475u32.to_be_bytes());
    assert_eq!(DynamicHeader::parse(&bytes).unwrap(), header);
    assert_eq!(header.bitmap_bytes(), 512);
    assert_eq!(header.table_bytes(), 2048);
}

#[test]
fn new_files_are_laid_out_as_the_format_says() {
    let storage = new_vhd(3 * MIB, Kind::Fixed);
    assert_eq!(storage.size().unwrap(), 3 * MIB + 512);
    let disk = open_vhd(storage);
    assert_eq!(disk.info().size, 3 * MIB);
    assert_eq!(disk.info().identity, *b"0123456789abcdef");
    assert_eq!(disk.info().format, ImageFormat::VhdFixed);
    assert_eq!(disk.footer().data_offset, u64::MAX);
    assert!(![*b"vpc ", *b"qemu"].contains(&disk.footer().creator_application));

    let storage = new_vhd(
        5 * MIB,
        Kind::Dynamic {
            block_size: 2 << 20,
        },
    );
    let bytes = storage.to_bytes();
    assert_eq!(bytes.len(), 512 + 1024 + 512 + 512);
    assert_eq!(bytes[..512], bytes[2048..]);
    assert_eq!(&bytes[512..520], b"cxsparse");
    assert_eq!(bytes[512 + 28..512 + 32], 3u32.to_be_bytes());
    assert!(bytes[1536..2048].iter().all(|byte| *byte == 0xFF));
    let disk = open_vhd(storage);
    assert_eq!(disk.allocation(), Some((0, 3)));
    disk.write_bytes(4 * MIB, &stamped(8192, 1)).unwrap();
    let bytes = disk.into_storage().to_bytes();
    // Bitmap in the old footer's place, all ones; data behind; footer at the new end.
    assert_eq!(bytes.len() as u64, 2048 + 512 + 2 * MIB + 512);
    assert_eq!(bytes[1536 + 8..1536 + 12], 4u32.to_be_bytes());
    assert!(bytes[2048..2560].iter().all(|byte| *byte == 0xFF));
    assert_eq!(bytes[2560..3072], stamped(8192, 1));
    assert!(bytes[3072..bytes.len() - 512].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[..512], bytes[bytes.len() - 512..]);
}

#[test]
fn impossible_disks_are_not_made() {
    for (size, kind) in [
        (0, Kind::Fixed),
        (511, Kind::Fixed),
        ((2040 << 30) + 512, Kind::Fixed),
        (MIB, Kind::Dynamic { block_size: 0 }),
        (MIB, Kind::Dynamic { block_size: 2048 }),
        (MIB, Kind::Dynamic { block_size: 12_288 }),
        (
            MIB,
            Kind::Dynamic {
                block_size: 512 << 20,
            },
        ),
        (2040 << 30, Kind::Dynamic { block_size: 4096 }),
    ] {
        let storage = MemoryStorage::new();
        let error = host_sim::disk::vhd::create(&storage, &fixed_options(size, kind)).unwrap_err();
        assert!(matches!(error, VhdError::BadRequest(_)), "{error}");
        assert_eq!(storage.size().unwrap(), 0);
    }
}

/// Patches a field in both footers, with right checksums.
fn with_footers(at: u64, bytes: &[u8]) -> MemoryStorage {
    let storage = sample();
    for footer in [0, storage.size().unwrap() - 512] {
        patch(&storage, footer + at, bytes);
        fix_checksum(&storage, footer, 512, 64);
    }
    storage
}

fn with_header(at: u64, bytes: &[u8]) -> MemoryStorage {
    let storage = sample();
    patch(&storage, HEADER + at, bytes);
    fix_checksum(&storage, HEADER, 1024, 36);
    storage
}

#[test]
fn malformed_footers_are_refused_by_field() {
    let end = sample().size().unwrap() - 512;
    assert_eq!(
        refused_field(with_footers(12, &[0, 2])),
        ("footer version", end + 12)
    );
    for disk_type in [0u32, 1, 5, 6, 7] {
        assert_eq!(
            refused_field(with_footers(60, &disk_type.to_be_bytes())),
            ("disk type", end + 60)
        );
    }
    for size in [0u64, 513, (2040 << 30) + 512, u64::MAX - 511] {
        assert_eq!(
            refused_field(with_footers(48, &size.to_be_bytes())),
            ("current size", end + 48)
        );
    }
    for offset in [0u64, 256, 513] {
        assert_eq!(
            refused_field(with_footers(16, &offset.to_be_bytes())),
            ("data offset", end + 16)
        );
    }
    for offset in [1 << 40, u64::MAX - 511] {
        assert!(matches!(
            refusal(with_footers(16, &u64::to_be_bytes(offset))),
            VhdError::Truncated {
                what: "dynamic header",
                ..
            }
        ));
    }
    // A size beyond what the table holds.
    assert_eq!(
        refused_field(with_footers(48, &(17 * 4096u64).to_be_bytes())),
        ("table entries", HEADER + 28)
    );
}

#[test]
fn differencing_disks_are_refused_as_unsupported() {
    let error = refusal(with_footers(60, &4u32.to_be_bytes()));
    assert!(matches!(&error, VhdError::Unsupported(what) if what.contains("differencing")));
}

#[test]
fn fixed_disks_must_fill_their_file() {
    let bytes = new_vhd(MIB, Kind::Fixed).to_bytes();
    let footer = bytes[bytes.len() - 512..].to_vec();
    for length in [MIB as usize - 512, MIB as usize + 512] {
        let mut wrong = vec![0; length];
        wrong.extend_from_slice(&footer);
        assert_eq!(
            refused_field(MemoryStorage::from_bytes(&wrong)),
            ("current size", length as u64 + 48)
        );
    }
    // The oldest writers left off the footer's last byte.
    let disk = open_vhd(MemoryStorage::from_bytes(&bytes[..bytes.len() - 1]));
    assert_eq!(disk.info().size, MIB);
}

#[test]
fn malformed_headers_are_refused_by_field() {
    let storage = sample();
    patch(&storage, HEADER, b"X");
    assert_eq!(refused_field(storage), ("dynamic header cookie", HEADER));
    assert_eq!(
        refused_field(with_header(24, &[0, 2])),
        ("dynamic header version", HEADER + 24)
    );
    for size in [0u32, 2048, 4097, 12_288, 512 << 20, u32::MAX] {
        assert_eq!(
            refused_field(with_header(32, &size.to_be_bytes())),
            ("block size", HEADER + 32)
        );
    }
    assert_eq!(
        refused_field(with_header(16, &1537u64.to_be_bytes())),
        ("table offset", HEADER + 16)
    );
    assert_eq!(
        refused_field(with_header(28, &15u32.to_be_bytes())),
        ("table entries", HEADER + 28)
    );
    for (at, bytes) in [
        (16, (1u64 << 40).to_be_bytes().to_vec()),
        (16, (u64::MAX - 511).to_be_bytes().to_vec()),
        (28, u32::MAX.to_be_bytes().to_vec()),
    ] {
        assert!(matches!(
            refusal(with_header(at, &bytes)),
            VhdError::Truncated {
                what: "block allocation table",
                ..
            }
        ));
    }
    // The table on the header, on the footer copy.
    assert_eq!(
        refused_field(with_header(16, &1024u64.to_be_bytes())).0,
        "block allocation table"
    );
    assert_eq!(refused_field(with_header(16, &[0; 8])).0, "footer copy");
}

#[test]
fn malformed_parent_locators_are_refused() {
    let locator = |length: u32, offset: u64| {
        let mut bytes = b"W2ku\0\0\0\x01".to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&offset.to_be_bytes());
        with_header(576 + 24, &bytes)
    };
    // The checker looks at what affects the data only.
    let refused = |storage| VhdDisk::open(storage, false).unwrap_err();
    assert!(matches!(
        refused(locator(65_537, 0)),
        VhdError::Malformed {
            field: "parent locator data length",
            offset: 1120,
            ..
        }
    ));
    assert!(matches!(
        refused(locator(1024, u64::MAX - 5)),
        VhdError::Truncated { .. }
    ));
    assert!(matches!(
        refused(locator(16, HEADER)),
        VhdError::Malformed { .. }
    ));
}

#[test]
fn bad_table_entries_are_refused() {
    let entry = |block: u64, sector: u32| {
        let storage = sample();
        patch(&storage, TABLE + block * 4, &sector.to_be_bytes());
        refused_field(storage)
    };
    let sample = sample();
    let mut place = [0; 4];
    sample.read_bytes(TABLE + 9 * 4, &mut place).unwrap();
    let first = u32::from_be_bytes(place);
    assert_eq!(first, 4);
    let end = (sample.size().unwrap() / 512) as u32;
    for sector in [
        0,
        1,
        2,
        3,
        // Into the first block, on the last, into the footer, behind it.
        first + 1,
        first + 8,
        first + 9,
        first + 26,
        end - 9,
        end - 1,
        end,
        u32::MAX - 1,
    ] {
        let (field, offset) = entry(0, sector);
        assert_eq!(field, "block allocation table entry");
        // Of two blocks that overlap, either may be named.
        assert!([TABLE, TABLE + 4 * 2, TABLE + 4 * 5, TABLE + 4 * 9].contains(&offset));
    }
}

/// I5: a flipped byte anywhere in the metadata is refused, or repaired, or changes nothing.
#[test]
fn every_flipped_byte_of_metadata_is_survived() {
    let good = sample();
    let wanted = content(&open_vhd(good.snapshot()));
    let size = good.size().unwrap();
    let table_end = TABLE + 512;
    for offset in (0..table_end).chain(size - 512..size) {
        for flip in [0x01, 0x80, 0xFF] {
            let storage = good.snapshot();
            let mut byte = [0];
            storage.read_bytes(offset, &mut byte).unwrap();
            patch(&storage, offset, &[byte[0] ^ flip]);
            let damaged = storage.to_bytes();
            let report = check(&storage).unwrap();
            match VhdDisk::open(storage.snapshot(), true) {
                Ok(disk) => {
                    assert!(content(&disk) == wanted, "{offset:#x}");
                    assert!(disk.into_storage().to_bytes() == damaged);
                    let disk = open_vhd(storage);
                    assert!(content(&disk) == wanted, "{offset:#x}");
                    let mended = disk.into_storage();
                    assert!(check(&mended).unwrap().is_clean());
                    if !(TABLE..table_end).contains(&offset) {
                        assert!(mended.to_bytes() == good.to_bytes(), "{offset:#x}");
                    }
                    assert!(report.is_usable(), "{report}");
                }
                Err(_) => {
                    assert!(!report.is_usable(), "{report}");
                    VhdDisk::open(storage, false).unwrap_err();
                }
            }
        }
    }
}

/// I6: a file cut anywhere is refused, or repaired with all its content.
#[test]
fn every_truncation_is_survived() {
    let good = sample().to_bytes();
    let wanted = content(&open_vhd(sample()));
    let mut repaired = 0;
    for length in (0..good.len()).filter(|length| length % 512 < 2 || length % 512 > 509) {
        let storage = MemoryStorage::from_bytes(&good[..length]);
        let usable = check(&storage).unwrap().is_usable();
        let read_only = VhdDisk::open(storage.snapshot(), true);
        match VhdDisk::open(storage, false) {
            Ok(disk) => {
                repaired += 1;
                assert!(content(&disk) == wanted, "{length}");
                assert!(content(&read_only.unwrap()) == wanted, "{length}");
                assert!(usable);
                // A footer without its last byte is taken as it is.
                let mended = disk.into_storage().to_bytes();
                assert!(mended == good || mended == good[..good.len() - 1]);
            }
            Err(_) => assert!(read_only.is_err() && !usable, "{length}"),
        }
    }
    // Only the footer may be missing.
    assert!((2..=4).contains(&repaired), "{repaired}");
    let fixed = new_vhd(64 << 10, Kind::Fixed).to_bytes();
    for length in 0..fixed.len() - 1 {
        VhdDisk::open(MemoryStorage::from_bytes(&fixed[..length]), true).unwrap_err();
    }
}

#[test]
fn footers_of_different_disks_are_refused() {
    let storage = sample();
    patch(&storage, 68, b"other identity!!");
    fix_checksum(&storage, 0, 512, 64);
    assert_eq!(refused_field(storage), ("footer copy", 0));
    // Differences that don't matter are taken.
    let storage = sample();
    patch(&storage, 28, b"abcd");
    fix_checksum(&storage, 0, 512, 64);
    open_vhd(storage);
}

#[test]
fn the_checker_lists_all_damage() {
    let storage = sample();
    for (block, sector) in [(0u64, 0u32), (1, 1 << 30), (3, 13)] {
        patch(&storage, TABLE + block * 4, &sector.to_be_bytes());
    }
    patch(&storage, 3, b"!");
    let report = check(&storage).unwrap();
    assert_eq!(report.problems.len(), 4, "{report}");
    assert_eq!(report.problems[0].0, Severity::Repairable);
    assert!(!report.is_usable());
    let report = check(&sample()).unwrap();
    assert!(report.is_clean());
    assert_eq!(
        report.to_string(),
        "dynamic VHD of 65536 bytes in a file of 16384: 3 of 16 blocks stored, 0 bytes leaked, no \
         problems"
    );
}

#[test]
fn any_bytes_are_parsed_without_panic() {
    let good = sample().to_bytes();
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    parse_for_fuzzing(&[]);
    parse_for_fuzzing(&good);
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..next() % 4 + 1 {
            let at = (next() % 2048) as usize;
            bytes[at] = next() as u8;
        }
        // Right checksums let the damage reach deeper.
        let storage = MemoryStorage::from_bytes(&bytes);
        fix_checksum(&storage, HEADER, 1024, 36);
        fix_checksum(&storage, 0, 512, 64);
        let mut bytes = storage.to_bytes();
        let end = bytes.len();
        bytes.copy_within(0..512, end - 512);
        bytes.truncate(end - (next() % 3) as usize * 512);
        parse_for_fuzzing(&bytes);
    }
}
