//! Data moves, and is durable when it should be.

use std::boxed::Box;
use std::vec;

use super::{Rig, pattern};
use crate::disk::plan::Fua;
use crate::disk::{CommandKind, DiskError};
use crate::front::ControllerOptions;
use crate::scsi::{AdditionalSense, Command, DeviceParameter, SenseKey};
use crate::testing::target::{Reply, Target, TestDisk};
use crate::wire::Version;

#[test]
fn what_is_written_is_read_back() {
    for (size, version) in [
        (512, Version::Win10),
        (4096, Version::Win8),
        (512, Version::Win7),
        (4096, Version::Win6),
    ] {
        let target = Target::with_disk(TestDisk::new(1000, size));
        let options = ControllerOptions {
            newest: version,
            ..ControllerOptions::default()
        };
        let rig = Rig::with(target, 1 << 16, options);
        assert_eq!(rig.controller.info().version, version);
        let disk = rig.disk();
        rig.run(async {
            let bytes = pattern(1, size as usize * 5);
            let mut buffer = disk.buffer(bytes.len()).unwrap();
            buffer.copy_from(0, &bytes).unwrap();
            let (written, mut buffer) = disk.write(995, buffer, Fua::No).await;
            assert_eq!(written, Ok(bytes.len()));
            buffer.fill(0);
            let (read, buffer) = disk.read(995, buffer).await;
            assert_eq!(read, Ok(bytes.len()));
            assert_eq!(buffer.to_vec(), bytes);
            // The last block, and one too far.
            let mut buffer = buffer;
            buffer.set_window(0, size as usize).unwrap();
            let (last, buffer) = disk.read(999, buffer).await;
            assert_eq!(last, Ok(size as usize));
            let (beyond, _) = disk.read(1000, buffer).await;
            assert_eq!(
                beyond,
                Err(DiskError::OutOfRange {
                    lba: 1000,
                    blocks: 1,
                    capacity: 1000
                })
            );
        });
        assert_eq!(rig.machine.in_use(), 0);
    }
}

#[test]
fn g9_g10_any_place_in_a_buffer_and_any_length_will_do() {
    let rig = Rig::new(2000, 512);
    rig.host.with(|inner| {
        inner.target.disk(0).data = pattern(9, 2000 * 512);
    });
    let disk = rig.disk();
    let whole = pattern(9, 2000 * 512);
    rig.run(async {
        // 700 KiB: three requests of at most 256 KiB.
        let length = 1400 * 512;
        for offset in (0..4096).step_by(511) {
            let mut buffer = disk.buffer(length + 8192).unwrap();
            buffer.fill(0xEE);
            buffer.set_window(offset, length).unwrap();
            let (read, mut buffer) = disk.read(100, buffer).await;
            assert_eq!(read, Ok(length));
            assert!(buffer.to_vec() == whole[100 * 512..][..length]);
            // Nothing around it was touched.
            buffer.set_window(0, offset).unwrap();
            assert!(buffer.to_vec().iter().all(|byte| *byte == 0xEE));
            buffer.set_window(offset + length, 4096 - offset).unwrap();
            assert!(buffer.to_vec().iter().all(|byte| *byte == 0xEE));
        }
    });
    let reads = rig.host.with(|inner| {
        let lengths: vec::Vec<_> = inner
            .target
            .log
            .iter()
            .filter_map(|(_, command)| match command {
                Command::Read(transfer) => Some(transfer.blocks),
                _ => None,
            })
            .collect();
        lengths
    });
    assert_eq!(reads[..3], [512, 512, 376]);
}

#[test]
fn unaligned_lengths_are_refused() {
    let rig = Rig::new(100, 4096);
    let disk = rig.disk();
    rig.run(async {
        let buffer = disk.buffer(512).unwrap();
        let (result, buffer) = disk.read(0, buffer).await;
        assert_eq!(
            result,
            Err(DiskError::Unaligned {
                bytes: 512,
                block_size: 4096
            })
        );
        assert_eq!(buffer.len(), 512, "the buffer comes back");
        let empty = disk.buffer(0).unwrap();
        assert_eq!(disk.read(100, empty).await.0, Ok(0));
    });
}

#[test]
fn byte_ranges_of_any_alignment_are_bounced() {
    for size in [512, 4096] {
        let rig = Rig::new(100, size);
        let disk = rig.disk();
        let mut expected = pattern(3, 100 * size as usize);
        rig.host
            .with(|inner| inner.target.disk(0).data.clone_from(&expected));
        rig.run(async {
            for (offset, length) in [
                (0, 1),
                (511, 2),
                (5000, 4096),
                (1, 49_000),
                (4096, 8192),
                (100, 0),
            ] {
                let bytes = pattern(offset as u64 + 77, length);
                disk.write_bytes(offset as u64, &bytes, Fua::No)
                    .await
                    .unwrap();
                expected[offset..][..length].copy_from_slice(&bytes);
            }
            let mut all = vec![0; expected.len() - 3];
            disk.read_bytes(3, &mut all).await.unwrap();
            assert!(all == expected[3..]);
            let beyond = disk
                .read_bytes(expected.len() as u64 - 1, &mut [0; 2])
                .await;
            assert!(matches!(beyond, Err(DiskError::OutOfRange { .. })));
        });
        assert_eq!(rig.machine.in_use(), 0);
    }
}

