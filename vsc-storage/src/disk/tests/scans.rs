//! Scans of well-behaved and of lying controllers.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use crate::disk::{
    DiskError, DiskInfo, DiskKind, RetryLimits, Scan, ScanProgress, Unit, UnitError,
};
use crate::queue::{Address, CommandError, Outcome};
use crate::scsi::{AdditionalSense, Command, DeviceParameter, PeripheralType, SenseKey};
use crate::testing::target::{Reply, Target, TestDisk};

fn outcome(reply: &Reply, requested: u32) -> Outcome {
    let result = match (reply.srb, reply.sense) {
        (1, _) => Ok(()),
        (0x20, _) => Err(CommandError::DeviceGone),
        (5, _) => Err(CommandError::Busy),
        (_, Some(sense)) => Err(CommandError::Check(sense)),
        _ => Err(CommandError::Aborted),
    };
    let moved = reply.transferred.unwrap_or(reply.data.len() as u32);
    Outcome {
        result,
        transferred: if result.is_ok() {
            moved.min(requested)
        } else {
            0
        },
        requested,
    }
}

/// Runs a scan to its end; `edit` may change every reply.
fn scan_with(target: &mut Target, mut edit: impl FnMut(u8, &Command, &mut Reply)) -> Vec<Unit> {
    let mut scan = Scan::new(Address::default(), false, RetryLimits::default());
    for _ in 0..10_000 {
        let Some(command) = scan.command() else {
            return scan.into_units();
        };
        let cdb = command.command.bytes();
        let mut reply = target.execute(command.address.lun, cdb, &[]);
        edit(
            command.address.lun,
            &Command::parse(cdb).unwrap(),
            &mut reply,
        );
        let _ = scan.answer(&outcome(&reply, command.length), &reply.data);
    }
    panic!("the scan does not end");
}

fn scan(target: &mut Target) -> Vec<Unit> {
    scan_with(target, |_, _, _| ())
}

fn info(disk: TestDisk) -> DiskInfo {
    let units = scan(&mut Target::with_disk(disk));
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].problem, None);
    units[0].info
}

#[test]
fn everything_about_a_disk_is_read() {
    let info = info(TestDisk {
        exponent: 3,
        ..TestDisk::new(1000, 512)
    });
    assert_eq!(std::format!("{}", info.vendor), "Msft");
    assert_eq!(std::format!("{}", info.product), "Virtual Disk");
    assert_eq!(std::format!("{}", info.revision), "1.0");
    assert_eq!(std::format!("{}", info.serial.unwrap()), "serial-42");
    assert_eq!(info.identity.disk, Some(*b"0123456789abcdef"));
    assert_eq!(
        info.identity.naa.unwrap()[..6],
        [0x60, 0x02, 0x24, 0x80, b'0', b'1']
    );
    let geometry = info.geometry.unwrap();
    assert_eq!(
        (
            geometry.blocks(),
            geometry.block_size(),
            geometry.physical_block_size(),
            geometry.bytes()
        ),
        (1000, 512, 4096, 512_000)
    );
    assert_eq!(info.kind, DiskKind::Disk);
    assert!(info.write_cache && info.force_unit_access && info.solid_state && !info.read_only);
    let discard = info.discard.unwrap();
    assert_eq!(
        (
            discard.max_blocks,
            discard.granularity,
            discard.alignment,
            discard.reads_zero
        ),
        (1000, 8, 3, true)
    );
}

#[test]
fn properties_follow_the_device() {
    let disk = TestDisk {
        write_cache: false,
        parameter: DeviceParameter::WRITE_PROTECTED,
        unmap: false,
        ..TestDisk::new(1000, 4096)
    };
    let info = info(disk);
    assert!(info.read_only && !info.write_cache && !info.force_unit_access);
    assert_eq!(info.discard, None);
}

#[test]
fn units_are_found_wherever_they_are() {
    let mut target = Target::default();
    for lun in [0, 3, 63, 255] {
        target.disks.push((lun, TestDisk::new(100, 512)));
    }
    let found = |target: &mut Target| {
        scan(target)
            .iter()
            .map(|unit| unit.info.address.lun)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&mut target), [0, 3, 63, 255]);
    target.disks.remove(0);
    assert_eq!(found(&mut target), [3, 63, 255], "unit 0 may be absent");
    target.disks.clear();
    assert_eq!(found(&mut target), []);
}

#[test]
fn only_unit_0_is_looked_at_on_ide() {
    let mut target = Target::default();
    target.disks.push((0, TestDisk::new(100, 512)));
    target.disks.push((1, TestDisk::new(100, 512)));
    let address = Address {
        target: 1,
        ..Address::default()
    };
    let mut scan = Scan::new(address, true, RetryLimits::default());
    while let Some(command) = scan.command() {
        assert_eq!(command.address, address);
        let reply = target.execute(0, command.command.bytes(), &[]);
        let _ = scan.answer(&outcome(&reply, command.length), &reply.data);
    }
    assert_eq!(scan.into_units().len(), 1);
    assert!(
        !target
            .log
            .iter()
            .any(|(_, command)| matches!(command, Command::ReportLuns { .. }))
    );
}

