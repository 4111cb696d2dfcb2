//! Any bytes from a guest, in packets and in the rings' control pages: an answer, a drop or a typed fault.

use std::sync::Arc;

use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use proptest::prelude::*;
use vmbus_core::guid::Guid;
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_storage::wire::Version;

fn machine() -> Machine {
    let machine = Machine::new(StorageOptions::scsi(Guid::ZERO));
    machine
        .handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 16)))
        .unwrap();
    machine
        .handle
        .add_drive(1, Some(Arc::new(MemoryDisk::new(1 << 16))))
        .unwrap();
    machine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any bytes in any packet: an answer, a drop or a typed fault; the disk is only written by what says so.
    #[test]
    fn any_bytes_are_survived(
        packets in proptest::collection::vec(
            (0u8..4, proptest::collection::vec(any::<u8>(), 0..100), any::<bool>()),
            1..40,
        ),
        ready in any::<bool>(),
    ) {
        let mut machine = machine();
        let mut channel = machine.open(0).unwrap();
        if ready {
            channel.initialise(Version::Win10);
        }
        let frames = TestChannel::data_frames(4096);
        let ranges = [GpaRange { byte_count: 4096, byte_offset: 0, page_frames: &frames }];
        for (index, (kind, mut bytes, plausible)) in packets.into_iter().enumerate() {
            // A header that is likely to be looked at further.
            if plausible && bytes.len() > 30 {
                bytes[..4].copy_from_slice(&3u32.to_le_bytes());
                bytes[19] &= 1;
                bytes[20] = 16;
                bytes[25..28].fill(0);
            }
            let kind = match kind {
                0 | 1 => OutgoingKind::InBand,
                2 => OutgoingKind::GpaDirect(&ranges),
                _ => OutgoingKind::Completion,
            };
            channel.send(index as u64 + 1, kind, &bytes).unwrap();
            if channel.poll().is_err() {
                return Ok(());
            }
            for packet in channel.receive().unwrap() {
                prop_assert!(packet.payload.len() <= 64);
            }
        }
    }

    /// Any words in the control pages of the rings: a typed fault at worst.
    #[test]
    fn any_ring_words_are_survived(words in proptest::collection::vec((0u64..2, 0u64..20, any::<u32>()), 1..20)) {
        let mut machine = machine();
        let mut channel = machine.open_ready();
        for (ring, word, value) in words {
            let page = 16 + ring * 32;
            machine.memory.write(page * 4096 + word * 4, &value.to_le_bytes()).unwrap();
            let message = channel.command_message(0, &[0; 6], Data::None);
            let _ = channel.send(1, OutgoingKind::InBand, message.as_bytes());
            for _ in 0..3 {
                let _ = channel.poll_once();
            }
        }
        drop(channel);
        let mut channel = machine.open_ready();
        prop_assert!(channel.command(0, &[0; 6], Data::None).is_good());
    }
}
