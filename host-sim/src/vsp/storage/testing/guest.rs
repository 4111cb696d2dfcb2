//! A guest's end of the storage protocol, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use vmbus_core::packet::{GpaRange, IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{IncomingRing, OutgoingRing, RingError, WriteError};
use vmbus_core::version::ProtocolVersion;
use vsc_storage::scsi::{ScsiStatus, Sense};
use vsc_storage::wire::{
    DataDirection, NtStatus, Operation, Packet, PacketFlags, Srb, SrbStatus, Version,
    VersionPayload,
};

use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, GuestRing, NextPoll, OpenRefused, OpenRequest,
    PollWaker, SubChannelRequest, USER_DATA_SIZE, Vsp, VspChannel, drive,
};
use crate::vsp::storage::{StorageController, StorageHandle, StorageOptions};

/// Pages of guest memory: 32 MiB.
const MEMORY_PAGES: u64 = 8192;
/// Pages at the end of memory that [`TestChannel::command`] uses for data: 8 MiB.
const DATA_PAGES: u64 = 2048;
/// Pages in each ring of a channel by default: a control page and 124 KiB of data.
const RING_PAGES: u64 = 32;

/// A guest with one controller.
pub struct Machine {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The device.
    pub controller: StorageController,
    /// Its handle.
    pub handle: StorageHandle,
    /// Sub-channels that the device last asked the server to offer.
    pub sub_channels_offered: Arc<AtomicU16>,
    next_page: u64,
}

/// Data of a command.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// No data.
    None,
    /// So many bytes from the device.
    In(u32),
    /// These bytes to the device.
    Out(&'a [u8]),
}

/// A packet from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whether it is a completion, else in-band.
    pub is_completion: bool,
    /// Its transaction id.
    pub transaction_id: u64,
    /// Whether the host wants a completion.
    pub completion_requested: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status in the message's header.
    pub header: NtStatus,
    /// The request block.
    pub srb: Srb,
    /// What the host wrote: as many bytes as it says it moved.
    pub data: Vec<u8>,
}

impl Reply {
    /// Whether all statuses say success.
    #[must_use]
    pub fn is_good(&self) -> bool {
        (self.srb.scsi_status(), self.srb.srb_status(), self.header)
            == (ScsiStatus::GOOD, SrbStatus::SUCCESS, NtStatus::SUCCESS)
    }

    /// The sense data, if the statuses say that there is some.
    #[must_use]
    pub fn sense(&self) -> Option<Sense> {
        let valid = self.srb.scsi_status() == ScsiStatus::CHECK_CONDITION
            && self.srb.srb_status().has_autosense();
        valid
            .then(|| Sense::parse(&self.srb.command_or_sense))
            .flatten()
    }

    /// Key, code and qualifier of the sense data.
    #[must_use]
    pub fn sense_triple(&self) -> Option<(u8, u8, u8)> {
        self.sense().map(|sense| {
            (
                sense.key.0,
                sense.additional.code,
                sense.additional.qualifier,
            )
        })
    }
}

impl Machine {
    /// A guest with a controller that has no disks yet.
    ///
    /// # Panics
    /// If the options are refused or memory is short.
    #[must_use]
    pub fn new(options: StorageOptions) -> Self {
        let controller = StorageController::new(options).expect("valid options");
        Self {
            memory: GuestMemory::new(MEMORY_PAGES * PAGE_SIZE).expect("guest memory"),
            handle: controller.handle(),
            controller,
            sub_channels_offered: Arc::default(),
            next_page: 16,
        }
    }

    /// Takes unused pages; returns the first one's frame.
    ///
    /// # Panics
    /// If none are left.
    pub fn allocate(&mut self, pages: u64) -> u64 {
        let first = self.next_page;
        self.next_page += pages;
        assert!(self.next_page <= MEMORY_PAGES - DATA_PAGES, "guest memory");
        first
    }

    /// Opens a channel: 0 for the primary one.
    ///
    /// # Errors
    /// The device refuses.
    pub fn open(&mut self, index: u16) -> Result<TestChannel, OpenRefused> {
        self.open_with_rings(index, RING_PAGES, RING_PAGES)
    }

