//! Initialisation of a controller: negotiation of version, properties and sub-channels.
//!
//! [`Initialisation`] does no I/O: it names the message to send next and takes what the host sends.
//! One message is outstanding at a time. Whoever drives it limits the time that it takes; hosts are
//! given 180 seconds per message.
//!
//! The order is begin, version proposals from the newest to the oldest until one is accepted,
//! properties, world-wide names (Fibre Channel only), end, sub-channels (if both ends want them).

mod error;
#[cfg(test)]
mod tests;

pub use error::{InitError, InitStep};

use vmbus_core::packet::{IncomingKind, IncomingPacket, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{OutgoingRing, RingMemory, Signal, WriteError};

use crate::wire::{
    NtStatus, Operation, Packet, PacketFlags, PropertyFlags, SubChannelCount, Version,
    VersionPayload,
};

/// Smallest unit of a transfer limit, in bytes: one page.
const TRANSFER_UNIT: u32 = 4096;
/// Largest transfer that is used even if a host offers more, in bytes.
pub const LARGEST_TRANSFER: u32 = 16 << 20;
/// Largest transfer on Fibre Channel, in bytes.
const LARGEST_FIBRE_CHANNEL_TRANSFER: u32 = 512 << 10;
/// High half of the transaction ids used here.
const ID_MARK: u64 = 0xFFFF_FFFF << 32;

/// What the guest wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitOptions {
    /// Version proposed first.
    pub newest: Version,
    /// Version proposed last.
    pub oldest: Version,
    /// Most sub-channels to ask for; 0 for none. More than virtual processors less one is no use.
    pub sub_channels: u16,
    /// The controller is a Fibre Channel adapter.
    pub fibre_channel: bool,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            newest: Version::Win10,
            oldest: Version::Win6,
            sub_channels: 0,
            fibre_channel: false,
        }
    }
}

/// What both ends agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Version in force, on sub-channels too.
    pub version: Version,
    /// Longest transfer of one request in bytes: a multiple of 4096, 4 KiB to 16 MiB.
    pub max_transfer_bytes: u32,
    /// Sub-channels that the host would serve.
    pub offered_sub_channels: u16,
    /// Sub-channels that the host will offer: what was asked for, or 0 if it refused.
    pub sub_channels: u16,
    /// World-wide names of node and port, on Fibre Channel.
    pub names: Option<WorldWideNames>,
}

/// Names of a Fibre Channel adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorldWideNames {
    /// Name of the node.
    pub node: u64,
    /// Name of the port.
    pub port: u64,
}

/// What came of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// The packet is no answer to the outstanding message and was dropped.
    Ignored,
    /// The next message, [`Initialisation::request`], is to be sent.
    Send,
    /// Initialisation is complete.
    Ready(Negotiated),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting(InitStep),
    Ready,
    Failed(InitError),
}

/// A controller's initialisation.
#[derive(Debug)]
pub struct Initialisation {
    options: InitOptions,
    state: State,
    /// Number of the outstanding message; part of its transaction id.
    sequence: u32,
    request: Packet,
    negotiated: Negotiated,
    ignored: u64,
}

impl Initialisation {
    /// Starts an initialisation, whose first message waits to be sent.
    #[must_use]
    pub fn new(options: InitOptions) -> Self {
        let newest = options.newest.max(options.oldest);
        let mut this = Self {
            options: InitOptions { newest, ..options },
            state: State::Waiting(InitStep::Begin),
            sequence: 0,
            request: Packet::new(
                Operation::BEGIN_INIT,
                PacketFlags::REQUEST_COMPLETION,
                NtStatus::SUCCESS,
                0,
            ),
            negotiated: Negotiated {
                version: newest,
                max_transfer_bytes: 0,
                offered_sub_channels: 0,
                sub_channels: 0,
                names: None,
            },
            ignored: 0,
        };
        let _ = this.ask(InitStep::Begin);
        this
    }

