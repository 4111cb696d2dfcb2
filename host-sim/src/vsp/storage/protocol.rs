//! The controller's side of VSTOR as a state machine: a message in, an answer out.
//!
//! One [`Protocol`] belongs to a controller's primary channel and lasts as long as that is open. Sub-channels
//! negotiate nothing; [`sub_channel`] answers for them.

use serde::Serialize;
use vsc_storage::scsi::ScsiStatus;
use vsc_storage::wire::{
    ChannelProperties, NtStatus, Operation, Packet, PropertyFlags, Srb, SrbStatus, Version,
    VersionPayload,
};

/// What a controller is willing to do; constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Newest version that is accepted, with all older ones.
    pub highest_version: Version,
    /// Most sub-channels; 0 for none.
    pub max_sub_channels: u16,
    /// Most bytes of one command's transfer.
    pub max_transfer: u32,
}

/// How far the initialisation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing received; [`Operation::BEGIN_INIT`] comes next.
    Begin,
    /// A version is being sought.
    Version,
    /// The properties are asked for next.
    Properties,
    /// [`Operation::END_INIT`] comes next, perhaps after a request for sub-channels.
    End,
    /// Commands are executed.
    Ready,
}

/// What to do beyond sending the answer, once it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Commands are executed from now on, also those that wait on sub-channels.
    Ready,
    /// Offer sub-channels 1 to this number.
    OfferSubChannels(u16),
}

/// What a message leads to.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    /// The message is a command: execute it and complete it then.
    Execute,
    /// The message is a command that has to wait until the controller is ready.
    Hold,
    /// The message is answered at once.
    Answer(Packet, Option<Event>),
}

/// The state machine of a controller's primary channel.
#[derive(Clone, Debug)]
pub struct Protocol {
    limits: Limits,
    state: State,
    version: Option<Version>,
    /// Sub-channels have been asked for in the state [`State::End`], where that is possible once.
    sub_channels_asked: bool,
}

impl Protocol {
    /// A controller whose primary channel has just been opened.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Begin,
            version: None,
            sub_channels_asked: false,
        }
    }

    /// How far the initialisation has come.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The version agreed on.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes a message of the primary channel. The state changes as if its answer had been sent.
    pub fn receive(&mut self, packet: &Packet) -> Reaction {
        let operation = packet.operation();
        match (self.state, operation) {
            (State::Ready, Operation::EXECUTE_SRB) => Reaction::Execute,
            (State::Begin, Operation::BEGIN_INIT) => {
                self.state = State::Version;
                answer(packet, NtStatus::SUCCESS)
            }
            (State::Version, Operation::QUERY_PROTOCOL_VERSION) => self.query_version(packet),
            (State::Properties, Operation::QUERY_PROPERTIES) => {
                self.state = State::End;
                let mut reply = packet.completion(NtStatus::SUCCESS);
                reply.set_payload(&self.properties());
                Reaction::Answer(reply, None)
            }
            (State::End, Operation::CREATE_SUB_CHANNELS) if !self.sub_channels_asked => {
                self.create_sub_channels(packet)
            }
            (State::Ready, Operation::CREATE_SUB_CHANNELS) => self.create_sub_channels(packet),
            (State::End, Operation::END_INIT) => {
                self.state = State::Ready;
                Reaction::Answer(packet.completion(NtStatus::SUCCESS), Some(Event::Ready))
            }
            // All resets are acknowledged and change nothing: running commands complete normally.
            (
                State::Ready,
                Operation::RESET_LUN | Operation::RESET_BUS | Operation::RESET_ADAPTER,
            ) => answer(packet, NtStatus::SUCCESS),
            _ => refuse(packet),
        }
    }

    fn query_version(&mut self, packet: &Packet) -> Reaction {
        let Ok(query) = packet.version() else {
            return answer(packet, NtStatus::INVALID_PARAMETER);
        };
        let accepted = Version::try_from(query.version.get())
            .ok()
            .filter(|version| *version <= self.limits.highest_version);
        let status = match accepted {
            Some(version) => {
                self.version = Some(version);
                self.state = State::Properties;
                NtStatus::SUCCESS
            }
            // The guest may try another one.
            None => NtStatus::REVISION_MISMATCH,
        };
        let mut reply = packet.completion(status);
        reply.set_payload(&VersionPayload {
            version: query.version,
            revision: 0.into(),
        });
        Reaction::Answer(reply, None)
    }

    /// Sub-channels that this dialect can have.
    fn max_sub_channels(&self) -> u16 {
        match self.version {
            Some(version) if version.has_extension() => self.limits.max_sub_channels,
            _ => 0,
        }
    }

    fn properties(&self) -> ChannelProperties {
        let max_sub_channels = self.max_sub_channels();
        let flags = if max_sub_channels == 0 {
            PropertyFlags::empty()
        } else {
            PropertyFlags::MULTI_CHANNEL
        };
        ChannelProperties {
            max_sub_channels: max_sub_channels.into(),
            flags: flags.bits().into(),
            max_transfer_bytes: self.limits.max_transfer.into(),
            ..ChannelProperties::default()
        }
    }

    fn create_sub_channels(&mut self, packet: &Packet) -> Reaction {
        if !self.version.is_some_and(Version::has_extension) {
            return answer(packet, NtStatus::INVALID_DEVICE_STATE);
        }
        let Ok(wanted) = packet.sub_channels() else {
            return answer(packet, NtStatus::INVALID_PARAMETER);
        };
        let count = wanted.count.get();
        if count > self.max_sub_channels() {
            return answer(packet, NtStatus::INVALID_PARAMETER);
        }
        self.sub_channels_asked = true;
        Reaction::Answer(
            packet.completion(NtStatus::SUCCESS),
            (count != 0).then_some(Event::OfferSubChannels(count)),
        )
    }
}

/// What a message on a sub-channel leads to. `ready`: whether the controller's initialisation is complete.
#[must_use]
pub fn sub_channel(packet: &Packet, ready: bool) -> Reaction {
    let operation = packet.operation();
    match operation {
        Operation::EXECUTE_SRB if ready => Reaction::Execute,
        Operation::EXECUTE_SRB => Reaction::Hold,
        Operation::RESET_LUN | Operation::RESET_BUS | Operation::RESET_ADAPTER if ready => {
            answer(packet, NtStatus::SUCCESS)
        }
        _ => refuse(packet),
    }
}

fn answer(packet: &Packet, status: NtStatus) -> Reaction {
    Reaction::Answer(packet.completion(status), None)
}

/// Refuses an operation that is unknown, or known but not legal now.
fn refuse(packet: &Packet) -> Reaction {
    let operation = packet.operation();
    let status = if operation.name().is_some() {
        NtStatus::INVALID_DEVICE_STATE
    } else {
        NtStatus::INVALID_DEVICE_REQUEST
    };
    let mut reply = packet.completion(status);
    if operation == Operation::EXECUTE_SRB {
        // Guests judge commands by these bytes alone, and zeros would be a success of no bytes.
        reply.set_payload(&Srb {
            srb_status: SrbStatus::INVALID_REQUEST.0,
            scsi_status: ScsiStatus::CHECK_CONDITION.0,
            ..Srb::ZERO
        });
    }
    Reaction::Answer(reply, None)
}

#[cfg(test)]
mod tests;
