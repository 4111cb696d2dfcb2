//! Disks that come, go and change.

use std::vec;

use super::Rig;
use crate::disk::DiskError;
use crate::disk::plan::Fua;
use crate::front::{
    ControllerKind, ControllerOptions, DiskEvent, SharedRuntime, StorageController,
};
use crate::scsi::{AdditionalSense, Command, PeripheralType, SenseKey};
use crate::testing::host::TestHost;
use crate::testing::machine::{Machine, poll_once, run};
use crate::testing::target::{Reply, Target, TestDisk};

const ATTENTION: SenseKey = SenseKey::UNIT_ATTENTION;

fn scans(rig: &Rig) -> usize {
    rig.host.with(|inner| {
        let is_list = |(_, command): &&(u8, Command)| matches!(command, Command::ReportLuns { .. });
        inner.target.log.iter().filter(is_list).count()
    })
}

#[test]
fn disks_added_and_removed_are_reported() {
    let rig = Rig::new(100, 512);
    let first = rig.disk();
    let mut second = TestDisk::new(50, 4096);
    second.guid = *b"another disk....";
    rig.host.with(|inner| inner.target.disks.push((7, second)));
    rig.host.announce();
    let DiskEvent::Added(added) = rig.run(rig.controller.next_event()) else {
        panic!("not added");
    };
    assert_eq!(added.info().address.lun, 7);
    assert_eq!(added.geometry().unwrap().blocks(), 50);
    rig.host.with(|inner| inner.target.disks.remove(0));
    rig.host.announce();
    let DiskEvent::Removed(removed) = rig.run(rig.controller.next_event()) else {
        panic!("not removed");
    };
    assert_eq!(removed.info().address.lun, 0);
    assert_eq!(rig.controller.disks().len(), 1);
    // The old handle is dead, even if another disk comes to its place.
    let replacement = TestDisk {
        guid: *b"a replacement...",
        ..TestDisk::new(100, 512)
    };
    rig.host
        .with(|inner| inner.target.disks.push((0, replacement)));
    rig.host.announce();
    assert!(matches!(
        rig.run(rig.controller.next_event()),
        DiskEvent::Added(_)
    ));
    rig.run(async {
        let (result, _) = first.read(0, first.buffer(512).unwrap()).await;
        assert_eq!(result, Err(DiskError::Gone));
    });
}

#[test]
fn g24_a_flood_of_events_makes_one_scan() {
    let rig = Rig::new(100, 512);
    let _ = rig.disk();
    let before = scans(&rig);
    for _ in 0..1000 {
        rig.host.announce();
    }
    rig.host
        .with(|inner| inner.target.disks.push((1, TestDisk::new(100, 512))));
    assert!(matches!(
        rig.run(rig.controller.next_event()),
        DiskEvent::Added(_)
    ));
    assert_eq!(scans(&rig), before + 1);
}

#[test]
fn an_event_wakes_the_task_that_waits_for_it() {
    let rig = Rig::new(100, 512);
    let _ = rig.disk();
    let mut event = std::boxed::Box::pin(rig.controller.next_event());
    assert!(poll_once(event.as_mut()).is_pending());
    let woken = async {
        rig.host.with(|inner| inner.target.disks.clear());
        rig.host.announce();
    };
    let waiting = async move {
        assert!(matches!(event.await, DiskEvent::Removed(_)));
    };
    rig.run_all(vec![
        std::boxed::Box::pin(waiting),
        std::boxed::Box::pin(woken),
    ]);
}

#[test]
fn g23_a_changed_capacity_is_read_and_the_command_repeated() {
    let rig = Rig::new(100, 512);
    let disk = rig.disk();
    rig.host.with(|inner| {
        let target = &mut inner.target;
        target.disk(0).blocks = 200;
        target.disk(0).data.resize(200 * 512, 0x5A);
        target.forced.push_back(Reply::check(
            ATTENTION,
            AdditionalSense::CAPACITY_DATA_CHANGED,
        ));
    });
    rig.run(async {
        let mut buffer = disk.buffer(512).unwrap();
        buffer.fill(0x77);
        let (result, buffer) = disk.write(99, buffer, Fua::No).await;
        assert_eq!(result, Ok(512));
        assert_eq!(disk.geometry().unwrap().blocks(), 200);
        let (result, buffer) = disk.read(99, buffer).await;
        assert_eq!((result, buffer.to_vec()), (Ok(512), vec![0x77; 512]));
        assert_eq!(disk.read(199, buffer).await.0, Ok(512));
    });
}

