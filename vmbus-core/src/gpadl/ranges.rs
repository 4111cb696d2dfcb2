//! A list of ranges as it is received.

use super::{GpadlError, pages_of};

/// One range of a GPADL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpadlRange<'a> {
    /// Bytes, not 0.
    pub byte_count: u32,
    /// Offset of the first byte in the first page, below 4096.
    pub byte_offset: u32,
    /// Frame numbers of exactly the pages that the range touches. They have *not* been checked to be
    /// memory, and pages may repeat.
    pub page_frames: &'a [u64],
}

/// The ranges of a list, all validated when the value is made.
#[derive(Clone, Debug)]
pub struct GpadlRanges<'a> {
    words: &'a [u64],
    remaining: u16,
}

impl<'a> GpadlRanges<'a> {
    /// Validates the words of a list of `range_count` ranges. Words behind the last range mean nothing.
    ///
    /// # Errors
    /// [`GpadlError`] for the first range that breaks a rule.
    pub fn parse(words: &'a [u64], range_count: u16) -> Result<Self, GpadlError> {
        if range_count == 0 {
            return Err(GpadlError::NoRanges);
        }
        let mut rest = words;
        for _ in 0..range_count {
            (_, rest) = split(rest)?;
        }
        Ok(Self {
            words,
            remaining: range_count,
        })
    }
}

/// The first range, and the words behind it.
fn split(words: &[u64]) -> Result<(GpadlRange<'_>, &[u64]), GpadlError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(GpadlError::Frames {
            pages: 1,
            frames: 0,
        });
    };
    let byte_count = (first & 0xFFFF_FFFF) as u32;
    let byte_offset = (first >> 32) as u32;
    let pages = pages_of(byte_count, byte_offset)?;
    let (page_frames, rest) = usize::try_from(pages)
        .ok()
        .and_then(|pages| rest.split_at_checked(pages))
        .ok_or(GpadlError::Frames {
            pages,
            frames: rest.len() as u64,
        })?;
    let range = GpadlRange {
        byte_count,
        byte_offset,
        page_frames,
    };
    Ok((range, rest))
}

impl<'a> Iterator for GpadlRanges<'a> {
    type Item = GpadlRange<'a>;

    fn next(&mut self) -> Option<GpadlRange<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        // Validated by `parse`.
        let (range, rest) = split(self.words).ok()?;
        self.words = rest;
        Some(range)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining.into(), Some(self.remaining.into()))
    }
}

impl ExactSizeIterator for GpadlRanges<'_> {}
