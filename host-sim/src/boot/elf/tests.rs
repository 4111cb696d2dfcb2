//! The ELF loader against images made by hand and against any bytes.

use proptest::prelude::*;

use super::*;
use crate::memory::PAGE_SIZE;

/// An image in the making: one header, program headers, then contents.
#[derive(Clone)]
struct Builder {
    kind: u16,
    machine: u16,
    entry: u64,
    headers: Vec<[u64; 7]>,
    contents: Vec<u8>,
}

const CONTENTS: u64 = 0x400;

fn good() -> Builder {
    let mut contents = b"code....".to_vec();
    contents.extend(note(b"Other\0\0\0", 6, b"skip"));
    contents.extend(note(b"Viridian\0\0\0\0", 9, b"guest 1.2.3\0"));
    let notes = contents.len() as u64 - 8;
    Builder {
        kind: TYPE_EXECUTABLE,
        machine: MACHINE_X86_64,
        entry: 0x20_0000,
        headers: vec![
            load(0x20_0000, 8, 0x2000),
            load(0x20_2000, 0, 0),
            [u64::from(SEGMENT_NOTE), CONTENTS + 8, 0, 0, notes, notes, 4],
        ],
        contents,
    }
}

fn load(address: u64, file_size: u64, memory_size: u64) -> [u64; 7] {
    let kind = u64::from(SEGMENT_LOAD) | u64::from(FLAG_EXECUTE) << 32;
    [kind, CONTENTS, address, address, file_size, memory_size, 1]
}

fn note(padded_name: &[u8], name_length: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [name_length, descriptor.len() as u32, NOTE_TYPE] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(padded_name);
    bytes.extend(descriptor);
    bytes
}

impl Builder {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x7FELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(self.entry.to_le_bytes());
        bytes.extend(64_u64.to_le_bytes());
        bytes.resize(54, 0);
        bytes.extend((PROGRAM_HEADER_BYTES as u16).to_le_bytes());
        bytes.extend((self.headers.len() as u16).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for header in &self.headers {
            for field in header {
                bytes.extend(field.to_le_bytes());
            }
        }
        bytes.resize(CONTENTS as usize, 0);
        bytes.extend(&self.contents);
        bytes
    }

    fn error(&self) -> ElfError {
        parse(&self.bytes()).unwrap_err()
    }
}

#[test]
fn a_good_image_is_understood() {
    let bytes = good().bytes();
    let image = parse(&bytes).unwrap();
    assert_eq!(image.entry, 0x20_0000);
    assert_eq!(image.segments.len(), 1);
    assert_eq!(image.segments[0].data, b"code....");
    assert_eq!(image.end(), 0x20_2000);
    assert_eq!(image.program.unwrap().to_string(), "guest 1.2.3");
}

#[test]
fn loading_writes_data_and_zeroes() {
    let bytes = good().bytes();
    let image = parse(&bytes).unwrap();
    let memory = GuestMemory::new(0x20_2000).unwrap();
    memory.write(0x20_0000, &[0xFF; 0x2000]).unwrap();
    image.load(&memory, 0x10_0000).unwrap();
    let mut loaded = vec![0; 0x2000];
    memory.read(0x20_0000, &mut loaded).unwrap();
    assert_eq!(&loaded[..8], b"code....");
    assert!(loaded[8..].iter().all(|&byte| byte == 0));
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_anything_is_written() {
    let bytes = good().bytes();
    let image = parse(&bytes).unwrap();
    let memory = GuestMemory::new(0x20_2000 - PAGE_SIZE).unwrap();
    assert_eq!(
        image.load(&memory, 0),
        Err(ElfError::OutsideRam {
            end: 0x20_2000,
            ram: 0x20_1000
        })
    );
    let mut start = [1; 8];
    memory.read(0x20_0000, &mut start).unwrap();
    assert_eq!(start, [0; 8]);
    assert_eq!(
        image.load(&memory, 0x20_0001),
        Err(ElfError::TooLow {
            address: 0x20_0000,
            lowest: 0x20_0001
        })
    );
}

#[test]
fn each_wrong_field_has_its_own_error() {
    assert_eq!(parse(b"#!/bin/sh"), Err(ElfError::NotElf));
    assert_eq!(parse(b""), Err(ElfError::NotElf));
    let patched = |at: usize, value: u8| {
        let mut bytes = good().bytes();
        bytes[at] = value;
        parse(&bytes).unwrap_err()
    };
    assert_eq!(patched(4, 1), ElfError::Class(1));
    assert_eq!(patched(5, 2), ElfError::Encoding(2));
    assert_eq!(patched(6, 0), ElfError::Version(0));
    assert_eq!(patched(16, 3), ElfError::Type(3));
    assert_eq!(patched(18, 183), ElfError::Machine(183));
    assert!(matches!(
        patched(54, 55),
        ElfError::ProgramHeaders { size: 55, .. }
    ));

    let mut image = good();
    image.headers.clear();
    assert_eq!(image.error(), ElfError::NothingToLoad);
    let mut image = good();
    image.entry = 0x20_2000;
    assert_eq!(image.error(), ElfError::Entry(0x20_2000));
    let mut image = good();
    image.headers[0][0] = u64::from(SEGMENT_LOAD);
    assert_eq!(image.error(), ElfError::Entry(0x20_0000));
    let mut image = good();
    image.headers[0] = load(0x20_0000, 9, 8);
    assert_eq!(image.error(), ElfError::SegmentSize { index: 0 });
    let mut image = good();
    image.headers[1] = load(u64::MAX - 5, 0, 7);
    assert_eq!(image.error(), ElfError::SegmentSize { index: 1 });
    let mut image = good();
    image.headers[1] = load(0x20_1FFF, 0, 1);
    assert_eq!(
        image.error(),
        ElfError::Overlap {
            first: 0x20_0000,
            second: 0x20_1FFF
        }
    );
}

#[test]
fn an_image_cut_anywhere_is_truncated() {
    let bytes = good().bytes();
    for length in 4..bytes.len() {
        let error = parse(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, ElfError::Truncated { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_malformed_note_is_no_note() {
    let mut image = good();
    // The first note's name length covers everything that follows.
    image.contents[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(parse(&image.bytes()).unwrap().program, None);
    let mut image = good();
    let text = image.contents.len() - 12;
    image.contents[text] = 0xFF;
    assert_eq!(parse(&image.bytes()).unwrap().program, None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_damage_is_survived(
        damage in proptest::collection::vec((0_usize..0x460, any::<u8>()), 1..12),
    ) {
        let mut bytes = good().bytes();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(image) = parse(&bytes) {
            prop_assert!(!image.segments.is_empty());
            prop_assert!(image.segments.windows(2).all(|pair| pair[0].range().end <= pair[1].address));
            let memory = GuestMemory::new(0x30_0000).unwrap();
            let _ = image.load(&memory, 0x10_0000);
        }
    }
}
