//! The host's storage controller against a guest with rings, memory and SCSI commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use host_sim::disk::vhd::{self, CreateOptions, Kind, VhdDisk};
use host_sim::disk::{DiskImage, MemoryStorage, RawDisk, RawOptions, Storage};
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vsp::storage::protocol::State;
use host_sim::vsp::storage::{StorageController, StorageHandle, StorageOptions, UnitAttention};
use vmbus_core::guid::Guid;
use vmbus_core::packet::{GpaRange, IncomingKind, OutgoingKind, OutgoingPacket};
use vsc_storage::wire::{
    NtStatus, Operation, Packet, PacketFlags, Srb, SubChannelCount, Version, VersionPayload,
};

use crate::channel::Channel;
use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const RAW: u8 = 0;
    pub(crate) const RAW_WITH_RANGES: u8 = 1;
    pub(crate) const CONTROL: u8 = 2;
    pub(crate) const INITIALISE: u8 = 3;
    pub(crate) const COMMAND: u8 = 4;
    pub(crate) const WORK: u8 = 5;
    pub(crate) const RECEIVE: u8 = 6;
    pub(crate) const FORGE: u8 = 7;
    pub(crate) const DATA: u8 = 8;
    pub(crate) const UNITS: u8 = 9;
    pub(crate) const COUNT: u8 = 10;
}

/// In the first byte: the device is an IDE disk.
pub(crate) const IDE: u8 = 1;
/// In the first byte: a sub-channel is open from the start.
pub(crate) const SUB_CHANNEL: u8 = 2;

/// Pages of each ring, control page included.
const RING_PAGES: u64 = 3;
/// Pages that rings and data may be in; what lies behind them is never named.
const DATA_PAGES: u64 = 48;
const PAGES: u64 = 64;
const UNTOUCHED: [u8; PAGE_SIZE as usize] = [0xA5; PAGE_SIZE as usize];
/// First page of data buffers.
const DATA: u64 = 4 * RING_PAGES;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.u8();
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).expect("a small mapping");
    for page in DATA_PAGES..PAGES {
        memory.write(page * PAGE_SIZE, &UNTOUCHED).expect("RAM");
    }
    let options = if kind & IDE != 0 {
        StorageOptions::ide(0, 0)
    } else {
        StorageOptions {
            max_transfer: 0x1_0000,
            highest_version: Version::ALL_NEWEST_FIRST
                [usize::from(kind >> 4) % Version::ALL_NEWEST_FIRST.len()],
            ..StorageOptions::scsi(Guid::from_bytes([5; 16]))
        }
    };
    let mut controller = StorageController::new(options).expect("sound options");
    let handle = controller.handle();
    let _ = handle.add_lun(0, raw_disk(false));
    let _ = handle.add_lun(1, dynamic_disk());
    let _ = handle.add_lun(2, raw_disk(true));
    let _ = handle.add_drive(3, Some(raw_disk(true)));
    let primary = Channel::open(&memory, 0, RING_PAGES, &mut controller, 0);
    let index = u16::from(kind & SUB_CHANNEL != 0);
    // Without a sub-channel, this is a second primary channel, which is refused.
    let sub = Channel::open(&memory, 2 * RING_PAGES, RING_PAGES, &mut controller, index);
    let mut guest = Guest {
        channels: [Lane::new(primary), Lane::new(sub)],
        memory,
        handle,
        now: 1,
    };
    while let Some(step) = input.step() {
        guest.step(step % op::COUNT, &mut input);
    }
    guest.finish();
}

pub(crate) fn raw_disk(read_only: bool) -> Arc<dyn DiskImage> {
    let storage = MemoryStorage::new();
    storage.set_size(128 * 512).expect("memory does not fail");
    let options = RawOptions {
        logical_sector_size: 512,
        physical_sector_size: 4096,
        read_only,
        identity: [u8::from(read_only); 16],
        discard: true,
    };
    Arc::new(RawDisk::new(storage, options).expect("whole sectors"))
}

