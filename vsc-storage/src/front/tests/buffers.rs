//! Windows into buffers.

use std::sync::Arc;
use std::vec;

use crate::front::{DmaBuffer, OutsideBuffer, SharedPlatform};
use crate::testing::machine::Machine;

fn buffer(bytes: usize) -> DmaBuffer {
    let platform: SharedPlatform = Arc::new(Machine::default());
    DmaBuffer::new(&platform, bytes).unwrap()
}

#[test]
fn g9_page_frames_are_those_that_the_range_touches() {
    let mut buffer = buffer(3 * 4096);
    for offset in (0..4096).step_by(511) {
        for length in [1, 511, 512, 4095, 4096, 4097, 8192] {
            if offset + length > 3 * 4096 {
                continue;
            }
            buffer.set_window(offset, length).unwrap();
            let range = buffer.range(0, length as u32).unwrap();
            assert_eq!(range.byte_offset as usize, offset % 4096);
            assert_eq!(range.page_frames.len(), (offset + length).div_ceil(4096));
            assert_eq!(range.byte_count as usize, length);
        }
    }
    buffer.set_window(4096, 8192).unwrap();
    let second = buffer.range(4096, 4096).unwrap();
    assert_eq!((second.byte_offset, second.page_frames.len()), (0, 1));
    assert_eq!(buffer.range(4096, 4097), None);
    assert_eq!(buffer.range(8192, 1), None);
    assert_eq!(buffer.range(0, 0), None);
    assert_eq!(buffer.range(u64::MAX, 1), None);
}

#[test]
fn bytes_outside_the_window_are_out_of_reach() {
    let mut buffer = buffer(100);
    assert_eq!((buffer.len(), buffer.capacity()), (100, 4096));
    buffer.copy_from(90, &[7; 10]).unwrap();
    assert!(buffer.copy_from(91, &[7; 10]).is_err());
    assert!(buffer.copy_to(usize::MAX, &mut [0; 2]).is_err());
    assert_eq!(
        buffer.set_window(4000, 97),
        Err(OutsideBuffer {
            offset: 4000,
            length: 97,
            capacity: 4096
        })
    );
    assert!(buffer.set_window(usize::MAX, 2).is_err());
    buffer.set_window(95, 5).unwrap();
    assert_eq!(buffer.to_vec(), vec![7; 5]);
    buffer.fill(1);
    buffer.set_window(90, 10).unwrap();
    assert_eq!(buffer.to_vec(), [7, 7, 7, 7, 7, 1, 1, 1, 1, 1]);
}