    /// Opens a channel with rings of so many pages, their control pages included.
    ///
    /// # Errors
    /// The device refuses.
    ///
    /// # Panics
    /// If guest memory is used up or the pages cannot be rings.
    pub fn open_with_rings(
        &mut self,
        index: u16,
        to_host: u64,
        to_guest: u64,
    ) -> Result<TestChannel, OpenRefused> {
        let woken = Arc::new(AtomicBool::new(false));
        let wake = Arc::clone(&woken);
        let offered = Arc::clone(&self.sub_channels_offered);
        let services = ChannelServices {
            waker: PollWaker::new(move || wake.store(true, Ordering::Release)),
            sub_channels: SubChannelRequest::new(move |count| {
                offered.store(count, Ordering::Release);
            }),
            ..ChannelServices::inert()
        };
        let request = OpenRequest {
            sub_channel_index: index,
            user_data: [0; USER_DATA_SIZE],
            vmbus_version: ProtocolVersion::V5_3,
            vp: 0,
        };
        let channel = self.controller.open(request, services)?;
        let frames = |first: u64, count: u64| (first..first + count).collect::<Vec<_>>();
        let to_host = frames(self.allocate(to_host), to_host);
        let to_guest = frames(self.allocate(to_guest), to_guest);
        let ring = |frames: &[u64]| GuestRing::new(&self.memory, frames).expect("ring pages");
        Ok(TestChannel {
            to_host: OutgoingRing::initialise(ring(&to_host)),
            from_host: IncomingRing::initialise(ring(&to_guest)),
            host_incoming: IncomingRing::attach(ring(&to_host)).expect("fresh ring"),
            host_outgoing: OutgoingRing::attach(ring(&to_guest)).expect("fresh ring"),
            memory: self.memory.clone(),
            channel,
            woken,
            now: Arc::default(),
            next_id: 1,
            signals: 0,
            packet_size: 64,
        })
    }

    /// Opens the primary channel and initialises the controller at its newest version.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn open_ready(&mut self) -> TestChannel {
        let mut channel = self.open(0).expect("a fresh controller");
        for version in Version::ALL_NEWEST_FIRST {
            if channel.initialise(version) {
                return channel;
            }
        }
        panic!("no version is accepted");
    }
}

/// One open channel: both ends of its rings, and the device behind it.
pub struct TestChannel {
    /// The guest's end of the ring to the host.
    pub to_host: OutgoingRing<GuestRing>,
    /// The guest's end of the ring from the host.
    pub from_host: IncomingRing<GuestRing>,
    /// The guest's memory.
    pub memory: GuestMemory,
    /// Whether the device asked to be polled; cleared by polling.
    pub woken: Arc<AtomicBool>,
    /// Time that polls are told; shared, so that several channels may have one clock.
    pub now: Arc<AtomicU64>,
    /// Polls that ended with a signal to the guest.
    pub signals: u64,
    /// Bytes of the packets that this guest sends: 64, or 48 in the old dialects.
    pub packet_size: usize,
    host_incoming: IncomingRing<GuestRing>,
    host_outgoing: OutgoingRing<GuestRing>,
    channel: Box<dyn VspChannel>,
    next_id: u64,
}

impl TestChannel {
    /// Sends a packet as it is.
    ///
    /// # Errors
    /// The ring is full.
    pub fn send(
        &mut self,
        transaction_id: u64,
        kind: OutgoingKind<'_>,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        let payload = [payload];
        self.to_host
            .send(&OutgoingPacket {
                transaction_id,
                completion_requested: true,
                kind,
                payload: &payload,
            })
            .map(|_| ())
    }

    /// One turn of the device.
    ///
    /// # Errors
    /// The device has found a fault.
    pub fn poll_once(&mut self) -> Result<NextPoll, ChannelFault> {
        self.woken.store(false, Ordering::Release);
        let mut io = ChannelIo::new(
            &mut self.host_incoming,
            &mut self.host_outgoing,
            &self.memory,
            self.now.load(Ordering::Relaxed),
        );
        let next = drive(self.channel.as_mut(), &mut io);
        self.signals += u64::from(io.signal().is_needed());
        next
    }

    /// Polls the device until it wants to sleep.
    ///
    /// # Errors
    /// The device has found a fault.
    pub fn poll(&mut self) -> Result<NextPoll, ChannelFault> {
        loop {
            match self.poll_once()? {
                NextPoll::Now => {}
                next => return Ok(next),
            }
        }
    }

    /// Takes all packets from the host.
    ///
    /// # Errors
    /// The host broke the ring.
    pub fn receive(&mut self) -> Result<Vec<Received>, RingError> {
        let mut received = Vec::new();
        let mut buffer = [0; 256];
        let mut batch = self.from_host.batch()?;
        while let Some(packet) = batch.next(&mut buffer)? {
            received.push(Received {
                is_completion: matches!(packet.kind, IncomingKind::Completion),
                transaction_id: packet.transaction_id,
                completion_requested: packet.completion_requested,
                payload: packet.payload.to_vec(),
            });
        }
        let _ = batch.commit();
        Ok(received)
    }

    /// A fresh transaction id.
    pub fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Sends a message in-band, polls, and returns the answer.
    ///
    /// # Panics
    /// Unless exactly one completion with the message's id comes back.
    pub fn request(&mut self, message: &Packet) -> Packet {
        let id = self.fresh_id();
        self.send(id, OutgoingKind::InBand, message.as_bytes())
            .expect("room in the ring");
        self.poll().expect("a sound device");
        self.answer(id)
    }

