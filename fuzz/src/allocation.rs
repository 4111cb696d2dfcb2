//! An allocator that refuses what no target should need.
//!
//! A parser that believes a length from its peer shows by one huge allocation, or by many that stay. Both test
//! program and fuzzer install [`Bounded`], so that either ends the process with the size in the message.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of one allocation.
pub const LARGEST: usize = 16 << 20;
/// Most bytes allocated at a time, by all threads together.
pub const TOTAL: usize = 512 << 20;

/// The system's allocator, with [`LARGEST`] and [`TOTAL`] as limits.
#[derive(Debug)]
pub struct Bounded {
    used: AtomicUsize,
}

impl Bounded {
    /// An allocator with nothing allocated.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "made once, as the global allocator"
    )]
    pub const fn new() -> Self {
        Self {
            used: AtomicUsize::new(0),
        }
    }

    /// Counts `more` bytes for an allocation of `size`, unless that is too much.
    fn take(&self, size: usize, more: usize) -> bool {
        let used = self.used.fetch_add(more, Ordering::Relaxed);
        let allowed = size <= LARGEST && used.saturating_add(more) <= TOTAL;
        if !allowed {
            self.give_back(more);
        }
        allowed
    }

    fn give_back(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }
}

// SAFETY: all memory comes from and goes back to the system's allocator with the layouts given; a null pointer
// says that there is none, as the trait wants it. Nothing here panics or allocates.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size(), layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            self.give_back(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size(), layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if memory.is_null() {
            self.give_back(layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.give_back(layout.size());
        // SAFETY: the caller's promises are the same, and `memory` came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let more = size.saturating_sub(layout.size());
        if !self.take(size, more) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same, and `memory` came from `System`.
        let moved = unsafe { System.realloc(memory, layout, size) };
        if moved.is_null() {
            self.give_back(more);
        } else {
            self.give_back(layout.size().saturating_sub(size));
        }
        moved
    }
}
