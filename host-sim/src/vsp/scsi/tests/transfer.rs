//! READ, WRITE, VERIFY, SYNCHRONIZE CACHE.

use super::*;

const BLOCK: usize = 512;
const BLOCKS: u64 = 2048;

/// The command in one of its forms: 6, 10, 12 or 16 bytes.
fn transfer(form: u8, operation: Kind, lba: u64, blocks: u32, flags: u8) -> Vec<u8> {
    let opcode = match (operation, form) {
        (Kind::Read, 6) => 0x08,
        (Kind::Read, 10) => 0x28,
        (Kind::Read, 12) => 0xA8,
        (Kind::Read, _) => 0x88,
        (Kind::Write, 6) => 0x0A,
        (Kind::Write, 10) => 0x2A,
        (Kind::Write, 12) => 0xAA,
        (Kind::Write, _) => 0x8A,
        (Kind::WriteVerify, 10) => 0x2E,
        (Kind::WriteVerify, 12) => 0xAE,
        (Kind::WriteVerify, _) => 0x8E,
        (Kind::Verify, 10) => 0x2F,
        (Kind::Verify, 12) => 0xAF,
        (Kind::Verify, _) => 0x8F,
    };
    let l = lba.to_be_bytes();
    let b = blocks.to_be_bytes();
    match form {
        6 => vec![opcode, l[5] & 0x1F, l[6], l[7], b[3], 0],
        10 => vec![opcode, flags, l[4], l[5], l[6], l[7], 0, b[2], b[3], 0],
        12 => vec![
            opcode, flags, l[4], l[5], l[6], l[7], b[0], b[1], b[2], b[3], 0, 0,
        ],
        _ => [&[opcode, flags], l.as_slice(), &b, &[0, 0]].concat(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteVerify,
    Verify,
}

fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK)
        .map(|at| (at / 7) as u8 ^ (at as u8).wrapping_mul(seed))
        .collect()
}

/// H23: all forms at the ends of the disk.
#[test]
fn transfers_at_the_ends_of_the_disk() {
    let unit = unit(info());
    for form in [6, 10, 12, 16] {
        for (seed, lba) in [(1, 0), (2, 1), (3, BLOCKS - 2)] {
            let bytes = pattern(seed + form, 2);
            let command = transfer(form, Kind::Write, lba, 2, 0);
            assert_eq!(
                write(&unit, &command, &bytes),
                Outcome::Good { transferred: 1024 }
            );
            let command = transfer(form, Kind::Read, lba, 2, 0);
            assert_eq!(read(&unit, &command, 1024).unwrap(), bytes);
            // A larger buffer gets what was asked for, and stays as it is beyond.
            assert_eq!(read(&unit, &command, 5000).unwrap(), bytes);
            // A smaller one is refused.
            assert_eq!(
                triple(read(&unit, &command, 1023).unwrap_err()),
                (5, 0x24, 0)
            );
        }
        for (lba, blocks) in [
            (BLOCKS, 1),
            (BLOCKS - 1, 2),
            (BLOCKS + 1, 1),
            (0x1F_FFFF, 1),
        ] {
            let command = transfer(form, Kind::Read, lba, blocks, 0);
            assert_eq!(
                triple(read(&unit, &command, 1024).unwrap_err()),
                (5, 0x21, 0)
            );
            let command = transfer(form, Kind::Write, lba, blocks, 0);
            let bytes = vec![0; blocks as usize * BLOCK];
            assert_eq!(triple(write(&unit, &command, &bytes)), (5, 0x21, 0));
        }
    }
    // No wrap at the end of the numbers.
    for (lba, blocks) in [
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (u64::MAX - 1, 2),
        (1 << 55, 1),
        (BLOCKS - 1, u32::MAX),
    ] {
        let command = transfer(16, Kind::Read, lba, blocks, 0);
        assert_eq!(
            triple(read(&unit, &command, 1024).unwrap_err()),
            (5, 0x21, 0)
        );
    }
    // No blocks at all: fine up to the end, except in six bytes, where 0 means 256.
    for form in [10, 12, 16] {
        for lba in [0, BLOCKS - 1, BLOCKS] {
            for kind in [Kind::Read, Kind::Write] {
                assert_eq!(run(&unit, &transfer(form, kind, lba, 0, 0)), Outcome::DONE);
            }
        }
        let beyond = transfer(form, Kind::Read, BLOCKS + 1, 0, 0);
        assert_eq!(triple(run(&unit, &beyond)), (5, 0x21, 0));
    }
    let whole = read(&unit, &transfer(6, Kind::Read, 0, 0, 0), 256 * BLOCK).unwrap();
    assert_eq!(whole.len(), 256 * BLOCK);
}

