//! What guest code in process needs of its machine: pages, time, and a way to be idle.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use vmbus_core::platform::{Platform, Runtime, SharedPages};

use super::Shared;
use crate::hv::VectorSet;
use crate::memory::PAGE_SIZE;

/// Longest that an idle processor sleeps without an interrupt.
const IDLE_LIMIT: Duration = Duration::from_millis(4);

/// The machine as one virtual processor's guest code sees it. All of a partition share memory and time.
#[derive(Clone)]
pub struct InprocRuntime {
    shared: Arc<Shared>,
    vp: u32,
}

impl InprocRuntime {
    pub(super) fn new(shared: Arc<Shared>, vp: u32) -> Self {
        Self { shared, vp }
    }

    /// Index of the virtual processor that [`Runtime::idle`] parks.
    #[must_use]
    pub fn vp_index(&self) -> u32 {
        self.vp
    }

    /// Takes the interrupts that are pending on the processor, as if their handlers had begun.
    #[must_use]
    pub fn take_pending(&self) -> VectorSet {
        self.shared.interrupts.take_pending(self.vp)
    }

    /// Ends the processor's idle wait, or its next one, without an interrupt.
    pub fn wake(&self) {
        self.shared.interrupts.wake(self.vp);
    }

    /// Whether the partition is being shut down: guest code should end.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shared.is_shut_down()
    }
}

// SAFETY: pages come from the partition's RAM, which is mapped readable and writable as long as the runtime (which holds
// the partition) lives. The allocator gives each page to one owner at a time, and nobody has Rust references to guest
// memory. Page frames follow from the address and never change.
unsafe impl Platform for InprocRuntime {
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages> {
        let count = u64::try_from(pages).ok()?;
        let first = self.shared.pages().take(count)?;
        let address = first * PAGE_SIZE;
        let length = pages * PAGE_SIZE as usize;
        let memory = &self.shared.memory;
        match (memory.slice(address, length), memory.page_pointer(first)) {
            (Ok(bytes), Ok(base)) => {
                bytes.copy_from(&vec![0_u8; length]);
                // SAFETY: `first` is page-aligned RAM of `pages` pages that is contiguous in the mapping (`slice` has
                // checked it) and was taken from the allocator just now.
                Some(unsafe { SharedPages::from_raw(base, pages) })
            }
            _ => {
                self.shared.pages().give_back(first, count);
                None
            }
        }
    }

    unsafe fn free_shared(&self, pages: SharedPages) {
        let first = self.shared.frame_of(pages.base());
        self.shared
            .pages()
            .give_back(first, pages.page_count() as u64);
    }

    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64 {
        assert!(
            index < pages.page_count(),
            "page {index} of {} shared pages",
            pages.page_count()
        );
        self.shared.frame_of(pages.base()) + index as u64
    }
}

impl Runtime for InprocRuntime {
    fn now(&self) -> u64 {
        self.shared.hv.reference_time()
    }

    fn idle(&self) {
        match self.shared.idle_hook() {
            Some(hook) => hook(self.vp),
            None => self.shared.interrupts.wait(self.vp, IDLE_LIMIT),
        }
    }
}

impl Shared {
    /// The frame of an address within the partition's RAM.
    fn frame_of(&self, address: NonNull<u8>) -> u64 {
        let offset = (address.as_ptr() as usize).wrapping_sub(self.memory_base);
        offset as u64 / PAGE_SIZE
    }
}
