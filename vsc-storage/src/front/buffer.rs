//! Memory that moves with a request.

use core::fmt;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use vmbus_core::packet::GpaRange;
use vmbus_core::platform::{PAGE_SIZE, Platform, SharedPages};
use vmbus_core::shared::{copy_from_shared, copy_to_shared};

/// A platform that several processors use.
pub type SharedPlatform = Arc<dyn Platform + Send + Sync>;

/// The range isn't within the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutsideBuffer {
    /// Where the range starts, in bytes.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
    /// Bytes that the buffer has.
    pub capacity: usize,
}

impl fmt::Display for OutsideBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes from {} are not within a buffer of {} bytes",
            self.length, self.offset, self.capacity
        )
    }
}

impl core::error::Error for OutsideBuffer {}

/// Memory that a disk reads from or writes to.
///
/// It moves into a request and comes back with its completion. If a request is given up (its future
/// dropped), the memory stays with the channel until the host is done with it.
///
/// The host can see and change the memory at any time, so its bytes are never lent as a slice but
/// copied in and out. Whole pages are allocated; the window in use starts as the requested number
/// of bytes from the first one, and [`set_window`](Self::set_window) moves it.
pub struct DmaBuffer {
    platform: SharedPlatform,
    /// `None` in an empty buffer, and while dropping.
    pages: Option<SharedPages>,
    frames: Box<[u64]>,
    offset: usize,
    length: usize,
    /// The host may still access the memory: it is never given back.
    leak: bool,
}

impl DmaBuffer {
    /// A zeroed buffer of `bytes` bytes; `None` if there is no memory for it.
    #[must_use]
    pub fn new(platform: &SharedPlatform, bytes: usize) -> Option<Self> {
        let count = bytes.div_ceil(PAGE_SIZE).max(1);
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).ok()?;
        let pages = platform.allocate_shared(count)?;
        frames.extend((0..count).map(|index| platform.page_frame(&pages, index)));
        Some(Self {
            platform: platform.clone(),
            pages: Some(pages),
            frames: frames.into_boxed_slice(),
            offset: 0,
            length: bytes,
            leak: false,
        })
    }

    /// A buffer of no bytes at all.
    pub(super) fn empty(platform: &SharedPlatform) -> Self {
        Self {
            platform: platform.clone(),
            pages: None,
            frames: Box::default(),
            offset: 0,
            length: 0,
            leak: false,
        }
    }

    /// Bytes in the window: what a request transfers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether the window is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes in the whole buffer: a multiple of 4096.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.frames.len().saturating_mul(PAGE_SIZE)
    }

    /// Moves the window to `length` bytes from byte `offset` of the buffer.
    ///
    /// # Errors
    ///
    /// [`OutsideBuffer`] if they aren't within the [capacity](Self::capacity).
    pub fn set_window(&mut self, offset: usize, length: usize) -> Result<(), OutsideBuffer> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.capacity()) {
            return Err(OutsideBuffer {
                offset,
                length,
                capacity: self.capacity(),
            });
        }
        self.offset = offset;
        self.length = length;
        Ok(())
    }

    /// Copies bytes from byte `offset` of the window into `into`.
    ///
    /// # Errors
    ///
    /// [`OutsideBuffer`] if they aren't within the window; nothing is copied.
    pub fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<(), OutsideBuffer> {
        let from = self.address(offset, into.len())?;
        // SAFETY: `address` checked that the bytes are within pages that this value owns; the host
        // may write them meanwhile, which the copy tolerates.
        unsafe { copy_from_shared(from, into) };
        Ok(())
    }

    /// Copies `from` to byte `offset` of the window.
    ///
    /// # Errors
    ///
    /// [`OutsideBuffer`] if they aren't within the window; nothing is copied.
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) -> Result<(), OutsideBuffer> {
        let to = self.address(offset, from.len())?;
        // SAFETY: as in `copy_to`; the exclusive reference keeps other copies of ours away.
        unsafe { copy_to_shared(to, from) };
        Ok(())
    }

    /// Fills the window with one byte value.
    pub fn fill(&mut self, byte: u8) {
        let pattern = [byte; 256];
        let mut at = 0;
        while let Some(rest) = self.length.checked_sub(at).filter(|rest| *rest != 0) {
            let count = rest.min(pattern.len());
            let piece = pattern.get(..count).unwrap_or_default();
            if self.copy_from(at, piece).is_err() {
                return;
            }
            at = at.saturating_add(count);
        }
    }

    /// A private copy of the window.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![0; self.length];
        // The range is the window itself.
        let _ = self.copy_to(0, &mut bytes);
        bytes
    }

    /// Address of the window's first byte, for platforms that hand the memory on. The host may
    /// write to it at any time.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.address(0, 0).unwrap_or(core::ptr::null_mut())
    }

    fn address(&self, offset: usize, length: usize) -> Result<*mut u8, OutsideBuffer> {
        let outside = OutsideBuffer {
            offset,
            length,
            capacity: self.length,
        };
        let end = offset.checked_add(length).ok_or(outside)?;
        let pages = self.pages.as_ref().ok_or(outside)?;
        if end > self.length {
            return Err(outside);
        }
        let start = self.offset.saturating_add(offset);
        // SAFETY: `set_window` keeps offset + length within the pages, and `offset` is at most the
        // window's length, so that the address is within the allocation or just past it.
        Ok(unsafe { pages.base().as_ptr().add(start) })
    }

    /// The part of the window that one request carries, as page frames.
    pub(super) fn range(&self, offset: u64, bytes: u32) -> Option<GpaRange<'_>> {
        const OFFSET_MASK: usize = PAGE_SIZE - 1;
        let length = usize::try_from(bytes).ok()?;
        let offset = usize::try_from(offset).ok()?;
        if length == 0 || offset.checked_add(length)? > self.length {
            return None;
        }
        let start = self.offset.checked_add(offset)?;
        let end = start.checked_add(length)?;
        let frames = start / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        Some(GpaRange {
            byte_count: bytes,
            byte_offset: u32::try_from(start & OFFSET_MASK).ok()?,
            page_frames: self.frames.get(frames)?,
        })
    }

    /// Marks the memory as still known to the host: it is leaked instead of freed.
    pub(super) const fn leak(&mut self) {
        self.leak = true;
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else {
            return;
        };
        if self.leak {
            // Dropping the pages' name leaks them.
            return;
        }
        // SAFETY: the pages are from this platform. A buffer is only dropped where no request
        // names it: requests own their buffers until their completion, and those given up are kept
        // by their channel or marked as leaked.
        unsafe { self.platform.free_shared(pages) };
    }
}

impl fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuffer")
            .field("offset", &self.offset)
            .field("length", &self.length)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
