//! The event flags page.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::PAGE_SIZE;
use crate::msr::{SINT_COUNT, SintIndex};

/// Event flags of an interrupt source.
pub const EVENT_FLAG_COUNT: u16 = 2048;

/// Size in bytes of the flags of an interrupt source.
pub const EVENT_FLAGS_SIZE: usize = EVENT_FLAG_COUNT as usize / 8;

const WORD_BITS: u16 = 64;
const WORDS: usize = (EVENT_FLAG_COUNT / WORD_BITS) as usize;

/// Where a flag lies in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlagPosition {
    /// Offset in bytes of the 64-bit word that holds the flag.
    pub offset: usize,
    /// The flag's bit in the word.
    pub mask: u64,
}

impl EventFlagPosition {
    /// Position of a flag of an interrupt source; `None` from
    /// [`EVENT_FLAG_COUNT`] on.
    #[must_use]
    pub const fn of(sint: SintIndex, flag: u16) -> Option<Self> {
        if flag >= EVENT_FLAG_COUNT {
            return None;
        }
        let word = (flag / WORD_BITS) as usize;
        Some(Self {
            offset: sint.number() as usize * EVENT_FLAGS_SIZE + word * size_of::<u64>(),
            mask: 1 << (flag % WORD_BITS),
        })
    }
}

/// The event flags page of a virtual processor, shared with the other end.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct EventFlagsPage {
    /// The flags of each interrupt source, in words.
    pub flags: [[AtomicU64; WORDS]; SINT_COUNT],
}

const _: () = assert!(size_of::<EventFlagsPage>() == PAGE_SIZE);

impl EventFlagsPage {
    /// A page with all flags clear.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            flags: [const { [const { AtomicU64::new(0) }; WORDS] }; SINT_COUNT],
        }
    }

    /// The flags of an interrupt source, in words.
    #[must_use]
    pub fn words(&self, sint: SintIndex) -> &[AtomicU64; WORDS] {
        let [first, ..] = &self.flags;
        // The number is below the length, so the first source is never meant.
        self.flags.get(usize::from(sint.number())).unwrap_or(first)
    }

    /// Sets a flag and tells whether it was clear, in which case an interrupt
    /// is due. `None` from [`EVENT_FLAG_COUNT`] on. For the signalling end.
    pub fn set(&self, sint: SintIndex, flag: u16) -> Option<bool> {
        let word = self.words(sint).get(usize::from(flag / WORD_BITS))?;
        let mask = 1 << (flag % WORD_BITS);
        Some(word.fetch_or(mask, Ordering::SeqCst) & mask == 0)
    }

    /// Clears a flag and tells whether it was set. A flag from
    /// [`EVENT_FLAG_COUNT`] on is never set.
    pub fn test_and_clear(&self, sint: SintIndex, flag: u16) -> bool {
        let Some(word) = self.words(sint).get(usize::from(flag / WORD_BITS)) else {
            return false;
        };
        let mask = 1 << (flag % WORD_BITS);
        word.load(Ordering::Relaxed) & mask != 0
            && word.fetch_and(!mask, Ordering::SeqCst) & mask != 0
    }

    pub(super) fn clear(&self) {
        for word in self.flags.iter().flatten() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Default for EventFlagsPage {
    fn default() -> Self {
        Self::new()
    }
}

/// Clears the event flags of an interrupt source and calls `handle` with the
/// number of each one that was set, in ascending order.
///
/// A flag is clear before `handle` sees it. If it is set again meanwhile, it
/// raises a new interrupt and is found by the next scan; each scan visits each
/// flag once, however fast the other end sets them.
pub fn scan_event_flags(page: &EventFlagsPage, sint: SintIndex, mut handle: impl FnMut(u16)) {
    for (word, base) in page.words(sint).iter().zip((0u16..).step_by(64)) {
        // Most words are zero most of the time: a plain load keeps their cache
        // line shared.
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        // A locked operation: what the other end wrote before it set a flag is
        // visible to `handle`.
        let mut set = word.swap(0, Ordering::SeqCst);
        while set != 0 {
            handle(base + set.trailing_zeros() as u16);
            set &= set - 1;
        }
    }
}