    /// The one packet that the host has sent, which completes `id`.
    ///
    /// # Panics
    /// If there is another number of packets, or the packet is another one.
    pub fn answer(&mut self, id: u64) -> Packet {
        let received = self.receive().expect("a sound ring");
        assert_eq!(received.len(), 1, "packets for request {id}: {received:?}");
        let packet = &received[0];
        assert!(packet.is_completion && packet.transaction_id == id);
        Packet::parse(&packet.payload).expect("a whole message")
    }

    /// A message of the guest with an empty payload.
    #[must_use]
    pub fn message(&self, operation: Operation) -> Packet {
        Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            self.packet_size - 12,
        )
    }

    /// Runs the initialisation at this version, as far as it gets: whether the version was accepted.
    ///
    /// # Panics
    /// If a later step fails.
    pub fn initialise(&mut self, version: Version) -> bool {
        self.packet_size = version.packet_size();
        let begin = self.message(Operation::BEGIN_INIT);
        // Refused if an earlier attempt got that far already.
        self.request(&begin);
        let mut query = self.message(Operation::QUERY_PROTOCOL_VERSION);
        query.set_payload(&VersionPayload {
            version: version.wire().into(),
            revision: 0.into(),
        });
        if self.request(&query).status() != NtStatus::SUCCESS {
            return false;
        }
        for operation in [Operation::QUERY_PROPERTIES, Operation::END_INIT] {
            let message = self.message(operation);
            assert_eq!(self.request(&message).status(), NtStatus::SUCCESS);
        }
        true
    }

    /// A command's message.
    #[must_use]
    pub fn command_message(&self, lun: u8, cdb: &[u8], data: Data<'_>) -> Packet {
        let (length, direction) = match data {
            Data::None => (0, DataDirection::None),
            Data::In(length) => (length, DataDirection::FromDevice),
            Data::Out(bytes) => (bytes.len() as u32, DataDirection::ToDevice),
        };
        let mut command_or_sense = [0; 20];
        command_or_sense[..cdb.len()].copy_from_slice(cdb);
        let mut message = self.message(Operation::EXECUTE_SRB);
        message.set_payload(&Srb {
            length: 52.into(),
            lun,
            cdb_length: cdb.len() as u8,
            sense_info_length: 20,
            data_in: direction.wire(),
            data_transfer_length: length.into(),
            command_or_sense,
            queue_tag: Srb::UNTAGGED,
            queue_action: Srb::SIMPLE_TAG,
            ..Srb::ZERO
        });
        message
    }

    /// Frames of the pages that hold the data of commands, for `length` bytes.
    #[must_use]
    pub fn data_frames(length: u32) -> Vec<u64> {
        let first = MEMORY_PAGES - DATA_PAGES;
        (first..first + u64::from(length).div_ceil(PAGE_SIZE)).collect()
    }

    /// Sends a command with its data in these pages, from their beginning; returns its id.
    ///
    /// # Panics
    /// If the ring is full.
    pub fn submit(&mut self, lun: u8, cdb: &[u8], data: Data<'_>, frames: &[u64]) -> u64 {
        let id = self.fresh_id();
        let message = self.command_message(lun, cdb, data);
        let byte_count = match data {
            Data::None => 0,
            Data::In(length) => length,
            Data::Out(bytes) => {
                for (page, frame) in bytes.chunks(PAGE_SIZE as usize).zip(frames) {
                    self.memory.write(frame * PAGE_SIZE, page).expect("RAM");
                }
                bytes.len() as u32
            }
        };
        let ranges = [GpaRange {
            byte_count,
            byte_offset: 0,
            page_frames: frames,
        }];
        let kind = if byte_count == 0 {
            OutgoingKind::InBand
        } else {
            OutgoingKind::GpaDirect(&ranges)
        };
        self.send(id, kind, message.as_bytes())
            .expect("room in the ring");
        id
    }

    /// Executes a command to the end.
    ///
    /// # Panics
    /// If it does not come back, or more than it does.
    pub fn command(&mut self, lun: u8, cdb: &[u8], data: Data<'_>) -> Reply {
        let length = match data {
            Data::None => 0,
            Data::In(length) => length,
            Data::Out(bytes) => bytes.len() as u32,
        };
        let frames = Self::data_frames(length);
        let id = self.submit(lun, cdb, data, &frames);
        self.poll().expect("a sound device");
        let answer = self.answer(id);
        let srb = answer.srb().expect("a whole request block");
        let mut bytes = Vec::new();
        if let Data::In(_) = data {
            bytes = vec![0; srb.data_transfer_length.get().min(length) as usize];
            for (page, frame) in bytes.chunks_mut(PAGE_SIZE as usize).zip(&frames) {
                self.memory.read(frame * PAGE_SIZE, page).expect("RAM");
            }
        }
        Reply {
            header: answer.status(),
            srb,
            data: bytes,
        }
    }
}
