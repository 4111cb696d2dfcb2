//! Hosts that lie, fall silent or withdraw.

use std::boxed::Box;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use core::sync::atomic::Ordering;
use vmbus_core::packet::OutgoingKind;

use super::{Rig, pattern};
use crate::disk::DiskError;
use crate::front::{
    BringUpError, ControllerKind, ControllerOptions, DiskEvent, SharedRuntime, StorageController,
};
use crate::init::{InitError, InitStep};
use crate::testing::host::TestHost;
use crate::testing::machine::{Machine, poll_once, run};
use crate::testing::target::{Reply, Target};

fn start(
    machine: &Arc<Machine>,
    host: &TestHost,
    options: ControllerOptions,
) -> Result<StorageController, BringUpError> {
    let runtime: SharedRuntime = machine.clone();
    let transport = host.open(1 << 14);
    let start = StorageController::start(transport, runtime, ControllerKind::Scsi, options);
    run(machine, host, start)
}

#[test]
fn g4_a_silent_host_fails_the_initialisation_in_180_seconds() {
    let machine = Arc::new(Machine::default());
    let host = TestHost::new(Target::default());
    host.with(|inner| inner.behaviour.mute = true);
    let error = start(&machine, &host, ControllerOptions::default()).unwrap_err();
    assert_eq!(
        error,
        BringUpError::Init(InitError::NoAnswer {
            step: InitStep::Begin
        })
    );
    use vmbus_core::platform::Runtime;
    assert!(machine.now() >= 180 * crate::front::SECOND);
}

#[test]
fn a_rescind_ends_the_initialisation() {
    let machine = Arc::new(Machine::default());
    let host = TestHost::new(Target::default());
    host.with(|inner| inner.behaviour.mute = true);
    let runtime: SharedRuntime = machine.clone();
    let transport = host.open(1 << 14);
    let options = ControllerOptions::default();
    let mut start = Box::pin(StorageController::start(
        transport,
        runtime,
        ControllerKind::Scsi,
        options,
    ));
    assert!(poll_once(start.as_mut()).is_pending());
    host.rescind(0);
    assert_eq!(
        run(&machine, &host, start).unwrap_err(),
        BringUpError::Rescinded
    );
}

#[test]
fn a_flood_ends_the_initialisation() {
    let machine = Arc::new(Machine::default());
    let host = TestHost::new(Target::default());
    host.with(|inner| inner.behaviour.mute = true);
    let runtime: SharedRuntime = machine.clone();
    let transport = host.open(1 << 14);
    let options = ControllerOptions::default();
    let mut start = Box::pin(StorageController::start(
        transport,
        runtime,
        ControllerKind::Scsi,
        options,
    ));
    for _ in 0..5000 {
        if let core::task::Poll::Ready(result) = poll_once(start.as_mut()) {
            assert_eq!(result.unwrap_err(), BringUpError::Flooded);
            return;
        }
        host.announce();
    }
    panic!("not noticed");
}

type Read = core::pin::Pin<Box<dyn Future<Output = Result<usize, DiskError>>>>;
type Task<'a> = core::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Starts `count` reads that the host holds back.
fn hold(rig: &Rig, count: u64) -> Vec<Read> {
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let mut reads: Vec<_> = (0..count)
        .map(|lba| {
            let disk = disk.clone();
            Box::pin(async move {
                let (result, buffer) = disk.read(lba, disk.buffer(512).unwrap()).await;
                assert_eq!(buffer.len(), 512, "the buffer comes back");
                result
            }) as Read
        })
        .collect();
    for read in &mut reads {
        assert!(poll_once(read.as_mut()).is_pending());
    }
    rig.host.work();
    reads
}

