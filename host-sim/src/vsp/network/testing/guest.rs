//! A guest that speaks NVSP and RNDIS.

use std::collections::VecDeque;
use std::sync::Arc;

use vmbus_core::packet::{GpaRange, OutgoingKind, TransferRange};
use vsc_net::wire::ndis::Oid;
use vsc_net::wire::nvsp::{
    Body, ChannelType, Init, InitComplete, Message, MessageType, NO_SECTION, NdisConfig,
    NdisVersion, RECEIVE_BUFFER_ID, ReceiveBufferComplete, RndisPacket, RndisPacketComplete,
    SendBuffer, SendBufferComplete, Status, SubChannelComplete, SubChannelRequest, Version,
};
use vsc_net::wire::rndis::{
    self, InitializeRequest, PER_PACKET_INFO_ROOM, PacketHeader, PacketInfo, PacketLayout, Reply,
    Request,
};
use zerocopy::{FromBytes, IntoBytes};

use super::channel::{PacketKind, ReceivedPacket, TestChannel};
use super::machine::Machine;
use crate::memory::PAGE_SIZE;
use crate::net::NetworkBackend;
use crate::vmbus::vsp::ChannelFault;
use crate::vsp::network::NetworkOptions;

/// Pages of the receive buffer: 1 MiB.
const RECEIVE_PAGES: u64 = 256;
/// Pages of the send buffer: 256 KiB.
const SEND_PAGES: u64 = 64;
/// Pages for messages that are sent from where they lie.
const MESSAGE_PAGES: u64 = 32;

/// Where a guest puts the bytes of what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In a section of the send buffer.
    Section,
    /// In pages of its own.
    Direct,
    /// Header in a section, frame in pages of its own.
    Partial,
    /// In pages of its own, the header split between two of them.
    SplitHeader,
}

/// A frame that a guest received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// The frame.
    pub bytes: Vec<u8>,
    /// What came with it.
    pub info: PacketInfo,
}

/// A guest with an adapter in use.
pub struct Guest {
    /// Its memory and adapter.
    pub machine: Machine,
    /// Its channels, the primary one first.
    pub channels: Vec<TestChannel>,
    /// The version agreed on.
    pub version: Version,
    /// Bytes of a section of the receive buffer, and how many there are.
    pub receive_sections: (u32, u32),
    /// Bytes of a section of the send buffer; 0 without one.
    pub send_section_size: u32,
    /// Whether packets of frames are completed as soon as they are read; else they wait in `uncompleted`.
    pub completes: bool,
    /// Channel and transaction id of packets that wait to be completed.
    pub uncompleted: Vec<(usize, u64)>,
    /// Control messages of the host that nobody has asked for, in order.
    pub indications: VecDeque<(rndis::Status, Vec<u8>)>,
    /// Messages of the host in packets themselves, in order.
    pub in_band: VecDeque<Message>,
    /// Frames received and not looked at, by channel.
    pub frames: Vec<VecDeque<ReceivedFrame>>,
    /// First frame of the receive buffer.
    pub receive_buffer: u64,
    /// First frame of the send buffer.
    pub send_buffer: u64,
    /// First frame of the pages for messages.
    pub message_pages: u64,
    replies: VecDeque<Vec<u8>>,
    completions: Vec<ReceivedPacket>,
    next_id: u64,
}

impl Guest {
    /// A guest whose primary channel is open and silent.
    ///
    /// # Panics
    /// If the channel cannot be opened.
    #[must_use]
    pub fn open(options: NetworkOptions, backend: Arc<dyn NetworkBackend>) -> Self {
        let mut machine = Machine::new(options, backend);
        let primary = machine.open(0).expect("a fresh adapter");
        Self::with(machine, primary)
    }