#[test]
fn g23_a_command_beyond_a_shrunk_disk_fails() {
    let rig = Rig::new(100, 512);
    let disk = rig.disk();
    rig.host.with(|inner| {
        inner.target.disk(0).blocks = 50;
        inner.target.forced.push_back(Reply::check(
            ATTENTION,
            AdditionalSense::CAPACITY_DATA_CHANGED,
        ));
    });
    rig.run(async {
        let (result, _) = disk.read(60, disk.buffer(512).unwrap()).await;
        assert_eq!(
            result,
            Err(DiskError::OutOfRange {
                lba: 60,
                blocks: 1,
                capacity: 50
            })
        );
    });
    // The rest of the disk's properties follow with an event.
    rig.host
        .with(|inner| inner.target.disk(0).write_cache = false);
    let DiskEvent::Changed(changed) = rig.run(rig.controller.next_event()) else {
        panic!("not changed");
    };
    assert!(!changed.info().write_cache);
}

#[test]
fn g24_changed_luns_repeat_the_command_and_ask_for_a_scan() {
    let rig = Rig::new(100, 512);
    let disk = rig.disk();
    rig.host.with(|inner| {
        inner.target.disks.push((3, TestDisk::new(100, 512)));
        inner.target.forced.push_back(Reply::check(
            ATTENTION,
            AdditionalSense::REPORTED_LUNS_DATA_CHANGED,
        ));
    });
    rig.run(async {
        let (result, _) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
        assert!(matches!(
            rig.controller.next_event().await,
            DiskEvent::Added(_)
        ));
    });
}

#[test]
fn g20_busy_is_waited_out() {
    let rig = Rig::new(100, 512);
    let disk = rig.disk();
    rig.host.with(|inner| {
        for _ in 0..10 {
            inner.target.forced.push_back(Reply::status(5, 8));
        }
    });
    rig.run(async {
        let (result, _) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
    });
}

#[test]
fn fault_53_g19_a_disk_that_vanishes_is_gone() {
    let rig = Rig::new(100, 512);
    let disk = rig.disk();
    rig.host.with(|inner| inner.target.disks.clear());
    rig.run(async {
        let (result, buffer) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!((result, buffer.len()), (Err(DiskError::Gone), 512));
        // The failure itself has asked for a scan.
        assert!(matches!(
            rig.controller.next_event().await,
            DiskEvent::Removed(_)
        ));
        assert_eq!(disk.flush().await, Err(DiskError::Gone));
    });
}

#[test]
fn g34_media_come_and_go() {
    let drive = TestDisk {
        kind: PeripheralType::OPTICAL,
        version: 0,
        medium: false,
        ..TestDisk::new(100, 2048)
    };
    let options = ControllerOptions::default();
    let rig = Rig::with(Target::with_disk(drive), 1 << 14, options);
    let drive = rig.disk();
    rig.run(async {
        let buffer = drive.buffer(2048).unwrap();
        assert_eq!(drive.read(0, buffer).await.0, Err(DiskError::NoMedium));
    });
    rig.host.with(|inner| {
        inner.target.disk(0).medium = true;
        inner.target.disk(0).data.fill(0xCD);
    });
    rig.host.announce();
    assert!(matches!(
        rig.run(rig.controller.next_event()),
        DiskEvent::Changed(_)
    ));
    rig.run(async {
        let (result, buffer) = drive.read(99, drive.buffer(2048).unwrap()).await;
        assert_eq!(result, Ok(2048));
        assert_eq!(buffer.to_vec(), vec![0xCD; 2048]);
        rig.host.with(|inner| {
            inner.target.forced.push_back(Reply::check(
                ATTENTION,
                AdditionalSense::MEDIUM_MAY_HAVE_CHANGED,
            ));
        });
        let (result, _) = drive.read(0, buffer).await;
        assert_eq!(result, Err(DiskError::MediumChanged), "not across a swap");
    });
}

#[test]
fn g33_an_ide_disk_has_its_target_from_the_guid() {
    let guid: vmbus_core::guid::Guid = "00000000-0001-8899-0000-000000000000".parse().unwrap();
    let kind = ControllerKind::ide(&guid);
    assert_eq!(kind, ControllerKind::Ide { target: 1 });
    let machine = std::sync::Arc::new(Machine::default());
    let runtime: SharedRuntime = machine.clone();
    let host = TestHost::new(Target::with_disk(TestDisk::new(100, 512)));
    let transport = host.open(1 << 14);
    let options = ControllerOptions::default();
    let start = StorageController::start(transport, runtime, kind, options);
    let controller = run(&machine, &host, start).unwrap();
    let disks = run(&machine, &host, controller.scan()).unwrap();
    let address = disks[0].info().address;
    assert_eq!((address.path, address.target, address.lun), (0, 1, 0));
}
