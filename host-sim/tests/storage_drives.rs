//! Optical drives on a controller that a guest uses.

mod storage_support;

use std::sync::Arc;

use host_sim::disk::{DiskImage, open_iso};
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use host_sim::vsp::storage::{LunError, StorageOptions, scsi_instance};
use storage_support::{READ_10, TEST_UNIT_READY, scsi};
use vsc_storage::wire::{Operation, Packet};

const EVENT: [u8; 10] = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
const LOCK: [u8; 6] = [0x1E, 0, 0, 0, 1, 0];

/// An image in a file, with a part of a block at its end.
fn iso(fill: u8) -> Arc<dyn DiskImage> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![fill; 10 * 2048 + 700]).unwrap();
    open_iso(file.path()).unwrap()
}

fn read(channel: &mut TestChannel, lun: u8) -> Result<Vec<u8>, (u8, u8, u8)> {
    let mut command = READ_10;
    command[8] = 1;
    let reply = channel.command(lun, &command, Data::In(2048));
    reply.sense_triple().map_or(Ok(reply.data), Err)
}

/// Takes the announcement that the set of units changed.
fn announced(channel: &mut TestChannel) -> bool {
    channel.poll().unwrap();
    let received = channel.receive().unwrap();
    let operations = received
        .iter()
        .map(|packet| Packet::parse(&packet.payload).unwrap().operation());
    operations.eq([Operation::ENUMERATE_BUS])
}

/// C.13: what Linux asks a drive when it finds it, and when its medium is changed.
#[test]
fn a_guest_uses_a_drive() {
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    handle.add_drive(1, Some(iso(1))).unwrap();
    let mut channel = machine.open_ready();
    let luns = channel.command(0, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], Data::In(4096));
    assert_eq!(luns.data[..4], [0, 0, 0, 16]);
    assert_eq!(luns.data[16..18], [0, 1]);
    let inquiry = channel.command(1, &[0x12, 0, 0, 0, 36, 0], Data::In(36));
    assert_eq!(inquiry.data[..2], [5, 0x80]);
    // Nothing is pending at the start.
    assert!(channel.command(1, &TEST_UNIT_READY, Data::None).is_good());
    let event = channel.command(1, &EVENT, Data::In(8));
    assert_eq!(event.data, [0, 6, 4, 0x10, 0, 2, 0, 0]);
    let mode = channel.command(1, &[0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 128, 0], Data::In(128));
    assert_eq!(mode.data.len(), 30);
    let capacity = channel.command(1, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8));
    assert_eq!(capacity.data, [0, 0, 0, 9, 0, 0, 8, 0]);
    assert_eq!(read(&mut channel, 1), Ok(vec![1; 2048]));

    handle.insert_medium(1, iso(2), false).unwrap();
    let events: Vec<_> = (0..3)
        .map(|_| channel.command(1, &EVENT, Data::In(8)).data[4])
        .collect();
    assert_eq!(events, [3, 2, 0]);
    assert_eq!(read(&mut channel, 1), Err((6, 0x28, 0)));
    assert_eq!(read(&mut channel, 1), Ok(vec![2; 2048]));
    // The disk beside it has noticed nothing.
    assert!(channel.command(0, &READ_10, Data::In(4096)).is_good());
}

/// Drives come and go like disks, and each call is for its own kind.
#[test]
fn drives_are_plugged_in_and_out() {
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    let mut channel = machine.open_ready();
    handle.add_drive(5, None).unwrap();
    assert!(announced(&mut channel));
    let empty = channel.command(5, &TEST_UNIT_READY, Data::None);
    assert_eq!(empty.sense_triple(), Some((2, 0x3A, 1)));
    assert_eq!(handle.add_drive(5, None), Err(LunError::InUse { lun: 5 }));
    assert_eq!(handle.faults(5).err(), Some(LunError::NoMedium { lun: 5 }));
    assert_eq!(
        handle.remove_lun(5).err(),
        Some(LunError::NotADisk { lun: 5 })
    );
    handle.add_lun(6, Arc::new(MemoryDisk::new(4096))).unwrap();
    assert_eq!(
        handle.eject_medium(6, false).err(),
        Some(LunError::NotADrive { lun: 6 })
    );
    assert_eq!(
        handle.remove_drive(6).err(),
        Some(LunError::NotADrive { lun: 6 })
    );
    assert_eq!(
        handle.insert_medium(7, iso(1), false).err(),
        Some(LunError::Absent { lun: 7 })
    );
    // Any image of whole blocks will do.
    let plain: Arc<dyn DiskImage> = Arc::new(MemoryDisk::new(4096));
    handle.insert_medium(5, plain, false).unwrap();
    assert_eq!(handle.snapshot().drives[0].size, Some(4096));
    assert!(handle.remove_drive(5).unwrap().is_some());
    assert!(announced(&mut channel));
    let gone = channel.command(5, &TEST_UNIT_READY, Data::None);
    assert_eq!(gone.srb.srb_status, 0x20);
    let ide = Machine::new(StorageOptions::ide(0, 0));
    assert_eq!(ide.handle.add_drive(0, None), Err(LunError::NoDrives));
}

/// A guest that locks the drive and goes away does not keep the medium.
#[test]
fn locks_end_with_the_guest() {
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle.add_drive(0, Some(iso(1))).unwrap();
    let mut channel = machine.open_ready();
    assert!(channel.command(0, &LOCK, Data::None).is_good());
    assert!(handle.drive_state(0).unwrap().locked);
    assert_eq!(
        handle.eject_medium(0, false).err(),
        Some(LunError::MediumLocked { lun: 0 })
    );
    assert_eq!(channel.command(0, &EVENT, Data::In(8)).data[4], 1);
    drop(channel);
    assert!(!handle.drive_state(0).unwrap().locked);
    assert!(handle.eject_medium(0, false).unwrap().is_some());
}

/// H19: drives of several controllers call themselves differently, and the same each time.
#[test]
fn drives_have_names_of_their_own() {
    let mut names = Vec::new();
    for _ in 0..2 {
        for controller in 0..4 {
            let instance = scsi_instance(controller);
            let mut machine = Machine::new(StorageOptions::scsi(instance));
            for lun in [0, 1, 63] {
                machine.handle.add_drive(lun, None).unwrap();
            }
            let mut channel = machine.open_ready();
            for lun in [0, 1, 63] {
                let page = channel.command(lun, &[0x12, 1, 0x83, 0, 255, 0], Data::In(255));
                assert_eq!(page.data.len(), 32);
                names.push(page.data);
            }
        }
    }
    let (first, second) = names.split_at(12);
    assert_eq!(first, second);
    let mut distinct = first.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 12);
    assert_eq!(scsi_instance(0), host_sim::host::SCSI_INSTANCE);
}
