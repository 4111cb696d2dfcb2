//! Random traffic of all kinds against a queue.

use vmbus_core::packet::*;
use vmbus_core::ring::testing::HeapRing;
use vmbus_core::ring::*;

#[test]
fn a_packet_goes_through() {
    let memory = HeapRing::new(4096);
    let mut outgoing = OutgoingRing::initialise(memory.clone());
    let mut incoming = IncomingRing::attach(memory).unwrap();
    let packet = OutgoingPacket {
        transaction_id: 7,
        completion_requested: true,
        kind: OutgoingKind::GpaDirect(&[GpaRange {
            byte_count: 5000,
            byte_offset: 10,
            page_frames: &[3, 9],
        }]),
        payload: &[b"hello", b" world"],
    };
    assert_eq!(outgoing.send(&packet), Ok(Signal::Needed));
    let mut buffer = [0; 128];
    let mut batch = incoming.batch().unwrap();
    let received = batch.next(&mut buffer).unwrap().unwrap();
    assert_eq!(received.transaction_id, 7);
    assert!(received.completion_requested);
    assert_eq!(received.payload, b"hello world\0\0\0\0\0");
    let IncomingKind::GpaDirect(mut ranges) = received.kind else {
        panic!("wrong kind");
    };
    let range = ranges.next().unwrap();
    assert_eq!((range.byte_count, range.byte_offset), (5000, 10));
    assert!(range.page_frames.iter().eq([3, 9]));
    assert!(ranges.next().is_none());
    assert!(batch.next(&mut [0; 128]).unwrap().is_none());
    assert_eq!(batch.commit(), Signal::NotNeeded);
    assert_eq!(outgoing.free_space(), Ok(4088));
}
