//! The host's VMBus server against any messages from the guest, while devices come and go.

mod message;

pub(crate) use message::kind;

use std::collections::{BTreeMap, BTreeSet};

use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vmbus::gpadl::GpadlLimits;
use host_sim::vmbus::server::{DeviceId, Effect, Server, ServerConfig};
use host_sim::vmbus::vsp::OfferDescription;
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    ChannelId, GpadlId, GuestMessage, HostMessage, MessageBuffer, connection_id,
};
use vmbus_core::version::ProtocolVersion;

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const MESSAGE: u8 = 0;
    pub(crate) const BUILT_MESSAGE: u8 = 1;
    pub(crate) const OPENED: u8 = 2;
    pub(crate) const CLOSED: u8 = 3;
    pub(crate) const ADD_DEVICE: u8 = 4;
    pub(crate) const REMOVE_DEVICE: u8 = 5;
    pub(crate) const SUB_CHANNELS: u8 = 6;
    pub(crate) const RESET: u8 = 7;
    pub(crate) const COUNT: u8 = 8;
}

/// Pages of the guest's memory.
const PAGES: u64 = 64;
const LIMITS: GpadlLimits = GpadlLimits {
    count: 32,
    pages: 1000,
};
const VP_COUNT: u32 = 2;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).expect("a small mapping");
    let versions = ProtocolVersion::ALL_NEWEST_FIRST;
    let config = ServerConfig {
        newest: input.choose(&versions),
        oldest: input.choose(&versions),
        gpadl_limits: LIMITS,
        ..ServerConfig::new(VP_COUNT)
    };
    let mut host = Host {
        server: Server::new(config, memory.clone()),
        memory,
        devices: Vec::new(),
        opening: Vec::new(),
        open: BTreeMap::new(),
        closing: BTreeSet::new(),
        just_asked: None,
        effects: 0,
        causes: 1,
    };
    while let Some(step) = input.step() {
        host.step(step % op::COUNT, &mut input);
    }
    host.finish();
}

/// A message that can be read can be written and read again.
fn check_round_trip(bytes: &[u8]) {
    if let Ok(message) = GuestMessage::parse(bytes) {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer).expect("it was one message");
        assert_eq!(GuestMessage::parse(buffer.as_bytes()), Ok(message));
    }
}

struct Host {
    server: Server,
    memory: GuestMemory,
    devices: Vec<DeviceId>,
    /// Channels that their devices are opening.
    opening: Vec<ChannelId>,
    /// Channels whose devices access the rings, with the GPADL of those where it is known.
    open: BTreeMap<ChannelId, Option<GpadlId>>,
    /// Of those, the ones that their devices are closing.
    closing: BTreeSet<ChannelId>,
    /// What the guest's last message wants opened.
    just_asked: Option<(ChannelId, GpadlId)>,
    effects: usize,
    causes: usize,
}

