//! Lists of pages, good and bad. Numbers are those of the protocol's host checklist.

use super::*;
use proptest::prelude::*;

const CHANNEL: ChannelId = ChannelId(3);

fn memory() -> GuestMemory {
    GuestMemory::new(64 << 20).unwrap()
}

fn table() -> GpadlTable {
    GpadlTable::new(GpadlLimits {
        count: 4,
        pages: 9000,
    })
}

fn list(ranges: &[(u32, u32, &[u64])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (count, offset, frames) in ranges {
        bytes.extend(count.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(frames.iter().flat_map(|frame| frame.to_le_bytes()));
    }
    bytes
}

/// Sends a list as a guest does: 216 bytes in the header, 224 in each body.
fn send(table: &mut GpadlTable, id: u32, range_count: u16, list: &[u8]) -> Progress {
    let memory = memory();
    let first = list.len().min(216);
    let header = GpadlHeader {
        channel_id: CHANNEL,
        gpadl_id: GpadlId(id),
        range_bytes: list.len() as u16,
        range_count,
        data: &list[..first],
    };
    let mut progress = table.begin(&header, &memory);
    for (number, data) in list[first..].chunks(224).enumerate() {
        if !matches!(progress, Progress::Incomplete) {
            break;
        }
        let body = GpadlBody {
            message_number: number as u32,
            gpadl_id: GpadlId(id),
            data,
        };
        progress = table.continue_with(&body, &memory);
    }
    progress
}

fn fault(range_count: u16, list: &[u8]) -> GpadlFault {
    match send(&mut table(), 1, range_count, list) {
        Progress::Finished(CHANNEL, Err(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

// Host 12
#[test]
fn lists_of_all_lengths_are_assembled() {
    for pages in [1, 26, 27, 54, 55, 8190] {
        let mut table = table();
        let frames: Vec<u64> = (0..pages).collect();
        let list = list(&[(pages as u32 * 4096, 0, &frames)]);
        assert!(matches!(
            send(&mut table, 1, 1, &list),
            Progress::Finished(CHANNEL, Ok(()))
        ));
        assert_eq!(
            table.get(GpadlId(1)).unwrap().ranges[0].page_frames[..],
            frames[..]
        );
        assert_eq!(table.pages(), pages);
        assert!(table.remove(GpadlId(1)));
        assert_eq!((table.pages(), table.len()), (0, 0));
    }
}

#[test]
fn fault_40_lists_that_never_end_are_limited() {
    let memory = memory();
    let mut table = GpadlTable::new(GpadlLimits::default());
    let header = |id| GpadlHeader {
        channel_id: CHANNEL,
        gpadl_id: GpadlId(id),
        range_bytes: 65528,
        range_count: 1,
        data: &[0; 216],
    };
    for id in 0..MAX_BUILDING as u32 {
        assert!(matches!(
            table.begin(&header(id), &memory),
            Progress::Incomplete
        ));
    }
    assert!(matches!(
        table.begin(&header(9999), &memory),
        Progress::Finished(CHANNEL, Err(GpadlFault::TooMany(MAX_BUILDING)))
    ));
    table.remove_channel(CHANNEL);
    assert!(matches!(
        table.begin(&header(1), &memory),
        Progress::Incomplete
    ));
    table.clear();
    for id in 0..MAX_BUILDING as u32 {
        assert!(matches!(
            table.begin(&header(id), &memory),
            Progress::Incomplete
        ));
    }
}

// Host 13
#[test]
fn fault_37_pages_outside_ram() {
    let beyond = (64 << 20) / 4096;
    assert_eq!(
        fault(1, &list(&[(8192, 0, &[0, beyond])])),
        GpadlFault::NotRam(beyond)
    );
    assert_eq!(
        fault(1, &list(&[(4096, 0, &[u64::MAX])])),
        GpadlFault::NotRam(u64::MAX)
    );
}

#[test]
fn fault_38_overlapping_gpadls_are_separate() {
    let mut table = table();
    let pages = list(&[(8192, 0, &[5, 5])]);
    for id in [1, 2] {
        assert!(matches!(
            send(&mut table, id, 1, &pages),
            Progress::Finished(_, Ok(()))
        ));
    }
    assert!(table.remove(GpadlId(1)));
    assert!(table.get(GpadlId(2)).is_some());
    assert_eq!(table.pages(), 2);
}

#[test]
fn fault_39_counts_and_overflows() {
    assert_eq!(
        fault(0, &list(&[(4096, 0, &[1])])),
        GpadlFault::RangeCount(0)
    );
    assert_eq!(
        fault(2, &list(&[(4096, 0, &[1])])),
        GpadlFault::RangeCount(2)
    );
    assert_eq!(fault(1, &list(&[(4096, 0, &[])])), GpadlFault::Length(8));
    for (byte_count, byte_offset) in [
        (0, 0),
        (1, 4096),
        (u32::MAX, 1),
        (1, u32::MAX),
        (u32::MAX, u32::MAX),
    ] {
        assert_eq!(
            fault(1, &list(&[(byte_count, byte_offset, &[1, 2])])),
            GpadlFault::Range {
                byte_count,
                byte_offset
            }
        );
    }
    for byte_count in [8193, u32::MAX] {
        assert_eq!(
            fault(1, &list(&[(byte_count, 0, &[1, 2])])),
            GpadlFault::Truncated { byte_count }
        );
    }
}

// Host 14, 15
#[test]
fn fault_40_messages_out_of_order_or_too_many() {
    let (mut table, memory) = (table(), memory());
    let body = GpadlBody {
        message_number: 0,
        gpadl_id: GpadlId(9),
        data: &[0; 8],
    };
    assert!(matches!(
        table.continue_with(&body, &memory),
        Progress::Unknown
    ));
    let pages = list(&[(4096, 0, &[1])]);
    assert!(matches!(
        send(&mut table, 9, 1, &pages),
        Progress::Finished(_, Ok(()))
    ));
    assert!(
        matches!(table.continue_with(&body, &memory), Progress::Unknown),
        "already complete"
    );
    let again = send(&mut table, 9, 1, &pages);
    assert!(matches!(
        again,
        Progress::Finished(_, Err(GpadlFault::InUse(9)))
    ));
    assert!(table.get(GpadlId(9)).is_some(), "the live one is untouched");

    // Unfinished ones count, and are bounded.
    let header = |id| GpadlHeader {
        channel_id: CHANNEL,
        gpadl_id: GpadlId(id),
        range_bytes: 65528,
        range_count: 1,
        data: &[0; 8],
    };
    for id in 10..13 {
        assert!(matches!(
            table.begin(&header(id), &memory),
            Progress::Incomplete
        ));
    }
    assert!(matches!(
        table.begin(&header(13), &memory),
        Progress::Finished(_, Err(GpadlFault::TooMany(4)))
    ));
    table.remove_channel(CHANNEL);
    assert!(table.is_empty());
    assert_eq!(table.pages(), 0);
}

#[test]
fn lent_pages_are_bounded() {
    let mut table = table();
    let frames = vec![1; 5000];
    let pages = list(&[(5000 * 4096, 0, &frames)]);
    assert!(matches!(
        send(&mut table, 1, 1, &pages),
        Progress::Finished(_, Ok(()))
    ));
    let second = send(&mut table, 2, 1, &pages);
    assert!(matches!(
        second,
        Progress::Finished(_, Err(GpadlFault::TooManyPages(9000)))
    ));
}

proptest! {
    #[test]
    fn any_list_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), count in any::<u16>()) {
        let _ = send(&mut table(), 1, count % 8, &bytes[..bytes.len() / 8 * 8]);
    }
}
