//! Frames of a guest, to and from its network.

use vmbus_core::packet::GpaRange;
use vsc_net::wire::nvsp::{ChannelType, NO_SECTION, Status};
use vsc_net::wire::rndis::{PER_PACKET_INFO_ROOM, PacketHeader, PacketInfo};
use zerocopy::IntoBytes;

use super::guest::{Guest, ReceivedFrame, SEND_PAGES};
use crate::memory::PAGE_SIZE;

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

impl Guest {
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