impl Host {
    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        self.causes += 1;
        match step {
            op::MESSAGE => {
                let connection = connection(input);
                self.message(connection, input.bytes());
            }
            op::BUILT_MESSAGE => {
                let connection = connection(input);
                let bytes = message::build(input);
                self.message(connection, &bytes);
            }
            op::OPENED => {
                let index = usize::from(input.u8());
                let is_open = input.flag();
                if !self.opening.is_empty() {
                    let channel = self.opening.remove(index % self.opening.len());
                    self.opened(channel, is_open);
                }
            }
            op::CLOSED => {
                let index = usize::from(input.u8());
                let channel = self.closing.iter().nth(index % self.closing.len().max(1));
                if let Some(channel) = channel.copied() {
                    self.closed(channel);
                }
            }
            op::ADD_DEVICE => {
                let instance = Guid::from_bytes([self.devices.len() as u8; 16]);
                let interface = input.choose(&[class::SCSI, class::HEARTBEAT, class::NETWORK]);
                let offer = OfferDescription {
                    flags: input.u16(),
                    max_sub_channels: u16::from(input.u8() % 8),
                    ..OfferDescription::new(interface, instance)
                };
                if self.devices.len() < 16 {
                    self.devices.push(self.server.add_device(offer));
                }
            }
            op::REMOVE_DEVICE => {
                let index = usize::from(input.u8());
                if !self.devices.is_empty() {
                    let device = self.devices.remove(index % self.devices.len());
                    self.server.remove_device(device);
                }
            }
            op::SUB_CHANNELS => {
                let device = DeviceId(u32::from(input.u8() % 16));
                self.server
                    .request_sub_channels(device, u16::from(input.u8()));
            }
            _ => self.server.reset(),
        }
        self.take_effects();
        let snapshot = self.server.snapshot();
        assert!(snapshot.gpadls <= LIMITS.count && snapshot.gpadl_pages <= LIMITS.pages);
        assert_eq!(snapshot.version.is_some(), self.server.version().is_some());
    }

    fn message(&mut self, connection: u32, bytes: &[u8]) {
        check_round_trip(bytes);
        if let Ok(GuestMessage::OpenChannel(open)) = GuestMessage::parse(bytes) {
            self.just_asked = Some((open.channel_id, open.ring_gpadl_id));
        }
        self.server.handle_message(connection, bytes);
        self.take_effects();
        self.just_asked = None;
    }

    /// Carries the effects out, in order.
    fn take_effects(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            self.effects += 1;
            match effect {
                Effect::Message { vp, sint, message } => {
                    assert!(vp < VP_COUNT && sint < 16);
                    self.check_message(&message);
                }
                Effect::Open(open) => {
                    let frames = open.incoming.iter().chain(&open.outgoing);
                    assert!(frames.copied().all(|frame| self.memory.is_ram_page(frame)));
                    assert!(open.incoming.len() >= 2 && open.outgoing.len() >= 2);
                    assert!(open.vp.is_none_or(|vp| vp < VP_COUNT) && open.event_flag < 2048);
                    let ring = self
                        .just_asked
                        .and_then(|(channel, ring)| (channel == open.channel).then_some(ring));
                    let before = self.open.insert(open.channel, ring);
                    assert!(before.is_none(), "a channel is opened twice");
                    self.opening.push(open.channel);
                }
                Effect::Close(channel) => {
                    assert!(self.open.contains_key(&channel));
                    assert!(!self.opening.contains(&channel));
                    assert!(self.closing.insert(channel), "a channel is closed twice");
                }
                Effect::Retarget { channel, vp } => {
                    assert!(self.open.contains_key(&channel) && vp < VP_COUNT);
                }
            }
        }
        // A message leads to an answer, the end of all channels or the offer of all devices.
        assert!(self.effects <= 200 * self.causes);
    }

    fn check_message(&self, message: &HostMessage) {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer);
        assert_eq!(HostMessage::parse(buffer.as_bytes()), Ok(*message));
        // Whatever the guest says, it is never told that rings in use are its own again.
        if let HostMessage::GpadlTorndown(torndown) = message {
            let in_use = self.open.values().flatten();
            assert!(
                in_use.copied().all(|ring| ring != torndown.gpadl_id),
                "rings in use are torn down"
            );
        }
        if let HostMessage::UnloadResponse(_) = message {
            assert!(self.open.is_empty(), "unloaded with channels open");
        }
    }

    fn opened(&mut self, channel: ChannelId, is_open: bool) {
        if !is_open {
            self.open.remove(&channel);
        }
        self.server.opened(channel, is_open);
    }

    fn closed(&mut self, channel: ChannelId) {
        self.closing.remove(&channel);
        self.open.remove(&channel);
        self.server.closed(channel);
    }

    /// The partition ends: everything is closed, however it stood.
    fn finish(&mut self) {
        self.server.reset();
        for _ in 0..4 {
            self.take_effects();
            for channel in std::mem::take(&mut self.opening) {
                self.opened(channel, true);
            }
            self.take_effects();
            for channel in self.closing.clone() {
                self.closed(channel);
            }
        }
        assert!(!self.server.has_effects());
        assert!(self.open.is_empty());
        let snapshot = self.server.snapshot();
        assert!(snapshot.version.is_none() && snapshot.channels.is_empty());
        assert_eq!((snapshot.gpadls, snapshot.gpadl_pages), (0, 0));
    }
}

fn connection(input: &mut Input<'_>) -> u32 {
    input.choose(&[
        connection_id::MESSAGE,
        connection_id::MESSAGE_MULTI_CLIENT,
        connection_id::MESSAGE_REDIRECTED,
    ])
}
