//! Guests that lie about their buffers. Numbers like H8 are those of the conformance checklist; tests named
//! `fault_NN` cover the case of that number in the list of faults.

mod storage_support;

use host_sim::vmbus::vsp::ChannelFault;
use host_sim::vsp::storage::testing::{Data, TestChannel};
use storage_support::{READ_10, WRITE_10, assert_bad_buffer, setup};
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_storage::wire::NtStatus;

/// Frames of guest memory: one past the last is no RAM.
const MEMORY_FRAMES: u64 = 8192;

/// H8, H9: page frames that are not RAM, first, in the middle or last: nothing is moved, in either direction.
#[test]
fn fault_37_page_frames_outside_ram_move_nothing() {
    let mut setup = setup();
    let good = TestChannel::data_frames(4 * 4096);
    let length = 4 * 4096;
    for bad in [
        MEMORY_FRAMES,
        MEMORY_FRAMES + 1,
        u64::MAX,
        u64::MAX / 4096,
        u64::MAX / 4096 + 1,
        1 << 52,
    ] {
        for place in 0..4 {
            let mut frames = good.clone();
            frames[place] = bad;
            let ranges = [GpaRange {
                byte_count: length,
                byte_offset: 0,
                page_frames: &frames,
            }];
            let mut command = READ_10;
            command[8] = 32;
            let answer = setup.send(&command, Data::In(length), &ranges, |_| {});
            assert_bad_buffer(&answer);
            command[0] = WRITE_10[0];
            let answer = setup.send(&command, Data::In(length), &ranges, |srb| srb.data_in = 0);
            assert_bad_buffer(&answer);
        }
    }
    // A run that begins in RAM and leaves it.
    let frames: Vec<u64> = (MEMORY_FRAMES - 2..MEMORY_FRAMES + 2).collect();
    let ranges = [GpaRange {
        byte_count: length,
        byte_offset: 0,
        page_frames: &frames,
    }];
    let mut command = READ_10;
    command[8] = 32;
    assert_bad_buffer(&setup.send(&command, Data::In(length), &ranges, |_| {}));
    // Even where the request needs only the part that is RAM.
    assert_bad_buffer(&setup.send(&READ_10, Data::In(4096), &ranges, |_| {}));
    setup.assert_unharmed();
    assert_eq!(setup.machine.handle.counters().malformed, 6 * 4 * 2 + 2);
}

/// One page several times, or the ring's own pages: the guest's own trouble; the host goes on.
#[test]
fn fault_38_overlapping_buffers_hurt_only_the_guest() {
    let mut setup = setup();
    let frame = TestChannel::data_frames(4096)[0];
    let frames = [frame; 4];
    let ranges = [GpaRange {
        byte_count: 4 * 4096,
        byte_offset: 0,
        page_frames: &frames,
    }];
    let mut command = READ_10;
    command[8] = 32;
    let answer = setup.send(&command, Data::In(4 * 4096), &ranges, |_| {});
    assert_eq!(answer.status(), NtStatus::SUCCESS);
    // All pages that the machine has given to rings, control pages included.
    let rings: Vec<u64> = (16..16 + 64).collect();
    let ranges = [GpaRange {
        byte_count: 64 * 4096,
        byte_offset: 0,
        page_frames: &rings,
    }];
    command[7..9].copy_from_slice(&512u16.to_be_bytes());
    let message = setup
        .channel
        .command_message(0, &command, Data::In(64 * 4096));
    setup
        .channel
        .send(1, OutgoingKind::GpaDirect(&ranges), message.as_bytes())
        .unwrap();
    for _ in 0..10 {
        let _ = setup.channel.poll_once();
    }
    assert_eq!(setup.machine.handle.counters().reads, 2);
    // The guest closes what it broke, and begins anew.
    drop(setup.channel);
    let mut channel = setup.machine.open_ready();
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
}

/// Writes a packet whose extension says what no honest sender's does, by hand.
fn forge(channel: &mut TestChannel, extension: &[u64], message: &[u8]) {
    // An in-band packet of the same size, whose descriptor is then changed in the ring.
    let bytes: Vec<u8> = extension
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain(message.iter().copied())
        .collect();
    let ring = 16 * 4096 + 4096;
    let mut index = [0; 4];
    channel.memory.read(16 * 4096, &mut index).unwrap();
    let at = ring + u64::from(u32::from_le_bytes(index));
    channel.send(99, OutgoingKind::InBand, &bytes).unwrap();
    channel.memory.write(at, &9u16.to_le_bytes()).unwrap();
    let offset8 = 2 + extension.len() as u16;
    channel
        .memory
        .write(at + 2, &offset8.to_le_bytes())
        .unwrap();
}

