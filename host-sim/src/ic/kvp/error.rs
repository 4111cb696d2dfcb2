//! What can go wrong with key-value exchange.

use ic_services::kvp::wire::exchange::RecordError;
use ic_services::wire::Status;
use thiserror::Error;

use super::ip::IpInfoError;
use super::item::Pool;
use crate::ic::request::RequestError;

/// Why a request about items or adapters has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KvpError {
    /// It never got to the guest, or the guest did not answer well.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The host must not write into this pool.
    #[error("the host does not write into pool {0}")]
    NotWritable(Pool),
    /// The key or value does not fit a message.
    #[error("item: {0}")]
    Item(RecordError),
    /// The guest's answer holds no sound item.
    #[error("the guest's answer: {0}")]
    Answer(RecordError),
    /// The guest has no such key.
    #[error("the guest has no such key")]
    NoSuchKey,
    /// The guest has no such network adapter.
    #[error("the guest has no such network adapter")]
    NoSuchAdapter,
    /// The guest does not accept what it was given: an address, say.
    #[error("the guest does not accept what it was given")]
    InvalidArgument,
    /// The addresses do not fit a message, or the guest's answer holds none.
    #[error(transparent)]
    IpInfo(#[from] IpInfoError),
}

impl KvpError {
    /// The error that a status is, if it is one.
    pub(super) fn check(status: Status) -> Result<(), Self> {
        match status {
            Status::NO_MORE_ITEMS => Err(Self::NoSuchKey),
            Status::ADAPTER_NOT_FOUND => Err(Self::NoSuchAdapter),
            Status::INVALID_ARGUMENT => Err(Self::InvalidArgument),
            status => Ok(RequestError::check(status)?),
        }
    }
}
