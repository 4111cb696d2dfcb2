//! The guest's end of the VMBus control plane: a state machine without I/O.
//!
//! A [`Connection`] is told what its owner wants ([`connect`](Connection::connect),
//! [`open`](Connection::open), …) and what the host has sent ([`Connection::handle_message`]); it gives out
//! messages to be posted ([`Connection::poll_outgoing`]) and events ([`Connection::poll_event`]). It has no
//! clock and no lock: time is an argument, in a unit of the owner's choice that never goes back, and
//! whoever waits calls [`Connection::expire`] when [`Connection::next_deadline`] has passed.
//!
//! The host is not trusted. A message that is malformed, out of turn, or answers nothing is dropped,
//! counted ([`Connection::counters`]) and named in the result; the connection goes on. Nothing the host
//! sends makes memory grow beyond the 2047 channels that can exist, as long as events are polled at all:
//! an id is not given back, and so cannot be offered again, before the owner has seen that its channel is
//! gone.
//!
//! Memory that the host may see is named by GPADL. The owner may use it for other purposes only after
//! [`Event::GpadlReleased`]; when that never comes, it must be leaked.
//!
//! ```
//! use vmbus_core::connection::{Connection, ConnectionOptions, Event};
//! use vmbus_core::protocol::{ConnectionState, HostMessage, MessageBuffer, VersionResponse};
//! use vmbus_core::version::ProtocolVersion;
//!
//! let mut connection = Connection::new(ConnectionOptions {
//!     newest: ProtocolVersion::V4_1,
//!     ..ConnectionOptions::default()
//! });
//! connection.connect(1_000_000);
//! let contact = connection.poll_outgoing().expect("INITIATE_CONTACT");
//! assert_eq!(contact.connection_id(), 1);
//!
//! // The host answers.
//! let mut answer = MessageBuffer::new();
//! HostMessage::from(VersionResponse {
//!     supported: true,
//!     connection_state: ConnectionState::SUCCESS,
//!     version_or_connection_id: ProtocolVersion::V4_1.wire(),
//!     features: None,
//!     monitor_pages: None,
//! })
//! .emit(&mut answer);
//! connection.handle_message(answer.as_bytes())?;
//! assert!(matches!(connection.poll_event(), Some(Event::Connected(_))));
//! # Ok::<(), vmbus_core::protocol::MessageError>(())
//! ```

mod channels;
mod error;
mod event;
mod expiry;
mod late;
mod memory;
mod negotiation;
mod offers;
mod outgoing;
mod requests;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};

pub use channels::{ChannelPhase, ChannelView};
pub use error::{ConnectError, Counters, RequestError};
pub use event::{Agreement, ChannelKey, Departure, Event};
pub use outgoing::Outgoing;
pub use requests::OpenRequest;

use channels::ChannelRecord;
use late::Late;
use memory::GpadlRecord;
use negotiation::Phase;
use outgoing::Purpose;

use crate::guid::Guid;
use crate::protocol::{ChannelId, GpadlId, HostMessage, MessageError, MonitorPages, connection_id};
use crate::version::{FeatureFlags, ProtocolVersion};

/// First GPADL id that is tried.
const FIRST_GPADL_ID: u32 = 0xE1E10;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// The newest version to propose.
    pub newest: ProtocolVersion,
    /// The oldest version to propose.
    pub oldest: ProtocolVersion,
    /// Index of the virtual processor that is to get the host's messages. Before 3.0, hosts send them to
    /// virtual processor 0.
    pub message_vp: u32,
    /// Guest physical address of the interrupt page, which hosts before 2.4 use.
    pub interrupt_page: u64,
    /// Guest physical addresses of the monitor pages: both or none.
    pub monitor_pages: MonitorPages,
    /// Features to ask for from 6.0 on, as far as this crate implements them: see
    /// [`Connection::IMPLEMENTED_FEATURES`].
    pub features: FeatureFlags,
    /// Who we are, for hosts from 6.0 on that tell clients apart.
    pub client_id: Option<Guid>,
    /// Connection to which INITIATE_CONTACT is posted from 5.0 on.
    pub contact_connection: u32,
}

impl Default for ConnectionOptions {
    /// All versions, messages to virtual processor 0, no pages.
    fn default() -> Self {
        Self {
            newest: ProtocolVersion::NEWEST,
            oldest: ProtocolVersion::OLDEST,
            message_vp: 0,
            interrupt_page: 0,
            monitor_pages: MonitorPages::NONE,
            features: FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS,
            client_id: None,
            contact_connection: connection_id::MESSAGE_MULTI_CLIENT,
        }
    }
}

/// The guest's end of one connection to a VMBus host.
#[derive(Debug)]
pub struct Connection {
    options: ConnectionOptions,
    phase: Phase,
    /// Counts connections, so that messages of an earlier one are told from those of this one.
    session: u64,
    /// Where messages go, except INITIATE_CONTACT.
    message_connection: u32,
    channels: BTreeMap<ChannelId, ChannelRecord>,
    /// Generation of the next channel.
    next_generation: u64,
    gpadls: BTreeMap<GpadlId, GpadlRecord>,
    next_gpadl_id: u32,
    next_open_id: u32,
    queue: VecDeque<Purpose>,
    events: VecDeque<Event>,
    /// Answers that rescinds have overtaken.
    late: VecDeque<Late>,
    counters: Counters,
}

