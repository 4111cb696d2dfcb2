//! Files: executables and disk images.

use host_sim::disk::vhd::{self, CreateOptions, Kind, VhdDisk};
use host_sim::disk::{DiskImage, MemoryStorage};

use super::writer::Writer;
use crate::elf::LOWEST;

/// Bytes of the ELF header and of a program header.
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
/// Segment types and flag.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const EXECUTABLE: u32 = 1;

pub(super) fn elf() -> Vec<(String, Vec<u8>)> {
    vec![
        ("one-segment".into(), executable(1, false)),
        ("three-segments".into(), executable(3, false)),
        ("with-note".into(), executable(2, true)),
    ]
}

/// An image of as many segments of a page and a half, code in the first.
fn executable(segments: u64, with_note: bool) -> Vec<u8> {
    let note = note();
    let headers = segments + u64::from(with_note);
    let contents = HEADER + headers * PROGRAM_HEADER;
    let address = |index: u64| LOWEST + 0x2000 * index;
    let mut file = Writer::new();
    file.put(b"\x7FELF\x02\x01\x01").put(&[0; 9]);
    // Executable, x86-64, version 1.
    file.u16(2).u16(62).u32(1);
    file.u64(address(0) + 4).u64(HEADER).u64(0);
    file.u32(0)
        .u16(HEADER as u16)
        .u16(PROGRAM_HEADER as u16)
        .u16(headers as u16);
    file.put(&[0; 6]);
    for index in 0..segments {
        let flags = if index == 0 { EXECUTABLE } else { 0 };
        file.u32(LOAD).u32(flags).u64(contents + 16 * index);
        file.u64(address(index))
            .u64(address(index))
            .u64(16)
            .u64(0x1800)
            .u64(0x1000);
    }
    if with_note {
        let size = note.len() as u64;
        file.u32(NOTE).u32(0).u64(contents + 16 * segments);
        file.u64(0).u64(0).u64(size).u64(size).u64(4);
    }
    for index in 0..segments {
        file.put(&[0x90 + index as u8; 16]);
    }
    if with_note {
        file.put(&note);
    }
    file.finish()
}

/// Another program's note, then ours.
fn note() -> Vec<u8> {
    let mut notes = Writer::new();
    notes.u32(4).u32(4).u32(1).put(b"GNU\0none");
    notes
        .u32(9)
        .u32(12)
        .u32(1)
        .put(b"Viridian\0\0\0\0guest 1.2.3\0");
    notes.finish()
}

pub(super) fn vhd() -> Vec<(String, Vec<u8>)> {
    let fixed = image(4096, Kind::Fixed, &[0, 3584]);
    let dynamic = image(64 << 10, Kind::Dynamic { block_size: 4096 }, &[0, 40 << 10]);
    let large_blocks = image(
        1 << 40,
        Kind::Dynamic {
            block_size: 256 << 20,
        },
        &[],
    );
    let empty = image(32 << 10, Kind::Dynamic { block_size: 8192 }, &[]);
    let cut = dynamic[..dynamic.len() - 512].to_vec();
    let short_footer = dynamic[..dynamic.len() - 1].to_vec();
    let mut lost_copy = dynamic.clone();
    lost_copy[..512].fill(0);
    let mut locator = empty.clone();
    // The first parent locator of the header, beyond the file; the target puts the checksum right.
    let entry = 512 + 576;
    locator[entry..entry + 4].copy_from_slice(b"W2ku");
    locator[entry + 8..entry + 12].copy_from_slice(&16_u32.to_be_bytes());
    locator[entry + 16..entry + 24].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    let mut overlapping = dynamic.clone();
    // The second entry of the table, at the place of the first.
    let table = 512 + 1024;
    overlapping.copy_within(table..table + 4, table + 4);
    vec![
        ("fixed".into(), fixed),
        ("dynamic".into(), dynamic),
        ("dynamic-empty".into(), empty),
        ("dynamic-large-blocks".into(), large_blocks),
        ("dynamic-without-footer".into(), cut),
        ("dynamic-511-byte-footer".into(), short_footer),
        ("dynamic-without-copy".into(), lost_copy),
        ("dynamic-overlapping-blocks".into(), overlapping),
        ("dynamic-with-locator".into(), locator),
    ]
}

/// An image with a few sectors written.
fn image(size: u64, kind: Kind, written: &[u64]) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let options = CreateOptions {
        size,
        kind,
        unique_id: *b"fuzzing with VHD",
        timestamp: 1 << 29,
    };
    vhd::create(&storage, &options).expect("sound options");
    let disk = VhdDisk::open(storage, false).expect("it was made a moment ago");
    for offset in written {
        disk.write_bytes(*offset, &[0xD1; 512])
            .expect("on the disk");
    }
    disk.into_storage().to_bytes()
}
