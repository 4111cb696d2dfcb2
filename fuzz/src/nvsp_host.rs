//! The host's network adapter against a guest that says anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sim::memory::PAGE_SIZE;
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame, MAX_FRAME};
use host_sim::vsp::network::testing::Guest;
use host_sim::vsp::network::{NetworkOptions, VlanMode};
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_net::wire::nvsp::{Message, NO_SECTION, RndisPacket, Version};

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const NVSP: u8 = 0;
    pub(crate) const SECTION: u8 = 1;
    pub(crate) const DIRECT: u8 = 2;
    pub(crate) const COMPLETE: u8 = 3;
    pub(crate) const DELIVER: u8 = 4;
    pub(crate) const LINK: u8 = 5;
    pub(crate) const CHANNELS: u8 = 6;
    pub(crate) const TIME: u8 = 7;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const COUNT: u8 = 9;
}

/// An adapter in use, and who attacks it.
struct Attack {
    guest: Guest,
    cable: Arc<Pair>,
    /// Channels that have ended by a fault, by place.
    ended: Vec<bool>,
}

/// The first byte chooses version and configuration.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let version = Version::ALL_NEWEST_FIRST[usize::from(choice) % 6];
    let mut options = NetworkOptions::for_slot("fuzz", 0).expect("a slot");
    options.large_send_v1 = choice & 0x10 != 0;
    options.allow_address_spoofing = choice & 0x20 != 0;
    if choice & 0x40 != 0 {
        options.vlan = VlanMode::Trunk {
            allowed: vec![1, 2, 100],
            native: 5,
        };
    }
    let is_capable = choice & 0x80 != 0;
    let cable = Pair::new(Capabilities {
        checksum: is_capable,
        segmentation_ipv4: is_capable,
        segmentation_ipv6: is_capable,
    });
    let mut attack = Attack {
        guest: Guest::ready(options, cable.clone(), version),
        cable,
        ended: vec![false],
    };
    attack.guest.completes = false;
    while let Some(step) = input.step() {
        attack.step(step % op::COUNT, &mut input);
    }
    for channel in 0..attack.ended.len() {
        attack.work(channel);
    }
    attack.guest.channels.clear();
    let lent = attack.guest.machine.lent.load(Ordering::Relaxed);
    assert_eq!(lent, 0, "memory that is not given back");
}

impl Attack {
    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        let channel = input.below(self.ended.len());
        match step {
            op::NVSP => {
                let wanted = input.flag();
                let id = input.u8().into();
                self.send(channel, id, wanted, OutgoingKind::InBand, input.bytes());
            }
            op::SECTION => {
                let (index, size) = (input.u8(), input.u16());
                let bytes = input.long_bytes();
                let address = self.guest.send_buffer * PAGE_SIZE;
                let room = bytes.len().min(64 << 12);
                let memory = &self.guest.machine.memory;
                memory.write(address, &bytes[..room]).expect("RAM");
                let message = Self::packet(index.into(), size.into());
                self.send(channel, 1, true, OutgoingKind::InBand, message.as_bytes());
            }
            op::DIRECT => {
                let offset = u32::from(input.u16() % 4096);
                let length = input.u16();
                let bytes = input.long_bytes();
                let first = self.guest.message_pages;
                let memory = &self.guest.machine.memory;
                let room = bytes.len().min(16 << 12);
                memory
                    .write(first * PAGE_SIZE + u64::from(offset), &bytes[..room])
                    .expect("RAM");
                // As much as there is, or as much as the guest lies.
                let length = if length == 0 {
                    room as u32
                } else {
                    length.into()
                };
                let pages = (offset + length.max(1)).div_ceil(4096);
                let frames: Vec<_> = (first..first + u64::from(pages)).collect();
                let range = GpaRange {
                    byte_count: length.max(1),
                    byte_offset: offset,
                    page_frames: &frames,
                };
                let message = Self::packet(NO_SECTION, 0);
                let kind = OutgoingKind::GpaDirect(std::slice::from_ref(&range));
                self.send(channel, 2, true, kind, message.as_bytes());
            }
            op::COMPLETE => {
                let id = u64::from(input.u16());
                // Mostly ones that are outstanding.
                let id = match self.guest.uncompleted.pop() {
                    Some((owner, known)) if id != 0 => {
                        let message = [108, 0, 0, 0, 1, 0, 0, 0];
                        self.send(owner, known, false, OutgoingKind::Completion, &message);
                        return;
                    }
                    _ => id,
                };
                let message = [108, 0, 0, 0, 1, 0, 0, 0];
                self.send(channel, id, false, OutgoingKind::Completion, &message);
            }
            op::DELIVER => {
                let copies = input.below(64);
                let frame = Frame::new(input.bytes());
                for _ in 0..copies {
                    self.cable.deliver(frame.clone());
                }
            }
            op::LINK => self.guest.machine.handle.set_link(input.flag()),
            op::CHANNELS => self.open_channels(),
            op::TIME => {
                let later = u64::from(input.u32());
                self.guest.machine.now.fetch_add(later, Ordering::Relaxed);
            }
            _ => {
                // Places stay as they are: the channel is only worked no more.
                self.ended[channel] = true;
            }
        }
        self.work(channel);
    }

    fn packet(section_index: u32, section_size: u32) -> Message {
        Message::full(&RndisPacket {
            channel_type: 0.into(),
            section_index: section_index.into(),
            section_size: section_size.into(),
        })
    }

    fn send(
        &mut self,
        channel: usize,
        id: u64,
        wanted: bool,
        kind: OutgoingKind<'_>,
        payload: &[u8],
    ) {
        // A full ring is the guest's own business.
        let _ = self.guest.channels[channel].send(id, wanted, kind, payload);
    }

    /// Opens the sub-channels that have been offered.
    fn open_channels(&mut self) {
        let offered = self
            .guest
            .machine
            .sub_channels_offered
            .load(Ordering::Relaxed);
        let next = self.guest.channels.len() as u16;
        if next <= offered.min(4)
            && let Ok(channel) = self.guest.machine.open(next)
        {
            self.guest.channels.push(channel);
            self.guest.frames.push(Default::default());
            self.ended.push(false);
        }
    }

    fn work(&mut self, channel: usize) {
        if self.ended[channel] {
            return;
        }
        if let Err(fault) = self.guest.work(channel) {
            assert!(!fault.to_string().is_empty());
            self.ended[channel] = true;
        }
        // What nobody looks at must not pile up.
        for frames in &mut self.guest.frames {
            frames.clear();
        }
        self.guest.indications.clear();
        self.guest.in_band.clear();
        while self.guest.take_reply().is_some() {}
        while let Some(frame) = self.cable.collect() {
            assert!((14..=MAX_FRAME).contains(&frame.bytes.len()));
            if let Some(segmentation) = frame.offload.segmentation {
                assert!(segmentation.segment_size != 0);
                assert!(usize::from(segmentation.header_length) < frame.bytes.len());
            }
            if let Some(checksum) = frame.offload.checksum {
                let end = usize::from(checksum.start) + usize::from(checksum.offset) + 2;
                assert!(end <= frame.bytes.len());
            }
        }
    }
}