/// Ranges that contradict themselves or their packet: the channel is stopped, naming field and value.
#[test]
fn fault_39_ranges_that_overflow_stop_the_channel() {
    let range =
        |byte_count: u32, byte_offset: u32| u64::from(byte_count) | u64::from(byte_offset) << 32;
    let count = |ranges: u64| ranges << 32;
    for extension in [
        vec![count(0), range(4096, 0), 5],
        vec![count(u32::MAX.into()), range(4096, 0), 5],
        vec![count(2), range(4096, 0), 5],
        vec![count(1), range(0, 0), 5],
        vec![count(1), range(4096, 4096), 5],
        vec![count(1), range(u32::MAX, 4095), 5],
        vec![count(1), range(8192, 0), 5],
        vec![count(1), range(4096, 1), 5],
        vec![count(1)],
        vec![],
    ] {
        let mut setup = setup();
        let good = setup.channel.submit(0, &[0; 6], Data::None, &[]);
        let message = setup.channel.command_message(0, &READ_10, Data::In(4096));
        forge(&mut setup.channel, &extension, message.as_bytes());
        let fault = setup.channel.poll().unwrap_err();
        let ChannelFault::Ring(error) = &fault else {
            panic!("{fault}");
        };
        assert!(!error.field().is_empty());
        // What came before is answered.
        assert_eq!(setup.channel.answer(good).status(), NtStatus::SUCCESS);
        // Polling a stopped channel goes on failing, and harms nothing.
        assert_eq!(setup.channel.poll().unwrap_err(), fault);
        drop(setup.channel);
        setup.channel = setup.machine.open_ready();
        setup.assert_unharmed();
    }
}

/// H8: two ranges are well-formed, and too many.
#[test]
fn several_ranges_are_refused() {
    let mut setup = setup();
    let frames = TestChannel::data_frames(2 * 4096);
    let ranges = [
        GpaRange {
            byte_count: 4096,
            byte_offset: 0,
            page_frames: &frames[..1],
        },
        GpaRange {
            byte_count: 4096,
            byte_offset: 0,
            page_frames: &frames[1..],
        },
    ];
    let answer = setup.send(&READ_10, Data::In(4096), &ranges, |_| {});
    assert_bad_buffer(&answer);
    setup.assert_unharmed();
}

/// More bytes than the range has, than the controller moves, or without any range.
#[test]
fn fault_46_lengths_beyond_the_buffer_are_refused() {
    let mut setup = setup();
    let frames = TestChannel::data_frames(65 * 4096);
    for (length, byte_count) in [
        (4097, 4096),
        (u32::MAX, 4096),
        (0x4_0001, 0x4_1000),
        (0x4_1000, 0x4_1000),
        (512, 0),
        (u32::MAX, 0),
    ] {
        let ranges = [GpaRange {
            byte_count,
            byte_offset: 0,
            page_frames: &frames[..byte_count.div_ceil(4096) as usize],
        }];
        let ranges: &[_] = if byte_count == 0 { &[] } else { &ranges };
        let answer = setup.send(&READ_10, Data::In(length), ranges, |_| {});
        assert_bad_buffer(&answer);
    }
    setup.assert_unharmed();
    // Less than the range has is fine: exactly so much counts.
    let ranges = [GpaRange {
        byte_count: 8192,
        byte_offset: 100,
        page_frames: &frames[..3],
    }];
    let answer = setup.send(&READ_10, Data::In(4096), &ranges, |_| {});
    let srb = answer.srb().unwrap();
    assert_eq!((srb.srb_status, srb.data_transfer_length.get()), (1, 4096));
    // One byte less than the command needs: H10, nothing is written.
    let mut fresh = self::setup();
    let ranges = [GpaRange {
        byte_count: 4095,
        byte_offset: 0,
        page_frames: &frames[..1],
    }];
    let answer = fresh.send(&READ_10, Data::In(4095), &ranges, |_| {});
    assert_eq!(answer.srb().unwrap().srb_status, 0x86);
    fresh.assert_unharmed();
}

/// A direction other than the command's moves nothing.
#[test]
fn contradicting_directions_are_refused() {
    let mut setup = setup();
    let frames = TestChannel::data_frames(4096);
    let ranges = [GpaRange {
        byte_count: 4096,
        byte_offset: 0,
        page_frames: &frames,
    }];
    for (command, data_in) in [(READ_10, 0), (WRITE_10, 1), (READ_10, 3), (WRITE_10, 255)] {
        let answer = setup.send(&command, Data::In(4096), &ranges, |srb| {
            srb.data_in = data_in;
        });
        let srb = answer.srb().unwrap();
        assert_eq!((srb.scsi_status, srb.srb_status), (2, 0x86));
        assert_eq!(srb.data_transfer_length.get(), 0);
    }
    setup.assert_unharmed();
}