#[test]
fn a_controller_that_lists_nothing_is_searched() {
    let mut target = Target::default();
    target.disks.push((5, TestDisk::new(100, 512)));
    let units = scan_with(&mut target, |_, command, reply| {
        if matches!(command, Command::ReportLuns { .. }) {
            *reply = Reply::check(
                SenseKey::ILLEGAL_REQUEST,
                AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
            );
        }
    });
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].info.address.lun, 5);
}

#[test]
fn g26_large_disks_are_measured_by_either_command() {
    let blocks = (5u64 << 40) / 512;
    for version in [2, 5] {
        let disk = TestDisk {
            version,
            ..TestDisk::new(blocks, 512)
        };
        assert_eq!(info(disk).geometry.unwrap().blocks(), blocks);
    }
    // A disk that has only the short command.
    let mut target = Target::with_disk(TestDisk::new(1000, 512));
    let units = scan_with(&mut target, |_, command, reply| {
        if matches!(command, Command::ReadCapacity16 { .. }) {
            *reply = Reply::check(
                SenseKey::ILLEGAL_REQUEST,
                AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
            );
        }
    });
    assert_eq!(units[0].info.geometry.unwrap().blocks(), 1000);
    assert_eq!(units[0].info.discard, None);
}

#[test]
fn g34_an_optical_drive_may_be_empty() {
    let drive = TestDisk {
        kind: PeripheralType::OPTICAL,
        version: 0,
        medium: false,
        ..TestDisk::new(1000, 2048)
    };
    let empty = info(drive.clone());
    assert_eq!((empty.kind, empty.geometry), (DiskKind::Optical, None));
    let loaded = info(TestDisk {
        medium: true,
        ..drive
    });
    assert_eq!(loaded.geometry.unwrap().block_size(), 2048);
    assert!(loaded.read_only && loaded.removable && !loaded.write_cache);
}

#[test]
fn unit_attentions_and_busy_are_waited_out() {
    let mut target = Target::with_disk(TestDisk::new(1000, 512));
    target.forced.extend([
        Reply::check(SenseKey::UNIT_ATTENTION, AdditionalSense::POWER_ON_OR_RESET),
        Reply::status(5, 8),
        Reply::check(
            SenseKey::UNIT_ATTENTION,
            AdditionalSense::CAPACITY_DATA_CHANGED,
        ),
    ]);
    assert_eq!(scan(&mut target).len(), 1);
    assert_eq!(
        target
            .log
            .iter()
            .filter(|(_, command)| matches!(
                command,
                Command::Inquiry {
                    vital_product_data: false,
                    ..
                }
            ))
            .count(),
        5
    );
}

#[test]
fn a_change_during_the_scan_asks_for_another() {
    let mut scan = Scan::new(Address::default(), true, RetryLimits::default());
    let mut target = Target::with_disk(TestDisk::new(1000, 512));
    let mut once = true;
    while let Some(command) = scan.command() {
        let cdb = command.command.bytes();
        let mut reply = target.execute(0, cdb, &[]);
        if Command::parse(cdb) == Ok(Command::TestUnitReady) && core::mem::take(&mut once) {
            reply = Reply::check(
                SenseKey::UNIT_ATTENTION,
                AdditionalSense::REPORTED_LUNS_DATA_CHANGED,
            );
        }
        let _ = scan.answer(&outcome(&reply, command.length), &reply.data);
    }
    assert!(scan.changed_meanwhile());
}

#[test]
fn a_closed_channel_ends_the_scan() {
    let mut scan = Scan::new(Address::default(), false, RetryLimits::default());
    assert_eq!(
        scan.answer(&Outcome::cancelled(36), &[]),
        ScanProgress::Failed(DiskError::Closed)
    );
}

#[test]
fn fault_49_impossible_sizes_are_refused() {
    for block_size in [0, 1, 513, 1 << 13, 1 << 31, u32::MAX] {
        let mut target = Target::with_disk(TestDisk::new(2 << 20, 512));
        target.disk(0).block_size = block_size;
        let units = scan(&mut target);
        assert_eq!(
            units[0].problem,
            Some(UnitError::BlockSize { bytes: block_size })
        );
        assert_eq!(units[0].info.geometry, None);
    }
    // `blocks - 1` is the last block: the largest number, and one that overflows in bytes.
    for (blocks, last_lba) in [(0, u64::MAX), (1 << 60, (1 << 60) - 1)] {
        let mut target = Target::with_disk(TestDisk::new(2 << 20, 512));
        target.disk(0).blocks = blocks;
        assert_eq!(
            scan_with(&mut target, |_, _, _| ())[0].problem,
            Some(UnitError::Capacity {
                last_lba,
                block_size: 512
            })
        );
    }
    let mut target = Target::with_disk(TestDisk::new(1, 512));
    let units = scan_with(&mut target, |_, command, reply| {
        if matches!(
            command,
            Command::ReadCapacity16 { .. } | Command::ReadCapacity10
        ) {
            reply.transferred = Some(7);
        }
    });
    assert_eq!(
        units[0].problem,
        Some(UnitError::ShortCapacity { bytes: 7 })
    );
}

