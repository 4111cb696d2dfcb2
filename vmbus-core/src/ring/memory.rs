//! The memory under a ring.

use core::ptr::NonNull;

use super::control::ControlPage;
use crate::packet::PAGE_SIZE;
use crate::shared::{copy_from_shared, copy_to_shared};

/// Memory that holds a ring and that the peer can write at any time.
///
/// # Safety
/// - [`data_size`](Self::data_size) is a positive multiple of 8, at most 2 GiB, and never changes.
/// - [`control`](Self::control) is always the same page.
/// - [`contiguous`](Self::contiguous), when it gives a pointer and a length, gives a pointer to the very bytes
///   that `read` and `write` access at `offset`, aligned to 8 when `offset` is, valid for reads and writes
///   of as many bytes, all within the data area, as long as `self` is borrowed, and never referenced from
///   Rust other than as atomics.
/// - Copies are race-safe: each byte is accessed once, as in [`crate::shared`].
pub unsafe trait RingMemory {
    /// Bytes in the data area.
    fn data_size(&self) -> u32;

    /// The control page.
    fn control(&self) -> &ControlPage;

    /// Copies out of the data area. The ring splits what wraps: `offset + into.len() <= data_size()`.
    fn read(&self, offset: u32, into: &mut [u8]);

    /// Copies into the data area. The ring splits what wraps: `offset + from.len() <= data_size()`.
    fn write(&self, offset: u32, from: &[u8]);

    /// The data area from `offset` on, as far as it is one piece in memory, with the piece's length in bytes:
    /// the fast path, which a packet that fits the piece takes.
    ///
    /// Fewer bytes than there are, and `None`, are always right.
    #[inline]
    fn contiguous(&self, offset: u32) -> Option<(NonNull<u8>, u32)> {
        let _ = offset;
        None
    }
}

/// A ring in contiguous virtual memory: the control page, then the data pages.
#[derive(Debug)]
pub struct FlatRing {
    base: NonNull<u8>,
    data_size: u32,
}

// SAFETY: the memory is accessed through atomics and race-safe copies only, which any thread may do, and
// `FlatRing::new`'s caller vouches that it outlives the value, wherever that goes.
unsafe impl Send for FlatRing {}
// SAFETY: as above; no method keeps unsynchronised state.
unsafe impl Sync for FlatRing {}

impl FlatRing {
    /// A ring of `pages` 4096-byte pages, the control page included, starting at `base`.
    ///
    /// # Panics
    /// If `pages` is below 2 or the data exceeds 2 GiB, or `base` is not aligned to a page: the caller's
    /// mistake, never the peer's.
    ///
    /// # Safety
    /// The pages must be mapped for reading and writing as long as the value lives, and no Rust reference
    /// other than to atomics may exist to them. The peer may write them at any time.
    #[must_use]
    pub unsafe fn new(base: NonNull<u8>, pages: u32) -> Self {
        assert!(
            (2..=0x8_0000).contains(&pages),
            "a ring has a control page and at least one data page"
        );
        assert!(
            base.addr().get().is_multiple_of(PAGE_SIZE as usize),
            "a ring starts at a page"
        );
        Self {
            base,
            data_size: (pages - 1) * PAGE_SIZE,
        }
    }
}

// SAFETY: the size is fixed at creation and at most 2 GiB; all pointers lie within the pages that the
// creator vouched for and behind the bounds check of `contiguous`; copies are those of `shared`.
unsafe impl RingMemory for FlatRing {
    #[inline]
    fn data_size(&self) -> u32 {
        self.data_size
    }

    #[inline]
    fn control(&self) -> &ControlPage {
        // SAFETY: the first page is mapped and aligned, and `ControlPage` is a page of atomics.
        #[cfg(not(loom))]
        return unsafe { self.base.cast::<ControlPage>().as_ref() };
        #[cfg(loom)]
        unimplemented!("loom's atomics have no place in mapped memory");
    }

    #[inline]
    fn read(&self, offset: u32, into: &mut [u8]) {
        match self.contiguous(offset) {
            Some((src, length)) if into.len() <= length as usize => {
                // SAFETY: `contiguous` gives a pointer valid for `length` bytes of shared memory.
                unsafe { copy_from_shared(src.as_ptr(), into) }
            }
            _ => {}
        }
    }

    #[inline]
    fn write(&self, offset: u32, from: &[u8]) {
        match self.contiguous(offset) {
            Some((dst, length)) if from.len() <= length as usize => {
                // SAFETY: `contiguous` gives a pointer valid for `length` bytes of shared memory.
                unsafe { copy_to_shared(dst.as_ptr(), from) }
            }
            _ => {}
        }
    }

    #[inline]
    fn contiguous(&self, offset: u32) -> Option<(NonNull<u8>, u32)> {
        let length = self.data_size.checked_sub(offset)?;
        // SAFETY: the offset is at most the length of the data area, which starts a page after `base`.
        let at = unsafe { self.base.add(PAGE_SIZE as usize).add(offset as usize) };
        Some((at, length))
    }
}
