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
/// - [`contiguous`](Self::contiguous), when it gives a pointer, gives one to the very bytes that `read` and
///   `write` access at `offset`, aligned to 8 when `offset` is, valid for reads and writes of `length`
///   bytes as long as `self` is borrowed, and never referenced from Rust other than as atomics.
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

    /// The data area from `offset` on as one piece of `length` bytes, if it is one piece: the fast path.
    ///
    /// `None` is always right, for example at the ring's end and across pages that are not neighbours.
    #[inline]
    fn contiguous(&self, offset: u32, length: u32) -> Option<NonNull<u8>> {
        let _ = (offset, length);
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
        let Ok(length) = u32::try_from(into.len()) else {
            return;
        };
        if let Some(src) = self.contiguous(offset, length) {
            // SAFETY: `contiguous` gives a pointer valid for `length` bytes of shared memory.
            unsafe { copy_from_shared(src.as_ptr(), into) }
        }
    }

    #[inline]
    fn write(&self, offset: u32, from: &[u8]) {
        let Ok(length) = u32::try_from(from.len()) else {
            return;
        };
        if let Some(dst) = self.contiguous(offset, length) {
            // SAFETY: `contiguous` gives a pointer valid for `length` bytes of shared memory.
            unsafe { copy_to_shared(dst.as_ptr(), from) }
        }
    }

    #[inline]
    fn contiguous(&self, offset: u32, length: u32) -> Option<NonNull<u8>> {
        if offset <= self.data_size && length <= self.data_size - offset {
            // SAFETY: offset and length lie within the data area, which starts a page after `base`.
            Some(unsafe { self.base.add(PAGE_SIZE as usize).add(offset as usize) })
        } else {
            None
        }
    }
}
