//! The hypercall page: a page of code, provided by the hypervisor, through
//! which all hypercalls go.
//!
//! It belongs to the partition. The processor that boots installs it once,
//! maps it executable and read-only, and gives its address to
//! [`Processor`] implementations such as
//! [`Cpu`](crate::arch::x86_64::Cpu).

use core::fmt;

use crate::identity::GuestOsId;
use crate::msr::{self, PageRegister};
use crate::{MsrFault, Processor};

/// Why the hypercall page could not be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// The identity is [`GuestOsId::NONE`], with which there is no hypercall
    /// page. Nothing was changed.
    NoIdentity,
    /// The register is locked until the partition is reset, and has the page
    /// disabled or somewhere else.
    Locked {
        /// What the register holds.
        register: PageRegister,
    },
    /// The hypervisor did not take the page.
    Refused {
        /// What the register holds after the write.
        register: PageRegister,
    },
    /// A register could not be accessed.
    Fault(MsrFault),
}

impl From<MsrFault> for InstallError {
    fn from(fault: MsrFault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity => f.write_str("a guest without identity has no hypercall page"),
            Self::Locked { register } => write!(
                f,
                "the hypercall register is locked at {:#x}",
                register.bits()
            ),
            Self::Refused { register } => write!(
                f,
                "the hypervisor refused the hypercall page, the register reads {:#x}",
                register.bits()
            ),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for InstallError {}

/// Identifies the guest and installs the hypercall page at a page frame.
///
/// The identity comes first, since the page works only with one. The register
/// is read back, since a hypervisor that does not want the page ignores the
/// write.
///
/// # Errors
///
/// [`InstallError`]. After [`Refused`](InstallError::Refused) and
/// [`Fault`](InstallError::Fault) the page is not enabled, and the identity is
/// withdrawn if it can be.
///
/// # Safety
///
/// The page must be the caller's alone, hold nothing of use, and stay
/// allocated until [`remove`] has returned success.
/// [`Discovery::read`](crate::cpuid::Discovery::read) must have succeeded.
pub unsafe fn install<P: Processor + ?Sized>(
    processor: &P,
    identity: GuestOsId,
    page_frame: u64,
) -> Result<(), InstallError> {
    if identity.is_none() {
        return Err(InstallError::NoIdentity);
    }
    // SAFETY: an identity touches no memory.
    unsafe { processor.write_msr(msr::GUEST_OS_ID, identity.bits())? };
    // SAFETY: the caller gives the page away.
    let result = unsafe { enable(processor, page_frame) };
    if matches!(
        result,
        Err(InstallError::Refused { .. } | InstallError::Fault(_))
    ) {
        // Without identity the page is off, whatever became of the register.
        // SAFETY: an identity touches no memory.
        let _ = unsafe { processor.write_msr(msr::GUEST_OS_ID, GuestOsId::NONE.bits()) };
    }
    result
}

/// # Safety
///
/// As for [`install`].
unsafe fn enable<P: Processor + ?Sized>(
    processor: &P,
    page_frame: u64,
) -> Result<(), InstallError> {
    let there =
        |register: PageRegister| register.is_enabled() && register.page_frame() == page_frame;
    let before = PageRegister::from_bits(processor.read_msr(msr::HYPERCALL)?);
    if before.is_locked() {
        return if there(before) {
            Ok(())
        } else {
            Err(InstallError::Locked { register: before })
        };
    }
    let wanted = before.with_page_frame(page_frame).with_enabled(true);
    // SAFETY: the caller gives the page away.
    unsafe { processor.write_msr(msr::HYPERCALL, wanted.bits())? };
    let register = PageRegister::from_bits(processor.read_msr(msr::HYPERCALL)?);
    if there(register) {
        Ok(())
    } else {
        Err(InstallError::Refused { register })
    }
}

/// Disables the hypercall page and withdraws the guest's identity.
///
/// # Errors
///
/// [`MsrFault`] for the first register that refused, for instance since it is
/// locked; the other was written nevertheless. The page may then still be the
/// hypervisor's: leak it.
///
/// # Safety
///
/// No hypercall may be made any more, on any virtual processor.
pub unsafe fn remove<P: Processor + ?Sized>(processor: &P) -> Result<(), MsrFault> {
    // SAFETY: the page is taken back, and the caller makes no more calls.
    let steps = unsafe {
        [
            crate::synic::set_page(processor, msr::HYPERCALL, None),
            // Takes the page down even if its own register is locked.
            processor.write_msr(msr::GUEST_OS_ID, GuestOsId::NONE.bits()),
        ]
    };
    steps.into_iter().collect()
}

#[cfg(test)]
mod tests;
