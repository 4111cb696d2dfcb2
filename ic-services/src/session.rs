//! Framing and version negotiation that all services share, guest end.

use core::fmt;

use vmbus_core::pipe::{self, PipeError};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{
    Flags, Header, MAX_VERSIONS, MessageType, Negotiate, PIPE_HEADER_LENGTH, Status, Version,
};

/// What a service is, for the framing: its number and the versions that our end speaks.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The service's message type.
    pub message_type: MessageType,
    /// Framework versions, the preferred one first.
    pub frameworks: &'static [Version],
    /// Service versions, the preferred one first.
    pub versions: &'static [Version],
    /// Fewest bytes of a request's body.
    pub least_body: usize,
}

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Framework version.
    pub framework: Version,
    /// Service version.
    pub version: Version,
}

/// A packet that is discarded without an answer: the host's message can't be trusted to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The payload is shorter than both headers, in bytes.
    Short(usize),
    /// Not a sound data frame of the pipe.
    Pipe(PipeError),
    /// The message header's size reaches beyond the frame.
    BodySize(u16),
    /// The body is too short for this service, in bytes.
    ShortBody(usize),
    /// The flags are not those of a request from the host.
    Flags(u8),
    /// A request before any version was agreed on.
    NotNegotiated,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => {
                write!(f, "payload of {length} bytes is shorter than the headers")
            }
            Self::Pipe(error) => write!(f, "{error}"),
            Self::BodySize(size) => write!(f, "body size {size} reaches beyond the frame"),
            Self::ShortBody(length) => {
                write!(f, "body of {length} bytes is too short for the service")
            }
            Self::Flags(flags) => write!(f, "flags {flags:#04x} are not those of a request"),
            Self::NotNegotiated => f.write_str("request before a version was negotiated"),
        }
    }
}

impl core::error::Error for Dropped {}

/// What came in.
#[derive(Debug)]
pub enum Received<'a> {
    /// It was answered in place (a negotiation, or a message of another service): send the payload back.
    Answered,
    /// A request of this service, to be carried out and [answered](Request::answer).
    Request(Request<'a>),
}

/// A validated request in the private copy of its packet, which becomes the reply.
#[derive(Debug)]
pub struct Request<'a> {
    header: &'a mut Header,
    body: &'a mut [u8],
    version: Version,
}

impl Request<'_> {
    /// The body: as many bytes as the pipe header vouches for, at least the service's least.
    pub fn body(&mut self) -> &mut [u8] {
        self.body
    }

    /// The agreed version of the service.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Turns the request into its reply; the payload is then to be sent back whole.
    pub fn answer(self, status: Status) {
        respond(self.header, status);
    }
}

fn respond(header: &mut Header, status: Status) {
    header.status = status;
    header.flags = (Flags::TRANSACTION | Flags::RESPONSE).bits();
}

/// One service's framing state on one channel.
#[derive(Debug)]
pub struct Session {
    definition: Definition,
    agreement: Option<Agreement>,
    dropped: u64,
}

impl Session {
    /// A session that waits for the host's negotiation.
    #[must_use]
    pub const fn new(definition: Definition) -> Self {
        Self {
            definition,
            agreement: None,
            dropped: 0,
        }
    }

    /// The versions in force, if the last negotiation found any.
    #[must_use]
    pub const fn agreement(&self) -> Option<Agreement> {
        self.agreement
    }

    /// Packets that were dropped.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the private copy of a packet's payload.
    ///
    /// # Errors
    /// [`Dropped`] if nothing is to be sent back; it is counted.
    pub fn receive<'a>(&mut self, payload: &'a mut [u8]) -> Result<Received<'a>, Dropped> {
        let received = self.classify(payload);
        if received.is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
        received
    }

    fn classify<'a>(&mut self, payload: &'a mut [u8]) -> Result<Received<'a>, Dropped> {
        let length = payload.len();
        let frame = pipe::parse(payload).map_err(Dropped::Pipe)?.len();
        let message = payload
            .get_mut(PIPE_HEADER_LENGTH..)
            .and_then(|rest| rest.get_mut(..frame));
        let message = message.ok_or(Dropped::Short(length))?;
        let (header, body) =
            Header::mut_from_prefix(message).map_err(|_| Dropped::Short(length))?;
        if usize::from(header.size.get()) > body.len() {
            return Err(Dropped::BodySize(header.size.get()));
        }
        let flags = Flags::from_bits_retain(header.flags);
        if !flags.contains(Flags::REQUEST) || flags.contains(Flags::RESPONSE) {
            return Err(Dropped::Flags(header.flags));
        }
        if header.message_type == MessageType::NEGOTIATE {
            self.agreement = negotiate(&self.definition, body);
            header.size = U16_SIXTEEN;
            respond(header, Status::OK);
            return Ok(Received::Answered);
        }
        let agreement = self.agreement.ok_or(Dropped::NotNegotiated)?;
        if header.message_type != self.definition.message_type {
            respond(header, Status::FAIL);
            return Ok(Received::Answered);
        }
        if body.len() < self.definition.least_body {
            return Err(Dropped::ShortBody(body.len()));
        }
        Ok(Received::Request(Request {
            header,
            body,
            version: agreement.version,
        }))
    }
}

/// Body size of a negotiation's reply: both counts and one version of each kind.
const U16_SIXTEEN: zerocopy::little_endian::U16 = zerocopy::little_endian::U16::new(16);

/// Chooses versions and writes the answer into the body: counts 1 and 1 with the choice, or 0 and 0.
fn negotiate(definition: &Definition, body: &mut [u8]) -> Option<Agreement> {
    let agreement = choose(definition, body);
    let counts = u16::from(agreement.is_some());
    let answer = Negotiate {
        framework_count: counts.into(),
        version_count: counts.into(),
        reserved: 0.into(),
    };
    let chosen = agreement.unwrap_or(Agreement {
        framework: Version::default(),
        version: Version::default(),
    });
    // A body too short for the answer was too short to offer anything: it goes back as far as it reaches.
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(
        answer
            .as_bytes()
            .iter()
            .chain(chosen.framework.as_bytes())
            .chain(chosen.version.as_bytes()),
    ) {
        *to = *from;
    }
    for (to, from) in body.iter_mut().zip(bytes) {
        *to = from;
    }
    agreement
}

fn choose(definition: &Definition, body: &[u8]) -> Option<Agreement> {
    let (counts, rest) = Negotiate::read_from_prefix(body).ok()?;
    let (frameworks, versions) = (counts.framework_count.get(), counts.version_count.get());
    if frameworks > MAX_VERSIONS || versions > MAX_VERSIONS {
        return None;
    }
    let (frameworks, rest) =
        <[Version]>::ref_from_prefix_with_elems(rest, usize::from(frameworks)).ok()?;
    let (versions, _) =
        <[Version]>::ref_from_prefix_with_elems(rest, usize::from(versions)).ok()?;
    let best = |ours: &'static [Version], theirs: &[Version]| {
        ours.iter()
            .copied()
            .find(|version| theirs.contains(version))
    };
    Some(Agreement {
        framework: best(definition.frameworks, frameworks)?,
        version: best(definition.versions, versions)?,
    })
}

#[cfg(test)]
#[path = "session_tests.rs"]
pub(crate) mod tests;