impl Connection {
    /// Features that this end can make use of.
    pub const IMPLEMENTED_FEATURES: FeatureFlags =
        FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS.union(FeatureFlags::CLIENT_ID);

    /// An end that is not connected.
    #[must_use]
    pub const fn new(options: ConnectionOptions) -> Self {
        Self {
            options,
            phase: Phase::Disconnected,
            session: 0,
            message_connection: connection_id::MESSAGE,
            channels: BTreeMap::new(),
            next_generation: 0,
            gpadls: BTreeMap::new(),
            next_gpadl_id: FIRST_GPADL_ID,
            next_open_id: 1,
            queue: VecDeque::new(),
            events: VecDeque::new(),
            late: VecDeque::new(),
            counters: Counters {
                received: 0,
                unknown_type: 0,
                malformed: 0,
                not_agreed: 0,
                unexpected: 0,
                unknown_channel: 0,
                duplicate_offers: 0,
                invalid_offers: 0,
                late: 0,
                not_posted: 0,
            },
        }
    }

    /// The options, to be changed before the next [`connect`](Self::connect): a guest that resumes from
    /// hibernation, for example, must propose the version that it had and no other.
    pub const fn options_mut(&mut self) -> &mut ConnectionOptions {
        &mut self.options
    }

    /// Takes a message of the host. `message` is a private copy of the payload in the message slot.
    ///
    /// # Errors
    /// Why the message was dropped. The connection is as it was, but for the counters.
    pub fn handle_message(&mut self, message: &[u8]) -> Result<(), MessageError> {
        self.counters.received = self.counters.received.saturating_add(1);
        self.dispatch(message)
            .inspect_err(|error| self.counters.count(error))
    }

    fn dispatch(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let message = match &self.phase {
            Phase::Connected { agreement, .. } => {
                HostMessage::parse_for(message, agreement.version, agreement.features)?
            }
            _ => HostMessage::parse(message)?,
        };
        match (&self.phase, message) {
            (Phase::Negotiating { .. }, HostMessage::VersionResponse(response)) => {
                self.handle_version_response(&response);
                Ok(())
            }
            (Phase::Unloading { .. }, HostMessage::UnloadResponse(_)) => {
                self.unload_confirmed();
                Ok(())
            }
            // Sent before the host has heard of the end.
            (
                Phase::Unloading { .. },
                HostMessage::OfferChannel(_)
                | HostMessage::RescindChannelOffer(_)
                | HostMessage::AllOffersDelivered(_)
                | HostMessage::OpenChannelResult(_)
                | HostMessage::GpadlCreated(_)
                | HostMessage::GpadlTorndown(_)
                | HostMessage::ModifyChannelResponse(_),
            ) => {
                self.counters.late = self.counters.late.saturating_add(1);
                Ok(())
            }
            (Phase::Connected { .. }, message) => match self.handle_connected(message) {
                Err(MessageError::UnexpectedReply { .. } | MessageError::UnknownChannel { .. })
                    if self.take_late(&message) =>
                {
                    self.counters.late = self.counters.late.saturating_add(1);
                    Ok(())
                }
                result => result,
            },
            (_, message) => Err(MessageError::UnexpectedReply {
                message_type: message.message_type(),
            }),
        }
    }

    fn handle_connected(&mut self, message: HostMessage) -> Result<(), MessageError> {
        match message {
            HostMessage::OfferChannel(offer) => self.handle_offer(offer),
            HostMessage::RescindChannelOffer(rescind) => self.handle_rescind(rescind.channel_id),
            HostMessage::AllOffersDelivered(_) => self.handle_all_offers(),
            HostMessage::OpenChannelResult(result) => self.handle_open_result(result),
            HostMessage::GpadlCreated(created) => self.handle_gpadl_created(created),
            HostMessage::GpadlTorndown(torndown) => self.handle_gpadl_torndown(torndown.gpadl_id),
            HostMessage::ModifyChannelResponse(response) => self.handle_modified(response),
            // Answers to what this end never asks.
            HostMessage::VersionResponse(_)
            | HostMessage::UnloadResponse(_)
            | HostMessage::CloseReservedChannelResponse(_)
            | HostMessage::TlConnectResult(_)
            | HostMessage::ModifyConnectionResponse(_)
            | HostMessage::PauseResponse(_) => Err(MessageError::UnexpectedReply {
                message_type: message.message_type(),
            }),
        }
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Gone { channel, .. } = event {
            self.departure_seen(channel);
        }
        Some(event)
    }

    /// What has come from the host, and what of it was of no use.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was agreed on; `None` without a connection.
    #[must_use]
    pub const fn agreement(&self) -> Option<&Agreement> {
        match &self.phase {
            Phase::Connected { agreement, .. } => Some(agreement),
            _ => None,
        }
    }
}
