//! What can be wrong with a list of ranges.

use core::fmt;

/// A list of ranges breaks a rule of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GpadlError {
    /// The list has no range.
    NoRanges,
    /// A range has no bytes.
    EmptyRange,
    /// A range starts behind its first page.
    Offset {
        /// The offset.
        byte_offset: u32,
    },
    /// The end of a range exceeds 32 bits.
    Overflow {
        /// Bytes of the range.
        byte_count: u32,
        /// Offset of the first byte.
        byte_offset: u32,
    },
    /// A range has fewer or more page frames than pages.
    Frames {
        /// Pages that the range touches.
        pages: u64,
        /// Frames that are there.
        frames: u64,
    },
    /// The list is longer than 65,528 bytes.
    TooLong {
        /// Its 8-byte words.
        words: u64,
    },
}

impl fmt::Display for GpadlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRanges => f.write_str("GPADL without ranges"),
            Self::EmptyRange => f.write_str("GPADL range without bytes"),
            Self::Offset { byte_offset } => {
                write!(f, "GPADL range at byte {byte_offset:#x} of a page")
            }
            Self::Overflow {
                byte_count,
                byte_offset,
            } => write!(
                f,
                "GPADL range of {byte_count:#x} bytes at offset {byte_offset:#x} exceeds 32 bits"
            ),
            Self::Frames { pages, frames } => write!(
                f,
                "GPADL range of {pages} pages with {frames} page frame numbers"
            ),
            Self::TooLong { words } => write!(
                f,
                "GPADL list of {words} words exceeds the maximum of {}",
                super::WORDS_MAX
            ),
        }
    }
}

impl core::error::Error for GpadlError {}
