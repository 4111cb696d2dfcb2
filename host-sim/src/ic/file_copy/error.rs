//! What can go wrong with copying a file.

use std::io;

use ic_services::text::TextError;
use ic_services::wire::Status;
use thiserror::Error;

use crate::ic::request::RequestError;

/// Why a file was not copied. The guest has been told to give it up, if it had begun.
#[derive(Debug, Error)]
pub enum FileCopyError {
    /// A request never got to the guest, or the guest did not answer well.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The file exists and is not to be replaced.
    #[error("the file exists in the guest")]
    AlreadyExists,
    /// The guest's disk is full.
    #[error("the guest's disk is full")]
    DiskFull,
    /// The name or the path does not fit a message.
    #[error("name or path of the file: {0}")]
    Name(TextError),
    /// Another file is being copied.
    #[error("another file is being copied")]
    Busy,
    /// No file has been begun, or it has been given up.
    #[error("no file is being copied")]
    NotStarted,
    /// A piece is larger than a message holds.
    #[error("a piece of {0} bytes is too large for a message")]
    PieceTooLarge(usize),
    /// The pieces are longer than the file, or end before it does.
    #[error("{given} bytes given of a file of {size}")]
    Size {
        /// Bytes given.
        given: u64,
        /// Bytes announced.
        size: u64,
    },
    /// Somebody stopped it.
    #[error("the copy was cancelled")]
    Cancelled,
    /// The file can't be read.
    #[error("the file can't be read: {0}")]
    Source(io::Error),
}

impl FileCopyError {
    /// The error that a status is, if it is one.
    pub(super) fn check(status: Status) -> Result<(), Self> {
        match status {
            Status::ALREADY_EXISTS => Err(Self::AlreadyExists),
            Status::DISK_FULL => Err(Self::DiskFull),
            status => Ok(RequestError::check(status)?),
        }
    }
}
