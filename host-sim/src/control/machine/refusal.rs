//! What sort of failure an error is.

use super::{ControlError, ErrorKind};
use crate::disk::SnapshotError;
use crate::display::screen::InputRefused;
use crate::host::{AdapterError, DiskChangeError};
use crate::ic::RequestError;
use crate::ic::file_copy::FileCopyError;
use crate::ic::kvp::KvpError;
use crate::ic::shutdown::NotOrdered;
use crate::ic::vss::{BackupError, VssError};
use crate::vsp::keyboard::TypeError;
use crate::vsp::storage::LunError;
use crate::vsp::video::SnapshotError as NoPicture;

/// An error whose sort is known.
pub(super) trait Refusal: std::fmt::Display {
    /// The sort.
    fn kind(&self) -> ErrorKind;
}

impl<E: Refusal> From<E> for ControlError {
    fn from(error: E) -> Self {
        Self::new(error.kind(), &error)
    }
}

impl Refusal for RequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady | Self::NotInVersion(_) => ErrorKind::NotReady,
            Self::Busy => ErrorKind::Busy,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Refused(_) => ErrorKind::Refused,
            Self::TooLarge => ErrorKind::Invalid,
            Self::Abandoned | Self::GuestFault(_) | Self::ShortAnswer(_) => ErrorKind::Failed,
        }
    }
}

impl Refusal for NotOrdered {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady => ErrorKind::NotReady,
            Self::AlreadyInProgress => ErrorKind::Busy,
        }
    }
}

impl Refusal for KvpError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(error) => error.kind(),
            Self::NotWritable(_) | Self::Item(_) | Self::IpInfo(_) => ErrorKind::Invalid,
            Self::NoSuchKey | Self::NoSuchAdapter => ErrorKind::NotFound,
            Self::InvalidArgument => ErrorKind::Refused,
            Self::Answer(_) => ErrorKind::Failed,
        }
    }
}

impl Refusal for VssError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(error) => error.kind(),
            Self::AlreadyFrozen => ErrorKind::Busy,
            Self::NotFrozen | Self::TooManyDisks(_) => ErrorKind::Invalid,
            Self::FrozenTooLong => ErrorKind::TimedOut,
            Self::NoAutoRecovery => ErrorKind::Refused,
        }
    }
}

impl Refusal for BackupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Check(error) | Self::Freeze(error) | Self::Thaw(error) => error.kind(),
        }
    }
}

impl Refusal for FileCopyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(error) => error.kind(),
            Self::AlreadyExists | Self::DiskFull => ErrorKind::Refused,
            Self::Name(_) | Self::NotStarted | Self::PieceTooLarge(_) => ErrorKind::Invalid,
            Self::Busy => ErrorKind::Busy,
            Self::Size { .. } | Self::Cancelled | Self::Source(_) => ErrorKind::Failed,
        }
    }
}

impl Refusal for LunError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Absent { .. } | Self::NoMedium { .. } => ErrorKind::NotFound,
            Self::MediumLocked { .. } => ErrorKind::Refused,
            _ => ErrorKind::Invalid,
        }
    }
}

impl Refusal for SnapshotError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InProgress => ErrorKind::Busy,
            Self::Target(_) | Self::Source(_) | Self::Abandoned => ErrorKind::Failed,
        }
    }
}

impl Refusal for DiskChangeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Controller { .. } => ErrorKind::NotFound,
            Self::Lun(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
        }
    }
}

impl Refusal for AdapterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Full => ErrorKind::Busy,
            Self::Absent(_) => ErrorKind::NotFound,
            Self::Config(_) => ErrorKind::Invalid,
            Self::Backend(_) => ErrorKind::Failed,
        }
    }
}

impl Refusal for InputRefused {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady => ErrorKind::NotReady,
            Self::Full => ErrorKind::Busy,
        }
    }
}

impl Refusal for TypeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind(),
            Self::NoKey(_) | Self::TooLong { .. } => ErrorKind::Invalid,
        }
    }
}

impl Refusal for NoPicture {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NotReady
    }
}
