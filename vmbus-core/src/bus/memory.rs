//! Memory that a host may see.

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::platform::{Platform, SharedPages};

/// Pages that are freed with the last owner, unless the host may still see them: then they are leaked.
pub(crate) struct SharedMemory<R: Platform> {
    platform: Arc<R>,
    pages: Option<SharedPages>,
    host_sees: AtomicBool,
}

impl<R: Platform> SharedMemory<R> {
    /// Allocates pages that the host does not see yet.
    pub(crate) fn allocate(platform: Arc<R>, pages: usize) -> Option<Self> {
        let pages = platform.allocate_shared(pages)?;
        Some(Self {
            platform,
            pages: Some(pages),
            host_sees: AtomicBool::new(false),
        })
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.pages
            .as_ref()
            .map_or(NonNull::dangling(), SharedPages::base)
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.as_ref().map_or(0, SharedPages::page_count)
    }

    /// Frame numbers of the pages.
    pub(crate) fn frames(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.page_count()).map(|index| {
            self.pages
                .as_ref()
                .map_or(0, |pages| self.platform.page_frame(pages, index))
        })
    }

    /// Guest physical address of a page.
    pub(crate) fn address(&self, index: usize) -> u64 {
        self.frames()
            .nth(index)
            .unwrap_or_default()
            .saturating_mul(crate::platform::PAGE_SIZE as u64)
    }

    /// Says whether the host may see the pages.
    pub(crate) fn set_host_sees(&self, sees: bool) {
        self.host_sees.store(sees, Ordering::SeqCst);
    }
}

impl<R: Platform> Drop for SharedMemory<R> {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else {
            return;
        };
        if self.host_sees.load(Ordering::SeqCst) {
            log::warn!(
                "VMBus: leaking {} pages that the host has not given back",
                pages.page_count()
            );
        } else {
            // SAFETY: the pages are from this platform; the last owner is gone, and the host does not
            // see them (any more).
            unsafe { self.platform.free_shared(pages) }
        }
    }
}

impl<R: Platform> fmt::Debug for SharedMemory<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("pages", &self.pages)
            .field("host_sees", &self.host_sees)
            .finish_non_exhaustive()
    }
}
