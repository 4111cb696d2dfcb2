//! Why a request was not carried out.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What sort of failure, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is no JSON, no verb, or too long.
    Malformed,
    /// A parameter makes no sense.
    Invalid,
    /// What the request names is not there.
    NotFound,
    /// The place is taken, or another operation is under way.
    Busy,
    /// The guest has not got so far, or has no such service.
    NotReady,
    /// The guest refused.
    Refused,
    /// The guest did not answer in time.
    TimedOut,
    /// The machine has no such device.
    NoDevice,
    /// The host failed: a file, a socket.
    Failed,
}

/// A request's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct ControlError {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// One sentence for people.
    pub message: String,
}

impl ControlError {
    /// A failure of this kind, said in this way.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }
}
