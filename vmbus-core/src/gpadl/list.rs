//! A list of ranges as the guest builds it.

use alloc::vec::Vec;

use super::{GpadlError, WORDS_MAX, pages_of};

/// A checked list of ranges, in the words that go over the wire.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpadlList {
    words: Vec<u64>,
    range_count: u16,
}

impl GpadlList {
    /// An empty list, to which ranges must be added before it is of use.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: Vec::new(),
            range_count: 0,
        }
    }

    /// A list of one range that starts at the start of a page and has whole pages: memory for rings.
    ///
    /// # Errors
    /// [`GpadlError`] when there are no pages or more than [`PAGES_MAX`](super::PAGES_MAX).
    pub fn of_pages(frames: impl ExactSizeIterator<Item = u64>) -> Result<Self, GpadlError> {
        let pages = frames.len() as u64;
        let byte_count =
            u32::try_from(pages.saturating_mul(super::PAGE)).map_err(|_| GpadlError::TooLong {
                words: pages.saturating_add(1),
            })?;
        let mut list = Self::new();
        list.push(byte_count, 0, frames)?;
        Ok(list)
    }

    /// Adds a range: bytes, offset of the first byte in the first page, and the frame numbers of exactly
    /// the pages that it touches.
    ///
    /// # Errors
    /// [`GpadlError`] when the range breaks a rule or the list would become too long. The list is as it
    /// was.
    pub fn push(
        &mut self,
        byte_count: u32,
        byte_offset: u32,
        frames: impl ExactSizeIterator<Item = u64>,
    ) -> Result<(), GpadlError> {
        let pages = pages_of(byte_count, byte_offset)?;
        if frames.len() as u64 != pages {
            return Err(GpadlError::Frames {
                pages,
                frames: frames.len() as u64,
            });
        }
        let words = (self.words.len() as u64)
            .saturating_add(1)
            .saturating_add(pages);
        if words > WORDS_MAX as u64 {
            return Err(GpadlError::TooLong { words });
        }
        // Below `WORDS_MAX` words there are below 65,536 ranges.
        self.range_count = self.range_count.saturating_add(1);
        self.words
            .push(u64::from(byte_offset) << 32 | u64::from(byte_count));
        // The length of an `ExactSizeIterator` is a promise that safe code may break.
        self.words.extend(frames.take(pages as usize));
        self.words.resize(words as usize, 0);
        Ok(())
    }

    /// Number of ranges.
    #[must_use]
    pub const fn range_count(&self) -> u16 {
        self.range_count
    }

    /// Number of pages, if the list is one range of whole pages from the start of a page: what rings need.
    #[must_use]
    pub fn ring_pages(&self) -> Option<u32> {
        let (range, frames) = self.words.split_first()?;
        let pages = u32::try_from(frames.len()).ok()?;
        (self.range_count == 1 && *range == u64::from(pages).saturating_mul(super::PAGE))
            .then_some(pages)
    }

    /// The words of the list.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}