    /// The message to send, or that waits for its answer, with its transaction id. It goes
    /// in-band with a completion requested.
    #[must_use]
    pub const fn request(&self) -> (u64, &Packet) {
        (self.transaction_id(), &self.request)
    }

    /// The step whose answer is awaited; `None` when complete or failed.
    #[must_use]
    pub const fn step(&self) -> Option<InitStep> {
        match self.state {
            State::Waiting(step) => Some(step),
            _ => None,
        }
    }

    /// Packets dropped because they answer nothing.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Sends the message of [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// As [`OutgoingRing::send`]; nothing was sent then.
    pub fn send<M: RingMemory>(&self, ring: &mut OutgoingRing<M>) -> Result<Signal, WriteError> {
        let (transaction_id, packet) = self.request();
        ring.send(&OutgoingPacket {
            transaction_id,
            completion_requested: true,
            kind: OutgoingKind::InBand,
            payload: &[packet.as_bytes()],
        })
    }

    /// Takes a packet from the host.
    ///
    /// Packets that don't answer the outstanding message (unsolicited ones, stale or invented
    /// ids) are counted and ignored.
    ///
    /// # Errors
    ///
    /// [`InitError`]: the host refused or answered nonsense. The initialisation stays failed; the
    /// channel is to be closed.
    pub fn receive(&mut self, packet: &IncomingPacket<'_>) -> Result<Progress, InitError> {
        let step = match self.state {
            State::Waiting(step) => step,
            State::Failed(error) => return Err(error),
            State::Ready => return Ok(self.ignore()),
        };
        let answers = matches!(packet.kind, IncomingKind::Completion)
            && packet.transaction_id == self.transaction_id();
        if !answers {
            return Ok(self.ignore());
        }
        let result = self.answer(step, packet.payload);
        // Without sub-channels a controller works as well.
        let result = match result {
            Err(_) if step == InitStep::CreateSubChannels => Ok(self.finish(0)),
            other => other,
        };
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    /// Notes that the outstanding message was not answered in time.
    ///
    /// # Errors
    ///
    /// [`InitError::NoAnswer`], unless only the request for sub-channels is unanswered: then the
    /// controller is ready without them.
    pub fn time_out(&mut self) -> Result<Progress, InitError> {
        match self.state {
            State::Waiting(InitStep::CreateSubChannels) => Ok(self.finish(0)),
            State::Waiting(step) => {
                let error = InitError::NoAnswer { step };
                self.state = State::Failed(error);
                Err(error)
            }
            State::Failed(error) => Err(error),
            State::Ready => Ok(Progress::Ready(self.negotiated)),
        }
    }

    const fn transaction_id(&self) -> u64 {
        // Every message has its own id, so that a late or repeated answer to an earlier one cannot
        // pass for the answer to this one. Request queues have fewer slots than 2³¹ and so never
        // use such an id.
        ID_MARK | 0x8000_0000 | self.sequence as u64
    }

    fn ignore(&mut self) -> Progress {
        self.ignored = self.ignored.saturating_add(1);
        Progress::Ignored
    }

    /// Prepares the message of `step`.
    fn ask(&mut self, step: InitStep) -> Progress {
        let operation = match step {
            InitStep::Begin => Operation::BEGIN_INIT,
            InitStep::Version(_) => Operation::QUERY_PROTOCOL_VERSION,
            InitStep::Properties => Operation::QUERY_PROPERTIES,
            InitStep::WorldWideNames => Operation::FCHBA_DATA,
            InitStep::End => Operation::END_INIT,
            InitStep::CreateSubChannels => Operation::CREATE_SUB_CHANNELS,
        };
        // Until a version is settled, `negotiated.version` is the newest one wanted, and packets
        // have its size.
        let mut packet = Packet::new(
            operation,
            PacketFlags::REQUEST_COMPLETION,
            NtStatus::SUCCESS,
            self.negotiated.version.srb_size(),
        );
        match step {
            InitStep::Version(version) => packet.set_payload(&VersionPayload {
                version: version.wire().into(),
                revision: 0.into(),
            }),
            InitStep::CreateSubChannels => packet.set_payload(&SubChannelCount {
                count: self.wanted_sub_channels().into(),
            }),
            _ => {}
        }
        self.request = packet;
        self.sequence = self.sequence.wrapping_add(1) & 0x7FFF_FFFF;
        self.state = State::Waiting(step);
        Progress::Send
    }

    fn finish(&mut self, sub_channels: u16) -> Progress {
        self.negotiated.sub_channels = sub_channels;
        self.state = State::Ready;
        Progress::Ready(self.negotiated)
    }

    fn wanted_sub_channels(&self) -> u16 {
        self.options
            .sub_channels
            .min(self.negotiated.offered_sub_channels)
    }

    fn next_version(&self, refused: Version) -> Option<Version> {
        Version::ALL_NEWEST_FIRST
            .into_iter()
            .find(|version| *version < refused && *version >= self.options.oldest)
    }

    fn answer(&mut self, step: InitStep, payload: &[u8]) -> Result<Progress, InitError> {
        let needed = self.request.as_bytes().len();
        let short = InitError::ShortReply {
            step,
            length: payload.len(),
            needed,
        };
        if payload.len() < needed {
            return Err(short);
        }
        let reply = Packet::parse(payload).map_err(|_| short)?;
        if reply.operation() != Operation::COMPLETE_IO {
            return Err(InitError::WrongOperation {
                step,
                operation: reply.operation(),
            });
        }
        let status = reply.status();
        if let InitStep::Version(version) = step {
            if status == NtStatus::SUCCESS {
                self.negotiated.version = version;
                return Ok(self.ask(InitStep::Properties));
            }
            return match self.next_version(version) {
                Some(next) => Ok(self.ask(InitStep::Version(next))),
                None => Err(InitError::NoCommonVersion { status }),
            };
        }
        if status != NtStatus::SUCCESS {
            return Err(InitError::Refused { step, status });
        }
        Ok(match step {
            InitStep::Begin | InitStep::Version(_) => {
                self.ask(InitStep::Version(self.options.newest))
            }
            InitStep::Properties => {
                self.take_properties(&reply, short)?;
                self.ask(if self.options.fibre_channel {
                    InitStep::WorldWideNames
                } else {
                    InitStep::End
                })
            }
            InitStep::WorldWideNames => {
                let names = reply.fibre_channel_names().map_err(|_| short)?;
                let (node, port) = if names.primary_active == 0 {
                    (names.secondary_node, names.secondary_port)
                } else {
                    (names.primary_node, names.primary_port)
                };
                self.negotiated.names = Some(WorldWideNames {
                    node: node.get(),
                    port: port.get(),
                });
                self.ask(InitStep::End)
            }
            InitStep::End => {
                if self.wanted_sub_channels() == 0 {
                    self.finish(0)
                } else {
                    self.ask(InitStep::CreateSubChannels)
                }
            }
            InitStep::CreateSubChannels => self.finish(self.wanted_sub_channels()),
        })
    }

    fn take_properties(&mut self, reply: &Packet, short: InitError) -> Result<(), InitError> {
        let properties = reply.properties().map_err(|_| short)?;
        let stated = properties.max_transfer_bytes.get();
        if stated < TRANSFER_UNIT {
            return Err(InitError::MaxTransferTooSmall { bytes: stated });
        }
        let limit = if self.options.fibre_channel {
            LARGEST_FIBRE_CHANNEL_TRANSFER
        } else {
            LARGEST_TRANSFER
        };
        self.negotiated.max_transfer_bytes = stated.min(limit) & !(TRANSFER_UNIT - 1);
        let multi_channel = properties
            .property_flags()
            .contains(PropertyFlags::MULTI_CHANNEL);
        self.negotiated.offered_sub_channels =
            if multi_channel && self.negotiated.version.has_extension() {
                properties.max_sub_channels.get()
            } else {
                0
            };
        Ok(())
    }
}
