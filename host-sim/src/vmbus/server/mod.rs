//! The server's control plane: a state machine without I/O.
//!
//! The guest's messages go in with [`Server::handle_message`], what is to be done comes out of
//! [`Server::poll_effect`]: messages for the guest, channels to open, close or retarget. Opening and closing may
//! take time; their end is reported with [`Server::opened`] and [`Server::closed`]. There is no clock, lock,
//! thread or I/O inside, so the same machine runs in the threaded host, in the deterministic simulation, in tests
//! and under a fuzzer.

mod channels;
mod connection;
mod effect;
mod memory;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use vmbus_core::protocol::{
    ChannelId, CloseReservedChannelResponse, GuestMessage, HostMessage, ReplyStatus,
    TlConnectResult,
};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

pub use channels::ChannelPhase;
pub use effect::{Effect, OpenEffect};
pub use snapshot::{ChannelSnapshot, ServerCounters, ServerSnapshot};

use super::gpadl::{GpadlLimits, GpadlTable};
use super::vsp::OfferDescription;
use crate::memory::GuestMemory;
use channels::Channel;
use connection::{Connection, Session};

/// The synthetic interrupt source of VMBus.
pub const VMBUS_SINT: u8 = 2;

/// Most channels of a guest: ids 1 to 2047.
pub const MAX_CHANNELS: u32 = 2047;

/// What the server offers and allows.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The newest protocol version that is accepted.
    pub newest: ProtocolVersion,
    /// The oldest one.
    pub oldest: ProtocolVersion,
    /// Features granted from 6.0 on, if the guest asks for them.
    pub features: FeatureFlags,
    /// Limits on lent memory.
    pub gpadl_limits: GpadlLimits,
    /// Virtual processors of the guest.
    pub vp_count: u32,
}

impl ServerConfig {
    /// The features that this server implements.
    pub const IMPLEMENTED_FEATURES: FeatureFlags = FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS
        .union(FeatureFlags::MODIFY_CONNECTION)
        .union(FeatureFlags::CLIENT_ID)
        .union(FeatureFlags::PAUSE_RESUME);

    /// All versions and implemented features.
    #[must_use]
    pub fn new(vp_count: u32) -> Self {
        Self {
            newest: ProtocolVersion::V6_0,
            oldest: ProtocolVersion::V0_13,
            features: Self::IMPLEMENTED_FEATURES,
            gpadl_limits: GpadlLimits::default(),
            vp_count,
        }
    }
}

/// A device of the server; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

#[derive(Debug)]
struct Device {
    description: OfferDescription,
    /// Its offer waits until the guest releases the channel of a device that was the same instance before.
    awaits_release: bool,
}

/// The control plane of one guest's bus.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    memory: GuestMemory,
    devices: BTreeMap<DeviceId, Device>,
    next_device: u32,
    connection: Connection,
    channels: BTreeMap<ChannelId, Channel>,
    gpadls: GpadlTable,
    effects: VecDeque<Effect>,
    /// Messages held back while the guest has paused the connection.
    held: VecDeque<Effect>,
    counters: ServerCounters,
}

impl Server {
    /// A server without devices for a guest with this memory.
    #[must_use]
    pub fn new(config: ServerConfig, memory: GuestMemory) -> Self {
        Self {
            gpadls: GpadlTable::new(config.gpadl_limits),
            config,
            memory,
            devices: BTreeMap::new(),
            next_device: 0,
            connection: Connection::Disconnected,
            channels: BTreeMap::new(),
            effects: VecDeque::new(),
            held: VecDeque::new(),
            counters: ServerCounters::default(),
        }
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next channel to be closed, ahead of the effects before it: for a guest that reads no messages. Nothing else
    /// is to be done with such a channel before the end of its close.
    pub fn poll_close(&mut self) -> Option<ChannelId> {
        let is_close = |effect: &Effect| matches!(effect, Effect::Close(_));
        let first = self.effects.iter().position(is_close)?;
        match self.effects.remove(first) {
            Some(Effect::Close(channel)) => Some(channel),
            _ => None,
        }
    }

    /// Whether a channel is open, or about to be.
    #[must_use]
    pub fn has_busy_channels(&self) -> bool {
        let idle = [ChannelPhase::Closed, ChannelPhase::Rescinded];
        self.channels
            .values()
            .any(|channel| !idle.contains(&channel.phase()))
    }

    /// Whether something is to be done.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The version in force.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.connection.session().map(|session| session.version)
    }

    /// Page of the interrupt bits of protocols before 2.4, if the guest gave one.
    #[must_use]
    pub fn interrupt_page(&self) -> Option<u64> {
        self.connection
            .session()
            .and_then(|session| session.interrupt_page)
    }

