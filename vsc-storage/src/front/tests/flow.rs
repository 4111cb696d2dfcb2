//! Many requests at a time: rings that fill, completions in any order, tasks that give up.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use core::task::Poll;

use super::{Rig, pattern};
use crate::disk::DiskError;
use crate::disk::plan::Fua;
use crate::front::ControllerOptions;
use crate::testing::machine::poll_once;
use crate::testing::target::{Target, TestDisk};

const DISK: usize = 512 * 1000;

/// A rig whose disk tells blocks apart.
fn patterned(ring: u32, depth: usize) -> Rig {
    let mut disk = TestDisk::new(1000, 512);
    disk.data = pattern(5, DISK);
    let options = ControllerOptions {
        queue_depth: depth,
        ..ControllerOptions::default()
    };
    Rig::with(Target::with_disk(disk), ring, options)
}

/// `count` tasks that each read a few blocks of their own, several times.
fn read_all(rig: &Rig, count: usize) {
    let disk = rig.disk();
    let whole = pattern(5, DISK);
    let tasks = (0..count).map(|task| {
        let (disk, whole) = (&disk, &whole);
        let future = async move {
            let mut buffer = disk.buffer(1024).unwrap();
            for turn in 0..5 {
                let lba = (task * 13 + turn * 101) % 999;
                let (result, back) = disk.read(lba as u64, buffer).await;
                assert_eq!(result, Ok(1024));
                assert!(back.to_vec() == whole[lba * 512..][..1024]);
                buffer = back;
            }
        };
        Box::pin(future) as _
    });
    rig.run_all(tasks.collect());
    assert_eq!(rig.machine.in_use(), 0);
    let statistics = rig.controller.statistics()[0];
    assert_eq!(statistics.outstanding, 0);
    assert_eq!(statistics.queue.submitted, statistics.queue.completed);
    assert_eq!(statistics.queue.dropped(), 0);
}

#[test]
fn many_tasks_share_a_channel() {
    let rig = patterned(1 << 16, 256);
    read_all(&rig, 200);
    assert!(rig.host.with(|inner| inner.most_held) >= 200);
}

#[test]
fn g13_ten_times_more_than_the_ring_holds_finishes() {
    // 112 bytes a request: nine at a time.
    let rig = patterned(1024, 256);
    rig.host.with(|inner| inner.behaviour.appetite = 2);
    read_all(&rig, 100);
    assert!(rig.controller.statistics()[0].queue.ring_full > 0);
}

#[test]
fn more_tasks_than_slots_take_turns() {
    let rig = patterned(1 << 14, 4);
    read_all(&rig, 50);
    assert_eq!(rig.host.with(|inner| inner.most_held), 4);
}

#[test]
fn g15_completions_in_reverse_order_find_their_tasks() {
    let rig = patterned(1 << 16, 256);
    rig.host.with(|inner| inner.behaviour.reverse = true);
    read_all(&rig, 100);
}

#[test]
fn batches_need_few_signals() {
    let rig = patterned(1 << 16, 256);
    let before = rig.controller.statistics()[0].signals;
    read_all(&rig, 100);
    let signals = rig.controller.statistics()[0].signals - before;
    // 500 reads, a scan, and the host takes all that is there each time.
    assert!(signals < 50, "{signals} signals");
}

#[test]
fn fault_52_g30_a_request_given_up_keeps_its_buffer_until_its_completion() {
    let rig = patterned(1 << 14, 16);
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let in_use = rig.machine.in_use();
    {
        let buffer = disk.buffer(4096).unwrap();
        let mut read = Box::pin(disk.read(0, buffer));
        assert!(poll_once(read.as_mut()).is_pending());
        rig.host.work();
        // Dropped here, in flight.
    }
    assert_eq!(rig.machine.in_use(), in_use + 1, "the host still has it");
    assert_eq!(rig.controller.statistics()[0].outstanding, 1);
    // Late, but harmless: the memory is still the buffer's.
    rig.host.release();
    assert_eq!(rig.machine.in_use(), in_use);
    assert_eq!(rig.controller.statistics()[0].outstanding, 0);
    rig.run(async {
        let (result, _) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
    });
}

#[test]
fn g30_a_deadline_gives_up_and_the_disk_goes_on() {
    let rig = patterned(1 << 14, 16);
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let result = rig.run(async {
        let buffer = disk.buffer(512).unwrap();
        let runtime = rig.controller.runtime();
        crate::front::within(runtime, crate::front::SECOND, disk.read(0, buffer)).await
    });
    assert!(result.is_err());
    assert_eq!(rig.machine.in_use(), 1);
    rig.host.release();
    assert_eq!(rig.machine.in_use(), 0);
}

#[test]
fn a_task_that_never_polls_again_starves_nobody() {
    let rig = patterned(1 << 14, 4);
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let mut stalled: Vec<_> = (0..3)
        .map(|lba| Box::pin(disk.read(lba, disk.buffer(512).unwrap())))
        .collect();
    for read in &mut stalled {
        assert!(poll_once(read.as_mut()).is_pending());
    }
    rig.host.release();
    let other = async {
        for lba in 0..10 {
            let (result, _) = disk.read(lba, disk.buffer(512).unwrap()).await;
            assert_eq!(result, Ok(512));
        }
    };
    rig.run_all(vec![Box::pin(other)]);
    for read in &mut stalled {
        let Poll::Ready((result, _)) = poll_once(read.as_mut()) else {
            panic!("its completion came long ago");
        };
        assert_eq!(result, Ok(512));
    }
}

