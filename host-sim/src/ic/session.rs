//! Framing and version negotiation that all services share, host end.

use ic_services::wire::{
    BODY_OFFSET, Flags, HEADER_LENGTH, Header, MessageType, Negotiate, Status, Version,
};
use thiserror::Error;
use vmbus_core::pipe::{self, PipeError};
use zerocopy::{FromBytes, IntoBytes};

use super::versions::ServiceVersions;

/// What a service offers to the guest.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) message_type: MessageType,
    pub(super) versions: ServiceVersions,
}

/// What the guest did to make its service unusable until it opens the channel again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionFault {
    /// The payload is shorter than its headers say.
    #[error("reply of {0} bytes is shorter than its headers say")]
    Short(usize),
    /// Not a sound data frame of the pipe.
    #[error("{0}")]
    Pipe(PipeError),
    /// The guest answered the negotiation with these counts instead of 1 and 1.
    #[error("no common version: the guest answered {0} framework and {1} service versions")]
    NoVersion(u16, u16),
    /// The guest chose a version that was not offered.
    #[error("the guest chose framework {0}, version {1}, which were not offered")]
    NotOffered(Version, Version),
    /// The reply lacks the flags of one, or carries another transaction id.
    #[error("reply with flags {flags:#04x} and transaction id {transaction_id}")]
    NotAReply {
        /// The flags found.
        flags: u8,
        /// The transaction id found.
        transaction_id: u8,
    },
    /// A reply that nothing asked for.
    #[error("reply of type {0} that nothing asked for")]
    Unexpected(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The negotiation is to be sent. Not for the first time, if answers to what was asked before may come.
    Start {
        again: bool,
    },
    Negotiating,
    Ready {
        framework: Version,
        version: Version,
        outstanding: bool,
    },
    Failed(SessionFault),
}

/// What a reply means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// Versions are agreed on: requests may follow.
    Negotiated(Version),
    /// The answer to the outstanding request.
    Answer { status: Status, body: &'a [u8] },
    /// An answer from before the negotiation, to be forgotten.
    Stale,
}

/// The framing state of one open channel.
#[derive(Debug)]
pub(super) struct Session {
    offered: Offered,
    state: State,
}

impl Session {
    pub(super) fn new(offered: Offered) -> Self {
        Self {
            offered,
            state: State::Start { again: false },
        }
    }

    /// Whether a request may be sent now.
    pub(super) fn is_ready(&self) -> bool {
        matches!(
            self.state,
            State::Ready {
                outstanding: false,
                ..
            }
        )
    }

