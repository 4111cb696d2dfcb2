//! Pages for the host, time, and idling.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ptr::NonNull;

use hypercall::Processor as _;
use hypercall::cpuid::{Discovery, Privileges};
use hypercall::time::{ReferenceClock, ReferenceTscPage, enable_reference_tsc};
use vmbus_core::platform::{PAGE_SIZE, Platform, Runtime, SharedPages};

use super::processor::ThisProcessor;
use super::{apic, interrupts, smp};

/// Counts of the time-stamp counter in 100 ns where nobody tells its rate: 1 GHz is assumed.
const ASSUMED_COUNTS: u64 = 100;

/// The machine, for the fronts that allocate and wait. One for all processors.
pub(super) struct MachineRuntime {
    time: Time,
}

/// Where time comes from.
enum Time {
    /// The hypervisor: from its page where it keeps one, else from its MSR.
    Reference {
        clock: ReferenceClock,
        page: Option<&'static ReferenceTscPage>,
    },
    /// There is no hypervisor that has the time.
    Counter,
}

impl MachineRuntime {
    /// Asks the hypervisor, if there is one, for its clock.
    pub(super) fn new() -> Self {
        let processor = ThisProcessor::new();
        let has = |privilege| {
            Discovery::read(&processor)
                .is_ok_and(|discovery| discovery.privileges.contains(privilege))
        };
        let time = if has(Privileges::TIME_REF_COUNT) {
            Time::Reference {
                clock: ReferenceClock::new(),
                page: has(Privileges::REFERENCE_TSC)
                    .then(|| enable_page(&processor))
                    .flatten(),
            }
        } else {
            Time::Counter
        };
        Self { time }
    }
}

/// Gives the hypervisor a page to tell its clock's formula in, for ever.
fn enable_page(processor: &ThisProcessor) -> Option<&'static ReferenceTscPage> {
    let page = allocate(1)?;
    // SAFETY: the page is fresh and is never freed.
    if unsafe { enable_reference_tsc(processor, frame(page)) }.is_err() {
        // SAFETY: the hypervisor has refused the page.
        unsafe { free(page, 1) };
        return None;
    }
    // SAFETY: the page is aligned, zeroed, lives for ever, and is accessed by atomics alone.
    Some(unsafe { page.cast::<ReferenceTscPage>().as_ref() })
}

fn layout(pages: usize) -> Option<Layout> {
    let bytes = pages.checked_mul(PAGE_SIZE).filter(|&bytes| bytes > 0)?;
    Layout::from_size_align(bytes, PAGE_SIZE).ok()
}

/// Zeroed pages from the heap.
fn allocate(pages: usize) -> Option<NonNull<u8>> {
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc_zeroed(layout(pages)?) })
}

/// # Safety
/// The pages came from [`allocate`] with the same number; nobody accesses them any more.
unsafe fn free(base: NonNull<u8>, pages: usize) {
    if let Some(layout) = layout(pages) {
        // SAFETY: the caller vouches for the pages, which were allocated with this layout.
        unsafe { dealloc(base.as_ptr(), layout) };
    }
}

/// Number of the page frame at an address: memory is identity-mapped.
fn frame(base: NonNull<u8>) -> u64 {
    base.addr().get() as u64 / PAGE_SIZE as u64
}

// SAFETY: pages come from the heap: mapped, aligned, the caller's alone. All RAM can be accessed by the host, and
// identity mapping makes the frame number a fixed function of the address.
unsafe impl Platform for MachineRuntime {
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages> {
        let base = allocate(pages)?;
        // SAFETY: fresh, page-aligned pages that nobody else has.
        Some(unsafe { SharedPages::from_raw(base, pages) })
    }

    unsafe fn free_shared(&self, pages: SharedPages) {
        // SAFETY: the pages are from `allocate_shared`, whose `allocate` had the same number; the caller vouches that
        // nobody accesses them.
        unsafe { free(pages.base(), pages.page_count()) };
    }

    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64 {
        assert!(index < pages.page_count(), "a page of the allocation");
        frame(pages.base()) + index as u64
    }
}

impl Runtime for MachineRuntime {
    fn now(&self) -> u64 {
        let processor = ThisProcessor::new();
        let reference = match &self.time {
            Time::Reference { clock, page } => clock.now(&processor, *page).ok(),
            Time::Counter => None,
        };
        reference.unwrap_or_else(|| processor.tsc() / ASSUMED_COUNTS)
    }

    fn idle(&self) {
        // What others have asked this processor to do comes before sleep.
        smp::run_mailbox();
        apic::start_idle_timer();
        interrupts::wait();
    }
}
