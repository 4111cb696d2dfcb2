//! The messages of the file copy service. Each is answered by a status alone.

use core::fmt;

use vmbus_core::guid::Guid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::text::{self, Text, TextError};

/// Units in a name or path, NUL included.
pub const NAME_UNITS: usize = 260;
/// Most bytes of data in a message.
pub const MAX_DATA: usize = 6144;
/// Bytes before the data.
pub const DATA_OFFSET: usize = 52;

/// What the host wants.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Operation(pub U32);

impl Operation {
    /// Begins a file ([`Start`]).
    pub const START: Self = Self(U32::new(0));
    /// Writes a piece of it ([`WriteHeader`]).
    pub const WRITE: Self = Self(U32::new(1));
    /// Ends it.
    pub const COMPLETE: Self = Self(U32::new(2));
    /// Gives it up.
    pub const CANCEL: Self = Self(U32::new(3));
}

bitflags::bitflags! {
    /// How to begin a file.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CopyFlags: u32 {
        /// A file that exists is replaced.
        const OVERWRITE = 1;
        /// Missing directories are made.
        const CREATE_PATH = 2;

        const _ = !0;
    }
}

/// The header of every body; the whole of [`Operation::COMPLETE`] and [`Operation::CANCEL`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// What is wanted.
    pub operation: Operation,
    /// The service.
    pub service: Guid,
    /// The session.
    pub session: Guid,
}

const _: () = assert!(size_of::<Header>() == 36);

impl Header {
    /// The header of an operation, without ids.
    #[must_use]
    pub const fn new(operation: Operation) -> Self {
        Self {
            operation,
            service: Guid::ZERO,
            session: Guid::ZERO,
        }
    }
}

/// Begins a file.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Start {
    /// The header.
    pub header: Header,
    /// Its name, with NUL.
    pub file_name: [U16; NAME_UNITS],
    /// Its directory, with NUL.
    pub path: [U16; NAME_UNITS],
    /// [`CopyFlags`].
    pub flags: U32,
    /// Its bytes.
    pub file_size: U64,
}

const _: () = assert!(size_of::<Start>() == 1088);

impl Start {
    /// The request to begin a file.
    ///
    /// # Errors
    /// [`TextError`] if the name or the path does not fit.
    pub fn new(
        file_name: &str,
        path: &str,
        flags: CopyFlags,
        file_size: u64,
    ) -> Result<Self, TextError> {
        let mut start = Self {
            header: Header::new(Operation::START),
            file_name: [U16::ZERO; NAME_UNITS],
            path: [U16::ZERO; NAME_UNITS],
            flags: flags.bits().into(),
            file_size: file_size.into(),
        };
        text::write(file_name, &mut start.file_name)?;
        text::write(path, &mut start.path)?;
        Ok(start)
    }

    /// The name.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn file_name(&self) -> Result<Text<'_>, TextError> {
        Text::terminated(&self.file_name)
    }

    /// The directory.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn path(&self) -> Result<Text<'_>, TextError> {
        Text::terminated(&self.path)
    }
}

/// What precedes the data of a piece. Hosts send all [`MAX_DATA`] bytes whatever the size.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct WriteHeader {
    /// The header.
    pub header: Header,
    /// Zero.
    pub padding: U32,
    /// Where in the file.
    pub offset: U64,
    /// Bytes of data.
    pub size: U32,
}

const _: () = assert!(size_of::<WriteHeader>() == DATA_OFFSET);

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where in the file.
    pub offset: u64,
    /// What to write there.
    pub data: &'a [u8],
}

/// Why a body is no piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceError {
    /// The body is too short for its header or its data.
    Short {
        /// Bytes of the body.
        length: usize,
        /// Bytes needed.
        needed: u64,
    },
    /// More data than a message carries.
    TooLong(u32),
    /// The end is beyond 2⁶⁴.
    Overflow,
}

impl fmt::Display for PieceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length, needed } => {
                write!(f, "piece of a file in {length} bytes, not {needed}")
            }
            Self::TooLong(size) => write!(f, "piece of {size} bytes, not {MAX_DATA} at most"),
            Self::Overflow => f.write_str("piece that ends beyond any file"),
        }
    }
}

impl core::error::Error for PieceError {}

impl<'a> Piece<'a> {
    /// Reads a body of [`Operation::WRITE`].
    ///
    /// # Errors
    /// [`PieceError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, PieceError> {
        let length = body.len();
        let short = |needed| PieceError::Short { length, needed };
        let (header, rest) =
            WriteHeader::ref_from_prefix(body).map_err(|_| short(DATA_OFFSET as u64))?;
        let size = header.size.get();
        let count = usize::try_from(size).unwrap_or(usize::MAX);
        if count > MAX_DATA {
            return Err(PieceError::TooLong(size));
        }
        let needed = DATA_OFFSET as u64 + u64::from(size);
        let data = rest.get(..count).ok_or(short(needed))?;
        let offset = header.offset.get();
        offset
            .checked_add(u64::from(size))
            .ok_or(PieceError::Overflow)?;
        Ok(Self { offset, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use core::mem::offset_of;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        assert_eq!(offset_of!(Start, file_name), 36);
        assert_eq!(offset_of!(Start, path), 556);
        assert_eq!(offset_of!(Start, flags), 1076);
        assert_eq!(offset_of!(Start, file_size), 1080);
        assert_eq!(offset_of!(WriteHeader, offset), 40);
        assert_eq!(offset_of!(WriteHeader, size), 48);
    }

    fn write(offset: u64, size: u32, data: usize) -> Vec<u8> {
        let header = WriteHeader {
            header: Header::new(Operation::WRITE),
            padding: 0.into(),
            offset: offset.into(),
            size: size.into(),
        };
        let mut body = header.as_bytes().to_vec();
        body.resize(DATA_OFFSET + data, 7);
        body
    }

    // FC3
    #[test]
    fn sizes_of_pieces() {
        assert_eq!(Piece::parse(&write(9, 6144, 6144)).unwrap().data, [7; 6144]);
        assert!(Piece::parse(&write(9, 0, 0)).unwrap().data.is_empty());
        assert_eq!(
            Piece::parse(&write(0, 6145, 7000)),
            Err(PieceError::TooLong(6145))
        );
        assert_eq!(
            Piece::parse(&write(0, 100, 99)),
            Err(PieceError::Short {
                length: 151,
                needed: 152
            })
        );
        assert_eq!(
            Piece::parse(&write(u64::MAX, 1, 1)),
            Err(PieceError::Overflow)
        );
    }

    // FC6
    #[test]
    fn names_of_any_script() {
        let start = Start::new("ünï🦀.bin", "/tmp/日本", CopyFlags::OVERWRITE, 5).unwrap();
        assert_eq!(start.file_name().unwrap().to_string(), "ünï🦀.bin");
        assert_eq!(start.path().unwrap().to_string(), "/tmp/日本");
        let long = "x".repeat(260);
        assert!(Start::new(&long, "/", CopyFlags::empty(), 0).is_err());
        assert!(Start::new(&long[1..], "/", CopyFlags::empty(), 0).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            if let Ok((start, _)) = Start::read_from_prefix(&bytes) {
                let _ = (start.file_name(), start.path());
            }
            if let Ok(piece) = Piece::parse(&bytes) {
                prop_assert!(piece.offset.checked_add(piece.data.len() as u64).is_some());
            }
        }
    }
}
