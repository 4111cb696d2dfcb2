//! Why a connection or a request came to nothing.

use core::fmt;

use crate::protocol::{ConnectionState, MessageError, ReplyStatus};
use crate::version::ProtocolVersion;

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// The oldest version of the options is newer than the newest one.
    NoVersions,
    /// The host refuses every version that was proposed.
    Refused {
        /// The last version that was proposed.
        oldest: ProtocolVersion,
    },
    /// The host speaks the version but could not connect.
    Failed {
        /// The version.
        version: ProtocolVersion,
        /// The host's reason.
        state: ConnectionState,
    },
    /// The host's answer contradicts the protocol.
    InvalidResponse {
        /// The version that was proposed.
        version: ProtocolVersion,
        /// Name of the field that is wrong.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The host did not answer in time.
    TimedOut,
    /// A message that the connection cannot do without could not be posted.
    NotPosted,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersions => f.write_str("there is no VMBus version to propose"),
            Self::Refused { oldest } => {
                write!(f, "the host refuses all VMBus versions down to {oldest}")
            }
            Self::Failed { version, state } => write!(
                f,
                "the host speaks VMBus {version} but could not connect (state {})",
                state.0
            ),
            Self::InvalidResponse {
                version,
                field,
                value,
            } => write!(
                f,
                "the host's answer to VMBus {version} has an invalid {field} {value:#x}"
            ),
            Self::TimedOut => f.write_str("the host did not answer in time"),
            Self::NotPosted => f.write_str("the hypervisor did not take a message"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Why a request about a channel or a GPADL came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// There is no connection, or it ended.
    Disconnected,
    /// The host has taken the channel back.
    Rescinded,
    /// There is no such channel (any more).
    UnknownChannel,
    /// There is no such GPADL, or it belongs to another channel, or is not established.
    UnknownGpadl,
    /// An earlier request of the kind has not been answered.
    Busy,
    /// The channel is not in a state for it: open already, or not open.
    WrongState,
    /// The agreed version does not have it.
    NotSupported {
        /// The version.
        version: ProtocolVersion,
    },
    /// The caller's argument breaks a rule of the protocol.
    InvalidArgument {
        /// Name of the argument.
        argument: &'static str,
    },
    /// The host refused.
    Refused {
        /// Its status.
        status: ReplyStatus,
    },
    /// The host did not answer in time.
    TimedOut,
    /// The request was given up from this end.
    Cancelled,
    /// The hypervisor did not take the message.
    NotPosted,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("VMBus is not connected"),
            Self::Rescinded => f.write_str("the host has taken the channel back"),
            Self::UnknownChannel => f.write_str("there is no such channel"),
            Self::UnknownGpadl => f.write_str("there is no such GPADL for the channel"),
            Self::Busy => f.write_str("an earlier request has not been answered"),
            Self::WrongState => f.write_str("the channel is not in a state for the request"),
            Self::NotSupported { version } => {
                write!(f, "VMBus {version} does not have this request")
            }
            Self::InvalidArgument { argument } => write!(f, "invalid {argument}"),
            Self::Refused { status } => {
                write!(f, "the host refused the request with status {status}")
            }
            Self::TimedOut => f.write_str("the host did not answer in time"),
            Self::Cancelled => f.write_str("the request was given up"),
            Self::NotPosted => f.write_str("the hypervisor did not take the message"),
        }
    }
}

impl core::error::Error for RequestError {}

/// What has come from the host, and what of it was of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Messages in all.
    pub received: u64,
    /// Messages of an unknown type.
    pub unknown_type: u64,
    /// Messages that are too short or too long, or that only guests send.
    pub malformed: u64,
    /// Messages that the version or the features of the connection do not have.
    pub not_agreed: u64,
    /// Answers to nothing, and messages out of turn.
    pub unexpected: u64,
    /// Messages about channels that do not exist.
    pub unknown_channel: u64,
    /// Offers with an id that is in use, or of a device that is offered already.
    pub duplicate_offers: u64,
    /// Offers that contradict themselves or the protocol.
    pub invalid_offers: u64,
    /// Answers about channels that the host has taken back meanwhile, and what it sent before it heard of the
    /// connection's end. They are of no use, but no fault either, and not among the
    /// [`dropped`](Self::dropped).
    pub late: u64,
    /// Messages that the hypervisor did not take.
    pub not_posted: u64,
}

impl Counters {
    /// Messages that were dropped.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.unknown_type
            .saturating_add(self.malformed)
            .saturating_add(self.not_agreed)
            .saturating_add(self.unexpected)
            .saturating_add(self.unknown_channel)
            .saturating_add(self.duplicate_offers)
            .saturating_add(self.invalid_offers)
    }

    pub(super) fn count(&mut self, error: &MessageError) {
        let counter = match error {
            MessageError::UnknownType { .. } => &mut self.unknown_type,
            MessageError::TooShort { .. }
            | MessageError::TooLong { .. }
            | MessageError::WrongDirection { .. } => &mut self.malformed,
            MessageError::NotAgreed { .. } => &mut self.not_agreed,
            MessageError::UnexpectedReply { .. } => &mut self.unexpected,
            MessageError::InvalidChannel { .. } | MessageError::UnknownChannel { .. } => {
                &mut self.unknown_channel
            }
            MessageError::DuplicateChannel { .. } | MessageError::DuplicateDevice { .. } => {
                &mut self.duplicate_offers
            }
            MessageError::InvalidOffer { .. } => &mut self.invalid_offers,
        };
        *counter = counter.saturating_add(1);
    }
}
