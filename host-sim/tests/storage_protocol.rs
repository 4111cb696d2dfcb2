//! The storage controller behind its rings: initialisation, packets, sub-channels, disks that come and go.
//! Numbers like H3 are those of the conformance checklist.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::protocol::State;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use vmbus_core::guid::Guid;
use vmbus_core::packet::{GpaRange, OutgoingKind, OutgoingPacket};
use vsc_storage::wire::{NtStatus, Operation, Packet, PacketFlags, Srb, SubChannelCount, Version};

const READ_10: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const TEST_UNIT_READY: [u8; 6] = [0; 6];

fn scsi() -> StorageOptions {
    StorageOptions::scsi(Guid::from_fields(1, 2, 3, [4; 8]))
}

fn machine() -> Machine {
    let machine = Machine::new(scsi());
    machine
        .handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    machine
}

fn sub_channels(channel: &TestChannel, count: u16) -> Packet {
    let mut packet = channel.message(Operation::CREATE_SUB_CHANNELS);
    packet.set_payload(&SubChannelCount {
        count: count.into(),
    });
    packet
}

/// H3: answers are as long as their requests, at most a full packet.
#[test]
fn answers_are_as_long_as_their_requests() {
    for (sent, expected) in [(48, 48), (56, 56), (60, 64), (64, 64), (72, 64), (240, 64)] {
        let mut machine = machine();
        let mut channel = machine.open_ready();
        let message = channel.command_message(0, &TEST_UNIT_READY, Data::None);
        let mut bytes = message.as_bytes().to_vec();
        bytes.resize(sent, 0);
        channel.send(77, OutgoingKind::InBand, &bytes).unwrap();
        channel.poll().unwrap();
        let received = channel.receive().unwrap();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].payload.len(), expected, "{sent} bytes");
        assert_eq!(received[0].transaction_id, 77);
    }
}

/// Every version initialises and moves data; sense data has the dialect's length.
#[test]
fn every_version_moves_data() {
    for version in Version::ALL_NEWEST_FIRST {
        let mut machine = machine();
        let mut channel = machine.open(0).unwrap();
        assert_eq!(machine.handle.state(), Some(State::Begin));
        assert!(channel.initialise(version));
        assert_eq!(machine.handle.state(), Some(State::Ready));
        assert_eq!(machine.handle.version(), Some(version));
        let bytes = vec![0x42; 4096];
        let mut write = READ_10;
        write[0] = 0x2A;
        assert!(channel.command(0, &write, Data::Out(&bytes)).is_good());
        let reply = channel.command(0, &READ_10, Data::In(4096));
        assert!(reply.is_good());
        assert_eq!(reply.data, bytes);
        let failed = channel.command(0, &[0xFF; 16], Data::None);
        assert_eq!(failed.sense_triple(), Some((5, 0x20, 0)));
        assert_eq!(
            usize::from(failed.srb.sense_info_length),
            version.sense_size()
        );
        assert_eq!((failed.srb.length.get(), failed.srb.cdb_length), (52, 16));
    }
}

