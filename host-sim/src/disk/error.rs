//! Why a request to an open disk failed.

use std::io;

use thiserror::Error;

/// Why a request to an open disk failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The range isn't wholly on the disk.
    #[error("range {offset:#x}+{length:#x} is not on the disk of {size:#x} bytes")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Bytes on the disk.
        size: u64,
    },
    /// The range isn't made of whole sectors.
    #[error("range {offset:#x}+{length:#x} is not made of whole {sector_size}-byte sectors")]
    Unaligned {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Logical sector size in bytes.
        sector_size: u32,
    },
    /// The disk is read-only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The host has no room for the data. The image stays valid; the write may be tried again.
    #[error("no space left for the image")]
    NoSpace,
    /// An earlier flush or metadata write failed, so what is on stable storage is not known. Writes and
    /// flushes fail until the image is opened anew; reads go on.
    #[error("an earlier failure left the image's stable content unknown; it must be opened anew")]
    Poisoned,
    /// The host failed the operation.
    #[error("{operation} at image offset {offset:#x} failed: {}", describe(*.kind, *.code))]
    Io {
        /// What was tried: `read`, `write`, `flush`, `discard`, `seek`.
        operation: &'static str,
        /// Byte offset in the disk or file.
        offset: u64,
        /// What sort of failure.
        kind: io::ErrorKind,
        /// The host's `errno`, where it gave one.
        code: Option<i32>,
    },
}

/// The host's words for an error.
fn describe(kind: io::ErrorKind, code: Option<i32>) -> io::Error {
    code.map_or_else(|| kind.into(), io::Error::from_raw_os_error)
}

impl DiskError {
    /// The error for a failed system call.
    #[must_use]
    pub fn from_io(operation: &'static str, offset: u64, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace,
            _ if error.kind() == io::ErrorKind::StorageFull => Self::NoSpace,
            code => Self::Io {
                operation,
                offset,
                kind: error.kind(),
                code,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_file_systems_are_told_apart_from_broken_ones() {
        for code in [libc::ENOSPC, libc::EDQUOT] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(DiskError::from_io("write", 0, &error), DiskError::NoSpace);
        }
        let error = io::Error::from_raw_os_error(libc::EIO);
        assert_eq!(
            DiskError::from_io("write", 0x200, &error).to_string(),
            "write at image offset 0x200 failed: Input/output error (os error 5)"
        );
    }
}
