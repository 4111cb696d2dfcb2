//! Images on a host without space, and disks that are made to fail while a guest uses them.

mod storage_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host_sim::disk::faulty::{Fault, Operation, Rule, When};
use host_sim::disk::vhd::{self, CreateOptions, Kind, VhdDisk};
use host_sim::disk::{
    DiskError, DiskImage, MemoryStorage, OnFull, RawDisk, RawOptions, Storage, StorageChange,
};
use host_sim::vmbus::vsp::NextPoll;
use host_sim::vsp::storage::executor::IoPool;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use host_sim::vsp::storage::{LunError, LunOptions, StorageOptions};
use storage_support::{READ_10, TEST_UNIT_READY, WRITE_10, scsi};
use vsc_storage::wire::Packet;

/// Time between two tries, 100 ms.
const INTERVAL: u64 = 1_000_000;
const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const PAUSE: LunOptions = LunOptions {
    on_full: OnFull::Pause,
};

/// A storage that refuses to grow while the flag says so.
fn limited(storage: &MemoryStorage) -> Arc<AtomicBool> {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let mut size = storage.size().unwrap();
    storage.set_fault(Some(Box::new(move |change| {
        let StorageChange::Write { offset, data } = change else {
            return None;
        };
        let end = offset + data.len() as u64;
        if end > size && is_full.load(Ordering::Acquire) {
            return Some(std::io::Error::from_raw_os_error(libc::ENOSPC));
        }
        size = size.max(end);
        None
    })));
    full
}

/// A dynamic VHD on a full file system, and the flag that says that it is full.
fn full_vhd() -> (Arc<VhdDisk<MemoryStorage>>, Arc<AtomicBool>) {
    let storage = MemoryStorage::new();
    let options = CreateOptions {
        size: 1 << 20,
        kind: Kind::Dynamic { block_size: 8192 },
        unique_id: [3; 16],
        timestamp: 0,
    };
    vhd::create(&storage, &options).unwrap();
    let full = limited(&storage);
    (Arc::new(VhdDisk::open(storage, false).unwrap()), full)
}

fn write(block: u8) -> [u8; 10] {
    let mut command = WRITE_10;
    command[5] = block * 8;
    command
}

/// Ids and SRB statuses of what has come.
fn answers(channel: &mut TestChannel) -> Vec<(u64, u8)> {
    let received = channel.receive().unwrap();
    received
        .iter()
        .map(|packet| {
            let srb = Packet::parse(&packet.payload).unwrap().srb().unwrap();
            (packet.transaction_id, srb.srb_status)
        })
        .collect()
}

fn advance(channel: &TestChannel, time: u64) {
    channel.now.fetch_add(time, Ordering::Relaxed);
}

/// By default, I19: the write fails with "space allocation failed", and works once there is space.
#[test]
fn without_space_a_write_fails() {
    let (disk, full) = full_vhd();
    let mut machine = Machine::new(scsi());
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channel = machine.open_ready();
    let reply = channel.command(0, &WRITE_10, Data::Out(&[7; 4096]));
    assert_eq!(reply.sense_triple(), Some((7, 0x27, 7)));
    assert_eq!(reply.srb.srb_status, 0x84);
    assert!(vhd_is_clean(&disk));
    full.store(false, Ordering::Release);
    assert!(
        channel
            .command(0, &WRITE_10, Data::Out(&[7; 4096]))
            .is_good()
    );
    let counters = machine.handle.counters();
    assert_eq!((counters.waited_for_space, counters.failures), (0, 1));
}

fn vhd_is_clean(disk: &VhdDisk<MemoryStorage>) -> bool {
    host_sim::disk::check::check(disk.storage())
        .unwrap()
        .is_clean()
}