#[test]
fn fault_53_g31_a_rescind_fails_200_requests_once_each() {
    let rig = Rig::new(1000, 512);
    let reads = hold(&rig, 200);
    assert_eq!(rig.controller.statistics()[0].outstanding, 200);
    let failed = core::cell::Cell::new(0);
    let mut tasks: Vec<Task<'_>> = reads
        .into_iter()
        .map(|read| {
            let failed = &failed;
            Box::pin(async move {
                assert_eq!(read.await, Err(DiskError::Closed));
                failed.set(failed.get() + 1);
            }) as _
        })
        .collect();
    tasks.push(Box::pin(async {
        rig.host.rescind(0);
        assert!(matches!(
            rig.controller.next_event().await,
            DiskEvent::ControllerGone
        ));
    }));
    rig.run_all(tasks);
    assert_eq!(failed.get(), 200);
    let statistics = rig.controller.statistics()[0];
    assert_eq!(
        (statistics.queue.cancelled, statistics.outstanding),
        (200, 0)
    );
    assert_eq!(rig.machine.in_use(), 0);
    assert!(rig.run(rig.controller.clone().close()));
}

#[test]
fn fault_21_requests_left_at_a_close_fail_and_late_completions_do_nothing() {
    let rig = Rig::new(1000, 512);
    let reads = hold(&rig, 3);
    // Acknowledged: the memory is ours again.
    assert!(rig.run(rig.controller.clone().close()));
    rig.host.release();
    for read in reads {
        assert_eq!(rig.run(read), Err(DiskError::Closed));
    }
    assert_eq!(rig.machine.in_use(), 0);
}

#[test]
fn memory_is_leaked_when_the_host_does_not_acknowledge_the_close() {
    let rig = Rig::new(1000, 512);
    rig.host.with(|inner| inner.behaviour.acknowledges = false);
    let mut reads = hold(&rig, 3);
    drop(reads.pop());
    assert!(!rig.run(rig.controller.clone().close()));
    for read in reads {
        assert_eq!(rig.run(read), Err(DiskError::Closed));
    }
    assert_eq!(rig.machine.in_use(), 3, "the host may still write to these");
}

#[test]
fn memory_is_leaked_when_a_controller_is_dropped_without_a_close() {
    let rig = Rig::new(1000, 512);
    drop(hold(&rig, 2));
    let machine = rig.machine.clone();
    drop(rig);
    assert_eq!(machine.in_use(), 2);
}

#[test]
fn a_broken_ring_fails_everything_and_leaks_what_is_in_flight() {
    let rig = Rig::new(1000, 512);
    let reads = hold(&rig, 5);
    // Longer than any packet of the protocol.
    rig.host.send(0, |end| {
        let _ = end.send(0, OutgoingKind::InBand, &[0; 2048]);
    });
    for read in reads {
        assert_eq!(rig.run(read), Err(DiskError::Closed));
    }
    assert!(rig.controller.statistics()[0].failure.is_some());
    assert!(matches!(
        rig.run(rig.controller.next_event()),
        DiskEvent::ControllerGone
    ));
    assert_eq!(rig.machine.in_use(), 5);
}

#[test]
fn fault_17_18_forged_completions_disturb_nothing() {
    let rig = Rig::new(1000, 512);
    rig.host
        .with(|inner| inner.target.disk(0).data = pattern(2, 512_000));
    let reads = hold(&rig, 4);
    rig.host.send(0, |end| {
        for id in [0, 5, 99, u64::MAX] {
            end.complete(
                id,
                &crate::wire::Packet::new(
                    crate::wire::Operation::COMPLETE_IO,
                    crate::wire::PacketFlags::empty(),
                    crate::wire::NtStatus::SUCCESS,
                    52,
                ),
            );
        }
    });
    assert!(rig.controller.statistics()[0].queue.unknown_ids >= 3);
    rig.host.with(|inner| inner.behaviour.hold = false);
    for read in reads {
        assert_eq!(rig.run(read), Ok(512));
    }
}

#[test]
fn fault_46_g17_a_short_success_is_a_failure() {
    let rig = Rig::new(1000, 512);
    let disk = rig.disk();
    for transferred in [0, 511, 512, 1023] {
        rig.host.with(|inner| {
            inner.target.forced.push_back(Reply {
                transferred: Some(transferred),
                ..Reply::good(vec![1; 1024])
            });
        });
        let (result, _) = rig.run(disk.read(0, disk.buffer(1024).unwrap()));
        assert_eq!(
            result,
            Err(DiskError::Short {
                requested: 1024,
                transferred
            })
        );
    }
    rig.host.with(|inner| {
        inner.target.forced.push_back(Reply {
            transferred: Some(u32::MAX),
            ..Reply::good(vec![1; 1024])
        });
    });
    let (result, _) = rig.run(disk.read(0, disk.buffer(1024).unwrap()));
    assert_eq!(result, Ok(1024), "more than asked for is cut");
}

