//! Hosts that do anything at any time, by a seed.

use std::boxed::Box;
use std::vec::Vec;

use core::cell::Cell;
use vmbus_core::packet::OutgoingKind;

use super::Rig;
use crate::disk::Fua;
use crate::front::ControllerOptions;
use crate::scsi::{AdditionalSense, SenseKey};
use crate::testing::target::{Reply, Target, TestDisk};
use crate::wire::{NtStatus, Operation, Packet, PacketFlags};

/// A small generator of pseudo-random numbers (xorshift).
struct Random(Cell<u64>);

impl Random {
    fn next(&self, below: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        (state >> 11) % below
    }
}

fn forged_reply(random: &Random) -> Reply {
    let keys = [0, 1, 2, 3, 5, 6, 6, 6, 7, 11];
    let codes = [0x00, 0x04, 0x0C, 0x20, 0x27, 0x28, 0x29, 0x2A, 0x3A, 0x3F];
    let additional = AdditionalSense {
        code: codes[random.next(10) as usize],
        qualifier: [0, 1, 7, 9, 14][random.next(5) as usize],
    };
    match random.next(4) {
        0 => Reply::check(SenseKey(keys[random.next(10) as usize]), additional),
        1 => Reply::status(random.next(256) as u8, random.next(256) as u8),
        2 => Reply {
            transferred: Some(random.next(2048) as u32),
            ..Reply::good(Vec::new())
        },
        _ => Reply::status(5, 8),
    }
}

/// One hostile act.
fn act(rig: &Rig, random: &Random) {
    match random.next(12) {
        0..4 => rig
            .host
            .with(|inner| inner.target.forced.push_back(forged_reply(random))),
        4 => rig.host.announce(),
        5 => rig.host.send(0, |end| {
            let operation = Operation(random.next(16) as u32);
            let packet = Packet::new(operation, PacketFlags::all(), NtStatus::SUCCESS, 52);
            let id = random.next(1 << 33);
            end.complete(id, &packet);
        }),
        6 => rig.host.send(0, |end| {
            let length = random.next(64) as usize;
            let _ = end.send(
                random.next(300),
                OutgoingKind::Completion,
                &[1; 64][..length],
            );
        }),
        7 => rig.host.with(|inner| {
            inner.behaviour.hold = !inner.behaviour.hold;
        }),
        8 => rig
            .host
            .with(|inner| inner.behaviour.reverse = random.next(2) == 0),
        9 => rig
            .host
            .with(|inner| inner.behaviour.appetite = 1 + random.next(20) as usize),
        10 if random.next(20) == 0 => rig.host.with(|inner| inner.target.disks.clear()),
        11 if random.next(40) == 0 => rig.host.rescind(0),
        _ => {}
    }
}

/// Reads and writes whatever comes of them, against a host that goes mad and then sane again:
/// every request ends, once, and no memory is lost or freed too early.
fn survive(seed: u64) {
    let random = Random(Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    let options = ControllerOptions {
        queue_depth: 1 + random.next(40) as usize,
        ..ControllerOptions::default()
    };
    let target = Target::with_disk(TestDisk::new(1000, 512));
    let rig = Rig::with(target, 1024 << random.next(5), options);
    let disk = rig.disk();
    let ended = Cell::new(0);
    let mut tasks: Vec<core::pin::Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for task in 0..20u64 {
        let (disk, random, ended) = (&disk, &random, &ended);
        tasks.push(Box::pin(async move {
            for turn in 0..6 {
                let Ok(buffer) = disk.buffer(512 << random.next(4)) else {
                    break;
                };
                let length = buffer.len();
                let lba = (task * 40 + turn * 7) % 990;
                let (result, buffer) = if random.next(2) == 0 {
                    disk.read(lba, buffer).await
                } else {
                    disk.write(lba, buffer, Fua::No).await
                };
                assert_eq!(buffer.len(), length);
                if let Ok(moved) = result {
                    assert_eq!(moved, length);
                }
                if random.next(4) == 0 {
                    let _ = disk.flush().await;
                }
            }
            ended.set(ended.get() + 1);
        }));
    }
    tasks.push(Box::pin(async {
        for _ in 0..200 {
            act(&rig, &random);
            let mut once = false;
            core::future::poll_fn(|context| {
                if core::mem::replace(&mut once, true) {
                    return core::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                core::task::Poll::Pending
            })
            .await;
        }
        rig.host.with(|inner| {
            inner.target.forced.clear();
            inner.behaviour.hold = false;
            inner.behaviour.appetite = usize::MAX;
        });
    }));
    rig.run_all(tasks);
    assert_eq!(ended.get(), 20);
    assert_eq!(rig.machine.in_use(), 0, "seed {seed}");
    let statistics = rig.controller.statistics()[0];
    assert_eq!(statistics.outstanding, 0);
    let queue = statistics.queue;
    assert_eq!(queue.submitted, queue.completed + queue.cancelled);
    assert!(rig.run(rig.controller.clone().close()));
}

#[test]
fn g36_fault_52_seeds_of_a_mad_host_end_well() {
    for seed in 0..300 {
        survive(seed);
    }
}
