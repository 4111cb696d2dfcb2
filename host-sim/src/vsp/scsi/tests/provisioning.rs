//! UNMAP and WRITE SAME.

use super::*;

const BLOCK: usize = 512;

fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let bytes = ranges.len() as u16 * 16;
    let mut list = (bytes + 6).to_be_bytes().to_vec();
    list.extend_from_slice(&bytes.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

fn unmap(unit: &LogicalUnit, list: &[u8]) -> Outcome {
    let [high, low] = (list.len() as u16).to_be_bytes();
    write(unit, &[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], list)
}

fn fill(unit: &LogicalUnit, byte: u8) {
    for first in (0..2048u16).step_by(256) {
        let [high, low] = first.to_be_bytes();
        let command = [0x2A, 0, 0, 0, high, low, 0, 1, 0, 0];
        assert!(write(unit, &command, &vec![byte; 256 * BLOCK]).is_good());
    }
}

fn block(unit: &LogicalUnit, lba: u16) -> Vec<u8> {
    let [high, low] = lba.to_be_bytes();
    read(unit, &[0x28, 0, 0, 0, high, low, 0, 0, 1, 0], BLOCK).unwrap()
}

/// H26, H27: lists are checked as a whole before anything happens; unmapped blocks then read as zeros at every
/// alignment, and nothing else does.
#[test]
fn unmap_checks_before_it_acts() {
    let unit = unit(info());
    fill(&unit, 0xAA);
    let good = unmap_list(&[(1, 3), (100, 0), (2047, 1), (2048, 0)]);
    let untouched = |unit: &LogicalUnit| {
        for lba in [0, 1, 2, 3, 4, 2046, 2047] {
            assert_eq!(block(unit, lba), [0xAA; BLOCK], "block {lba}");
        }
    };
    let refuse = |change: &dyn Fn(&mut Vec<u8>), expected| {
        let mut list = good.clone();
        change(&mut list);
        assert_eq!(triple(unmap(&unit, &list)), expected);
        untouched(&unit);
    };
    refuse(&|list| list[1] += 1, (5, 0x24, 0));
    refuse(&|list| list[3] -= 16, (5, 0x26, 0));
    refuse(&|list| list.truncate(7), (5, 0x1A, 0));
    refuse(
        &|list| *list = unmap_list(&[(1, 3), (2047, 2)]),
        (5, 0x21, 0),
    );
    refuse(
        &|list| *list = unmap_list(&[(1, 3), (u64::MAX, 1)]),
        (5, 0x21, 0),
    );
    refuse(
        &|list| *list = unmap_list(&[(0, 2048), (0, 1)]),
        (5, 0x26, 0),
    );
    refuse(&|list| *list = unmap_list(&[(0, 1); 257]), (5, 0x26, 0));
    let anchor = [0x42, 1, 0, 0, 0, 0, 0, 0, good.len() as u8, 0];
    assert_eq!(triple(write(&unit, &anchor, &good)), (5, 0x24, 0));
    let longer = [0x42, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(triple(write(&unit, &longer, &good)), (5, 0x1A, 0));
    untouched(&unit);

    assert_eq!(
        run(&unit, &[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Outcome::DONE
    );
    assert!(unmap(&unit, &unmap_list(&[])).is_good());
    assert!(unmap(&unit, &unmap_list(&[(5, 0); 256])).is_good());
    untouched(&unit);
    assert!(unmap(&unit, &good).is_good());
    for lba in [1, 2, 3, 2047] {
        assert_eq!(block(&unit, lba), [0; BLOCK]);
    }
    for lba in [0, 4, 100, 2046] {
        assert_eq!(block(&unit, lba), [0xAA; BLOCK]);
    }
}

#[test]
fn unmap_without_discard_is_an_unknown_command() {
    let unit = unit(DiskInfo {
        discard: false,
        ..info()
    });
    assert_eq!(triple(unmap(&unit, &unmap_list(&[(0, 1)]))), (5, 0x20, 0));
}

fn write_same(long: bool, flags: u8, lba: u8, blocks: u16) -> Vec<u8> {
    let [high, low] = blocks.to_be_bytes();
    if long {
        vec![0x93, flags, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, high, low, 0, 0]
    } else {
        vec![0x41, flags, 0, 0, 0, lba, 0, high, low, 0]
    }
}

#[test]
fn write_same_repeats_one_block() {
    let disk = Arc::new(MemoryDisk::with_info(info()));
    let unit = unit_of(disk);
    let bytes: Vec<u8> = (0..BLOCK).map(|at| at as u8).collect();
    for long in [false, true] {
        fill(&unit, 0xAA);
        let outcome = write(&unit, &write_same(long, 0, 10, 300), &bytes);
        assert_eq!(outcome, Outcome::Good { transferred: 512 });
        for lba in [10, 11, 137, 138, 309] {
            assert_eq!(block(&unit, lba), bytes);
        }
        for lba in [9, 310] {
            assert_eq!(block(&unit, lba), [0xAA; BLOCK]);
        }
        // Deallocating what is to be zero, and what is not.
        assert!(write(&unit, &write_same(long, 8, 20, 2), &[0; BLOCK]).is_good());
        assert_eq!(block(&unit, 20), [0; BLOCK]);
        assert!(write(&unit, &write_same(long, 8, 20, 2), &bytes).is_good());
        assert_eq!(block(&unit, 21), bytes);

        for (flags, blocks) in [(0x10, 1), (0x20, 1), (0x02, 1), (0x04, 1), (0, 0), (0, 513)] {
            let command = write_same(long, flags, 0, blocks);
            assert_eq!(triple(write(&unit, &command, &bytes)), (5, 0x24, 0));
        }
        assert_eq!(
            triple(write(&unit, &write_same(long, 0, 255, 1800), &bytes)),
            (5, 0x21, 0)
        );
        assert_eq!(
            triple(write(&unit, &write_same(long, 0, 0, 1), &bytes[1..])),
            (5, 0x24, 0)
        );
    }
    // No data comes with the command: zeros.
    assert_eq!(run(&unit, &write_same(true, 1, 30, 2)), Outcome::DONE);
    assert_eq!(block(&unit, 31), [0; BLOCK]);
    assert_eq!(
        triple(write(&unit, &write_same(false, 1, 30, 2), &bytes)),
        (5, 0x24, 0)
    );
}

/// Guests keep to the blocks of a dynamic image when they discard.
#[test]
fn the_granularity_is_that_of_the_image() {
    use crate::disk::MemoryStorage;
    use crate::disk::vhd::{CreateOptions, Kind, VhdDisk, create};
    let storage = MemoryStorage::new();
    let kind = Kind::Dynamic {
        block_size: 2 << 20,
    };
    create(&storage, &CreateOptions::new(8 << 20, kind)).unwrap();
    let unit = unit_of(Arc::new(VhdDisk::open(storage, false).unwrap()));
    let page = read(&unit, &[0x12, 1, 0xB0, 0, 255, 0], 255).unwrap();
    assert_eq!(page[28..32], 4096u32.to_be_bytes());
    let pages = read(&unit, &[0x12, 1, 0, 0, 255, 0], 255).unwrap();
    assert!(pages[4..].contains(&0xB2), "it gives space back");
}
