//! Giving everything back: before another kernel is started in the same
//! machine, on hibernation and on unload.
//!
//! First [`virtual_processor`] on each virtual processor, then [`partition`]
//! once. Both go on past faults, so that as much as possible is given back.

use crate::cpuid::{Discovery, Privileges};
use crate::msr::{self, SintIndex, TimerIndex};
use crate::synic::set_page;
use crate::{MsrFault, Processor, page, stimer, synic, time};

/// Takes everything back that belongs to this virtual processor: timers, all
/// interrupt sources, the SynIC's pages, the VP assist page.
///
/// # Errors
///
/// [`MsrFault`] for the first register that refused. Pages may then still be
/// the hypervisor's: leak them.
///
/// # Safety
///
/// Nothing may use the SynIC, timers or assist page of this virtual processor
/// any more. The caller must stay on it, with interrupts off.
pub unsafe fn virtual_processor<P: Processor + ?Sized>(
    processor: &P,
    discovery: &Discovery,
) -> Result<(), MsrFault> {
    let may = |privilege| discovery.privileges.contains(privilege);
    let mut result = Ok(());
    if may(Privileges::STIMER) {
        for timer in TimerIndex::all() {
            result = result.and(stimer::switch_off(processor, timer));
        }
    }
    if may(Privileges::SYNIC) {
        for sint in SintIndex::all() {
            result = result.and(synic::mask(processor, sint));
        }
        // SAFETY: the caller's promise is the one that this call asks for.
        result = result.and(unsafe { synic::switch_off(processor, SintIndex::VMBUS) });
    }
    if may(Privileges::APIC) {
        // SAFETY: a page is taken back.
        result = result.and(unsafe { set_page(processor, msr::VP_ASSIST_PAGE, None) });
    }
    result
}

/// Takes everything back that belongs to the partition: the reference TSC
/// page, the hypercall page, the guest's identity.
///
/// # Errors
///
/// [`MsrFault`] for the first register that refused. Pages may then still be
/// the hypervisor's: leak them.
///
/// # Safety
///
/// No hypercall may be made any more, on any virtual processor, and
/// [`virtual_processor`] must have run on each.
pub unsafe fn partition<P: Processor + ?Sized>(
    processor: &P,
    discovery: &Discovery,
) -> Result<(), MsrFault> {
    let mut result = Ok(());
    if discovery.privileges.contains(Privileges::REFERENCE_TSC) {
        result = time::disable_reference_tsc(processor);
    }
    // SAFETY: the caller's promise is the one that this call asks for.
    result.and(unsafe { page::remove(processor) })
}

#[cfg(test)]
mod tests;
