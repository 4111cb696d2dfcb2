use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::protocol::{ChannelId, GpadlId, GuestMessage, MessageBuffer};

/// Sizes of the parts of the list in the messages, in words, and the list put together again.
fn send(list: &GpadlList) -> (Vec<usize>, Vec<u64>) {
    let mut messages = GpadlMessages::new(ChannelId(5), GpadlId(9), list.clone());
    let mut sizes = Vec::new();
    let mut bytes = Vec::new();
    let mut buffer = MessageBuffer::new();
    while let Some(message) = messages.next() {
        message.emit(&mut buffer).unwrap();
        let data = match GuestMessage::parse(buffer.as_bytes()).unwrap() {
            GuestMessage::GpadlHeader(header) => {
                assert_eq!(sizes, [], "the header is first");
                assert_eq!(header.channel_id, ChannelId(5));
                assert_eq!(header.gpadl_id, GpadlId(9));
                assert_eq!(usize::from(header.range_bytes), list.words().len() * 8);
                assert_eq!(header.range_count, list.range_count());
                header.data
            }
            GuestMessage::GpadlBody(body) => {
                assert_eq!(body.gpadl_id, GpadlId(9));
                assert_eq!(body.message_number as usize, sizes.len());
                body.data
            }
            other => panic!("{other:?}"),
        };
        sizes.push(data.len() / 8);
        bytes.extend_from_slice(data);
    }
    assert!(messages.is_finished());
    let words = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    (sizes, words)
}

/// Guest statement 14 of the protocol's conformance list: 26 page frames in the header, 28 in each body.
#[test]
fn split_of_one_range() {
    for (pages, expected) in [
        (1, vec![2]),
        (26, vec![27]),
        (27, vec![27, 1]),
        (54, vec![27, 28]),
        (55, vec![27, 28, 1]),
    ] {
        let list = GpadlList::of_pages((0..pages as u64).collect::<Vec<_>>().into_iter()).unwrap();
        let (sizes, words) = send(&list);
        assert_eq!(sizes, expected, "{pages} pages");
        assert_eq!(words, list.words());
        assert_eq!(words[0], pages as u64 * 4096);
    }
    let frames: Vec<u64> = (0..PAGES_MAX as u64).collect();
    let list = GpadlList::of_pages(frames.iter().copied()).unwrap();
    let (sizes, words) = send(&list);
    assert_eq!(sizes.len(), 1 + (PAGES_MAX - 26).div_ceil(28));
    let mut ranges = GpadlRanges::parse(&words, 1).unwrap();
    assert_eq!(ranges.next().unwrap().page_frames, frames);
    assert_eq!(
        GpadlList::of_pages(vec![0; PAGES_MAX + 1].into_iter()),
        Err(GpadlError::TooLong {
            words: WORDS_MAX as u64 + 1
        })
    );
}

#[test]
fn lists_that_break_rules_are_not_built() {
    let none = core::iter::empty::<u64>();
    assert_eq!(GpadlList::of_pages(none), Err(GpadlError::EmptyRange));
    let mut list = GpadlList::new();
    for (count, offset, frames, error) in [
        (0, 0, 0, GpadlError::EmptyRange),
        (1, 4096, 1, GpadlError::Offset { byte_offset: 4096 }),
        (
            2,
            4095,
            1,
            GpadlError::Frames {
                pages: 2,
                frames: 1,
            },
        ),
        (
            u32::MAX,
            1,
            1,
            GpadlError::Overflow {
                byte_count: u32::MAX,
                byte_offset: 1,
            },
        ),
    ] {
        assert_eq!(
            list.push(count, offset, vec![0; frames].into_iter()),
            Err(error)
        );
    }
    assert_eq!(list, GpadlList::new());
    let (sizes, _) = send(&list);
    assert_eq!(sizes, []);
}

#[test]
fn truncated_lists_are_refused() {
    let mut list = GpadlList::new();
    list.push(1, 4095, [7].into_iter()).unwrap();
    list.push(8192, 1, [8, 9, 10].into_iter()).unwrap();
    for length in 0..list.words().len() {
        assert!(GpadlRanges::parse(&list.words()[..length], 2).is_err());
    }
    assert_eq!(
        GpadlRanges::parse(list.words(), 0).err(),
        Some(GpadlError::NoRanges)
    );
    let ranges: Vec<_> = GpadlRanges::parse(list.words(), 2).unwrap().collect();
    assert_eq!(ranges[1].page_frames, [8, 9, 10]);
    assert_eq!((ranges[1].byte_count, ranges[1].byte_offset), (8192, 1));
}

proptest! {
    #[test]
    fn ranges_go_round(ranges in proptest::collection::vec((1u32..100_000, 0u32..4096), 1..40)) {
        let mut list = GpadlList::new();
        for (index, (count, offset)) in ranges.iter().enumerate() {
            let pages = (*count as usize + *offset as usize).div_ceil(4096);
            list.push(*count, *offset, vec![index as u64; pages].into_iter()).unwrap();
        }
        let (_, words) = send(&list);
        let received = GpadlRanges::parse(&words, list.range_count()).unwrap();
        prop_assert_eq!(received.len(), ranges.len());
        for (index, (received, (count, offset))) in received.zip(&ranges).enumerate() {
            prop_assert_eq!(received.byte_count, *count);
            prop_assert_eq!(received.byte_offset, *offset);
            prop_assert!(received.page_frames.iter().all(|frame| *frame == index as u64));
        }
    }

    #[test]
    fn any_words_parse_or_fail(words in proptest::collection::vec(any::<u64>(), 0..64), count: u16) {
        if let Ok(ranges) = GpadlRanges::parse(&words, count) {
            let used: usize = ranges.map(|range| range.page_frames.len() + 1).sum();
            prop_assert!(used <= words.len());
        }
    }
}