#[test]
fn fault_50_a_lying_unit_list_is_bounded() {
    // Every entry repeated, unordered, with units that aren't there and addresses of other kinds,
    // and a length beyond all data.
    let mut list = vec![0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    for entry in 0..511u32 {
        list.extend_from_slice(&[
            (entry as u8 & 1) * 0xC1,
            (entry * 7) as u8,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
    }
    let mut target = Target::default();
    target.disks.push((7, TestDisk::new(100, 512)));
    let units = scan_with(&mut target, |_, command, reply| {
        if matches!(command, Command::ReportLuns { .. }) {
            *reply = Reply::good(list.clone());
        }
    });
    assert_eq!(units.len(), 0, "7 has an odd entry");
    let inquiries = target.log.len();
    assert!(inquiries <= 258, "{inquiries} commands");
    for cut in [0, 4, 7, 8, 15] {
        let units = scan_with(&mut target, |_, command, reply| {
            if matches!(command, Command::ReportLuns { .. }) {
                *reply = Reply::good(list[..cut].to_vec());
            }
        });
        assert_eq!(units.len(), usize::from(cut < 8), "without a list, search");
    }
}

#[test]
fn fault_51_short_inquiries_are_no_disks() {
    for length in 0..5 {
        let mut target = Target::with_disk(TestDisk::new(100, 512));
        let units = scan_with(&mut target, |_, command, reply| {
            if matches!(
                command,
                Command::Inquiry {
                    vital_product_data: false,
                    ..
                }
            ) {
                reply.transferred = Some(length);
            }
        });
        assert_eq!(units, []);
    }
    // Five bytes make a nameless disk; short pages tell nothing.
    let mut target = Target::with_disk(TestDisk::new(100, 512));
    let units = scan_with(&mut target, |_, command, reply| match command {
        Command::Inquiry {
            vital_product_data: true,
            page,
            ..
        } if page.0 != 0 => reply.transferred = Some(3),
        Command::Inquiry {
            vital_product_data: false,
            ..
        } => reply.transferred = Some(5),
        _ => {}
    });
    assert_eq!(units.len(), 1);
    assert!(units[0].info.vendor.is_empty());
    assert_eq!(units[0].info.serial, None);
    assert_eq!(units[0].info.discard, None);
}

#[test]
fn fault_53_a_disk_pulled_out_during_its_scan_is_absent_though_it_comes_back_at_once() {
    // Half of what is known of it would otherwise be missing: here, its names and whether it unmaps.
    let mut target = Target::with_disk(TestDisk::new(100, 512));
    let mut pages = 0;
    let units = scan_with(&mut target, |_, command, reply| {
        if matches!(
            command,
            Command::Inquiry {
                vital_product_data: true,
                ..
            }
        ) {
            pages += 1;
            *reply = Reply::status(0x20, 0);
        }
    });
    assert_eq!((units, pages), (vec![], 1));
}

#[derive(Clone, Debug)]
enum Mutation {
    Keep,
    Replace(Vec<u8>),
    Flip(usize, u8),
    Truncate(u32),
    Fail(u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => Just(Mutation::Keep),
        1 => proptest::collection::vec(any::<u8>(), 0..300).prop_map(Mutation::Replace),
        2 => (0usize..64, any::<u8>()).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        1 => (0u32..70).prop_map(Mutation::Truncate),
        1 => prop_oneof![Just(0x20u8), Just(5), Just(4)].prop_map(Mutation::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Scans of disks whose every reply may be forged end, and sizes found are sound.
    #[test]
    fn g36_forged_replies_do_no_harm(mutations in proptest::collection::vec(mutation(), 1..60)) {
        let mut target = Target::default();
        for lun in [0, 2, 9] {
            target.disks.push((lun, TestDisk::new(1000, 512)));
        }
        let mut turns = mutations.iter().cycle();
        let units = scan_with(&mut target, |_, _, reply| match turns.next().unwrap() {
            Mutation::Keep => {}
            Mutation::Replace(data) => reply.data.clone_from(data),
            Mutation::Flip(at, bits) => {
                if let Some(byte) = reply.data.get_mut(*at) {
                    *byte ^= bits;
                }
            }
            Mutation::Truncate(length) => reply.transferred = Some(*length),
            Mutation::Fail(srb) => *reply = Reply::status(*srb, 2),
        });
        prop_assert!(units.len() <= 256);
        for unit in units {
            if let Some(geometry) = unit.info.geometry {
                prop_assert!(geometry.blocks() > 0);
                prop_assert!(geometry.bytes() / u64::from(geometry.block_size()) == geometry.blocks());
                prop_assert!(geometry.check(geometry.blocks(), 1).is_err());
            }
            if let Some(discard) = unit.info.discard {
                prop_assert!(discard.max_blocks > 0 && discard.granularity > discard.alignment);
            }
        }
    }
}