/// H4: announcements are full-sized, in-band, without id and flags, on the primary channel only.
#[test]
fn changes_are_announced_on_the_primary_channel() {
    for version in Version::ALL_NEWEST_FIRST {
        let mut machine = machine();
        let mut channel = machine.open(0).unwrap();
        machine
            .handle
            .add_lun(5, Arc::new(MemoryDisk::new(4096)))
            .unwrap();
        channel.initialise(version);
        // What changed before the guest looks at all is not announced.
        channel.poll().unwrap();
        assert!(channel.receive().unwrap().is_empty());
        for lun in 1..4 {
            machine
                .handle
                .add_lun(lun, Arc::new(MemoryDisk::new(4096)))
                .unwrap();
        }
        assert!(channel.woken.load(Ordering::Relaxed));
        channel.poll().unwrap();
        let received = channel.receive().unwrap();
        if version == Version::Win6 {
            assert!(received.is_empty());
            continue;
        }
        assert_eq!(received.len(), 1, "several changes are one announcement");
        let packet = &received[0];
        assert!(!packet.is_completion && !packet.completion_requested);
        assert_eq!(packet.transaction_id, 0);
        let mut expected = vec![11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.resize(version.packet_size(), 0);
        assert_eq!(packet.payload, expected);
        machine.handle.remove_lun(2).unwrap();
        channel.poll().unwrap();
        assert_eq!(channel.receive().unwrap().len(), 1);
        assert_eq!(machine.handle.counters().bus_changes, 2);
    }
}

#[test]
fn announcements_wait_for_room_in_the_ring() {
    let mut machine = machine();
    let mut channel = machine.open_with_rings(0, 2, 2).unwrap();
    channel.initialise(Version::Win10);
    // Fill the ring to the guest: completions that are not read.
    let mut sent = 0;
    loop {
        let message = channel.command_message(0, &TEST_UNIT_READY, Data::None);
        if channel
            .send(1, OutgoingKind::InBand, message.as_bytes())
            .is_err()
        {
            break;
        }
        sent += 1;
        channel.poll().unwrap();
    }
    machine
        .handle
        .add_lun(1, Arc::new(MemoryDisk::new(4096)))
        .unwrap();
    channel.poll().unwrap();
    let mut announcements = 0;
    let mut completions = 0;
    for _ in 0..sent {
        for packet in channel.receive().unwrap() {
            if packet.is_completion {
                completions += 1;
            } else {
                announcements += 1;
            }
        }
        channel.poll().unwrap();
    }
    assert_eq!((announcements, completions), (1, sent));
}

/// H5: commands on a sub-channel before END_INIT are executed after it, in order.
#[test]
fn sub_channels_hold_commands_until_ready() {
    let mut machine = machine();
    let mut primary = machine.open(0).unwrap();
    let mut sub = machine.open(1).unwrap();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(sub.submit(0, &TEST_UNIT_READY, Data::None, &[]));
    }
    sub.poll().unwrap();
    assert!(sub.receive().unwrap().is_empty());
    assert!(primary.initialise(Version::Win10));
    assert!(sub.woken.load(Ordering::Relaxed));
    sub.poll().unwrap();
    let done: Vec<_> = sub
        .receive()
        .unwrap()
        .iter()
        .map(|packet| {
            let message = Packet::parse(&packet.payload).unwrap();
            assert_eq!(message.status(), NtStatus::SUCCESS);
            packet.transaction_id
        })
        .collect();
    assert_eq!(done, ids);
    assert_eq!(machine.handle.counters().held, 10);
    // Initialisation is the primary channel's alone.
    for operation in [
        Operation::BEGIN_INIT,
        Operation::END_INIT,
        Operation::QUERY_PROTOCOL_VERSION,
        Operation::QUERY_PROPERTIES,
        Operation::CREATE_SUB_CHANNELS,
    ] {
        let message = sub.message(operation);
        assert_eq!(
            sub.request(&message).status(),
            NtStatus::INVALID_DEVICE_STATE
        );
    }
    assert_eq!(machine.handle.open_channels(), [0, 1]);
}

/// H6: more sub-channels than there are: an error, and none offered.
#[test]
fn fault_34_sub_channels_beyond_the_limit_are_refused() {
    let mut machine = Machine::new(StorageOptions {
        max_sub_channels: 3,
        ..scsi()
    });
    let mut channel = machine.open_ready();
    let offered = Arc::clone(&machine.sub_channels_offered);
    let message = sub_channels(&channel, 4);
    assert_eq!(
        channel.request(&message).status(),
        NtStatus::INVALID_PARAMETER
    );
    assert_eq!(offered.load(Ordering::Relaxed), 0);
    let message = sub_channels(&channel, 3);
    assert_eq!(channel.request(&message).status(), NtStatus::SUCCESS);
    assert_eq!(offered.load(Ordering::Relaxed), 3);
    assert!(machine.open(4).is_err());
    assert!(machine.open(3).is_ok());
    assert!(machine.open(0).is_err(), "the primary channel is open");
}