fn with_cache(write_cache: bool, parameter: DeviceParameter) -> Rig {
    let disk = TestDisk {
        write_cache,
        parameter,
        ..TestDisk::new(100, 512)
    };
    let options = ControllerOptions::default();
    Rig::with(Target::with_disk(disk), 1 << 14, options)
}

fn flushes(rig: &Rig) -> usize {
    let is_flush = |(_, command): &&(u8, Command)| matches!(command, Command::SynchronizeCache(_));
    rig.host
        .with(|inner| inner.target.log.iter().filter(is_flush).count())
}

#[test]
fn g27_flush_and_fua_follow_the_cache() {
    for (cache, parameter, after_fua, after_flush) in [
        (false, DeviceParameter::DPO_FUA, 0, 0),
        (true, DeviceParameter::DPO_FUA, 0, 1),
        (true, DeviceParameter::empty(), 1, 2),
    ] {
        let rig = with_cache(cache, parameter);
        let disk = rig.disk();
        rig.run(async {
            let buffer = disk.buffer(512).unwrap();
            let (result, buffer) = disk.write(0, buffer, Fua::Yes).await;
            assert_eq!(result, Ok(512));
            assert_eq!(flushes(&rig), after_fua);
            if cache {
                assert!(!rig.host.with(|inner| inner.target.disk(0).dirty));
            }
            let _ = disk.write(0, buffer, Fua::No).await;
            disk.flush().await.unwrap();
            assert_eq!(flushes(&rig), after_flush);
        });
    }
}

#[test]
fn fault_52_g28_a_failed_flush_is_reported() {
    let rig = with_cache(true, DeviceParameter::empty());
    let disk = rig.disk();
    let fail = |reply: Reply| {
        rig.host.with(|inner| inner.target.forced.push_back(reply));
    };
    rig.run(async {
        fail(Reply::check(
            SenseKey::MEDIUM_ERROR,
            AdditionalSense::WRITE_ERROR,
        ));
        assert!(matches!(disk.flush().await, Err(DiskError::Device(_))));
        fail(Reply::status(4, 2));
        assert!(matches!(disk.flush().await, Err(DiskError::Command(_))));
        assert_eq!(flushes(&rig), 2, "{:?} is not repeated", CommandKind::Flush);
        // A write that is made durable by a flush fails with it.
        fail(Reply::good(vec![]));
        fail(Reply::status(4, 2));
        let buffer = disk.buffer(512).unwrap();
        let (result, _) = disk.write(0, buffer, Fua::Yes).await;
        assert!(matches!(result, Err(DiskError::Command(_))));
    });
}

#[test]
fn read_only_disks_refuse_writes() {
    let rig = with_cache(true, DeviceParameter::WRITE_PROTECTED);
    let disk = rig.disk();
    assert!(disk.info().read_only);
    rig.run(async {
        let buffer = disk.buffer(512).unwrap();
        assert_eq!(
            disk.write(0, buffer, Fua::No).await.0,
            Err(DiskError::ReadOnly)
        );
        assert_eq!(disk.unmap(0, 1).await, Err(DiskError::Unsupported));
    });
}

#[test]
fn unmapped_blocks_read_as_zero() {
    let rig = Rig::new(3000, 512);
    rig.host.with(|inner| inner.target.disk(0).data.fill(0xAA));
    let disk = rig.disk();
    rig.run(async {
        disk.unmap(10, 2500).await.unwrap();
        let mut all = vec![0; 3000 * 512];
        disk.read_bytes(0, &mut all).await.unwrap();
        for (block, bytes) in all.chunks(512).enumerate() {
            let expected = if (10..2510).contains(&block) { 0 } else { 0xAA };
            assert!(bytes.iter().all(|byte| *byte == expected), "block {block}");
        }
    });
    let unmaps = rig.host.with(|inner| {
        let is_unmap = |(_, command): &&(u8, Command)| matches!(command, Command::Unmap { .. });
        inner.target.log.iter().filter(is_unmap).count()
    });
    assert_eq!(unmaps, 3, "at most 1000 blocks each");
}

#[test]
fn g37_one_task_and_one_channel_are_enough() {
    let rig = Rig::new(100, 512);
    assert_eq!(rig.controller.info().channels, 1);
    let disk = rig.disk();
    let task = async {
        let buffer = disk.buffer(512).unwrap();
        assert_eq!(disk.read(0, buffer).await.0, Ok(512));
    };
    rig.run_all(vec![Box::pin(task)]);
    assert!(rig.run(rig.controller.clone().close()));
}
