//! Guests that lie to the storage controller. Numbers like H8 are those of the conformance checklist; tests named
//! `fault_NN` cover the case of that number in the list of faults.

mod storage_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sim::disk::{DiskError, FaultyDisk, faulty};
use host_sim::vmbus::vsp::{ChannelFault, NextPoll};
use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::executor::SeededExecutor;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use storage_support::{READ_10, TEST_UNIT_READY, WRITE_10, scsi, setup};
use vmbus_core::packet::{OutgoingKind, TransferRange};
use vsc_storage::scsi::Sense;
use vsc_storage::wire::{NtStatus, Operation, Packet, PacketFlags, Version};

/// What the guest writes into the status fields of a request means nothing.
#[test]
fn fault_45_statuses_in_requests_are_ignored() {
    let mut setup = setup();
    for (srb_status, scsi_status, header) in
        [(0x01, 0x02, 0), (0x84, 0x00, 0xC000_0185), (0xFF, 0xFF, 1)]
    {
        let mut message = setup
            .channel
            .command_message(0, &TEST_UNIT_READY, Data::None);
        message.set_status(NtStatus(header));
        let mut srb = message.srb().unwrap();
        (srb.srb_status, srb.scsi_status) = (srb_status, scsi_status);
        (srb.port_number, srb.properties, srb.queue_action) = (0xFF, 0xFF, 0xFF);
        srb.length = 0xFFFF.into();
        srb.srb_flags = u32::MAX.into();
        message.set_payload(&srb);
        let answer = setup.channel.request(&message);
        let srb = answer.srb().unwrap();
        assert_eq!(answer.status(), NtStatus::SUCCESS);
        assert_eq!((srb.srb_status, srb.scsi_status), (1, 0));
    }
}

/// The room that the guest claims for sense data is not believed; commands' lengths are checked.
#[test]
fn fault_47_claimed_sizes_are_not_believed() {
    let mut setup = setup();
    for room in [0, 1, 18, 20, 21, 255] {
        let answer = setup.send(&[0xFF; 16], Data::None, &[], |srb| {
            srb.sense_info_length = room;
        });
        let srb = answer.srb().unwrap();
        assert_eq!((srb.sense_info_length, srb.srb_status), (20, 0x86));
        assert_eq!(srb.command_or_sense[18..], [0, 0]);
    }
    for length in [0, 17, 255] {
        let answer = setup.send(&TEST_UNIT_READY, Data::None, &[], |srb| {
            srb.cdb_length = length;
        });
        let srb = answer.srb().unwrap();
        assert_eq!((srb.scsi_status, srb.srb_status), (2, 0x86));
        let sense = Sense::parse(&srb.command_or_sense).unwrap();
        assert_eq!((sense.key.0, sense.additional.code), (5, 0x24));
    }
    setup.assert_unharmed();
}

/// Unknown operations are answered; the channel goes on.
#[test]
fn fault_48_unknown_operations_are_answered() {
    let mut setup = setup();
    for operation in [0, 15, 16, 255, 0x8000_0003, u32::MAX] {
        let message = setup.channel.message(Operation(operation));
        let answer = setup.channel.request(&message);
        assert_eq!(answer.operation(), Operation::COMPLETE_IO);
        assert_eq!(answer.status(), NtStatus::INVALID_DEVICE_REQUEST);
    }
    // The host's own operations, and those of the initialisation, are not legal now.
    for operation in [1, 2, 7, 8, 9, 10, 11, 12, 14] {
        let message = setup.channel.message(Operation(operation));
        let answer = setup.channel.request(&message);
        assert_eq!(answer.status(), NtStatus::INVALID_DEVICE_STATE);
    }
    setup.assert_unharmed();
}

/// A request block that is cut short.
#[test]
fn short_request_blocks_are_refused() {
    let mut setup = setup();
    for payload in [4, 12, 28] {
        let message = Packet::new(
            Operation::EXECUTE_SRB,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            payload,
        );
        let answer = setup.channel.request(&message);
        assert_eq!(answer.status(), NtStatus::INVALID_PARAMETER);
        assert_eq!(answer.payload_length(), payload);
        assert_eq!(answer.as_bytes()[12 + 2], 0x15);
    }
    setup.assert_unharmed();
}