/// With `pause` the guest sees writes take long; everything else goes on, and nothing gets lost.
#[test]
fn without_space_a_write_waits() {
    let (disk, full) = full_vhd();
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle.add_lun_with(0, disk.clone(), PAUSE).unwrap();
    handle
        .add_lun(1, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    let mut channel = machine.open_ready();
    let frames = TestChannel::data_frames(3 * 4096);
    let first = channel.submit(0, &write(0), Data::Out(&[1; 4096]), &frames[..1]);
    let second = channel.submit(0, &write(4), Data::Out(&[2; 4096]), &frames[1..2]);
    assert_eq!(channel.poll().unwrap(), NextPoll::At(INTERVAL));
    assert_eq!(
        (answers(&mut channel), handle.waiting_for_space()),
        (vec![], 2)
    );
    // Reads, other disks and flushes go on.
    let read = channel.submit(0, &READ_10, Data::In(4096), &frames[2..]);
    let other = channel.submit(1, &write(0), Data::Out(&[9; 4096]), &frames[2..]);
    let flush = channel.submit(0, &FLUSH, Data::None, &[]);
    channel.poll().unwrap();
    assert_eq!(answers(&mut channel), [(read, 1), (other, 1), (flush, 1)]);
    // Nothing was remembered as failed.
    let request_sense = [0x03, 0, 0, 0, 18, 0];
    let sense = channel.submit(0, &request_sense, Data::In(18), &frames[2..]);
    channel.poll().unwrap();
    assert_eq!(answers(&mut channel), [(sense, 1)]);
    let mut bytes = [0; 18];
    machine.memory.read(frames[2] * 4096, &mut bytes).unwrap();
    assert_eq!((bytes[0], bytes[2]), (0x70, 0));
    // Tried again in time and not before.
    for _ in 0..5 {
        advance(&channel, INTERVAL - 1);
        assert!(matches!(channel.poll().unwrap(), NextPoll::At(_)));
        advance(&channel, 1);
        channel.poll().unwrap();
        assert_eq!(answers(&mut channel), []);
    }
    let snapshot = handle.snapshot();
    assert_eq!(
        (snapshot.waiting_for_space, snapshot.disks[0].on_full),
        (2, OnFull::Pause)
    );
    full.store(false, Ordering::Release);
    advance(&channel, INTERVAL);
    assert_eq!(channel.poll().unwrap(), NextPoll::OnSignal);
    assert_eq!(answers(&mut channel), [(first, 1), (second, 1)]);
    let mut bytes = [0; 4096];
    disk.read_bytes(0, &mut bytes).unwrap();
    assert!(bytes == [1; 4096]);
    disk.read_bytes(4 * 4096, &mut bytes).unwrap();
    assert!(bytes == [2; 4096]);
    assert!(vhd_is_clean(&disk));
    let counters = handle.counters();
    assert_eq!((counters.waited_for_space, counters.failures), (2, 0));
    assert_eq!(handle.waiting_for_space(), 0);
}

/// Who has made room, or will not, says so, and waiting ends.
#[test]
fn an_operator_ends_the_waiting() {
    let (disk, full) = full_vhd();
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle.add_lun_with(0, disk, PAUSE).unwrap();
    let mut channel = machine.open_ready();
    let frames = TestChannel::data_frames(4096);
    let start = |channel: &mut TestChannel| {
        let id = channel.submit(0, &write(0), Data::Out(&[1; 4096]), &frames);
        channel.poll().unwrap();
        assert_eq!(answers(channel), []);
        id
    };
    // The policy changes.
    let id = start(&mut channel);
    handle.set_on_full(0, OnFull::Fail).unwrap();
    assert!(channel.woken.load(Ordering::Acquire));
    channel.poll().unwrap();
    assert_eq!(answers(&mut channel), [(id, 0x84)]);
    handle.set_on_full(0, OnFull::Pause).unwrap();
    // The disk is pulled out.
    let id = start(&mut channel);
    let disk = handle.remove_lun(0).unwrap();
    channel.poll().unwrap();
    assert!(answers(&mut channel).contains(&(id, 0x20)));
    handle.add_lun_with(0, disk, PAUSE).unwrap();
    channel.poll().unwrap();
    answers(&mut channel);
    // There is room.
    let id = start(&mut channel);
    full.store(false, Ordering::Release);
    handle.resume();
    channel.poll().unwrap();
    assert_eq!(answers(&mut channel), [(id, 1)]);
    assert_eq!(
        handle.set_on_full(9, OnFull::Pause),
        Err(LunError::Absent { lun: 9 })
    );
}

/// As many writes wait as may be in flight; the rest waits in the ring. Closing gives them up, unacknowledged.
#[test]
fn waiting_is_bounded_and_ends_with_the_channel() {
    let (disk, _full) = full_vhd();
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle.add_lun_with(0, disk.clone(), PAUSE).unwrap();
    let mut channel = machine.open_ready();
    let frames = TestChannel::data_frames(4096);
    for _ in 0..300 {
        channel.submit(0, &write(0), Data::Out(&[1; 4096]), &frames);
    }
    assert_eq!(channel.poll().unwrap(), NextPoll::At(INTERVAL));
    assert_eq!(handle.waiting_for_space(), 256);
    assert_eq!(answers(&mut channel), []);
    drop(channel);
    assert_eq!(handle.waiting_for_space(), 0);
    assert!(vhd_is_clean(&disk));
    let mut channel = machine.open_ready();
    assert!(channel.command(0, &TEST_UNIT_READY, Data::None).is_good());
}

/// The same on a pool of threads: none of them is kept by what waits.
#[test]
fn waiting_takes_no_thread() {
    let pool = IoPool::new(1).unwrap();
    let (disk, full) = full_vhd();
    let mut machine = Machine::new(StorageOptions {
        executor: Some(pool.factory()),
        ..scsi()
    });
    machine.handle.add_lun_with(0, disk, PAUSE).unwrap();
    let mut channel = machine.open(0).unwrap();
    assert!(channel.initialise(vsc_storage::wire::Version::Win10));
    let frames = TestChannel::data_frames(2 * 4096);
    let id = channel.submit(0, &write(0), Data::Out(&[1; 4096]), &frames[..1]);
    let until = |channel: &mut TestChannel, done: &mut dyn FnMut(&mut TestChannel) -> bool| {
        for _ in 0..100_000 {
            channel.poll().unwrap();
            if done(channel) {
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        panic!("nothing came back");
    };
    let handle = machine.handle.clone();
    until(&mut channel, &mut |_| handle.waiting_for_space() == 1);
    let read = channel.submit(0, &READ_10, Data::In(4096), &frames[1..]);
    until(&mut channel, &mut |channel| answers(channel) == [(read, 1)]);
    full.store(false, Ordering::Release);
    handle.resume();
    until(&mut channel, &mut |channel| answers(channel) == [(id, 1)]);
}

/// A bad spot on a disk in use: a medium error there, nothing elsewhere, and healed when the operator says so.
#[test]
fn fault_52_a_bad_spot_is_a_medium_error() {
    let storage = MemoryStorage::new();
    storage.set_size(1 << 20).unwrap();
    let options = RawOptions {
        logical_sector_size: 512,
        physical_sector_size: 512,
        read_only: false,
        identity: [1; 16],
        discard: true,
    };
    let mut machine = Machine::new(scsi());
    let handle = machine.handle.clone();
    handle
        .add_lun(3, Arc::new(RawDisk::new(storage, options).unwrap()))
        .unwrap();
    let mut channel = machine.open_ready();
    let faults = handle.faults(3).unwrap();
    let broken = |operation| Rule {
        range: Some(4096..4096 + 512),
        ..Rule::new(
            operation,
            When::Always,
            Fault::Fail(DiskError::Io {
                operation: "access",
                offset: 4096,
                kind: std::io::ErrorKind::Other,
                code: Some(libc::EIO),
            }),
        )
    };
    faults.add(broken(Operation::Read));
    faults.add(broken(Operation::Write));
    let mut at = |lba: u8, opcode: u8| {
        let command = [opcode, 0, 0, 0, 0, lba, 0, 0, 1, 0];
        let data = if opcode == 0x28 {
            Data::In(512)
        } else {
            Data::Out(&[5; 512])
        };
        let reply = channel.command(3, &command, data);
        (reply.srb.srb_status, reply.sense_triple())
    };
    for lba in [7, 9] {
        assert_eq!((at(lba, 0x28), at(lba, 0x2A)), ((1, None), (1, None)));
    }
    assert_eq!(at(8, 0x28), (0x84, Some((3, 0x11, 0))));
    assert_eq!(at(8, 0x2A), (0x84, Some((3, 0x0C, 0))));
    assert_eq!(faults.struck(), 2);
    faults.clear();
    assert_eq!((at(8, 0x28), at(8, 0x2A)), ((1, None), (1, None)));
    // What the operator gets back is the disk itself.
    faults.vanish();
    assert_eq!(at(0, 0x28), (0x84, Some((3, 0x11, 0))));
    let image = handle.remove_lun(3).unwrap();
    image.read_bytes(0, &mut [0; 512]).unwrap();
}