    /// A guest with a primary channel that is open and silent.
    ///
    /// # Panics
    /// If guest memory is short.
    #[must_use]
    pub fn with(mut machine: Machine, primary: TestChannel) -> Self {
        let message_pages = machine.allocate(MESSAGE_PAGES);
        Self {
            machine,
            channels: vec![primary],
            version: Version::V6_1,
            receive_sections: (0, 0),
            send_section_size: 0,
            completes: true,
            uncompleted: Vec::new(),
            indications: VecDeque::new(),
            in_band: VecDeque::new(),
            frames: vec![VecDeque::new()],
            receive_buffer: 0,
            send_buffer: 0,
            message_pages,
            replies: VecDeque::new(),
            completions: Vec::new(),
            next_id: 1,
        }
    }

    /// A guest that is initialised at this version and receives its own and everybody's frames.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn ready(
        options: NetworkOptions,
        backend: Arc<dyn NetworkBackend>,
        version: Version,
    ) -> Self {
        let mut guest = Self::open(options, backend);
        assert!(guest.negotiate(version), "version {version}");
        guest.configure(1514, 0x28);
        guest.lend_buffers(RECEIVE_PAGES, SEND_PAGES);
        guest.initialize();
        guest.set_filter(0x0D);
        guest
    }

    /// A fresh transaction id.
    pub fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Polls a channel's device and takes what it has sent.
    ///
    /// # Errors
    /// The device has found a fault; what it sent before has been taken.
    ///
    /// # Panics
    /// If the host breaks the ring or its protocol.
    pub fn work(&mut self, channel: usize) -> Result<(), ChannelFault> {
        let result = self.channels[channel].poll().map(|_| ());
        for packet in self.channels[channel].receive().expect("a sound ring") {
            self.take(channel, packet);
        }
        result
    }

    fn take(&mut self, channel: usize, packet: ReceivedPacket) {
        match &packet.kind {
            PacketKind::Completion => self.completions.push(packet),
            PacketKind::InBand => self
                .in_band
                .push_back(Message::parse(&packet.payload).expect("a message")),
            PacketKind::TransferPages(set, ranges) => {
                assert_eq!(*set, RECEIVE_BUFFER_ID);
                assert!(
                    packet.completion_requested
                        && packet.transaction_id < u64::from(self.receive_sections.1)
                );
                let message = Message::parse(&packet.payload).expect("a message");
                let body: RndisPacket = message.body().expect("an RNDIS message");
                assert_eq!(
                    (body.section_index.get(), body.section_size.get()),
                    (NO_SECTION, 0)
                );
                for range in ranges {
                    self.take_range(channel, body.channel(), *range);
                }
                if self.completes {
                    self.complete(channel, packet.transaction_id);
                } else {
                    self.uncompleted.push((channel, packet.transaction_id));
                }
            }
            PacketKind::Other => panic!("{packet:?}"),
        }
    }

    fn take_range(&mut self, channel: usize, channel_type: ChannelType, range: TransferRange) {
        let (size, count) = self.receive_sections;
        assert!(range.byte_count <= size && range.byte_offset % size == 0);
        assert!(range.byte_offset / size < count);
        let mut bytes = vec![0; range.byte_count as usize];
        let address = self.receive_buffer * PAGE_SIZE + u64::from(range.byte_offset);
        self.machine.memory.read(address, &mut bytes).expect("RAM");
        if channel_type == ChannelType::CONTROL {
            assert_eq!(channel, 0);
            return match Reply::parse(&bytes).expect("a control message") {
                Reply::Indicate {
                    status,
                    information,
                } => self.indications.push_back((status, information.to_vec())),
                _ => self.replies.push_back(bytes),
            };
        }
        let (header, _) = PacketHeader::read_from_prefix(&bytes).expect("a packet");
        let layout = PacketLayout::parse(&header, range.byte_count).expect("a sound packet");
        let part = |start: u32, length: u32| &bytes[start as usize..(start + length) as usize];
        self.frames[channel].push_back(ReceivedFrame {
            bytes: part(layout.data_start, layout.data_length).to_vec(),
            info: PacketInfo::parse(part(layout.ppi_start, layout.ppi_length))
                .expect("sound elements"),
        });
    }

    /// Completes a packet of frames.
    ///
    /// # Panics
    /// If the ring is full.
    pub fn complete(&mut self, channel: usize, id: u64) {
        let body = RndisPacketComplete {
            status: Status::SUCCESS.0.into(),
        };
        let message = Message::new(&body, self.version);
        self.channels[channel]
            .send(id, false, OutgoingKind::Completion, message.as_bytes())
            .expect("room in the ring");
    }

    /// Completes all packets that wait for it.
    pub fn complete_all(&mut self) {
        for (channel, id) in std::mem::take(&mut self.uncompleted) {
            self.complete(channel, id);
        }
    }

    /// Sends a message on the primary channel and returns the payload of its completion.
    ///
    /// # Errors
    /// The device has found a fault.
    ///
    /// # Panics
    /// If it is not completed.
    pub fn call(&mut self, message: &Message) -> Result<Vec<u8>, ChannelFault> {
        let id = self.fresh_id();
        self.channels[0]
            .send(id, true, OutgoingKind::InBand, message.as_bytes())
            .expect("room in the ring");
        self.work(0)?;
        Ok(self.completion(id).expect("a completion"))
    }

    /// Sends a message on the primary channel that is not completed.
    ///
    /// # Errors
    /// The device has found a fault.
    ///
    /// # Panics
    /// If the ring is full, or it is completed.
    pub fn tell(&mut self, message: &Message) -> Result<(), ChannelFault> {
        self.channels[0]
            .send(
                0xFFFF_FFFF_FFFF_FFFD,
                false,
                OutgoingKind::InBand,
                message.as_bytes(),
            )
            .expect("room in the ring");
        self.work(0)?;
        assert_eq!(self.completion(0xFFFF_FFFF_FFFF_FFFD), None);
        Ok(())
    }

    /// The payload of the completion with this id, if it has come.
    pub fn completion(&mut self, id: u64) -> Option<Vec<u8>> {
        let mut completions = self.completions.iter();
        let place = completions.position(|packet| packet.transaction_id == id)?;
        Some(self.completions.remove(place).payload)
    }

    fn answer<B: Body>(&mut self, message: &Message) -> B {
        let payload = self.call(message).expect("a sound device");
        let answer = Message::parse(&payload).expect("a message");
        answer.body().expect("the answer")
    }

    /// Proposes a version: whether it was accepted.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn negotiate(&mut self, version: Version) -> bool {
        self.version = version;
        let init = Init {
            min_version: version.wire().into(),
            max_version: version.wire().into(),
        };
        let complete: InitComplete = self.answer(&Message::full(&init));
        complete.status.get() == Status::SUCCESS.0
    }

    /// Sends configuration, where the version has one, and NDIS version.
    ///
    /// # Panics
    /// If the device finds a fault.
    pub fn configure(&mut self, mtu: u32, capabilities: u64) {
        if self.version.has_ndis_config() {
            let config = NdisConfig {
                mtu: mtu.into(),
                reserved: 0.into(),
                capabilities: capabilities.into(),
            };
            self.tell(&Message::full(&config)).expect("a sound device");
        }
        let minor = if self.version >= Version::V5 { 0x1E } else { 1 };
        let version = NdisVersion {
            major: 6.into(),
            minor: minor.into(),
        };
        self.tell(&Message::full(&version)).expect("a sound device");
    }

    /// Offers a GPADL as the receive buffer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn offer_receive_buffer(&mut self, gpadl: u32) -> ReceiveBufferComplete {
        let body = SendBuffer {
            gpadl: gpadl.into(),
            id: RECEIVE_BUFFER_ID.into(),
            reserved: 0.into(),
        };
        self.answer(&Message::full(&body))
    }

    /// Offers a GPADL as the send buffer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn offer_send_buffer(&mut self, gpadl: u32) -> SendBufferComplete {
        let body = SendBuffer {
            gpadl: gpadl.into(),
            id: 0.into(),
            reserved: 0.into(),
        };
        let message = Message::full_as(MessageType::SEND_SEND_BUFFER, &body);
        self.answer(&message)
    }

    /// Lends buffers of so many pages; no send buffer for 0.
    ///
    /// # Panics
    /// If one is refused.
    pub fn lend_buffers(&mut self, receive: u64, send: u64) {
        let (gpadl, first) = self.machine.lend(receive);
        let complete = self.offer_receive_buffer(gpadl);
        assert_eq!(
            (
                complete.status.get(),
                complete.section_count.get(),
                complete.offset.get()
            ),
            (1, 1, 0)
        );
        let (size, count) = (complete.section_size.get(), complete.sections.get());
        assert_eq!(complete.end_offset.get(), size * count);
        assert!(u64::from(size) * u64::from(count) <= receive * PAGE_SIZE);
        self.receive_buffer = first;
        self.receive_sections = (size, count);
        if send != 0 {
            let (gpadl, first) = self.machine.lend(send);
            let complete = self.offer_send_buffer(gpadl);
            assert_eq!(complete.status.get(), 1);
            self.send_buffer = first;
            self.send_section_size = complete.section_size.get();
        }
    }

    /// Writes bytes into the pages for messages, from `offset` on, and sends the message that they are.
    ///
    /// # Errors
    /// The device has found a fault.
    ///
    /// # Panics
    /// If it is not completed.
    pub fn send_control(&mut self, bytes: &[u8]) -> Result<Status, ChannelFault> {
        let address = self.message_pages * PAGE_SIZE;
        self.machine.memory.write(address, bytes).expect("RAM");
        let frames = self.message_frames(0, bytes.len());
        let range = GpaRange {
            byte_count: bytes.len() as u32,
            byte_offset: 0,
            page_frames: &frames,
        };
        self.send_rndis(0, ChannelType::CONTROL, NO_SECTION, 0, &[range])
    }

    fn message_frames(&self, offset: usize, length: usize) -> Vec<u64> {
        let first = self.message_pages + (offset as u64) / PAGE_SIZE;
        let end = self.message_pages * PAGE_SIZE + (offset + length) as u64;
        (first..end.div_ceil(PAGE_SIZE)).collect()
    }

    /// Sends a message of RNDIS from any place; returns its status.
    ///
    /// # Errors
    /// The device has found a fault.
    ///
    /// # Panics
    /// If it is not completed.
    pub fn send_rndis(
        &mut self,
        channel: usize,
        channel_type: ChannelType,
        section_index: u32,
        section_size: u32,
        ranges: &[GpaRange<'_>],
    ) -> Result<Status, ChannelFault> {
        let body = RndisPacket {
            channel_type: channel_type.0.into(),
            section_index: section_index.into(),
            section_size: section_size.into(),
        };
        let id = self.fresh_id();
        let kind = if ranges.is_empty() {
            OutgoingKind::InBand
        } else {
            OutgoingKind::GpaDirect(ranges)
        };
        let message = Message::full(&body);
        self.channels[channel]
            .send(id, true, kind, message.as_bytes())
            .expect("room in the ring");
        self.work(channel)?;
        let payload = self.completion(id).expect("a completion");
        let message = Message::parse(&payload).expect("a message");
        let complete: RndisPacketComplete = message.body().expect("a completion of RNDIS");
        Ok(Status(complete.status.get()))
    }

    /// Sends a control message and returns the answer's bytes.
    ///
    /// # Panics
    /// If there is none.
    pub fn request(&mut self, request: &Request<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let length = request.emit(&mut bytes).expect("room").len();
        let status = self.send_control(&bytes[..length]).expect("a sound device");
        assert_eq!(status, Status::SUCCESS, "{request:?}");
        self.work(0).expect("a sound device");
        self.replies.pop_front().expect("an answer")
    }

    /// Takes an answer that has come without being waited for.
    pub fn take_reply(&mut self) -> Option<Vec<u8>> {
        self.replies.pop_front()
    }

    /// Initialises RNDIS.
    ///
    /// # Panics
    /// If it fails.
    pub fn initialize(&mut self) {
        let answer = self.request(&Request::Initialize(InitializeRequest {
            request_id: 1.into(),
            major_version: 1.into(),
            minor_version: 0.into(),
            max_transfer_size: 0x4000.into(),
        }));
        let Ok(Reply::InitializeComplete(complete)) = Reply::parse(&answer) else {
            panic!("{answer:?}")
        };
        assert_eq!(complete.status.get(), 0);
        assert_eq!(complete.max_packets_per_message.get(), 8);
        assert_eq!(complete.packet_alignment_factor.get(), 3);
    }

    /// Asks an OID.
    ///
    /// # Errors
    /// The status that the host refuses with.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn query(&mut self, oid: Oid, information: &[u8]) -> Result<Vec<u8>, rndis::Status> {
        let id = self.fresh_id() as u32;
        let answer = self.request(&Request::Query {
            request_id: id,
            oid,
            information,
        });
        match Reply::parse(&answer) {
            Ok(Reply::QueryComplete {
                request_id,
                status,
                information,
            }) if request_id == id => {
                if status == rndis::Status::SUCCESS {
                    Ok(information.to_vec())
                } else {
                    assert!(information.is_empty());
                    Err(status)
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Asks an OID that is answered by a word.
    ///
    /// # Panics
    /// If it is not.
    pub fn query_word(&mut self, oid: Oid) -> u32 {
        let answer = self.query(oid, &[0; 4]).expect("an answer");
        u32::from_le_bytes(answer.try_into().expect("a word"))
    }

    /// Sets an OID.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn set(&mut self, oid: Oid, information: &[u8]) -> rndis::Status {
        let id = self.fresh_id() as u32;
        let answer = self.request(&Request::Set {
            request_id: id,
            oid,
            information,
        });
        match Reply::parse(&answer) {
            Ok(Reply::SetComplete { request_id, status }) if request_id == id => status,
            other => panic!("{other:?}"),
        }
    }

    /// Says which frames the guest wants.
    ///
    /// # Panics
    /// If that is refused.
    pub fn set_filter(&mut self, filter: u32) {
        let status = self.set(Oid::GEN_CURRENT_PACKET_FILTER, &filter.to_le_bytes());
        assert_eq!(status, rndis::Status::SUCCESS);
    }

    /// Asks for sub-channels and opens those granted; returns how many.
    ///
    /// # Panics
    /// If one cannot be opened.
    pub fn add_channels(&mut self, count: u16) -> u16 {
        let request = SubChannelRequest {
            operation: 1.into(),
            count: u32::from(count).into(),
        };
        let complete: SubChannelComplete = self.answer(&Message::full(&request));
        if complete.status.get() != Status::SUCCESS.0 {
            return 0;
        }
        let granted = complete.count.get() as u16;
        for index in 1..=granted {
            let channel = self.machine.open(index).expect("a sub-channel");
            self.channels.push(channel);
            self.frames.push(VecDeque::new());
        }
        self.work(0).expect("a sound device");
        granted
    }

    /// A frame from this guest.
    #[must_use]
    pub fn frame(&self, destination: [u8; 6], payload: &[u8]) -> Vec<u8> {
        let mut frame = destination.to_vec();
        frame.extend(self.machine.handle.address().0);
        // A type that nobody speaks.
        frame.extend([0x88, 0xB5]);
        frame.extend(payload);
        frame
    }

    /// The RNDIS message of a frame, without padding.
    #[must_use]
    pub fn packet(frame: &[u8], info: &PacketInfo) -> Vec<u8> {
        let mut elements = [0; PER_PACKET_INFO_ROOM];
        let length = info.emit(&mut elements).unwrap_or(0);
        let data_start = 44 + length as u32;
        let header = PacketHeader::new(
            data_start + frame.len() as u32,
            length as u32,
            data_start,
            frame.len() as u32,
        );
        [header.as_bytes(), &elements[..length], frame].concat()
    }

    /// Sends a frame; whether the host took it.
    ///
    /// # Panics
    /// If the device finds a fault, or there is no completion.
    pub fn transmit(
        &mut self,
        channel: usize,
        frame: &[u8],
        info: &PacketInfo,
        shape: Shape,
    ) -> bool {
        let packet = Self::packet(frame, info);
        self.transmit_bytes(channel, &packet, packet.len() - frame.len(), shape)
    }

    /// Sends bytes as one message of packets, of which the first `header` are the last one's header; whether the host
    /// took it.
    ///
    /// # Panics
    /// If the device finds a fault, or there is no completion.
    pub fn transmit_bytes(
        &mut self,
        channel: usize,
        bytes: &[u8],
        header: usize,
        shape: Shape,
    ) -> bool {
        // Another section each time.
        let sections = (SEND_PAGES * PAGE_SIZE) as u32 / self.send_section_size.max(1);
        let section = self.next_id as u32 % sections.max(1);
        let section_address =
            self.send_buffer * PAGE_SIZE + u64::from(section * self.send_section_size);
        let memory = self.machine.memory.clone();
        let messages = self.message_pages * PAGE_SIZE;
        let status = match shape {
            Shape::Section => {
                memory.write(section_address, bytes).expect("RAM");
                self.send_rndis(channel, ChannelType::DATA, section, bytes.len() as u32, &[])
            }
            Shape::Direct => {
                memory.write(messages + 100, bytes).expect("RAM");
                let frames = self.message_frames(100, bytes.len());
                let range = GpaRange {
                    byte_count: bytes.len() as u32,
                    byte_offset: 100,
                    page_frames: &frames,
                };
                self.send_rndis(channel, ChannelType::DATA, NO_SECTION, 0, &[range])
            }
            Shape::Partial => {
                memory
                    .write(section_address, &bytes[..header])
                    .expect("RAM");
                memory
                    .write(messages + 4000, &bytes[header..])
                    .expect("RAM");
                let frames = self.message_frames(4000, bytes.len() - header);
                let range = GpaRange {
                    byte_count: (bytes.len() - header) as u32,
                    byte_offset: 4000,
                    page_frames: &frames,
                };
                self.send_rndis(channel, ChannelType::DATA, section, header as u32, &[range])
            }
            Shape::SplitHeader => {
                // One page for each range, as old guests make them; the header's first 20 bytes end a page.
                memory.write(messages + 4076, bytes).expect("RAM");
                let frames = self.message_frames(4076, bytes.len());
                let mut ranges = Vec::new();
                let (mut offset, mut left) = (4076u32, bytes.len() as u32);
                for frame in frames.chunks(1) {
                    let count = left.min(PAGE_SIZE as u32 - offset);
                    ranges.push(GpaRange {
                        byte_count: count,
                        byte_offset: offset,
                        page_frames: frame,
                    });
                    left -= count;
                    offset = 0;
                }
                self.send_rndis(channel, ChannelType::DATA, NO_SECTION, 0, &ranges)
            }
        };
        status.expect("a sound device") == Status::SUCCESS
    }

    /// Polls a channel and takes the frames that it has received.
    ///
    /// # Panics
    /// If the device finds a fault.
    pub fn receive(&mut self, channel: usize) -> Vec<ReceivedFrame> {
        self.work(channel).expect("a sound device");
        // What has been read has made room.
        self.work(channel).expect("a sound device");
        self.frames[channel].drain(..).collect()
    }
}
