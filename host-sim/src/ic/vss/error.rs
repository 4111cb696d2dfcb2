//! What can go wrong with a backup.

use thiserror::Error;

use crate::ic::request::RequestError;

/// Why a request about a backup has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VssError {
    /// It never got to the guest, or the guest did not answer well.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The guest is frozen, or about to be, or not known to be thawed.
    #[error("the guest is frozen already")]
    AlreadyFrozen,
    /// Nothing is frozen.
    #[error("the guest is not frozen")]
    NotFrozen,
    /// The guest was thawed because it had been frozen for too long: what was copied since is not consistent.
    #[error("the guest was thawed because it had been frozen for too long")]
    FrozenTooLong,
    /// More disks than a message holds.
    #[error("{0} disks are too many for a message")]
    TooManyDisks(usize),
    /// The guest has not said that it can recover a snapshot.
    #[error("the guest cannot recover snapshots")]
    NoAutoRecovery,
}

/// Why a backup failed. The guest is thawed, or the host is still trying to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BackupError {
    /// The guest can't be backed up while it runs.
    #[error("the guest can't be backed up while it runs: {0}")]
    Check(VssError),
    /// The guest was not frozen, so nothing was copied.
    #[error("the guest was not frozen: {0}")]
    Freeze(VssError),
    /// The guest was not frozen until the end, or not thawed: what was copied is not to be trusted.
    #[error("the guest was not frozen to the end, or not thawed: {0}")]
    Thaw(VssError),
}
