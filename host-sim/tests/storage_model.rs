//! Random commands through the rings, against an array of bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sim::disk::{DiskImage, DiskInfo, ImageFormat};
use host_sim::vmbus::vsp::NextPoll;
use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::executor::SeededExecutor;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use vmbus_core::guid::Guid;
use vsc_storage::scsi::{Command, Transfer, TransferForm, WriteSame};
use vsc_storage::wire::{Packet, SrbStatus, Version};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// H34: random commands one after the other, at each sector size, against an array of bytes.
fn random_commands_match_a_model(operations: u32, seed: u64, sector: u32) {
    const SECTORS: u64 = 512;
    let sector_bytes = u64::from(sector);
    let size = SECTORS * sector_bytes;
    let mut machine = Machine::new(StorageOptions::scsi(Guid::ZERO));
    let disk = Arc::new(MemoryDisk::with_info(DiskInfo {
        size,
        logical_sector_size: sector,
        physical_sector_size: 4096,
        read_only: false,
        identity: [1; 16],
        format: ImageFormat::Raw,
        discard: true,
        discard_reads_zero: true,
        volatile_cache: true,
    }));
    machine.handle.add_lun(3, disk.clone()).unwrap();
    let mut channel = machine.open_ready();
    let mut model = vec![0u8; size as usize];
    let mut random = Random(seed);
    for operation in 0..operations {
        let lba = random.below(SECTORS);
        let blocks = (random.below(24) + 1).min(SECTORS - lba) as u32;
        let range = {
            let start = (lba * sector_bytes) as usize;
            start..start + blocks as usize * sector as usize
        };
        let form = [
            TransferForm::Six,
            TransferForm::Ten,
            TransferForm::Twelve,
            TransferForm::Sixteen,
        ][random.below(4) as usize];
        let transfer = Transfer {
            form,
            lba,
            blocks,
            flags: if form != TransferForm::Six && random.below(4) == 0 {
                Transfer::FORCE_UNIT_ACCESS
            } else {
                0
            },
        };
        let mut execute = |command: Command, data: Data<'_>| {
            let cdb = command.encode().unwrap();
            channel.command(3, &cdb.bytes()[..usize::from(cdb.length())], data)
        };
        match random.below(10) {
            0..4 => {
                let reply = execute(Command::Read(transfer), Data::In(range.len() as u32));
                assert!(reply.is_good());
                assert!(
                    reply.data == model[range],
                    "operation {operation}, seed {seed}"
                );
            }
            4..8 => {
                let mut bytes = vec![0; range.len()];
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
                }
                let command = if form != TransferForm::Six && random.below(8) == 0 {
                    Command::WriteAndVerify(transfer)
                } else {
                    Command::Write(transfer)
                };
                assert!(execute(command, Data::Out(&bytes)).is_good());
                model[range].copy_from_slice(&bytes);
            }
            8 => {
                let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
                list.extend_from_slice(&lba.to_be_bytes());
                list.extend_from_slice(&blocks.to_be_bytes());
                list.extend_from_slice(&[0; 4]);
                let command = Command::Unmap {
                    anchor: false,
                    parameter_length: 24,
                };
                assert!(execute(command, Data::Out(&list)).is_good());
                model[range].fill(0);
            }
            _ => {
                let byte = random.next() as u8 & 3;
                let command = Command::WriteSame(WriteSame {
                    sixteen: random.below(2) == 0,
                    lba,
                    blocks,
                    flags: if random.below(2) == 0 {
                        WriteSame::UNMAP
                    } else {
                        0
                    },
                });
                let bytes = vec![byte; sector as usize];
                assert!(execute(command, Data::Out(&bytes)).is_good());
                model[range].fill(byte);
            }
        }
    }
    let mut content = vec![0; size as usize];
    disk.read_bytes(0, &mut content).unwrap();
    assert!(content == model, "seed {seed}");
}

#[test]
fn random_commands_match_a_model_512() {
    random_commands_match_a_model(70_000, 1, 512);
}

#[test]
fn random_commands_match_a_model_4096() {
    random_commands_match_a_model(30_000, 2, 4096);
}

/// Many commands in flight on several channels, delayed and reordered by a seed: reads and writes that do not
/// overlap in time see what they must.
#[test]
fn reordered_commands_match_a_model() {
    const BLOCKS: u64 = 64;
    const CHANNELS: u16 = 3;
    for seed in 0..100 {
        let mut machine = Machine::new(StorageOptions {
            executor: Some(Arc::new(move |_| Box::new(SeededExecutor::new(seed, 300)))),
            ..StorageOptions::scsi(Guid::ZERO)
        });
        machine
            .handle
            .add_lun(0, Arc::new(MemoryDisk::new(BLOCKS * 4096)))
            .unwrap();
        let mut channels = vec![machine.open(0).unwrap()];
        assert!(channels[0].initialise(Version::Win10));
        for index in 1..CHANNELS {
            let sub = machine.open(index).unwrap();
            channels.push(sub);
        }
        let frames = TestChannel::data_frames(BLOCKS as u32 * 4096);
        let mut random = Random(seed);
        let mut model = vec![0u8; BLOCKS as usize];
        // A block has at most one command in flight; its id, channel, and the byte that it writes.
        let mut busy: Vec<Option<(u64, usize, Option<u8>)>> = vec![None; BLOCKS as usize];
        let mut completed = 0;
        let mut clock = 0;
        while completed < 600 {
            for _ in 0..random.below(20) {
                let block = random.below(BLOCKS);
                if busy[block as usize].is_some() {
                    continue;
                }
                let channel = random.below(CHANNELS.into()) as usize;
                let page = &frames[block as usize..][..1];
                let mut cdb = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
                cdb[4..6].copy_from_slice(&((block * 8) as u16).to_be_bytes());
                let written = (random.below(2) == 0).then(|| random.next() as u8);
                let id = match written {
                    Some(byte) => {
                        cdb[0] = 0x2A;
                        channels[channel].submit(0, &cdb, Data::Out(&[byte; 4096]), page)
                    }
                    None => channels[channel].submit(0, &cdb, Data::In(4096), page),
                };
                busy[block as usize] = Some((id, channel, written));
            }
            let mut due = clock + 1 + random.below(100);
            for (index, channel) in channels.iter_mut().enumerate() {
                channel.now.store(clock, Ordering::Relaxed);
                if let NextPoll::At(at) = channel.poll().unwrap() {
                    due = due.min(at);
                }
                for packet in channel.receive().unwrap() {
                    let srb = Packet::parse(&packet.payload).unwrap().srb().unwrap();
                    assert_eq!(srb.srb_status(), SrbStatus::SUCCESS);
                    let block = busy
                        .iter()
                        .position(|slot| {
                            slot.is_some_and(|(id, on, _)| {
                                (id, on) == (packet.transaction_id, index)
                            })
                        })
                        .expect("completes a command in flight");
                    let (_, _, written) = busy[block].take().unwrap();
                    if let Some(byte) = written {
                        model[block] = byte;
                    } else {
                        let mut page = vec![0; 4096];
                        machine
                            .memory
                            .read(frames[block] * 4096, &mut page)
                            .unwrap();
                        assert!(page.iter().all(|byte| *byte == model[block]), "seed {seed}");
                    }
                    completed += 1;
                }
            }
            clock = due.max(clock + 1);
        }
    }
}