pub(crate) fn dynamic_disk() -> Arc<dyn DiskImage> {
    let storage = MemoryStorage::new();
    let options = CreateOptions {
        size: 1 << 20,
        kind: Kind::Dynamic { block_size: 4096 },
        unique_id: [2; 16],
        timestamp: 0,
    };
    vhd::create(&storage, &options).expect("sound options");
    Arc::new(VhdDisk::open(storage, false).expect("it was made a moment ago"))
}

/// A channel, and what the guest waits for on it.
struct Lane {
    channel: Channel,
    /// Answers wanted, by transaction id.
    wanted: BTreeMap<u64, usize>,
}

impl Lane {
    const fn new(channel: Channel) -> Self {
        Self {
            channel,
            wanted: BTreeMap::new(),
        }
    }

    fn send(&mut self, id: u64, wanted: bool, kind: OutgoingKind<'_>, payload: &[u8]) {
        let sent = self.channel.send(&OutgoingPacket {
            transaction_id: id,
            completion_requested: wanted,
            kind,
            payload: &[payload],
        });
        if sent && wanted {
            *self.wanted.entry(id).or_default() += 1;
        }
    }

    /// Takes the host's packets: completions of what was asked, once each, and news.
    fn receive(&mut self) {
        let (wanted, forged) = (&mut self.wanted, self.channel.is_forged());
        self.channel.receive(|packet| {
            let message = match Packet::parse(packet.payload) {
                Ok(message) => message,
                Err(_) if forged => return,
                Err(error) => panic!("{error}"),
            };
            if forged {
                return;
            }
            match packet.kind {
                IncomingKind::Completion => {
                    assert_eq!(message.operation(), Operation::COMPLETE_IO);
                    let count = wanted.get_mut(&packet.transaction_id);
                    let count = count.filter(|count| **count > 0);
                    *count.expect("an answer to nothing") -= 1;
                }
                IncomingKind::InBand => {
                    assert_eq!(message.operation(), Operation::ENUMERATE_BUS);
                }
                _ => panic!("a host's packet with ranges"),
            }
        });
    }
}

struct Guest {
    memory: GuestMemory,
    channels: [Lane; 2],
    handle: StorageHandle,
    now: u64,
}

