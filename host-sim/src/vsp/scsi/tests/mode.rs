//! MODE SENSE and MODE SELECT.

use super::*;

const PAGE: [u8; 12] = [0x08, 0x0A, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn six(parameter: u8, page: [u8; 12]) -> Vec<u8> {
    [&[0x0F, 0, parameter, 0], page.as_slice()].concat()
}

fn ten(parameter: u8, page: [u8; 12]) -> Vec<u8> {
    [&[0, 0x12, 0, parameter, 0, 0, 0, 0], page.as_slice()].concat()
}

fn read_only() -> LogicalUnit {
    unit(DiskInfo {
        read_only: true,
        ..info()
    })
}

/// H21: lengths, write protection, page control.
#[test]
fn mode_sense_is_byte_exact() {
    let unit = unit(info());
    for page in [0x08, 0x3F] {
        for allocation in [4u8, 8, 16, 255] {
            let expected = six(0x10, PAGE);
            let count = expected.len().min(allocation.into());
            assert_eq!(
                read(&unit, &[0x1A, 0, page, 0, allocation, 0], 255).unwrap(),
                expected[..count]
            );
            let expected = ten(0x10, PAGE);
            let count = expected.len().min(allocation.into());
            let command = [0x5A, 0, page, 0, 0, 0, 0, 0, allocation, 0];
            assert_eq!(read(&unit, &command, 255).unwrap(), expected[..count]);
        }
    }
    assert_eq!(
        read(&read_only(), &[0x1A, 0, 0x3F, 0, 255, 0], 255).unwrap(),
        six(0x90, PAGE)
    );
    assert_eq!(
        read(&unit, &[0x1A, 0, 0x3F, 0xFF, 255, 0], 255).unwrap(),
        six(0x10, PAGE)
    );
    // Changeable values: none. Default values: the current ones.
    let mut unchangeable = PAGE;
    unchangeable[2] = 0;
    assert_eq!(
        read(&unit, &[0x1A, 0, 0x48, 0, 255, 0], 255).unwrap(),
        six(0x10, unchangeable)
    );
    assert_eq!(
        read(&unit, &[0x1A, 0, 0x88, 0, 255, 0], 255).unwrap(),
        six(0x10, PAGE)
    );
    assert_eq!(run(&unit, &[0x1A, 0, 0x3F, 0, 0, 0]), Outcome::DONE);
    assert_eq!(run(&unit, &[0x1A, 0, 0x3F, 0, 255, 0]), Outcome::DONE);
}

/// The write cache bit tells the truth: a guest that sees it off never flushes.
#[test]
fn the_write_cache_bit_is_that_of_the_image() {
    let unit = unit(DiskInfo {
        volatile_cache: false,
        ..info()
    });
    let mut page = PAGE;
    page[2] = 0;
    assert_eq!(
        read(&unit, &[0x1A, 0, 0x08, 0, 255, 0], 255).unwrap(),
        six(0x10, page)
    );
}

/// H15: MODE SENSE that fails leaves the buffer alone and moves nothing.
#[test]
fn other_pages_are_refused() {
    let unit = unit(info());
    for command in [
        [0x1A, 0, 0x01, 0, 255, 0, 0, 0, 0, 0],
        [0x1A, 0, 0x0A, 0, 255, 0, 0, 0, 0, 0],
        [0x1A, 0, 0xC8, 0, 255, 0, 0, 0, 0, 0],
        [0x1A, 0, 0x08, 1, 255, 0, 0, 0, 0, 0],
        [0x1A, 0, 0x08, 0xFF, 255, 0, 0, 0, 0, 0],
        [0x1A, 0, 0x3F, 1, 255, 0, 0, 0, 0, 0],
        // What Linux asks for to learn of I/O hints.
        [0x5A, 0, 0x0A, 0x05, 0, 0, 0, 2, 0, 0],
        [0x5A, 0, 0xFF, 0, 0, 0, 0, 0, 255, 0],
    ] {
        let outcome = read(&unit, &command, 512).unwrap_err();
        assert_eq!(triple(outcome), (5, 0x24, 0), "{command:x?}");
        assert_eq!(outcome.transferred(), 0);
    }
}

/// H22: the write cache cannot be turned off; lists that change nothing are accepted.
#[test]
fn mode_select_changes_nothing() {
    let unit = unit(info());
    let mut same = vec![0, 0, 0, 0];
    same.extend_from_slice(&PAGE);
    let length = |list: &[u8]| [0x15, 0x10, 0, 0, list.len() as u8, 0];
    let good = write(&unit, &length(&same), &same);
    assert_eq!(good, Outcome::Good { transferred: 16 });
    // The standard's longer page, and the ten-byte form.
    let mut longer = same.clone();
    longer[5] = 0x12;
    longer.resize(4 + 20, 0);
    assert!(write(&unit, &length(&longer), &longer).is_good());
    let wide = [&[0; 8], PAGE.as_slice()].concat();
    let command = [0x55, 0x10, 0, 0, 0, 0, 0, 0, wide.len() as u8, 0];
    assert!(write(&unit, &command, &wide).is_good());
    assert_eq!(run(&unit, &[0x15, 0x10, 0, 0, 0, 0]), Outcome::DONE);

    let refuse = |change: &dyn Fn(&mut Vec<u8>), expected| {
        let mut list = same.clone();
        change(&mut list);
        assert_eq!(triple(write(&unit, &length(&list), &list)), expected);
    };
    refuse(&|list| list[6] = 0, (5, 0x26, 0));
    refuse(&|list| list[6] = 5, (5, 0x26, 0));
    refuse(&|list| list[4] = 0x0A, (5, 0x26, 0));
    refuse(&|list| list[3] = 8, (5, 0x26, 0));
    refuse(&|list| list[5] = 0x0B, (5, 0x1A, 0));
    refuse(&|list| list.truncate(15), (5, 0x1A, 0));
    refuse(&|list| list.push(8), (5, 0x1A, 0));
    // Saving pages, and a length other than the buffer's.
    let save = [0x15, 0x11, 0, 0, 16, 0];
    assert_eq!(triple(write(&unit, &save, &same)), (5, 0x24, 0));
    let short = [0x15, 0x10, 0, 0, 15, 0];
    assert_eq!(triple(write(&unit, &short, &same)), (5, 0x1A, 0));
    assert_eq!(
        read(&unit, &[0x1A, 0, 0x08, 0, 255, 0], 255).unwrap(),
        six(0x10, PAGE)
    );
}
