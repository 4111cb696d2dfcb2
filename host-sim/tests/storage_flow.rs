//! Flow control and execution elsewhere: full rings, the in-flight limit, executors, several channels.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use host_sim::disk::DiskImage;
use host_sim::vmbus::vsp::NextPoll;
use host_sim::vsp::storage::executor::{Executor, Job, Scratch, SeededExecutor};
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use host_sim::vsp::storage::{Completion, MAX_IN_FLIGHT, StorageOptions};
use vmbus_core::guid::Guid;
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_storage::wire::{Packet, SrbStatus, Version};

const TEST_UNIT_READY: [u8; 6] = [0; 6];

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

/// H12: a guest that reads no completions is not read from; when it does, all come, each once.
#[test]
fn a_full_ring_stops_requests_and_loses_none() {
    for (to_host, to_guest) in [(32, 2), (2, 32), (2, 2), (32, 3)] {
        let mut machine = Machine::new(scsi());
        machine
            .handle
            .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
            .unwrap();
        let mut channel = machine.open_with_rings(0, to_host, to_guest).unwrap();
        assert!(channel.initialise(Version::Win10));
        let room = (to_guest - 1) * 4096 / 88;
        let mut sent = Vec::new();
        let mut received = Vec::new();
        for round in 0..50 {
            // Send until the ring to the host is full, and the host has stopped reading it.
            loop {
                let message = channel.command_message(0, &TEST_UNIT_READY, Data::None);
                let id = channel.fresh_id();
                if channel
                    .send(id, OutgoingKind::InBand, message.as_bytes())
                    .is_err()
                {
                    break;
                }
                sent.push(id);
                if sent.len() % 5 == 0 {
                    assert_eq!(channel.poll().unwrap(), NextPoll::OnSignal);
                }
            }
            assert_eq!(channel.poll().unwrap(), NextPoll::OnSignal);
            // A minute passes; nothing happens and nothing is lost.
            channel.now.fetch_add(600_000_000, Ordering::Relaxed);
            assert_eq!(channel.poll().unwrap(), NextPoll::OnSignal);
            let done = ids(&mut channel);
            assert!(done.len() as u64 <= room, "round {round}");
            received.extend(done);
        }
        loop {
            channel.poll().unwrap();
            let done = ids(&mut channel);
            if done.is_empty() {
                break;
            }
            received.extend(done);
        }
        assert_eq!(received, sent);
        assert!(machine.handle.counters().ring_full >= 50);
    }
}

/// The guest's space signal wakes a device that waits for room, and only that does.
#[test]
fn a_blocked_device_asks_for_a_signal() {
    let mut machine = Machine::new(scsi());
    machine
        .handle
        .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
        .unwrap();
    let mut channel = machine.open_with_rings(0, 32, 2).unwrap();
    channel.initialise(Version::Win10);
    for _ in 0..100 {
        channel.submit(0, &TEST_UNIT_READY, Data::None, &[]);
    }
    channel.poll().unwrap();
    let mut buffer = [0; 256];
    let mut batch = channel.from_host.batch().unwrap();
    let mut count = 0;
    while batch.next(&mut buffer).unwrap().is_some() {
        count += 1;
    }
    assert!(batch.commit().is_needed(), "the device announced itself");
    assert_eq!(count, 46, "as many completions as fit 4096 bytes");
    channel.poll().unwrap();
    assert_eq!(ids(&mut channel).len(), 46);
    channel.poll().unwrap();
    assert_eq!(ids(&mut channel).len(), 8);
}

/// Keeps all jobs until it is told to go on.
struct Stuck {
    jobs: Vec<Job>,
    most: Arc<AtomicUsize>,
    go_on: Arc<AtomicBool>,
}

impl Executor for Stuck {
    fn submit(&mut self, job: Job, _now: u64) {
        self.jobs.push(job);
        self.most.fetch_max(self.jobs.len(), Ordering::Relaxed);
    }

    fn collect(&mut self, _now: u64, done: &mut Vec<Completion>) -> Option<u64> {
        if self.go_on.load(Ordering::Relaxed) {
            // The newest first: any order will do.
            while let Some(job) = self.jobs.pop() {
                done.push(job.run(&mut Scratch::default()));
            }
        }
        None
    }

    fn close(&mut self) {
        self.jobs.clear();
    }
}

/// H13: at most so many commands are executed at a time; the rest waits in the ring.
#[test]
fn the_in_flight_limit_is_obeyed() {
    for (ring_pages, limit) in [(64, MAX_IN_FLIGHT), (2, 4088 / 88 - 1)] {
        let most = Arc::new(AtomicUsize::new(0));
        let go_on = Arc::new(AtomicBool::new(false));
        let (counter, gate) = (Arc::clone(&most), Arc::clone(&go_on));
        let mut machine = Machine::new(StorageOptions {
            executor: Some(Arc::new(move |_| {
                Box::new(Stuck {
                    jobs: Vec::new(),
                    most: Arc::clone(&counter),
                    go_on: Arc::clone(&gate),
                })
            })),
            ..scsi()
        });
        machine
            .handle
            .add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))
            .unwrap();
        let mut channel = machine.open_with_rings(0, 64, ring_pages).unwrap();
        assert!(channel.initialise(Version::Win10));
        let sent: BTreeSet<u64> = (0..1000)
            .map(|_| channel.submit(0, &TEST_UNIT_READY, Data::None, &[]))
            .collect();
        for _ in 0..3 {
            assert_eq!(channel.poll().unwrap(), NextPoll::OnSignal);
        }
        assert_eq!(most.load(Ordering::Relaxed), limit);
        assert!(machine.handle.counters().queue_full >= 1);
        go_on.store(true, Ordering::Relaxed);
        let mut received = BTreeSet::new();
        while received.len() < sent.len() {
            channel.poll().unwrap();
            for id in ids(&mut channel) {
                assert!(received.insert(id), "request {id} completed twice");
            }
        }
        assert_eq!(received, sent);
        assert_eq!(most.load(Ordering::Relaxed), limit);
    }
}