impl Guest {
    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step {
            op::DATA => {
                let page = DATA + u64::from(input.u8()) % (DATA_PAGES - DATA);
                let bytes = input.bytes();
                self.memory.write(page * PAGE_SIZE, bytes).expect("RAM");
            }
            op::UNITS => self.change_units(input),
            _ => self.lane_step(step, input),
        }
    }

    fn lane_step(&mut self, step: u8, input: &mut Input<'_>) {
        let select = input.u8();
        let lane = &mut self.channels[usize::from(select & 1)];
        let (id, wanted) = (u64::from(select >> 2), select & 2 == 0);
        match step {
            op::RAW => {
                let kind = match input.u8() {
                    0xFF => OutgoingKind::Completion,
                    _ => OutgoingKind::InBand,
                };
                lane.send(id, wanted, kind, input.bytes());
            }
            op::RAW_WITH_RANGES => {
                let ranges = Ranges::read(input);
                if ranges.name_rings() {
                    self.forged_by_host();
                }
                let lane = &mut self.channels[usize::from(select & 1)];
                ranges.with(|kind| lane.send(id, wanted, kind, input.bytes()));
            }
            op::CONTROL => {
                let version = input.choose(&Version::ALL_NEWEST_FIRST);
                let operation = Operation(u32::from(input.u8() % 16));
                let mut packet = Packet::new(
                    operation,
                    PacketFlags::REQUEST_COMPLETION,
                    NtStatus::SUCCESS,
                    version.srb_size(),
                );
                packet.set_payload(&input.u32().to_le_bytes());
                lane.send(id, wanted, OutgoingKind::InBand, packet.as_bytes());
            }
            op::INITIALISE => {
                let version = input.choose(&Version::ALL_NEWEST_FIRST);
                for packet in initialisation(version, input.u8()) {
                    lane.send(id, true, OutgoingKind::InBand, packet.as_bytes());
                }
            }
            op::COMMAND => {
                let (packet, ranges) = command(input);
                if ranges.as_ref().is_some_and(Ranges::name_rings) {
                    self.forged_by_host();
                }
                let lane = &mut self.channels[usize::from(select & 1)];
                match ranges {
                    None => lane.send(id, wanted, OutgoingKind::InBand, packet.as_bytes()),
                    Some(ranges) => {
                        ranges.with(|kind| lane.send(id, wanted, kind, packet.as_bytes()));
                    }
                }
            }
            op::WORK => {
                self.now += u64::from(input.u16());
                lane.channel.work(self.now);
            }
            op::RECEIVE => lane.receive(),
            _ => lane.channel.forge(input.u32(), input.bytes()),
        }
    }

    /// The host will write into rings, because the guest wants it so.
    fn forged_by_host(&mut self) {
        for lane in &mut self.channels {
            lane.channel.set_forged();
        }
    }

    fn change_units(&mut self, input: &mut Input<'_>) {
        let lun = input.u8() % 70;
        match input.u8() % 5 {
            0 => drop(self.handle.add_lun(lun, raw_disk(false))),
            1 => drop(self.handle.remove_lun(lun)),
            2 => {
                let attention = UnitAttention::CapacityChanged;
                let _ = self.handle.replace_lun(lun, dynamic_disk(), attention);
            }
            3 => {
                let _ = self.handle.raise(lun, UnitAttention::ReportedLunsChanged);
            }
            _ => {
                let _ = (self.handle.luns(), self.handle.counters());
                let _ = (self.handle.state(), self.handle.version());
            }
        }
    }

    /// Every request of an honest guest is answered; and the host has touched no memory that nobody named.
    fn finish(&mut self) {
        for _ in 0..64 {
            for lane in &mut self.channels {
                lane.channel.work(self.now);
                lane.receive();
            }
        }
        let [primary, sub] = &mut self.channels;
        let ready = self.handle.state() == Some(State::Ready);
        // What makes no sense as a request has no answer.
        let sensible = self.handle.counters().dropped == 0;
        if sensible && primary.channel.is_alive() && !primary.channel.is_forged() {
            assert!(primary.wanted.values().all(|count| *count == 0));
        }
        // Commands on a sub-channel wait until the primary one is ready.
        if sensible && ready && sub.channel.is_alive() && !sub.channel.is_forged() {
            assert!(sub.wanted.values().all(|count| *count == 0));
        }
        sub.channel.close();
        primary.channel.close();
        assert!(self.handle.open_channels().is_empty());
        // What is forged in the rings may name any page.
        if primary.channel.is_forged() || sub.channel.is_forged() {
            return;
        }
        let mut page = [0; PAGE_SIZE as usize];
        for number in DATA_PAGES..PAGES {
            self.memory
                .read(number * PAGE_SIZE, &mut page)
                .expect("RAM");
            assert!(page == UNTOUCHED, "page {number} was written");
        }
    }
}

/// The messages of an initialisation.
fn initialisation(version: Version, sub_channels: u8) -> Vec<Packet> {
    let packet = |operation| {
        Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            version.srb_size(),
        )
    };
    let mut query = packet(Operation::QUERY_PROTOCOL_VERSION);
    query.set_payload(&VersionPayload {
        version: version.wire().into(),
        revision: 0.into(),
    });
    let mut packets = vec![
        packet(Operation::BEGIN_INIT),
        query,
        packet(Operation::QUERY_PROPERTIES),
        packet(Operation::END_INIT),
    ];
    if sub_channels > 0 {
        let mut create = packet(Operation::CREATE_SUB_CHANNELS);
        create.set_payload(&SubChannelCount {
            count: u16::from(sub_channels).into(),
        });
        packets.push(create);
    }
    packets
}

