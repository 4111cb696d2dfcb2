//! Commands executed by a pool of threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use host_sim::disk::{DiskImage, FaultyDisk, faulty};
use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::executor::IoPool;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use vmbus_core::guid::Guid;
use vsc_storage::wire::{Packet, SrbStatus, Version};

const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn scsi() -> StorageOptions {
    StorageOptions::scsi(Guid::ZERO)
}

fn read_10(block: u16) -> [u8; 10] {
    let [high, low] = block.to_be_bytes();
    [0x28, 0, 0, 0, high, low, 0, 0, 8, 0]
}

fn write_10(block: u16) -> [u8; 10] {
    let mut command = read_10(block);
    command[0] = 0x2A;
    command
}

fn ids(channel: &mut TestChannel) -> Vec<u64> {
    channel
        .receive()
        .unwrap()
        .iter()
        .map(|packet| {
            let srb = Packet::parse(&packet.payload).unwrap().srb().unwrap();
            assert_eq!(srb.srb_status(), SrbStatus::SUCCESS);
            packet.transaction_id
        })
        .collect()
}

/// Polls until a condition holds; threads elsewhere do the work.
fn wait_for(channel: &mut TestChannel, mut done: impl FnMut(&mut TestChannel) -> bool) {
    for _ in 0..100_000 {
        channel.poll().unwrap();
        if done(channel) {
            return;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    panic!("nothing came back");
}

/// H41: one disk from several channels on a pool of threads; a flush on one covers what all have completed.
#[test]
fn several_channels_share_a_disk_on_a_pool() {
    const CHANNELS: u16 = 8;
    const BLOCKS: u16 = 32;
    let pool = IoPool::new(4).unwrap();
    let mut machine = Machine::new(StorageOptions {
        executor: Some(pool.factory()),
        ..scsi()
    });
    let disk = Arc::new(MemoryDisk::new(1 << 21));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channels = vec![machine.open(0).unwrap()];
    assert!(channels[0].initialise(Version::Win10));
    for index in 1..CHANNELS {
        channels.push(machine.open(index).unwrap());
    }
    let frames = TestChannel::data_frames(u32::from(CHANNELS * BLOCKS) * 4096);
    for (index, channel) in channels.iter_mut().enumerate() {
        for block in 0..BLOCKS {
            let block = index as u16 * BLOCKS + block;
            let bytes = vec![block as u8 ^ 0x5A; 4096];
            let page = &frames[usize::from(block)..][..1];
            channel.submit(0, &write_10(block * 8), Data::Out(&bytes), page);
        }
    }
    for channel in &mut channels {
        let mut done = BTreeSet::new();
        wait_for(channel, |channel| {
            done.extend(ids(channel));
            done.len() == usize::from(BLOCKS)
        });
    }
    let before = disk.flushes();
    channels[3].submit(0, &FLUSH, Data::None, &[]);
    wait_for(&mut channels[3], |channel| ids(channel).len() == 1);
    assert_eq!(disk.flushes(), before + 1);
    for block in 0..u64::from(CHANNELS * BLOCKS) {
        let mut bytes = vec![0; 4096];
        disk.read_bytes(block * 4096, &mut bytes).unwrap();
        assert_eq!(bytes, vec![block as u8 ^ 0x5A; 4096]);
    }
    let counters = machine.handle.counters();
    assert_eq!(counters.writes, u64::from(CHANNELS * BLOCKS));
    drop(channels);
    assert!(machine.handle.open_channels().is_empty());
}

/// What came by a sub-channel is as durable after the close as what came by the primary one, whichever is closed last.
#[test]
fn closing_flushes_what_came_by_sub_channels() {
    for sub_channel_first in [false, true] {
        let mut machine = Machine::new(scsi());
        let disk = Arc::new(MemoryDisk::new(1 << 20));
        machine.handle.add_lun(0, disk.clone()).unwrap();
        let mut primary = machine.open(0).unwrap();
        assert!(primary.initialise(Version::Win10));
        let mut sub = machine.open(1).unwrap();
        assert!(
            sub.command(0, &write_10(0), Data::Out(&[1; 4096]))
                .is_good()
        );
        assert_eq!(disk.flushes(), 0);
        let last = if sub_channel_first {
            drop(sub);
            primary
        } else {
            drop(primary);
            sub
        };
        let before = disk.flushes();
        drop(last);
        assert_eq!(disk.flushes(), before + 1, "{sub_channel_first}");
    }
}

/// A slow disk under a pool: closing the channel waits for what runs, drops what waits, and afterwards nothing
/// touches guest memory.
fn close_while_reading(close: impl FnOnce(TestChannel, &Arc<AtomicBool>)) {
    let pool = IoPool::new(1).unwrap();
    let mut machine = Machine::new(StorageOptions {
        executor: Some(pool.factory()),
        ..scsi()
    });
    let inner = Arc::new(MemoryDisk::new(1 << 20));
    inner.write_bytes(0, &vec![0xCC; 1 << 20]).unwrap();
    let disk = Arc::new(FaultyDisk::new(inner, 1));
    disk.add(faulty::Rule::new(
        faulty::Operation::Read,
        faulty::When::Always,
        faulty::Fault::Delay,
    ));
    let go_on = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let (hook_go_on, hook_reads) = (Arc::clone(&go_on), Arc::clone(&reads));
    disk.on_delay(Arc::new(move |_, _| {
        hook_reads.fetch_add(1, Ordering::Release);
        while !hook_go_on.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }));
    machine.handle.add_lun(0, disk).unwrap();
    let mut channel = machine.open(0).unwrap();
    assert!(channel.initialise(Version::Win10));
    let frames = TestChannel::data_frames(20 * 4096);
    for block in 0..20u16 {
        channel.submit(
            0,
            &read_10(block * 8),
            Data::In(4096),
            &frames[usize::from(block)..][..1],
        );
    }
    channel.poll().unwrap();
    while reads.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let memory = machine.memory.clone();
    close(channel, &go_on);
    // What ran has ended; what waited never ran.
    assert_eq!(reads.load(Ordering::Acquire), 1);
    for (index, frame) in frames.iter().enumerate() {
        let mut page = vec![0; 4096];
        memory.read(frame * 4096, &mut page).unwrap();
        let expected = if index == 0 { 0xCC } else { 0 };
        assert_eq!(page, vec![expected; 4096], "page {index}");
        memory.write(frame * 4096, &[0x11; 4096]).unwrap();
    }
    drop(pool);
    drop(machine);
    for frame in &frames {
        let mut page = vec![0; 4096];
        memory.read(frame * 4096, &mut page).unwrap();
        assert_eq!(page, vec![0x11; 4096], "memory is the guest's own again");
    }
}

/// The guest takes its memory back while the disk still fills it: the close waits.
#[test]
fn fault_41_closing_waits_for_reads_into_guest_memory() {
    close_while_reading(|channel, go_on| {
        let closed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closed);
        // Test channels stay on their thread; another one lets the disk go on after a while.
        let go_on = Arc::clone(go_on);
        let helper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            assert!(
                !flag.load(Ordering::Acquire),
                "closed before the read ended"
            );
            go_on.store(true, Ordering::Release);
        });
        drop(channel);
        closed.store(true, Ordering::Release);
        helper.join().unwrap();
    });
}

