//! The adapter's side of NVSP as a state machine: a message in, what to do out.
//!
//! One [`Protocol`] belongs to the primary channel and lasts as long as that is open. Sub-channels negotiate nothing.

use serde::Serialize;
use vsc_net::wire::nvsp::{
    Body, Capabilities, Init, InitComplete, Message, MessageType, NdisConfig, NdisVersion,
    OidQueryExComplete, PacketDirectComplete, ReceiveBufferComplete, RndisPacket, SendBuffer,
    SendBufferComplete, Status, SubChannelComplete, SubChannelOperation, SubChannelRequest,
    Version,
};
use vsc_net::wire::rndis;

use super::{DEFAULT_MTU, MAX_MTU};

/// Ranges of a GPA-direct packet that guests are told of.
const MAX_RANGES: u32 = 34;

/// What an adapter is willing to do; constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Newest version that is accepted, with all older ones.
    pub highest_version: Version,
    /// Most sub-channels; 0 for none.
    pub max_sub_channels: u16,
}

/// How far the negotiation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A version is being sought.
    Init,
    /// The version is fixed; configuration and buffers follow.
    Configuring,
    /// RNDIS is spoken.
    Running,
    /// The guest has taken its receive buffer back.
    Revoked,
}

/// What a message leads to.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// It is answered by this, or with an empty completion, if the guest wants any.
    Answer(Option<Message>),
    /// The guest lends the receive buffer: see [`Protocol::receive_buffer_lent`].
    LendReceiveBuffer {
        /// Its GPADL.
        gpadl: u32,
    },
    /// The guest lends the send buffer: see [`Protocol::send_buffer_lent`].
    LendSendBuffer {
        /// Its GPADL.
        gpadl: u32,
    },
    /// The guest takes the receive buffer back. An empty completion follows, if it wants any.
    RevokeReceiveBuffer,
    /// The guest takes the send buffer back. An empty completion follows, if it wants any.
    RevokeSendBuffer,
    /// An RNDIS message.
    Rndis(RndisPacket),
    /// The guest asks for sub-channels: see [`Protocol::sub_channels_granted`].
    SubChannels {
        /// How many.
        count: u16,
    },
    /// The guest breaks the protocol.
    Fault(String),
}

/// The state machine of an adapter's primary channel.
#[derive(Clone, Debug)]
pub struct Protocol {
    limits: Limits,
    state: State,
    version: Option<Version>,
    config: Option<(u32, Capabilities)>,
    ndis_version: Option<(u32, u32)>,
    has_receive_buffer: bool,
    has_send_buffer: bool,
    sub_channels: Option<u16>,
}

/// A message without a meaning for anybody.
fn empty() -> Reaction {
    Reaction::Answer(None)
}

