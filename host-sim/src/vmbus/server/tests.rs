//! The control plane against scripted guests. Numbers are those of the protocol's host checklist.

mod channels;
mod connecting;
mod lending;
mod random;

use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    CloseChannel, CloseReservedChannel, ConnectionState, ContactTarget, GpadlBody, GpadlHeader,
    GpadlId, GpadlTeardown, InitiateContact, MessageBuffer, ModifyChannel, ModifyConnection,
    MonitorPages, OfferChannel, OpenChannel, OpenFlags, OpenSignal, Pause, RelIdReleased,
    RequestOffers, Resume, TlConnectRequest, USER_DATA_SIZE, Unload, VP_NONE, VersionResponse,
    connection_id,
};

use super::*;

const RAM: u64 = 16 << 20;

/// A server, the messages that it has sent, and the effects that a device would see.
struct Bench {
    server: Server,
    sent: Vec<HostMessage>,
    /// Where the messages went: virtual processors and sources.
    targets: Vec<(u32, u8)>,
    opens: Vec<OpenEffect>,
    closes: Vec<ChannelId>,
    retargets: Vec<(ChannelId, u32)>,
    /// Channels are opened and closed at once.
    prompt: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with_config(ServerConfig::new(2))
    }

    fn with_config(config: ServerConfig) -> Self {
        let mut server = Server::new(config, GuestMemory::new(RAM).unwrap());
        for (interface, instance) in [(class::SCSI, 2), (class::HEARTBEAT, 1)] {
            let mut description =
                OfferDescription::new(interface, Guid::from_fields(instance, 0, 0, [0; 8]));
            description.max_sub_channels = 2;
            server.add_device(description);
        }
        Self {
            server,
            sent: vec![],
            targets: vec![],
            opens: vec![],
            closes: vec![],
            retargets: vec![],
            prompt: true,
        }
    }

    fn connected(version: ProtocolVersion) -> Self {
        let mut bench = Self::new();
        assert!(bench.contact(version).supported);
        bench.post(RequestOffers {});
        bench.take();
        bench
    }

    fn run(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::Message { vp, sint, message } => {
                    self.targets.push((vp, sint));
                    self.sent.push(message);
                }
                Effect::Open(open) => {
                    let id = open.channel;
                    self.opens.push(*open);
                    if self.prompt {
                        self.server.opened(id, true);
                    }
                }
                Effect::Close(id) => {
                    self.closes.push(id);
                    if self.prompt {
                        self.server.closed(id);
                    }
                }
                Effect::Retarget { channel, vp } => self.retargets.push((channel, vp)),
            }
        }
    }

    fn post<'a>(&mut self, message: impl Into<GuestMessage<'a>>) {
        let mut buffer = MessageBuffer::new();
        message.into().emit(&mut buffer).unwrap();
        self.server
            .handle_message(connection_id::MESSAGE, buffer.as_bytes());
        self.run();
    }

    fn take(&mut self) -> Vec<HostMessage> {
        std::mem::take(&mut self.sent)
    }

    fn contact(&mut self, version: ProtocolVersion) -> VersionResponse {
        self.contact_with(&contact(version))
    }

    fn contact_with(&mut self, message: &InitiateContact) -> VersionResponse {
        let mut buffer = MessageBuffer::new();
        GuestMessage::InitiateContact(*message)
            .emit(&mut buffer)
            .unwrap();
        let id = if message.version >= ProtocolVersion::V5_0.wire() {
            4
        } else {
            1
        };
        self.server.handle_message(id, buffer.as_bytes());
        self.run();
        match self.take().pop() {
            Some(HostMessage::VersionResponse(response)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    fn gpadl(&mut self, channel: u32, id: u32, pages: u32) -> HostMessage {
        let mut data = u64::from(pages * 4096).to_le_bytes().to_vec();
        data.extend((0..u64::from(pages)).flat_map(u64::to_le_bytes));
        let header = GpadlHeader {
            channel_id: ChannelId(channel),
            gpadl_id: GpadlId(id),
            range_bytes: data.len() as u16,
            range_count: 1,
            data: &data,
        };
        self.post(header);
        self.take().pop().unwrap()
    }

    fn open(&mut self, channel: u32) {
        let HostMessage::GpadlCreated(created) = self.gpadl(channel, channel + 100, 8) else {
            panic!()
        };
        assert!(created.status.is_success());
        self.post(open(channel, channel + 100));
        assert!(
            matches!(self.take()[..], [HostMessage::OpenChannelResult(result)] if result.status.is_success())
        );
        assert_eq!(
            self.server.channel_phase(ChannelId(channel)),
            Some(ChannelPhase::Open)
        );
    }

    fn contact_quietly(&mut self) {
        let mut buffer = MessageBuffer::new();
        let mut message = contact(ProtocolVersion::V6_0);
        message.target = ContactTarget::Signal {
            sint: 2,
            vtl: 0,
            features: FeatureFlags::PAUSE_RESUME,
        };
        GuestMessage::InitiateContact(message)
            .emit(&mut buffer)
            .unwrap();
        self.server.handle_message(4, buffer.as_bytes());
        self.run();
    }
}

fn contact(version: ProtocolVersion) -> InitiateContact {
    InitiateContact {
        version: version.wire(),
        target_message_vp: 1,
        target: if version >= ProtocolVersion::V5_0 {
            ContactTarget::Signal {
                sint: 2,
                vtl: 0,
                features: FeatureFlags::empty(),
            }
        } else {
            ContactTarget::InterruptPage(0x5000)
        },
        monitor_pages: MonitorPages {
            parent_to_child: 0x6000,
            child_to_parent: 0x7000,
        },
        client_id: None,
    }
}

fn open(channel: u32, gpadl: u32) -> OpenChannel {
    OpenChannel {
        channel_id: ChannelId(channel),
        open_id: 77,
        ring_gpadl_id: GpadlId(gpadl),
        target_vp: 1,
        downstream_page_offset: 4,
        user_data: [9; USER_DATA_SIZE],
        signal: None,
    }
}

fn offers(messages: &[HostMessage]) -> Vec<OfferChannel> {
    let offers = messages.iter().filter_map(|message| match message {
        HostMessage::OfferChannel(offer) => Some(*offer),
        _ => None,
    });
    offers.collect()
}