/// Packets without any meaning are dropped; too many in a row stop the channel, and it alone.
#[test]
fn meaningless_packets_are_dropped_and_then_stop_the_channel() {
    let mut setup = setup();
    let mut sub = setup.machine.open(1).unwrap();
    let transfer = [TransferRange {
        byte_count: 8,
        byte_offset: 0,
    }];
    let send = |channel: &mut TestChannel, which: usize| {
        let (kind, payload): (_, &[u8]) = match which % 4 {
            0 => (OutgoingKind::InBand, &[]),
            1 => (OutgoingKind::InBand, &[3, 0, 0, 0, 0, 0, 0, 0]),
            2 => (OutgoingKind::Completion, &[0; 64]),
            _ => (
                OutgoingKind::TransferPages {
                    set_id: 1,
                    sender_owns_set: true,
                    ranges: &transfer,
                },
                &[0; 64],
            ),
        };
        channel.send(1, kind, payload).unwrap();
    };
    for round in 0..3 {
        for which in 0..16 {
            send(&mut setup.channel, which + round);
        }
        setup.channel.poll().unwrap();
        assert!(setup.channel.receive().unwrap().is_empty());
        setup.assert_unharmed();
    }
    for which in 0..17 {
        send(&mut setup.channel, which);
    }
    assert!(matches!(
        setup.channel.poll(),
        Err(ChannelFault::Protocol { .. })
    ));
    assert!(sub.command(0, &TEST_UNIT_READY, Data::None).is_good());
    assert_eq!(setup.machine.handle.counters().dropped, 3 * 16 + 17);
}

/// An operation that fails in the middle of traffic fails that command alone.
#[test]
fn fault_52_failures_are_reported_to_their_commands() {
    let mut machine = Machine::new(scsi());
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::new(1 << 20)), 1));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channel = machine.open_ready();
    let io = DiskError::Io {
        operation: "test",
        offset: 0,
        kind: std::io::ErrorKind::Other,
        code: None,
    };
    for (operation, error, command, expected) in [
        (faulty::Operation::Read, io.clone(), READ_10, (3, 0x11, 0)),
        (faulty::Operation::Write, io.clone(), WRITE_10, (3, 0x0C, 0)),
        (
            faulty::Operation::Write,
            DiskError::NoSpace,
            WRITE_10,
            (7, 0x27, 7),
        ),
    ] {
        disk.clear();
        disk.add(faulty::Rule::new(
            operation,
            faulty::When::Nth(2),
            faulty::Fault::Fail(error),
        ));
        for attempt in 1..=3 {
            let bytes = [attempt; 4096];
            let data = if command[0] == READ_10[0] {
                Data::In(4096)
            } else {
                Data::Out(&bytes)
            };
            let reply = channel.command(0, &command, data);
            if attempt == 2 {
                assert_eq!(reply.sense_triple(), Some(expected));
                assert_eq!(
                    (reply.srb.srb_status, reply.header),
                    (0x84, NtStatus::IO_DEVICE_ERROR)
                );
            } else {
                assert!(reply.is_good());
            }
        }
    }
    disk.clear();
    disk.add(faulty::Rule::new(
        faulty::Operation::Flush,
        faulty::When::Nth(1),
        faulty::Fault::Fail(io),
    ));
    for _ in 0..3 {
        let reply = channel.command(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None);
        assert_eq!(reply.sense_triple(), Some((3, 0x0C, 0)));
    }
}

/// The medium vanishes under a disk that is still plugged in: its commands fail, other disks go on.
#[test]
fn fault_53_a_medium_that_vanishes_fails_its_commands() {
    let mut machine = Machine::new(scsi());
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::new(1 << 20)), 1));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    machine
        .handle
        .add_lun(1, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    let mut channel = machine.open_ready();
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
    disk.vanish();
    let reply = channel.command(0, &READ_10, Data::In(4096));
    assert_eq!(reply.sense_triple(), Some((3, 0x11, 0)));
    let reply = channel.command(0, &WRITE_10, Data::Out(&[0; 4096]));
    assert_eq!(reply.sense_triple(), Some((3, 0x0C, 0)));
    assert!(channel.command(1, &READ_10, Data::In(4096)).is_good());
}

/// A sub-channel that is closed with commands running takes nothing else with it.
#[test]
fn fault_54_a_sub_channel_dies_under_load() {
    let mut machine = Machine::new(StorageOptions {
        executor: Some(Arc::new(|_| Box::new(SeededExecutor::new(11, 500)))),
        ..scsi()
    });
    machine
        .handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    let mut primary = machine.open(0).unwrap();
    assert!(primary.initialise(Version::Win10));
    for round in 0..20 {
        let mut sub = machine.open_with_rings(1, 4, 4).unwrap();
        let frames = TestChannel::data_frames(4096);
        for _ in 0..30 {
            sub.submit(0, &READ_10, Data::In(4096), &frames);
        }
        let sent: BTreeSet<_> = (0..30)
            .map(|_| primary.submit(0, &TEST_UNIT_READY, Data::None, &[]))
            .collect();
        sub.poll().unwrap();
        if round % 2 == 0 {
            // Some of its commands are done, and their completions never read.
            sub.now.store(100, Ordering::Relaxed);
            sub.poll().unwrap();
        }
        drop(sub);
        let mut received = BTreeSet::new();
        while received.len() < sent.len() {
            if let NextPoll::At(due) = primary.poll().unwrap() {
                primary.now.store(due, Ordering::Relaxed);
            }
            for packet in primary.receive().unwrap() {
                assert!(received.insert(packet.transaction_id));
            }
        }
        assert_eq!(received, sent);
        assert_eq!(machine.handle.open_channels(), [0]);
    }
}