    /// Whether versions are agreed on and the guest has not broken the protocol since.
    pub(super) fn is_negotiated(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Negotiates again, because an answer did not come; it is forgotten if it still does.
    pub(super) fn restart(&mut self) {
        if self.is_negotiated() {
            self.state = State::Start { again: true };
        }
    }

    /// The payload of the negotiation, if it is to be sent. Call [`negotiation_sent`](Self::negotiation_sent) then.
    pub(super) fn negotiation(&self) -> Option<Vec<u8>> {
        if !matches!(self.state, State::Start { .. }) {
            return None;
        }
        let counts = Negotiate {
            framework_count: (self.offered.versions.frameworks().len() as u16).into(),
            version_count: (self.offered.versions.versions().len() as u16).into(),
            reserved: 0.into(),
        };
        let mut body = counts.as_bytes().to_vec();
        body.extend_from_slice(self.offered.versions.frameworks().as_bytes());
        body.extend_from_slice(self.offered.versions.versions().as_bytes());
        Some(payload(
            MessageType::NEGOTIATE,
            Version::default(),
            Version::default(),
            &body,
        ))
    }

    pub(super) fn negotiation_sent(&mut self) {
        self.state = State::Negotiating;
    }

    /// The payload of a request, if one may be sent. Call [`request_sent`](Self::request_sent) then.
    pub(super) fn request(&self, body: &[u8]) -> Option<Vec<u8>> {
        match self.state {
            State::Ready {
                framework,
                version,
                outstanding: false,
            } => Some(payload(self.offered.message_type, framework, version, body)),
            _ => None,
        }
    }

    pub(super) fn request_sent(&mut self) {
        if let State::Ready { outstanding, .. } = &mut self.state {
            *outstanding = true;
        }
    }

    /// Takes the private copy of a packet's payload from the guest.
    ///
    /// # Errors
    /// The fault that makes this session unusable until the channel is opened again.
    pub(super) fn receive<'a>(&mut self, payload: &'a [u8]) -> Result<Reply<'a>, SessionFault> {
        if let State::Failed(fault) = self.state {
            return Err(fault);
        }
        let reply = self.classify(payload);
        if let Err(fault) = reply {
            self.state = State::Failed(fault);
        }
        reply
    }

    fn classify<'a>(&mut self, payload: &'a [u8]) -> Result<Reply<'a>, SessionFault> {
        let short = SessionFault::Short(payload.len());
        let message = pipe::parse(payload).map_err(SessionFault::Pipe)?;
        let (header, rest) = Header::read_from_prefix(message).map_err(|_| short)?;
        // The guest may send the request's own length back with a smaller body in it: the header's size
        // is what counts, and the frame must hold it.
        let body_length = usize::from(header.size.get());
        let body = rest.get(..body_length).ok_or(short)?;
        let expected = Flags::TRANSACTION | Flags::RESPONSE;
        let is_reply =
            Flags::from_bits_retain(header.flags).contains(expected) && header.transaction_id == 0;
        if !is_reply {
            return Err(SessionFault::NotAReply {
                flags: header.flags,
                transaction_id: header.transaction_id,
            });
        }
        let is_negotiation = header.message_type == MessageType::NEGOTIATE;
        match &mut self.state {
            State::Negotiating if is_negotiation => self.agreed(body),
            State::Negotiating => Ok(Reply::Stale),
            State::Start { again: true } if !is_negotiation => Ok(Reply::Stale),
            State::Ready { outstanding, .. }
                if *outstanding && header.message_type == self.offered.message_type =>
            {
                *outstanding = false;
                Ok(Reply::Answer {
                    status: header.status,
                    body,
                })
            }
            _ => Err(SessionFault::Unexpected(header.message_type.0.get())),
        }
    }

    fn agreed(&mut self, body: &[u8]) -> Result<Reply<'static>, SessionFault> {
        let short = SessionFault::Short(body.len());
        let (counts, rest) = Negotiate::read_from_prefix(body).map_err(|_| short)?;
        let (frameworks, versions) = (counts.framework_count.get(), counts.version_count.get());
        if (frameworks, versions) != (1, 1) {
            return Err(SessionFault::NoVersion(frameworks, versions));
        }
        let ([framework, version], _) =
            <[Version; 2]>::read_from_prefix(rest).map_err(|_| short)?;
        if !self.offered.versions.frameworks().contains(&framework)
            || !self.offered.versions.versions().contains(&version)
        {
            return Err(SessionFault::NotOffered(framework, version));
        }
        self.state = State::Ready {
            framework,
            version,
            outstanding: false,
        };
        Ok(Reply::Negotiated(version))
    }
}

fn payload(
    message_type: MessageType,
    framework: Version,
    version: Version,
    body: &[u8],
) -> Vec<u8> {
    let header = Header {
        framework,
        message_type,
        version,
        size: (body.len() as u16).into(),
        status: Status::OK,
        transaction_id: 0,
        flags: (Flags::TRANSACTION | Flags::REQUEST).bits(),
        reserved: 0.into(),
    };
    let mut bytes = Vec::with_capacity(BODY_OFFSET + body.len());
    let length = HEADER_LENGTH + body.len();
    bytes.extend_from_slice(&pipe::emit(length).expect("every request of ours fits into a frame"));
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
