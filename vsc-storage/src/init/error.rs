//! Why a controller could not be initialised.

use core::fmt;

use crate::wire::{NtStatus, Operation, Version};

/// A message of the initialisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitStep {
    /// Begin.
    Begin,
    /// Proposal of a version.
    Version(Version),
    /// Query of the properties.
    Properties,
    /// Query of a Fibre Channel adapter's names.
    WorldWideNames,
    /// End.
    End,
    /// Request for sub-channels.
    CreateSubChannels,
}

impl fmt::Display for InitStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin => f.write_str("begin of initialisation"),
            Self::Version(version) => write!(f, "proposal of version {version}"),
            Self::Properties => f.write_str("query of properties"),
            Self::WorldWideNames => f.write_str("query of world-wide names"),
            Self::End => f.write_str("end of initialisation"),
            Self::CreateSubChannels => f.write_str("request for sub-channels"),
        }
    }
}

/// Why a controller could not be initialised. Each variant names the offending field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// The answer is shorter than the message, which hosts must answer with as many bytes.
    ShortReply {
        /// The message answered.
        step: InitStep,
        /// Bytes received.
        length: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The answer isn't [`Operation::COMPLETE_IO`].
    WrongOperation {
        /// The message answered.
        step: InitStep,
        /// What the answer claims to be.
        operation: Operation,
    },
    /// The host refused.
    Refused {
        /// The message refused.
        step: InitStep,
        /// The host's reason.
        status: NtStatus,
    },
    /// The host refused every version proposed.
    NoCommonVersion {
        /// The host's reason for the last one.
        status: NtStatus,
    },
    /// The host's limit on transfers is below one page.
    MaxTransferTooSmall {
        /// The limit in bytes.
        bytes: u32,
    },
    /// The host did not answer in time.
    NoAnswer {
        /// The message not answered.
        step: InitStep,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortReply {
                step,
                length,
                needed,
            } => write!(
                f,
                "answer to the {step} has {length} bytes and needs {needed}"
            ),
            Self::WrongOperation { step, operation } => {
                write!(f, "answer to the {step} has operation {operation:?}")
            }
            Self::Refused { step, status } => write!(f, "host refused the {step}: {status:?}"),
            Self::NoCommonVersion { status } => {
                write!(
                    f,
                    "host refused every storage protocol version, last with {status:?}"
                )
            }
            Self::MaxTransferTooSmall { bytes } => {
                write!(
                    f,
                    "host limits transfers to {bytes} bytes, less than one page"
                )
            }
            Self::NoAnswer { step } => write!(f, "host did not answer the {step} in time"),
        }
    }
}

impl core::error::Error for InitError {}