/// A SCSI command, and its buffer if it has one.
fn command(input: &mut Input<'_>) -> (Packet, Option<Ranges>) {
    let size = if input.u8() == 1 { 36 } else { 52 };
    let mut packet = Packet::new(
        Operation::EXECUTE_SRB,
        PacketFlags::REQUEST_COMPLETION,
        NtStatus::SUCCESS,
        size,
    );
    let (lun, direction) = (input.u8(), input.u8());
    let cdb: [u8; 16] = input.array();
    let transfer = u32::from(input.u8()) * 512 + u32::from(input.u8());
    let mut srb = Srb {
        length: (size as u16).into(),
        lun: lun % 8,
        target_id: u8::from(lun >= 0xF0),
        cdb_length: [16, 6, 10, 12][usize::from(cdb[0] >> 6)],
        sense_info_length: 18,
        data_in: direction % 4,
        data_transfer_length: transfer.into(),
        ..Srb::ZERO
    };
    srb.command_or_sense[..16].copy_from_slice(&cdb);
    packet.set_payload(&srb);
    let ranges = (transfer != 0).then(|| Ranges::for_transfer(transfer, input));
    (packet, ranges)
}

/// Ranges of a packet: byte count, byte offset, page frames.
///
/// They name pages of data, mostly; sometimes the rings, which the host then overwrites, or what is no RAM.
struct Ranges(Vec<(u32, u32, Vec<u64>)>);

impl Ranges {
    /// Any ranges, of pages that may be named or are no RAM.
    fn read(input: &mut Input<'_>) -> Self {
        let ranges = (0..=input.below(3)).map(|_| {
            let (count, offset) = (u32::from(input.u16()), u32::from(input.u16()));
            Self::range(count.max(1), offset % 4096, input)
        });
        Self(ranges.collect())
    }

    /// Ranges that hold just so many bytes, unless the input says otherwise.
    fn for_transfer(transfer: u32, input: &mut Input<'_>) -> Self {
        let shape = input.u8();
        let count = match shape {
            0xFF => u32::from(input.u16()).max(1),
            _ => transfer,
        };
        let offset = u32::from(input.u8()) * 16;
        let mut ranges = vec![Self::range(count, offset, input)];
        if shape & 1 != 0 && count > 1 {
            ranges[0] = Self::range(count / 2, offset, input);
            ranges.push(Self::range(count - count / 2, offset, input));
        }
        Self(ranges)
    }

    fn range(count: u32, offset: u32, input: &mut Input<'_>) -> (u32, u32, Vec<u64>) {
        let pages = (u64::from(offset) + u64::from(count)).div_ceil(PAGE_SIZE);
        let (first, stride) = (u64::from(input.u8()), u64::from(input.u8() % 3));
        let frame = |index| match (first + index * stride) % 64 {
            // The rings themselves.
            ring @ 48..50 => ring % 48,
            // No RAM.
            high @ 50.. => high + (64 << (high % 50)),
            low => DATA + low % (DATA_PAGES - DATA),
        };
        (count, offset, (0..pages).map(frame).collect())
    }

    /// Whether the guest asks to have its rings overwritten.
    fn name_rings(&self) -> bool {
        let mut frames = self.0.iter().flat_map(|(_, _, frames)| frames);
        frames.any(|frame| *frame < DATA)
    }

    fn with(&self, act: impl FnOnce(OutgoingKind<'_>)) {
        let ranges: Vec<_> = self
            .0
            .iter()
            .map(|(byte_count, byte_offset, page_frames)| GpaRange {
                byte_count: *byte_count,
                byte_offset: *byte_offset,
                page_frames,
            })
            .collect();
        act(OutgoingKind::GpaDirect(&ranges));
    }
}