/// Delays and reordering follow the seed alone, and every block ends up right.
#[test]
fn seeded_delays_are_reproducible_and_harmless() {
    let run = |seed| {
        let mut machine = Machine::new(StorageOptions {
            executor: Some(Arc::new(move |_| Box::new(SeededExecutor::new(seed, 500)))),
            ..scsi()
        });
        let disk = Arc::new(MemoryDisk::new(1 << 20));
        machine.handle.add_lun(0, disk.clone()).unwrap();
        let mut channel = machine.open(0).unwrap();
        assert!(channel.initialise(Version::Win10));
        let frames = TestChannel::data_frames(64 * 4096);
        for block in 0..64u16 {
            let bytes = vec![block as u8 + 1; 4096];
            channel.submit(
                0,
                &write_10(block * 8),
                Data::Out(&bytes),
                &frames[usize::from(block)..][..1],
            );
        }
        let mut order = Vec::new();
        let mut next = channel.poll().unwrap();
        while order.len() < 64 {
            order.extend(ids(&mut channel));
            if let NextPoll::At(due) = next {
                channel.now.store(due, Ordering::Relaxed);
            }
            next = channel.poll().unwrap();
        }
        for block in 0..64u64 {
            let mut bytes = vec![0; 4096];
            disk.read_bytes(block * 4096, &mut bytes).unwrap();
            assert_eq!(bytes, vec![block as u8 + 1; 4096]);
        }
        order
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// H30: a disk that is removed while commands run on it: they end on it, later ones find none.
#[test]
fn fault_53_a_disk_removed_with_commands_running() {
    let mut machine = Machine::new(StorageOptions {
        executor: Some(Arc::new(|_| Box::new(SeededExecutor::new(3, 1000)))),
        ..scsi()
    });
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let mut channel = machine.open(0).unwrap();
    assert!(channel.initialise(Version::Win10));
    let frames = TestChannel::data_frames(4096);
    let running: BTreeSet<_> = (0..16u16)
        .map(|block| channel.submit(0, &read_10(block * 8), Data::In(4096), &frames))
        .collect();
    channel.poll().unwrap();
    machine.handle.remove_lun(0).unwrap();
    let late: BTreeSet<_> = (0..16u16)
        .map(|block| channel.submit(0, &read_10(block * 8), Data::In(4096), &frames))
        .collect();
    let mut done = BTreeSet::new();
    let mut announced = 0;
    while done.len() < 32 {
        if let NextPoll::At(due) = channel.poll().unwrap() {
            channel.now.store(due, Ordering::Relaxed);
        }
        for packet in channel.receive().unwrap() {
            if !packet.is_completion {
                announced += 1;
                continue;
            }
            let id = packet.transaction_id;
            let srb = Packet::parse(&packet.payload).unwrap().srb().unwrap();
            let expected = if running.contains(&id) {
                SrbStatus::SUCCESS
            } else {
                assert!(late.contains(&id));
                SrbStatus::INVALID_LUN
            };
            assert_eq!(srb.srb_status(), expected);
            assert!(done.insert(id), "completed twice");
        }
    }
    assert_eq!(announced, 1);
    channel.poll().unwrap();
    assert_eq!(Arc::strong_count(&disk), 1, "the image is closed");
}

/// Odd buffers: any offset in the first page, pages in any order, lengths of whole sectors.
#[test]
fn buffers_may_start_anywhere_and_lie_scattered() {
    let mut machine = Machine::new(scsi());
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    let content: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 3) as u8).collect();
    disk.write_bytes(0, &content).unwrap();
    machine.handle.add_lun(0, disk).unwrap();
    let mut channel = machine.open_ready();
    let mut frames = TestChannel::data_frames(9 * 4096);
    frames.reverse();
    frames.swap(2, 3);
    for offset in (0..4096u32).step_by(511) {
        for blocks in [1u8, 7, 8, 9, 63] {
            for frame in &frames {
                channel.memory.write(frame * 4096, &[0xEE; 4096]).unwrap();
            }
            let length = u32::from(blocks) * 512;
            let pages = (offset + length).div_ceil(4096) as usize;
            let mut command = read_10(1);
            command[8] = blocks;
            let message = channel.command_message(0, &command, Data::In(length));
            let ranges = [GpaRange {
                byte_count: length,
                byte_offset: offset,
                page_frames: &frames[..pages],
            }];
            let id = channel.fresh_id();
            channel
                .send(id, OutgoingKind::GpaDirect(&ranges), message.as_bytes())
                .unwrap();
            channel.poll().unwrap();
            let answer = channel.answer(id).srb().unwrap();
            assert_eq!(answer.data_transfer_length.get(), length);
            let mut memory = Vec::new();
            for frame in &frames {
                let mut page = vec![0; 4096];
                channel.memory.read(frame * 4096, &mut page).unwrap();
                memory.extend(page);
            }
            let (offset, length) = (offset as usize, length as usize);
            assert_eq!(memory[offset..offset + length], content[512..512 + length]);
            // H10: not a byte outside of the range.
            assert!(memory[..offset].iter().all(|byte| *byte == 0xEE));
            assert!(memory[offset + length..].iter().all(|byte| *byte == 0xEE));
        }
    }
}
