//! Controllers as devices: offers, disks that come and go, opening and closing.
//! Numbers like H3 are those of the conformance checklist.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use host_sim::disk::{DiskImage, DiskInfo};
use host_sim::vmbus::vsp::Vsp;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use host_sim::vsp::storage::{
    ConfigError, LunError, StorageController, StorageHandle, StorageOptions, UnitAttention,
    scsi_instance,
};
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::packet::OutgoingKind;
use vsc_storage::wire::{NtStatus, Operation, Packet, SubChannelCount, Version};

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

/// H30, part: disks come and go; each number's command finds what is there.
#[test]
fn disks_come_and_go() {
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    let mut channel = machine.open_ready();
    assert_eq!(
        channel
            .command(0, &TEST_UNIT_READY, Data::None)
            .srb
            .srb_status,
        0x20
    );
    let disk = |size| Arc::new(MemoryDisk::new(size));
    handle.add_lun(0, disk(4096)).unwrap();
    handle.add_lun(63, disk(8192)).unwrap();
    assert_eq!(
        handle.add_lun(63, disk(4096)),
        Err(LunError::InUse { lun: 63 })
    );
    assert_eq!(
        handle.add_lun(64, disk(4096)),
        Err(LunError::Number {
            lun: 64,
            highest: 63
        })
    );
    assert_eq!(
        handle.remove_lun(1).err(),
        Some(LunError::Absent { lun: 1 })
    );
    channel.poll().unwrap();
    channel.receive().unwrap();
    for lun in [0, 63] {
        assert!(channel.command(lun, &TEST_UNIT_READY, Data::None).is_good());
    }
    let removed = handle.remove_lun(63).unwrap();
    assert_eq!(removed.info().size, 8192);
    channel.poll().unwrap();
    channel.receive().unwrap();
    // Closed with the last reference: nobody but us holds it any more.
    assert_eq!(Arc::strong_count(&removed), 1);
    let gone = channel.command(63, &TEST_UNIT_READY, Data::None);
    assert_eq!(
        (gone.srb.scsi_status, gone.srb.srb_status, gone.header),
        (2, 0x20, NtStatus::DEVICE_DOES_NOT_EXIST)
    );
    assert_eq!(gone.sense(), None);
    assert!(channel.command(0, &TEST_UNIT_READY, Data::None).is_good());
}

/// A change counts from the very next command on, also for those that the channel finds in the same look at its
/// ring: a guest that scans as soon as it hears of a change must not see what was there before.
#[test]
fn changes_count_from_the_next_command_on() {
    let handle = Arc::new(OnceLock::<StorageHandle>::new());
    let operator = Arc::clone(&handle);
    let mut machine = Machine::new(StorageOptions {
        // An operator who is quick: acts while the channel is in the middle of its work.
        observer: Some(Arc::new(move |record| {
            let handle = operator.get().expect("set below");
            match record.transaction_id {
                100 => drop(handle.remove_lun(0).expect("a disk")),
                102 => handle
                    .add_lun(1, Arc::new(MemoryDisk::new(8192)))
                    .expect("a free number"),
                _ => {}
            }
        })),
        ..scsi()
    });
    handle.set(machine.handle.clone()).unwrap();
    machine
        .handle
        .add_lun(0, Arc::new(MemoryDisk::new(4096)))
        .unwrap();
    let mut channel = machine.open_ready();
    for (id, lun) in [(100, 0), (101, 0), (102, 1), (103, 1)] {
        let message = channel.command_message(lun, &TEST_UNIT_READY, Data::None);
        channel
            .send(id, OutgoingKind::InBand, message.as_bytes())
            .unwrap();
    }
    let _ = channel.poll_once().unwrap();
    let statuses: Vec<_> = channel
        .receive()
        .unwrap()
        .iter()
        .filter(|packet| packet.is_completion)
        .map(|packet| {
            let srb = Packet::parse(&packet.payload).unwrap().srb().unwrap();
            (packet.transaction_id, srb.srb_status)
        })
        .collect();
    assert_eq!(
        statuses,
        [(100, 0x01), (101, 0x20), (102, 0x20), (103, 0x01)]
    );
}

/// H29: a disk that grew says so once; its capacity is then the new one.
#[test]
fn growing_is_reported_once() {
    let mut machine = machine();
    let handle = machine.handle.clone();
    let mut channel = machine.open_ready();
    let capacity = |channel: &mut TestChannel| {
        let reply = channel.command(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8));
        assert!(reply.is_good());
        u32::from_be_bytes(reply.data[..4].try_into().unwrap())
    };
    assert_eq!(capacity(&mut channel), 2047);
    handle
        .replace_lun(
            0,
            Arc::new(MemoryDisk::new(2 << 20)),
            UnitAttention::CapacityChanged,
        )
        .unwrap();
    let first = channel.command(0, &READ_10, Data::In(4096));
    assert_eq!(first.sense_triple(), Some((6, 0x2A, 9)));
    assert_eq!(first.srb.srb_status, 0x84);
    assert_eq!(capacity(&mut channel), 4095);
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
    handle.raise(0, UnitAttention::ReportedLunsChanged).unwrap();
    let next = channel.command(0, &TEST_UNIT_READY, Data::None);
    assert_eq!(next.sense_triple(), Some((6, 0x3F, 0x0E)));
}