#[test]
fn dropped_waiters_pass_their_turn_on() {
    let rig = patterned(1 << 14, 1);
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let mut first = Box::pin(disk.read(0, disk.buffer(512).unwrap()));
    assert!(poll_once(first.as_mut()).is_pending());
    let mut second = Box::pin(disk.read(1, disk.buffer(512).unwrap()));
    assert!(poll_once(second.as_mut()).is_pending());
    let third = async {
        let (result, _) = disk.read(2, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
    };
    let director = async {
        rig.host.work();
        drop(second);
        rig.host.with(|inner| inner.behaviour.hold = false);
        let _ = first.await;
    };
    rig.run_all(vec![Box::pin(third), Box::pin(director)]);
    assert_eq!(rig.machine.in_use(), 0);
}

#[test]
fn a_waiter_that_gives_up_leaves_no_trace() {
    let rig = patterned(1 << 14, 1);
    let disk = rig.disk();
    let mut first = Box::pin(disk.read(0, disk.buffer(512).unwrap()));
    assert!(poll_once(first.as_mut()).is_pending());
    // Done, but the only slot is taken as long as nobody asks for the outcome.
    rig.host.work();
    let second = async {
        let (result, _) = disk.read(1, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
    };
    let director = async {
        // Waits behind the second, which must get the slot and not what was left of this one.
        let mut third = Box::pin(disk.read(2, disk.buffer(512).unwrap()));
        assert!(poll_once(third.as_mut()).is_pending());
        drop(third);
        let mut turns = 0;
        core::future::poll_fn(|context| {
            turns += 1;
            context.waker().wake_by_ref();
            if turns < 3 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let _ = first.await;
    };
    rig.run_all(vec![Box::pin(second), Box::pin(director)]);
    assert_eq!(rig.machine.in_use(), 0);
}

#[test]
fn g6_sub_channels_share_the_load_and_negotiate_nothing() {
    let mut disk = TestDisk::new(1000, 512);
    disk.data = pattern(5, DISK);
    let options = ControllerOptions {
        sub_channels: 2,
        ..ControllerOptions::default()
    };
    let rig = Rig::with(Target::with_disk(disk), 1 << 14, options);
    let info = rig.controller.info();
    assert_eq!(
        (info.offered_sub_channels, info.granted_sub_channels),
        (4, 2)
    );
    for _ in 0..2 {
        let transport = rig.host.open(1 << 14);
        assert!(rig.controller.add_sub_channel(transport).is_ok());
    }
    // More than were asked for.
    let third = rig.host.open(1 << 14);
    assert!(rig.controller.add_sub_channel(third).is_err());
    assert_eq!(rig.controller.info().channels, 3);
    let disk = rig.disk();
    let tasks = (0..90).map(|task| {
        let disk = &disk;
        let future = async move {
            let buffer = disk.buffer(512).unwrap();
            assert_eq!(disk.write(task, buffer, Fua::No).await.0, Ok(512));
        };
        Box::pin(future) as _
    });
    rig.run_all(tasks.collect());
    let executed = rig.host.with(|inner| inner.executed.clone());
    assert!(executed[1] == 30 && executed[2] == 30, "{executed:?}");
    let messages = rig.host.with(|inner| inner.messages.clone());
    assert_eq!(messages[0].len(), 5);
    assert!(messages[1].is_empty() && messages[2].is_empty());
}

#[test]
fn fault_54_a_sub_channel_that_dies_loses_nothing() {
    let mut disk = TestDisk::new(1000, 512);
    disk.data = pattern(5, DISK);
    let options = ControllerOptions {
        sub_channels: 1,
        ..ControllerOptions::default()
    };
    let rig = Rig::with(Target::with_disk(disk), 1 << 14, options);
    let transport = rig.host.open(1 << 14);
    assert!(rig.controller.add_sub_channel(transport).is_ok());
    let disk = rig.disk();
    rig.host.with(|inner| inner.behaviour.hold = true);
    let mut tasks: Vec<core::pin::Pin<Box<dyn Future<Output = ()>>>> = (0..40u64)
        .map(|lba| {
            let disk = disk.clone();
            let future = async move {
                let (result, buffer) = disk.read(lba, disk.buffer(512).unwrap()).await;
                assert_eq!(result, Ok(512));
                assert!(buffer.to_vec() == pattern(5, DISK)[lba as usize * 512..][..512]);
            };
            Box::pin(future) as _
        })
        .collect();
    for task in &mut tasks {
        assert!(poll_once(task.as_mut()).is_pending());
    }
    rig.host.work();
    rig.host.rescind(1);
    rig.host.with(|inner| inner.behaviour.hold = false);
    rig.run_all(tasks);
    assert_eq!(rig.controller.info().channels, 1);
    assert_eq!(rig.machine.in_use(), 0);
    assert!(rig.run(rig.controller.clone().close()));
}

#[test]
fn closing_waits_for_what_is_in_flight() {
    let rig = patterned(1 << 14, 16);
    let disk = rig.disk();
    let read = async {
        let (result, _) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!(result, Ok(512));
    };
    let close = async {
        assert!(rig.controller.clone().close().await);
        let (result, buffer) = disk.read(0, disk.buffer(512).unwrap()).await;
        assert_eq!((result, buffer.len()), (Err(DiskError::Gone), 512));
    };
    rig.run_all(vec![Box::pin(read), Box::pin(close)]);
    assert_eq!(rig.machine.in_use(), 0);
}
