//! The VP assist page: ends of interrupts that need no exit.
//!
//! Needs [`Privileges::APIC`](crate::cpuid::Privileges::APIC).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::synic::set_page;
use crate::{MsrFault, PAGE_SIZE, Processor, msr};

/// The VP assist page, shared with the other end. Only what a guest without
/// virtual trust levels or nested guests uses has a name.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct VpAssistPage {
    /// Bit 0: the hypervisor needs no end of the current interrupt.
    pub apic_assist: AtomicU32,
    reserved: AtomicU32,
    rest: [AtomicU64; PAGE_SIZE / 8 - 1],
}

const _: () = assert!(size_of::<VpAssistPage>() == PAGE_SIZE);

impl VpAssistPage {
    const NO_EOI_REQUIRED: u32 = 1;

    /// A page of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            apic_assist: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
            rest: [const { AtomicU64::new(0) }; PAGE_SIZE / 8 - 1],
        }
    }

    /// Ends the current interrupt without an exit if the hypervisor allows
    /// that. If not (`false`), the caller must write the APIC's EOI register.
    #[must_use = "an interrupt that is not ended blocks later ones"]
    pub fn end_interrupt(&self) -> bool {
        // The hypervisor may withdraw its offer at the same moment: only a
        // locked exchange tells who was first.
        self.apic_assist.swap(0, Ordering::SeqCst) & Self::NO_EOI_REQUIRED != 0
    }
}

impl Default for VpAssistPage {
    fn default() -> Self {
        Self::new()
    }
}

/// Enables the VP assist page of this virtual processor.
///
/// # Errors
///
/// [`MsrFault`] without the privilege, or if the frame is outside the
/// partition's memory.
///
/// # Safety
///
/// The page must be the caller's alone, zeroed, and stay allocated until
/// [`disable`] has returned success.
pub unsafe fn enable<P: Processor + ?Sized>(
    processor: &P,
    page_frame: u64,
) -> Result<(), MsrFault> {
    // SAFETY: the caller gives the page away.
    unsafe { set_page(processor, msr::VP_ASSIST_PAGE, Some(page_frame)) }
}

/// Disables the VP assist page of this virtual processor.
///
/// # Errors
///
/// [`MsrFault`] without the privilege; the hypervisor may then still write the
/// page.
pub fn disable<P: Processor + ?Sized>(processor: &P) -> Result<(), MsrFault> {
    // SAFETY: a page is taken back.
    unsafe { set_page(processor, msr::VP_ASSIST_PAGE, None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_taken_once() {
        let page = VpAssistPage::new();
        assert!(!page.end_interrupt());
        page.apic_assist.store(1, Ordering::Relaxed);
        assert!(page.end_interrupt());
        assert!(!page.end_interrupt());
        assert_eq!(page.apic_assist.load(Ordering::Relaxed), 0);
    }
}