#[test]
fn flags_without_meaning_are_refused() {
    let unit = unit(info());
    for (form, flags) in [(10, 1), (12, 1), (10, 0x20), (12, 0x80), (16, 0xE0)] {
        for kind in [Kind::Read, Kind::Write] {
            let command = transfer(form, kind, 0, 1, flags);
            let outcome = if kind == Kind::Read {
                read(&unit, &command, BLOCK).unwrap_err()
            } else {
                write(&unit, &command, &[0; BLOCK])
            };
            assert_eq!(triple(outcome), (5, 0x24, 0));
        }
    }
    // A hint is taken.
    assert!(read(&unit, &transfer(10, Kind::Read, 0, 1, 0x10), BLOCK).is_ok());
}

/// A buffer for the other direction is refused, and left alone.
#[test]
fn the_direction_has_to_fit() {
    let unit = unit(info());
    let mut buffer = vec![7; BLOCK];
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let read = cdb(&transfer(10, Kind::Read, 0, 1, 0));
    let write = cdb(&transfer(10, Kind::Write, 0, 1, 0));
    for (direction, may_read, may_write) in [
        (Some(DataDirection::FromDevice), true, false),
        (Some(DataDirection::ToDevice), false, true),
        (Some(DataDirection::None), true, true),
        (None, false, false),
    ] {
        let data = DataBuffer::new(&slices, direction);
        for (command, allowed) in [(&write, may_write), (&read, may_read)] {
            let outcome = unit.execute(command, &data);
            if allowed {
                assert!(outcome.is_good());
            } else {
                assert_eq!(triple(outcome), (5, 0x24, 0));
            }
        }
        // Without data the direction says nothing.
        assert_eq!(
            unit.execute(&[0; 16], &DataBuffer::new(&[], direction)),
            Outcome::DONE
        );
    }
}

