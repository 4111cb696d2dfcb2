//! GPADLs: lists of guest pages that the guest lends to a channel.
//!
//! On the wire a GPADL is a list of ranges, each a word with byte count and offset and then the frame
//! numbers of its pages, cut into one GPADL_HEADER and as many GPADL_BODY messages as it takes. A guest
//! builds a [`GpadlList`] and emits it with [`GpadlMessages`]; whoever has collected the words of one reads
//! them with [`GpadlRanges`].

mod error;
mod list;
mod messages;
mod ranges;
#[cfg(test)]
mod tests;

pub use error::GpadlError;
pub use list::GpadlList;
pub use messages::GpadlMessages;
pub use ranges::{GpadlRange, GpadlRanges};

/// Most 8-byte words of a list: its size in bytes has 16 bits.
pub const WORDS_MAX: usize = u16::MAX as usize / 8;

/// Most pages of a GPADL with one range, just under 32 MiB.
pub const PAGES_MAX: usize = WORDS_MAX - 1;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Number of pages that a range touches, or what is wrong with it.
fn pages_of(byte_count: u32, byte_offset: u32) -> Result<u64, GpadlError> {
    if byte_count == 0 {
        return Err(GpadlError::EmptyRange);
    }
    if u64::from(byte_offset) >= PAGE {
        return Err(GpadlError::Offset { byte_offset });
    }
    // In 64 bits the sum cannot overflow; on the wire it must not overflow 32 bits either.
    let end = u64::from(byte_count) + u64::from(byte_offset);
    if end > u64::from(u32::MAX) {
        return Err(GpadlError::Overflow {
            byte_count,
            byte_offset,
        });
    }
    Ok(end.div_ceil(PAGE))
}