/// H33: writes that overlap leave each sector one writer's; reads see whole sectors.
#[test]
fn overlapping_writes_never_mix_within_a_sector() {
    let pool = IoPool::new(4).unwrap();
    let mut machine = Machine::new(StorageOptions {
        executor: Some(pool.factory()),
        ..scsi()
    });
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channel = machine.open(0).unwrap();
    assert!(channel.initialise(Version::Win10));
    let frames = TestChannel::data_frames(64 * 4096);
    for round in 0..50u8 {
        let mut sent = 0;
        for writer in 0..16u8 {
            let bytes = vec![round ^ (writer << 3) ^ 1; 4096];
            let page = &frames[usize::from(writer)..][..1];
            channel.submit(0, &write_10(u16::from(writer % 5)), Data::Out(&bytes), page);
            let page = &frames[32 + usize::from(writer)..][..1];
            channel.submit(0, &read_10(u16::from(writer % 7)), Data::In(4096), page);
            sent += 2;
        }
        let mut done = 0;
        wait_for(&mut channel, |channel| {
            done += ids(channel).len();
            done == sent
        });
        let check = |bytes: &[u8]| {
            for sector in bytes.chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
            }
        };
        let mut bytes = vec![0; 16 * 512];
        disk.read_bytes(0, &mut bytes).unwrap();
        check(&bytes);
        for frame in &frames[32..48] {
            let mut page = vec![0; 4096];
            machine.memory.read(frame * 4096, &mut page).unwrap();
            check(&page);
        }
    }
}
