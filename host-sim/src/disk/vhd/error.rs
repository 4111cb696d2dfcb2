//! Why a file can't be used as a VHD.

use thiserror::Error;

use crate::disk::DiskError;

/// Why a file can't be used as a VHD, or a VHD can't be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VhdError {
    /// Neither a footer at the end nor a copy at the start.
    #[error("not a VHD: no VHD footer at the end of the file")]
    NotVhd,
    /// A field holds what it may not.
    #[error("malformed VHD: {field} at file offset {offset:#x}: {problem}")]
    Malformed {
        /// The field, in the words of the VHD format.
        field: &'static str,
        /// Byte offset of the field in the file.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A valid file that needs what this code doesn't have.
    #[error("unsupported VHD: {0}")]
    Unsupported(String),
    /// A structure lies beyond the end of the file.
    #[error("truncated VHD: {what} ends at {end:#x} but the file at {size:#x}")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Byte offset of the structure's end.
        end: u64,
        /// Bytes in the file.
        size: u64,
    },
    /// A VHD can't have these properties.
    #[error("cannot make a VHD: {0}")]
    BadRequest(String),
    /// The host failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl VhdError {
    pub(super) fn malformed(field: &'static str, offset: u64, problem: impl Into<String>) -> Self {
        Self::Malformed {
            field,
            offset,
            problem: problem.into(),
        }
    }

    /// The same error about a structure that begins at `base` in the file.
    pub(super) fn moved(self, base: u64) -> Self {
        match self {
            Self::Malformed {
                field,
                offset,
                problem,
            } => Self::Malformed {
                field,
                offset: offset.saturating_add(base),
                problem,
            },
            other => other,
        }
    }
}