#[test]
fn forced_writes_and_flushes_reach_the_image() {
    let disk = Arc::new(MemoryDisk::with_info(info()));
    let unit = unit_of(disk.clone());
    for form in [10, 12, 16] {
        let before = disk.forced_writes();
        write(&unit, &transfer(form, Kind::Write, 0, 1, 0), &[1; BLOCK]);
        assert_eq!(disk.forced_writes(), before);
        write(&unit, &transfer(form, Kind::Write, 0, 1, 0x08), &[1; BLOCK]);
        assert_eq!(disk.forced_writes(), before + 1);
    }
    let mut flushes = disk.flushes();
    for command in [
        vec![0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Any range, even one that does not exist, and IMMED, flush the whole disk.
        vec![0x35, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0],
        vec![0x91],
        vec![0x1B, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(run(&unit, &command), Outcome::DONE);
        flushes += 1;
        assert_eq!(disk.flushes(), flushes, "{command:x?}");
    }
    assert_eq!(run(&unit, &[0x1B, 1, 0, 0, 1, 0]), Outcome::DONE);
    assert_eq!(disk.flushes(), flushes);
}

/// H25: WRITE AND VERIFY writes, durably, and compares.
#[test]
fn write_and_verify_really_writes() {
    let disk = Arc::new(MemoryDisk::with_info(info()));
    let unit = unit_of(disk.clone());
    for (round, form) in [10, 12, 16].into_iter().enumerate() {
        for check in [0, 2] {
            let bytes = pattern(form + check, 3);
            let command = transfer(form, Kind::WriteVerify, 5, 3, check);
            assert_eq!(
                write(&unit, &command, &bytes),
                Outcome::Good { transferred: 1536 }
            );
            let command = transfer(10, Kind::Read, 5, 3, 0);
            assert_eq!(read(&unit, &command, 1536).unwrap(), bytes);
        }
        assert_eq!(disk.forced_writes(), 2 * (round as u64 + 1));
    }
    for check in [4, 6] {
        let before = disk.forced_writes();
        let command = transfer(10, Kind::WriteVerify, 5, 3, check);
        assert_eq!(triple(write(&unit, &command, &[0; 1536])), (5, 0x24, 0));
        assert_eq!(disk.forced_writes(), before);
    }
}

#[test]
fn verify_compares() {
    let unit = unit(info());
    let bytes = pattern(9, 300);
    assert!(write(&unit, &transfer(10, Kind::Write, 100, 300, 0), &bytes).is_good());
    for form in [10, 12, 16] {
        let compare = transfer(form, Kind::Verify, 100, 300, 2);
        assert!(write(&unit, &compare, &bytes).is_good());
        for wrong in [0, 511, 512, 65536, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[wrong] ^= 1;
            assert_eq!(triple(write(&unit, &compare, &other)), (0xE, 0x1D, 0));
        }
        assert_eq!(
            triple(write(&unit, &compare, &bytes[1..])),
            (5, 0x24, 0),
            "less data than blocks"
        );
        let plain = transfer(form, Kind::Verify, 0, BLOCKS as u32, 0);
        assert_eq!(run(&unit, &plain), Outcome::DONE);
        let beyond = transfer(form, Kind::Verify, 1, BLOCKS as u32, 0);
        assert_eq!(triple(run(&unit, &beyond)), (5, 0x21, 0));
        for flags in [4, 6] {
            let command = transfer(form, Kind::Verify, 0, 1, flags);
            assert_eq!(triple(write(&unit, &command, &[0; 512])), (5, 0x24, 0));
        }
    }
}

/// Sector sizes other than 512: everything counts in sectors.
#[test]
fn large_sectors_are_addressed_whole() {
    let unit = unit(DiskInfo {
        logical_sector_size: 4096,
        ..info()
    });
    let bytes = vec![0x3C; 8192];
    assert!(write(&unit, &transfer(10, Kind::Write, 254, 2, 0), &bytes).is_good());
    assert_eq!(
        read(&unit, &transfer(10, Kind::Read, 254, 2, 0), 8192).unwrap(),
        bytes
    );
    let zeros = read(&unit, &transfer(10, Kind::Read, 253, 1, 0), 4096).unwrap();
    assert_eq!(zeros, vec![0; 4096]);
    assert_eq!(
        triple(read(&unit, &transfer(10, Kind::Read, 255, 2, 0), 8192).unwrap_err()),
        (5, 0x21, 0)
    );
}

/// H24: a read-only disk refuses whatever changes it.
#[test]
fn read_only_disks_refuse_changes() {
    let unit = unit(DiskInfo {
        read_only: true,
        ..info()
    });
    for form in [6, 10, 12, 16] {
        let command = transfer(form, Kind::Write, 0, 1, 0);
        assert_eq!(triple(write(&unit, &command, &[1; BLOCK])), (7, 0x27, 0));
    }
    for form in [10, 12, 16] {
        let command = transfer(form, Kind::WriteVerify, 0, 1, 0);
        assert_eq!(triple(write(&unit, &command, &[1; BLOCK])), (7, 0x27, 0));
    }
    let same = [0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(triple(write(&unit, &same, &[0; BLOCK])), (7, 0x27, 0));
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(triple(write(&unit, &unmap, &[0; 24])), (7, 0x27, 0));
    assert_eq!(triple(run(&unit, &[0x04, 0, 0, 0, 0, 0])), (7, 0x27, 0));
    assert!(read(&unit, &transfer(10, Kind::Read, 0, 1, 0), BLOCK).is_ok());
    assert_eq!(run(&unit, &[0x35]), Outcome::DONE);
}