    /// Adds a device; it is offered at once if the guest has asked for offers. One that is the same instance as a device
    /// before it, of which the guest still has a channel, is offered when the guest releases that.
    pub fn add_device(&mut self, description: OfferDescription) -> DeviceId {
        let id = DeviceId(self.next_device);
        self.next_device += 1;
        let device = Device {
            description,
            awaits_release: false,
        };
        self.devices.insert(id, device);
        if self
            .connection
            .session()
            .is_some_and(|session| session.offers_requested)
        {
            self.offer(id, 0);
        }
        id
    }

    /// Takes a device away: its channels are closed, then rescinded.
    pub fn remove_device(&mut self, device: DeviceId) {
        if self.devices.remove(&device).is_none() {
            return;
        }
        let mut ids: Vec<_> = self.channels_of(device).collect();
        // Sub-channels go before the primary, so that the guest never sees one without it.
        ids.reverse();
        for id in ids {
            self.revoke(id);
        }
    }

    /// The partition was reset: everything is closed, nothing is said.
    pub fn reset(&mut self) {
        self.held.clear();
        self.effects
            .retain(|effect| !matches!(effect, Effect::Message { .. }));
        self.disconnect(connection::Next::Nothing);
    }

    /// Takes one message that the guest has posted to `connection_id`.
    pub fn handle_message(&mut self, connection_id: u32, payload: &[u8]) {
        self.counters.received += 1;
        let parsed = match self.connection.session() {
            Some(session) => GuestMessage::parse_for(payload, session.version, session.features),
            None => GuestMessage::parse(payload),
        };
        match parsed {
            Ok(message) => self.dispatch(connection_id, &message),
            Err(error) => {
                self.counters.malformed += 1;
                tracing::debug!(%error, "message of the guest dropped");
            }
        }
    }

    fn dispatch(&mut self, connection_id: u32, message: &GuestMessage<'_>) {
        match message {
            GuestMessage::InitiateContact(contact) => {
                return self.initiate_contact(connection_id, contact);
            }
            // A paused connection drops it below, as it does everything that does not end the pause.
            GuestMessage::CloseReservedChannel(close)
                if !self
                    .connection
                    .session()
                    .is_some_and(|session| session.paused) =>
            {
                // No channel is reserved here, so it is closed already. The answer goes where the request says.
                if close.target_vp < self.config.vp_count && close.target_sint < 16 {
                    let message = CloseReservedChannelResponse {
                        channel_id: close.channel_id,
                    }
                    .into();
                    let sint = close.target_sint as u8;
                    self.effects.push_back(Effect::Message {
                        vp: close.target_vp,
                        sint,
                        message,
                    });
                }
                return;
            }
            _ => {}
        }
        let Connection::Connected(session) = &mut self.connection else {
            return self.unexpected("not connected");
        };
        let paused = session.paused;
        match message {
            GuestMessage::Unload(_) => self.disconnect(connection::Next::Unloaded),
            GuestMessage::Resume(_) => self.resume(),
            _ if paused => self.unexpected("the connection is paused"),
            GuestMessage::Pause(_) => self.pause(),
            GuestMessage::RequestOffers(_) => self.request_offers(),
            GuestMessage::OpenChannel(open) => self.open(open),
            GuestMessage::CloseChannel(close) => self.close(close.channel_id),
            GuestMessage::GpadlHeader(header) => self.gpadl_header(header),
            GuestMessage::GpadlBody(body) => self.gpadl_body(body),
            GuestMessage::GpadlTeardown(teardown) => self.gpadl_teardown(teardown),
            GuestMessage::RelIdReleased(release) => self.release(release.channel_id),
            GuestMessage::ModifyChannel(modify) => self.modify(modify),
            GuestMessage::ModifyConnection(modify) => self.modify_connection(modify),
            GuestMessage::TlConnectRequest(request) => {
                // There is no socket service behind this server.
                if self.version() >= Some(ProtocolVersion::V4_1) {
                    self.send(TlConnectResult {
                        endpoint_id: request.endpoint_id,
                        service_id: request.service_id,
                        status: ReplyStatus::CONNECTION_REFUSED,
                    });
                }
            }
            GuestMessage::OpenReservedChannel(_) => {
                self.unexpected("reserved channels are not offered")
            }
            GuestMessage::InitiateContact(_) | GuestMessage::CloseReservedChannel(_) => {}
        }
    }

    /// Queues a message for the guest, at the processor that it has chosen for messages.
    fn send(&mut self, message: impl Into<HostMessage>) {
        let Some(Session {
            message_vp,
            message_sint,
            paused,
            ..
        }) = self.connection.session()
        else {
            return;
        };
        let effect = Effect::Message {
            vp: *message_vp,
            sint: *message_sint,
            message: message.into(),
        };
        if *paused {
            self.held.push_back(effect)
        } else {
            self.effects.push_back(effect)
        }
    }

    /// Counts a message that is dropped because it makes no sense in this state.
    fn unexpected(&mut self, why: &'static str) {
        self.counters.unexpected += 1;
        tracing::debug!(why, "message of the guest dropped");
    }
}
