//! What the crate needs from the machine that it runs on: memory that the host can see and, for the
//! fronts that wait, time and a way to be idle.

use core::ptr::NonNull;

/// Size of a page in bytes: of everything that is shared by page frame number.
pub const PAGE_SIZE: usize = 4096;

/// Memory shared with the host: whole pages, contiguous in the guest's virtual memory.
///
/// Made by [`Platform::allocate_shared`] and given back by [`Platform::free_shared`]. Dropping it leaks
/// the pages, which is the right end for memory that the host may still see.
#[derive(Debug)]
#[must_use = "dropping shared pages leaks them"]
pub struct SharedPages {
    base: NonNull<u8>,
    count: usize,
}

// SAFETY: the value is a name for memory that any thread may access (by atomics and race-safe copies).
unsafe impl Send for SharedPages {}
// SAFETY: as above; a shared reference only reads the name.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Names `count` pages from `base` on. For implementations of [`Platform`].
    ///
    /// # Safety
    /// `base` must be a multiple of 4096 and the pages mapped, readable, writable and owned by the caller
    /// alone: nobody has a Rust reference to them, and they stay until they are given to
    /// [`Platform::free_shared`].
    pub const unsafe fn from_raw(base: NonNull<u8>, count: usize) -> Self {
        Self { base, count }
    }

    /// Address of the first byte, a multiple of 4096.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Number of 4096-byte pages.
    #[must_use]
    pub const fn page_count(&self) -> usize {
        self.count
    }

    /// Number of bytes.
    #[must_use]
    pub const fn byte_count(&self) -> usize {
        self.count.saturating_mul(PAGE_SIZE)
    }
}

/// Memory that the host can be given access to.
///
/// Takes `&self`: one process may hold many guests, each with a platform of its own.
///
/// # Safety
/// - [`allocate_shared`](Self::allocate_shared) gives pages that fulfil the contract of
///   [`SharedPages::from_raw`], are zeroed and may be accessed by the host.
/// - [`page_frame`](Self::page_frame) names the guest physical page behind each of them and does not
///   change as long as they are allocated.
pub unsafe trait Platform {
    /// Allocates `pages` zeroed pages that the host may access, contiguous in virtual (not necessarily in
    /// physical) memory. `None` when there are none.
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages>;

    /// Takes pages back.
    ///
    /// # Safety
    /// The pages are from this platform's [`allocate_shared`](Self::allocate_shared); nobody will access
    /// them through the old address any more, the host included.
    unsafe fn free_shared(&self, pages: SharedPages);

    /// Guest physical page frame number of page `index` (from 0) of `pages`.
    ///
    /// # Panics
    /// May panic when `index` is not below the page count: the caller's mistake.
    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64;
}

/// A platform that can also tell the time and wait, for the fronts of this crate.
pub trait Runtime: Platform {
    /// Time since an arbitrary start, in units of 100 ns. Never goes back.
    fn now(&self) -> u64;

    /// Parks this thread or processor until an interrupt came or a few milliseconds have passed.
    ///
    /// May return early for no reason. An interrupt that came since the caller last looked must end it at
    /// once or not let it begin: an implementation that halts a processor does so with interrupts
    /// enabled in the same step.
    fn idle(&self);
}