/// H7: a channel that is opened again starts at the beginning, at any version.
#[test]
fn reopening_starts_anew() {
    let mut machine = machine();
    for version in Version::ALL_NEWEST_FIRST {
        let mut channel = machine.open(0).unwrap();
        assert_eq!(machine.handle.state(), Some(State::Begin));
        assert_eq!(machine.handle.version(), None);
        let early = channel.command(0, &TEST_UNIT_READY, Data::None);
        assert_eq!(early.header, NtStatus::INVALID_DEVICE_STATE);
        assert!(!early.is_good() && early.srb.scsi_status == 2);
        assert!(channel.initialise(version));
        assert!(channel.command(0, &TEST_UNIT_READY, Data::None).is_good());
        drop(channel);
        assert_eq!(machine.handle.state(), None);
    }
}

/// H11: any transaction id is echoed, once per request, also if two requests share it.
#[test]
fn transaction_ids_are_opaque() {
    let mut machine = machine();
    let mut channel = machine.open_ready();
    let ids = [
        1,
        1 << 63,
        u64::MAX,
        u64::MAX,
        5,
        5,
        0,
        0xFFFF_FFFF_FFFF_FFFD,
    ];
    for id in ids {
        let message = channel.command_message(0, &TEST_UNIT_READY, Data::None);
        channel
            .send(id, OutgoingKind::InBand, message.as_bytes())
            .unwrap();
    }
    channel.poll().unwrap();
    let echoed: Vec<_> = channel
        .receive()
        .unwrap()
        .iter()
        .map(|packet| packet.transaction_id)
        .collect();
    assert_eq!(echoed, ids);
}

#[test]
fn requests_that_want_no_answer_get_none() {
    let mut machine = Machine::new(scsi());
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channel = machine.open_ready();
    let message = channel.command_message(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None);
    let payload = [message.as_bytes()];
    channel
        .to_host
        .send(&OutgoingPacket {
            transaction_id: 9,
            completion_requested: false,
            kind: OutgoingKind::InBand,
            payload: &payload,
        })
        .map(|_| ())
        .unwrap();
    channel.poll().unwrap();
    assert!(channel.receive().unwrap().is_empty());
    assert_eq!(disk.flushes(), 1);
}

/// The bytes of a read and of its completion, as the protocol's description has them.
#[test]
fn a_read_has_its_known_bytes() {
    let mut machine = Machine::new(scsi());
    machine
        .handle
        .add_lun(1, Arc::new(MemoryDisk::new(2 << 20)))
        .unwrap();
    let mut channel = machine.open_ready();
    #[rustfmt::skip]
    let message = [
        0x03, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0,
        0x34, 0, 0, 0, 0, 0, 0, 0x01, 0x0A, 0x14, 0x01, 0, 0, 0x10, 0, 0,
        0x28, 0, 0, 0, 0x08, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0xFF, 0x20, 0x4A, 0x01, 0, 0, 0x3C, 0, 0, 0, 0, 0, 0, 0,
    ];
    let ranges = [GpaRange {
        byte_count: 4096,
        byte_offset: 0,
        page_frames: &[0x1234],
    }];
    channel
        .send(5, OutgoingKind::GpaDirect(&ranges), &message)
        .unwrap();
    channel.poll().unwrap();
    let received = channel.receive().unwrap();
    #[rustfmt::skip]
    let expected = [
        0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0x34, 0, 0x01, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x10, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].payload, expected);
    assert_eq!(received[0].transaction_id, 5);
}

/// Resets are acknowledged and leave running commands alone.
#[test]
fn resets_are_acknowledged() {
    let mut machine = machine();
    let mut channel = machine.open_ready();
    for operation in [
        Operation::RESET_LUN,
        Operation::RESET_BUS,
        Operation::RESET_ADAPTER,
    ] {
        let mut message = Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            52,
        );
        message.set_payload(&Srb::ZERO);
        assert_eq!(channel.request(&message).status(), NtStatus::SUCCESS);
        assert!(channel.command(0, &TEST_UNIT_READY, Data::None).is_good());
    }
}
