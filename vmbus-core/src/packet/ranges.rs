//! Ranges named by incoming packets: validated views of the packet's private copy.

use super::{PAGE_SIZE, PacketError, TransferRange};

/// 8 bytes of an extension: its fixed part, the head of a GPA range, a page frame, or a transfer range.
type Word = [u8; 8];

/// The two little-endian fields of a word, in the order of the wire.
#[inline]
const fn fields(word: Word) -> (u32, u32) {
    let word = u64::from_le_bytes(word);
    (word as u32, (word >> 32) as u32)
}

/// Pages that a range of `byte_count` bytes from `byte_offset` within its first page touches.
///
/// `None` when the sum overflows 32 bits.
#[inline]
pub(super) const fn pages_of(byte_offset: u32, byte_count: u32) -> Option<u32> {
    match byte_offset.checked_add(byte_count) {
        Some(end) => Some(end.div_ceil(PAGE_SIZE)),
        None => None,
    }
}

/// The ranges of a GPA-direct packet, in order. All have been validated.
#[derive(Clone, Copy, Debug)]
pub struct GpaRanges<'b> {
    remaining: u32,
    words: &'b [Word],
}

/// One range of guest memory that an incoming GPA-direct packet names.
#[derive(Clone, Copy, Debug)]
pub struct IncomingGpaRange<'b> {
    /// Length in bytes, never 0.
    pub byte_count: u32,
    /// Offset of the first byte within the first page, below 4096.
    pub byte_offset: u32,
    /// Frame numbers of exactly the pages that the range touches. They have *not* been checked to be
    /// memory.
    pub page_frames: PageFrames<'b>,
}

impl<'b> GpaRanges<'b> {
    /// Validates the extension of a GPA-direct packet.
    #[inline]
    pub(super) fn parse(extension: &'b [u8]) -> Result<Self, PacketError> {
        // Data offset and length are multiples of 8, so no byte is left over.
        let (words, _) = extension.as_chunks();
        let Some((fixed, words)) = words.split_first() else {
            let length = extension.len() as u32;
            return Err(PacketError::ExtensionTooShort { length });
        };
        // The fixed part is {reserved, range count}.
        let (_, count) = fields(*fixed);
        if count == 0 || count as usize > words.len() {
            let available = size_of_val(words) as u32;
            return Err(PacketError::RangeCount { count, available });
        }
        let ranges = Self {
            remaining: count,
            words,
        };
        let mut walk = ranges;
        for range in 0..count {
            walk.split(range)?;
        }
        Ok(ranges)
    }

    /// Takes the next range off, checking everything about it. `position` is for the error only.
    #[inline]
    fn split(&mut self, position: u32) -> Result<IncomingGpaRange<'b>, PacketError> {
        let truncated = |pages, available| PacketError::RangeTruncated {
            range: position,
            pages,
            available,
        };
        let Some((head, rest)) = self.words.split_first() else {
            return Err(truncated(1, 0));
        };
        let (byte_count, byte_offset) = fields(*head);
        if byte_count == 0 {
            return Err(PacketError::RangeEmpty { range: position });
        }
        if byte_offset >= PAGE_SIZE {
            return Err(PacketError::RangeOffset {
                range: position,
                byte_offset,
            });
        }
        let end = byte_offset
            .checked_add(byte_count)
            .ok_or(PacketError::RangeOverflow {
                range: position,
                byte_offset,
                byte_count,
            })?;
        // Lists of single pages are what network senders make. Apart, the branch is predicted and where
        // the next range starts does not wait for this one's length.
        let parts = if end <= PAGE_SIZE {
            rest.split_at_checked(1)
        } else {
            rest.split_at_checked(end.div_ceil(PAGE_SIZE) as usize)
        };
        let Some((frames, rest)) = parts else {
            return Err(truncated(end.div_ceil(PAGE_SIZE), rest.len() as u32));
        };
        self.words = rest;
        self.remaining -= 1;
        Ok(IncomingGpaRange {
            byte_count,
            byte_offset,
            page_frames: PageFrames(frames),
        })
    }

    /// Sum of the byte counts of the ranges that have not been taken yet.
    #[must_use]
    pub fn total_bytes(self) -> u64 {
        self.map(|range| u64::from(range.byte_count)).sum()
    }
}

impl<'b> Iterator for GpaRanges<'b> {
    type Item = IncomingGpaRange<'b>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        // Cannot fail: `parse` has walked the same private bytes.
        self.split(0).ok()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

impl ExactSizeIterator for GpaRanges<'_> {}

/// Page frame numbers in a packet.
#[derive(Clone, Copy)]
pub struct PageFrames<'b>(&'b [Word]);

impl<'b> PageFrames<'b> {
    /// Number of pages, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// The frame of one page, `None` past the last.
    #[must_use]
    #[inline]
    pub fn get(self, index: usize) -> Option<u64> {
        self.0.get(index).map(|frame| u64::from_le_bytes(*frame))
    }

    /// The frames in order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = u64> + 'b {
        self.0.iter().map(|frame| u64::from_le_bytes(*frame))
    }
}

impl core::fmt::Debug for PageFrames<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The ranges of a transfer-page packet, in order.
///
/// Each range's end fits 32 bits; whether it lies within the buffer of the set, only the owner of the
/// set can tell.
#[derive(Clone, Copy, Debug)]
pub struct TransferRanges<'b> {
    /// Set id, and above it whether the sender owns the set, as on the wire. Fields have the sizes of
    /// those of [`GpaRanges`]: an enum of both is then moved by whole words, which is measurably faster.
    set: u32,
    ranges: &'b [Word],
}

impl<'b> TransferRanges<'b> {
    /// Validates the extension of a transfer-page packet.
    #[inline]
    pub(super) fn parse(extension: &'b [u8]) -> Result<Self, PacketError> {
        let (words, _) = extension.as_chunks();
        let Some((fixed, words)) = words.split_first() else {
            let length = extension.len() as u32;
            return Err(PacketError::ExtensionTooShort { length });
        };
        // The fixed part is {set id: u16, sender owns set: u8, reserved: u8, range count: u32}.
        let (set, count) = fields(*fixed);
        let Some(ranges) = words.get(..count as usize) else {
            return Err(PacketError::RangeCount {
                count,
                available: size_of_val(words) as u32,
            });
        };
        for (position, range) in ranges.iter().enumerate() {
            let (byte_count, byte_offset) = fields(*range);
            if byte_offset.checked_add(byte_count).is_none() {
                return Err(PacketError::RangeOverflow {
                    range: position as u32,
                    byte_offset,
                    byte_count,
                });
            }
        }
        Ok(Self { set, ranges })
    }

    /// Id of the transfer-page set that the ranges lie in.
    #[must_use]
    pub const fn set_id(&self) -> u16 {
        self.set as u16
    }

    /// Whether the set belongs to the packet's sender.
    #[must_use]
    pub const fn sender_owns_set(&self) -> bool {
        (self.set >> 16) as u8 != 0
    }
}

impl Iterator for TransferRanges<'_> {
    type Item = TransferRange;

    #[inline]
    fn next(&mut self) -> Option<TransferRange> {
        let (range, rest) = self.ranges.split_first()?;
        self.ranges = rest;
        let (byte_count, byte_offset) = fields(*range);
        Some(TransferRange {
            byte_count,
            byte_offset,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ranges.len(), Some(self.ranges.len()))
    }
}

impl ExactSizeIterator for TransferRanges<'_> {}