/// H42: a thousand times opened and closed, nothing is left over.
#[test]
fn opening_and_closing_leaks_nothing() {
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    let mut machine = Machine::new(scsi());
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let references = Arc::strong_count(&disk);
    for round in 0..1000 {
        // Rings of 2 pages each, so that guest memory suffices.
        let mut channel = machine.open_with_rings(0, 2, 2).unwrap();
        assert!(channel.initialise(Version::Win10));
        assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
        drop(channel);
        assert_eq!(disk.flushes(), round + 1, "closing flushes");
    }
    assert_eq!(Arc::strong_count(&disk), references);
    assert!(machine.handle.open_channels().is_empty());
    let counters = machine.handle.counters();
    assert_eq!((counters.channels_opened, counters.reads), (1000, 1000));
    assert_eq!(counters.bytes_read, 1000 * 4096);
}

#[test]
fn offers_describe_the_device() {
    let offer = StorageController::new(scsi()).unwrap().offer();
    assert_eq!(offer.interface, class::SCSI);
    assert_eq!(offer.instance, Guid::from_fields(1, 2, 3, [4; 8]));
    assert_eq!((offer.flags, offer.max_sub_channels), (0, 64));
    assert_eq!(offer.user_data, [0; 120]);

    let offer = StorageController::new(StorageOptions::ide(1, 0))
        .unwrap()
        .offer();
    assert_eq!(offer.interface, class::IDE);
    assert_eq!(
        offer.instance.to_string(),
        "00000001-0000-8899-0000-000000000000"
    );
    assert_eq!((offer.flags, offer.max_sub_channels), (1, 0));
    let mut expected = [0; 120];
    expected[2] = 1;
    expected[8] = 2;
    assert_eq!(offer.user_data, expected);

    for bytes in [0, 1, 4095, 5000, 0x40_1000] {
        let refused = StorageController::new(StorageOptions {
            max_transfer: bytes,
            ..scsi()
        });
        assert_eq!(refused.unwrap_err(), ConfigError::MaxTransfer { bytes });
    }
    assert!(StorageController::new(StorageOptions::ide(2, 0)).is_err());
}

/// H17 at its limit: 64 disks, all listed, each with its own content and name.
#[test]
fn sixty_four_disks_are_told_apart() {
    let mut machine = Machine::new(scsi());
    for lun in 0..64u8 {
        let disk = MemoryDisk::with_info(DiskInfo {
            identity: [lun; 16],
            ..MemoryDisk::new(4096).info().clone()
        });
        disk.write_bytes(0, &[lun; 512]).unwrap();
        machine.handle.add_lun(lun, Arc::new(disk)).unwrap();
    }
    let mut channel = machine.open_ready();
    let list = channel.command(0, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], Data::In(4096));
    assert_eq!(list.data.len(), 8 + 64 * 8);
    assert_eq!(list.data[..8], [0, 0, 2, 0, 0, 0, 0, 0]);
    for lun in 0..64u8 {
        assert_eq!(list.data[8 + usize::from(lun) * 8 + 1], lun);
        let read = channel.command(lun, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], Data::In(512));
        assert_eq!(read.data, [lun; 512]);
        let name = channel.command(lun, &[0x12, 1, 0x83, 0, 255, 0], Data::In(255));
        assert_eq!(name.data[16..32], [lun; 16]);
    }
}

/// Several controllers beside each other have instances of their own, the same each time.
#[test]
fn controllers_are_told_apart() {
    let instances: BTreeSet<_> = (0..=255)
        .map(|index| scsi_instance(index).to_bytes())
        .collect();
    assert_eq!(instances.len(), 256);
    assert_eq!(
        scsi_instance(0).to_string(),
        "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f"
    );
    let offer = |index| {
        let options = StorageOptions::scsi(scsi_instance(index));
        StorageController::new(options).unwrap().offer().instance
    };
    assert_eq!(offer(3), offer(3));
    assert_ne!(offer(3), offer(2));
}

/// An IDE disk: LUN 0 alone, at whatever address, no sub-channels.
#[test]
fn ide_disks_work() {
    let mut machine = Machine::new(StorageOptions::ide(1, 1));
    let handle = machine.handle.clone();
    handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    assert!(matches!(
        handle.add_lun(1, Arc::new(MemoryDisk::new(4096))),
        Err(LunError::Number { lun: 1, highest: 0 })
    ));
    let mut channel = machine.open_ready();
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
    assert_eq!(
        channel.command(1, &READ_10, Data::In(4096)).srb.srb_status,
        0x20
    );
    let message = sub_channels(&channel, 1);
    assert_eq!(
        channel.request(&message).status(),
        NtStatus::INVALID_PARAMETER
    );
    assert!(machine.open(1).is_err());
}

/// What an operator sees.
#[test]
fn snapshots_show_the_controller() {
    let mut machine = machine();
    let closed = machine.handle.snapshot();
    assert_eq!(
        (closed.state, closed.version, closed.channels),
        (None, None, vec![])
    );
    let mut channel = machine.open_ready();
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
    let open = machine.handle.snapshot();
    assert_eq!(open.version.as_deref(), Some("6.2"));
    assert_eq!((open.channels, open.disks.len()), (vec![0], 1));
    assert_eq!(
        (open.disks[0].size, open.counters.bytes_read),
        (1 << 20, 4096)
    );
    assert_eq!(open.counters.signals, open.counters.batches);
}
