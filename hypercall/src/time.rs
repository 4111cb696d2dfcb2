//! Reference time: 100 ns units since the partition was created.
//!
//! Reading it by MSR costs an exit to the hypervisor. The reference TSC page
//! lets a guest compute it from the time stamp counter instead, as long as the
//! hypervisor can vouch for the counter. [`reference_time`] takes the page
//! while it is valid and the MSR otherwise; [`ReferenceClock`] also never goes
//! backwards, whatever the hypervisor does.

mod clock;
mod tsc_page;

pub use crate::stimer::Stimer;
pub use clock::{ReferenceClock, reference_time};
pub use tsc_page::{
    ReferenceTscPage, SEQUENCE_INVALID, SEQUENCE_INVALID_OLD, TimeScale, next_sequence,
};

use crate::synic::set_page;
use crate::{MsrFault, Processor, msr};

/// Reference time units of a second.
pub const UNITS_PER_SECOND: u64 = 10_000_000;

/// Enables the reference TSC page of the partition, and so lets the hypervisor
/// write the page.
///
/// # Errors
///
/// [`MsrFault`] without
/// [`Privileges::REFERENCE_TSC`](crate::cpuid::Privileges::REFERENCE_TSC), or
/// if the frame is outside the partition's memory.
///
/// # Safety
///
/// The page must be the caller's alone and stay allocated until
/// [`disable_reference_tsc`] has returned success.
pub unsafe fn enable_reference_tsc<P: Processor + ?Sized>(
    processor: &P,
    page_frame: u64,
) -> Result<(), MsrFault> {
    // SAFETY: the caller gives the page away.
    unsafe { set_page(processor, msr::REFERENCE_TSC, Some(page_frame)) }
}

/// Disables the reference TSC page of the partition. Readers then use the MSR,
/// or must not read the page any more.
///
/// # Errors
///
/// [`MsrFault`] without the privilege; the hypervisor then may still write the
/// page.
pub fn disable_reference_tsc<P: Processor + ?Sized>(processor: &P) -> Result<(), MsrFault> {
    // SAFETY: a page is taken back.
    unsafe { set_page(processor, msr::REFERENCE_TSC, None) }
}

#[cfg(test)]
mod tests;