#[test]
fn g21_an_error_without_sense_ends() {
    let rig = Rig::new(1000, 512);
    let disk = rig.disk();
    rig.host.with(|inner| {
        for _ in 0..10 {
            inner.target.forced.push_back(Reply::status(4, 2));
        }
    });
    let (result, _) = rig.run(disk.read(0, disk.buffer(512).unwrap()));
    assert!(matches!(result, Err(DiskError::Command(_))));
    assert_eq!(rig.host.with(|inner| inner.target.forced.len()), 6);
}

#[test]
fn a_scan_that_is_not_answered_gives_up() {
    let rig = Rig::new(1000, 512);
    rig.host.with(|inner| inner.behaviour.hold = true);
    assert_eq!(
        rig.run(rig.controller.scan()).unwrap_err(),
        DiskError::TimedOut
    );
    assert_eq!(rig.machine.in_use(), 1);
    rig.host.release();
    assert_eq!(rig.machine.in_use(), 0);
}

#[test]
fn g35_data_that_changes_after_the_copy_is_not_seen() {
    // What a scan judges is a private copy, made once: later changes of the buffer by the host
    // change neither the copy nor what was made of it.
    let rig = Rig::new(1000, 512);
    let mut buffer = rig.controller.buffer(32).unwrap();
    let mut reply = [0; 32];
    reply[6..12].copy_from_slice(&[0x03, 0xE7, 0, 0, 2, 0]);
    buffer.copy_from(0, &reply).unwrap();
    let outcome = crate::queue::Outcome {
        result: Ok(()),
        transferred: 32,
        requested: 32,
    };
    let copy = crate::front::call::received(&outcome, Some(&buffer));
    buffer.fill(0xFF);
    let capacity = crate::scsi::parse_capacity_16(&copy).unwrap();
    assert_eq!((capacity.last_lba, capacity.block_length), (999, 512));
}

#[test]
fn fault_52_a_torn_write_is_reported() {
    let rig = Rig::new(2000, 512);
    let disk = rig.disk();
    // Three requests, the second of which fails for good.
    rig.host.with(|inner| {
        inner.target.log.clear();
        inner.target.forced.push_back(Reply::good(vec![]));
        inner.target.forced.push_back(Reply::check(
            crate::scsi::SenseKey::MEDIUM_ERROR,
            crate::scsi::AdditionalSense::WRITE_ERROR,
        ));
    });
    let buffer = disk.buffer(700 << 10).unwrap();
    let (result, buffer) = rig.run(disk.write(0, buffer, crate::disk::Fua::No));
    assert!(matches!(result, Err(DiskError::Device(_))), "{result:?}");
    assert_eq!(buffer.len(), 700 << 10);
    let sent = rig.host.with(|inner| inner.target.log.len());
    assert_eq!(sent, 2, "nothing is written beyond the failure");
}

#[test]
fn g32_a_controller_comes_up_again_after_a_close() {
    let machine = Arc::new(Machine::default());
    let host = TestHost::new(Target::with_disk(crate::testing::target::TestDisk::new(
        100, 512,
    )));
    for _ in 0..100 {
        let controller = start(&machine, &host, ControllerOptions::default()).unwrap();
        let disks = run(&machine, &host, controller.scan()).unwrap();
        let disk = &disks[0];
        let (result, _) = run(&machine, &host, disk.read(0, disk.buffer(512).unwrap()));
        assert_eq!(result, Ok(512));
        assert!(run(&machine, &host, controller.close()));
    }
    assert_eq!(machine.in_use(), 0);
}

#[test]
fn no_memory_is_an_error() {
    let rig = Rig::new(1000, 512);
    let disk = rig.disk();
    rig.machine.exhausted.store(true, Ordering::Relaxed);
    assert_eq!(disk.buffer(512).unwrap_err(), DiskError::OutOfMemory);
    assert_eq!(
        rig.run(rig.controller.scan()).unwrap_err(),
        DiskError::OutOfMemory
    );
    assert_eq!(rig.run(disk.unmap(0, 1)), Err(DiskError::OutOfMemory));
}