impl Protocol {
    /// An adapter whose primary channel has just been opened.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Init,
            version: None,
            config: None,
            ndis_version: None,
            has_receive_buffer: false,
            has_send_buffer: false,
            sub_channels: None,
        }
    }

    /// How far the negotiation has come.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The version agreed on.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Bytes of the longest frame, without a VLAN tag.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.config.map_or(DEFAULT_MTU, |(mtu, _)| mtu)
    }

    /// What the guest is capable of.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.config
            .map_or(Capabilities::empty(), |(_, capabilities)| capabilities)
    }

    /// Major and minor version of NDIS that the guest follows.
    #[must_use]
    pub const fn ndis_version(&self) -> Option<(u32, u32)> {
        self.ndis_version
    }

    /// Sub-channels that were granted.
    #[must_use]
    pub fn sub_channels(&self) -> u16 {
        self.sub_channels.unwrap_or(0)
    }

    /// Most sub-channels that may be granted.
    #[must_use]
    pub fn max_sub_channels(&self) -> u16 {
        self.limits.max_sub_channels
    }

    /// Takes a message of the primary channel other than a completion.
    pub fn receive(&mut self, message: &Message) -> Reaction {
        let message_type = message.message_type();
        let Some(version) = self.version else {
            return match message.body::<Init>() {
                Ok(init) => self.init(&init),
                Err(error) => Reaction::Fault(format!("before a version is agreed on: {error}")),
            };
        };
        if message_type > version.highest_message() || message_type.is_dead() {
            return Reaction::Fault(format!(
                "{message_type:?} does not exist in version {version}"
            ));
        }
        match message_type {
            MessageType::SEND_RNDIS_PACKET => self.rndis(message),
            MessageType::REVOKE_RECEIVE_BUFFER => {
                if !std::mem::take(&mut self.has_receive_buffer) {
                    return empty();
                }
                self.state = State::Revoked;
                Reaction::RevokeReceiveBuffer
            }
            MessageType::REVOKE_SEND_BUFFER => {
                if std::mem::take(&mut self.has_send_buffer) {
                    Reaction::RevokeSendBuffer
                } else {
                    empty()
                }
            }
            // All the rest is ignored until the channel is closed.
            _ if self.state == State::Revoked => empty(),
            MessageType::SEND_NDIS_CONFIG => self.configure(message),
            MessageType::SEND_NDIS_VERSION => self.set_ndis_version(message),
            MessageType::SEND_RECEIVE_BUFFER => self.lend_receive_buffer(message),
            MessageType::SEND_SEND_BUFFER => self.lend_send_buffer(message),
            MessageType::SUB_CHANNEL => self.allocate_sub_channels(message),
            // There is no virtual function to switch to; the answer is an empty one.
            MessageType::SWITCH_DATA_PATH | MessageType::UPLINK_CONNECT_STATE => empty(),
            MessageType::OID_QUERY_EX => {
                Reaction::Answer(Some(Message::full(&OidQueryExComplete {
                    status: rndis::Status::NOT_SUPPORTED.0.into(),
                    bytes: 0.into(),
                })))
            }
            MessageType::PACKET_DIRECT_API => {
                let operation = message.as_bytes().get(4..).and_then(<[u8]>::first_chunk);
                Reaction::Answer(Some(Message::full(&PacketDirectComplete {
                    operation: operation.map_or(0, |word| u32::from_le_bytes(*word)).into(),
                    status: rndis::Status::NOT_SUPPORTED.0.into(),
                })))
            }
            MessageType::PACKET_DIRECT_POST_BATCH => empty(),
            _ => Reaction::Fault(format!(
                "{message_type:?} is none of a guest's messages here"
            )),
        }
    }

    fn init(&mut self, init: &Init) -> Reaction {
        let (low, high) = (init.min_version.get(), init.max_version.get());
        // Guests propose one version at a time; of a range the newest one is taken.
        let accepted = Version::ALL_NEWEST_FIRST.into_iter().find(|version| {
            *version <= self.limits.highest_version && (low..=high).contains(&version.wire())
        });
        let status = if accepted.is_some() {
            Status::SUCCESS
        } else {
            Status::NONE
        };
        if let Some(version) = accepted {
            self.version = Some(version);
            self.state = State::Configuring;
        }
        Reaction::Answer(Some(Message::full(&InitComplete {
            deprecated_version: match accepted {
                Some(Version::V1) => Version::V1.wire(),
                _ => u32::MAX,
            }
            .into(),
            max_mdl_chain_length: MAX_RANGES.into(),
            status: status.0.into(),
        })))
    }

    /// A body of this layout, or the fault that it has not.
    fn body<B: Body>(message: &Message) -> Result<B, Reaction> {
        message
            .body_as()
            .map_err(|error| Reaction::Fault(error.to_string()))
    }

    fn configure(&mut self, message: &Message) -> Reaction {
        let config: NdisConfig = match Self::body(message) {
            Ok(config) => config,
            Err(fault) => return fault,
        };
        if self.config.is_some() || self.has_receive_buffer {
            return Reaction::Fault("the configuration comes once, before the buffers".into());
        }
        let mtu = Some(config.mtu.get())
            .filter(|mtu| (DEFAULT_MTU..=MAX_MTU).contains(mtu))
            .unwrap_or(DEFAULT_MTU);
        let capabilities = Capabilities::from_bits_retain(config.capabilities.get());
        self.config = Some((mtu, capabilities));
        empty()
    }

    fn set_ndis_version(&mut self, message: &Message) -> Reaction {
        let version: NdisVersion = match Self::body(message) {
            Ok(version) => version,
            Err(fault) => return fault,
        };
        if self.ndis_version.is_some() {
            return Reaction::Fault("the NDIS version comes once".into());
        }
        self.ndis_version = Some((version.major.get(), version.minor.get()));
        empty()
    }

    fn lend_receive_buffer(&mut self, message: &Message) -> Reaction {
        let buffer: SendBuffer = match Self::body(message) {
            Ok(buffer) => buffer,
            Err(fault) => return fault,
        };
        if self.has_receive_buffer {
            return Reaction::Fault("there is a receive buffer already".into());
        }
        let needs_config = self.version.is_some_and(Version::has_ndis_config);
        if needs_config && self.config.is_none() {
            return Reaction::Fault("a receive buffer comes after the configuration".into());
        }
        Reaction::LendReceiveBuffer {
            gpadl: buffer.gpadl.get(),
        }
    }

    /// The end of [`Reaction::LendReceiveBuffer`]: bytes of a section and how many of them the buffer has; `None` if
    /// it cannot be used. Returns the answer.
    pub fn receive_buffer_lent(&mut self, sections: Option<(u32, u32)>) -> Message {
        self.has_receive_buffer = sections.is_some();
        let (status, size, count) = match sections {
            Some((size, count)) => (Status::SUCCESS, size, count),
            None => (Status::FAIL, 0, 0),
        };
        Message::full(&ReceiveBufferComplete {
            status: status.0.into(),
            section_count: u32::from(sections.is_some()).into(),
            offset: 0.into(),
            section_size: size.into(),
            sections: count.into(),
            end_offset: size.saturating_mul(count).into(),
        })
    }

    fn lend_send_buffer(&mut self, message: &Message) -> Reaction {
        let buffer: SendBuffer = match Self::body(message) {
            Ok(buffer) => buffer,
            Err(fault) => return fault,
        };
        if self.has_send_buffer {
            return Reaction::Fault("there is a send buffer already".into());
        }
        Reaction::LendSendBuffer {
            gpadl: buffer.gpadl.get(),
        }
    }

    /// The end of [`Reaction::LendSendBuffer`]: bytes of a section; `None` if the buffer cannot be used. Returns the
    /// answer.
    pub fn send_buffer_lent(&mut self, section_size: Option<u32>) -> Message {
        self.has_send_buffer = section_size.is_some();
        let status = if section_size.is_some() {
            Status::SUCCESS
        } else {
            Status::FAIL
        };
        Message::full(&SendBufferComplete {
            status: status.0.into(),
            section_size: section_size.unwrap_or(0).into(),
        })
    }

    fn rndis(&mut self, message: &Message) -> Reaction {
        let packet: RndisPacket = match Self::body(message) {
            Ok(packet) => packet,
            Err(fault) => return fault,
        };
        if self.state == State::Configuring {
            if !self.has_receive_buffer || self.ndis_version.is_none() {
                return Reaction::Fault(
                    "RNDIS comes after the NDIS version and the receive buffer".into(),
                );
            }
            self.state = State::Running;
        }
        Reaction::Rndis(packet)
    }

    fn allocate_sub_channels(&mut self, message: &Message) -> Reaction {
        let request: SubChannelRequest = match Self::body(message) {
            Ok(request) => request,
            Err(fault) => return fault,
        };
        if self.state != State::Running {
            return Reaction::Fault("sub-channels come after the initialisation".into());
        }
        let operation = SubChannelOperation(request.operation.get());
        let count = u16::try_from(request.count.get()).ok();
        match count.filter(|count| *count <= self.limits.max_sub_channels) {
            _ if operation != SubChannelOperation::ALLOCATE => self.refuse_sub_channels(),
            // Once for each time that the primary channel is opened.
            Some(count) if self.sub_channels.is_none() => Reaction::SubChannels { count },
            _ => self.refuse_sub_channels(),
        }
    }

    fn refuse_sub_channels(&self) -> Reaction {
        Reaction::Answer(Some(Message::full(&SubChannelComplete {
            status: Status::FAIL.0.into(),
            count: 0.into(),
        })))
    }

    /// The end of [`Reaction::SubChannels`]: how many there will be; `None` if there are too few receive sections for
    /// so many. Returns the answer.
    pub fn sub_channels_granted(&mut self, count: Option<u16>) -> Message {
        let status = if count.is_some() {
            Status::SUCCESS
        } else {
            Status::FAIL
        };
        if count.is_some_and(|count| count != 0) {
            self.sub_channels = count;
        }
        Message::full(&SubChannelComplete {
            status: status.0.into(),
            count: u32::from(count.unwrap_or(0)).into(),
        })
    }
}

#[cfg(test)]
mod tests;
