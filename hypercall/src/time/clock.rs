//! Reading reference time.

use core::sync::atomic::{AtomicU64, Ordering};

use super::ReferenceTscPage;
use crate::{MsrFault, Processor, msr};

/// Reference time in 100 ns: from the page if there is a valid one, otherwise
/// from the MSR.
///
/// # Errors
///
/// [`MsrFault`] if the page is not valid and the partition lacks
/// [`Privileges::TIME_REF_COUNT`](crate::cpuid::Privileges::TIME_REF_COUNT).
pub fn reference_time<P: Processor + ?Sized>(
    processor: &P,
    page: Option<&ReferenceTscPage>,
) -> Result<u64, MsrFault> {
    match page.and_then(|page| page.read(processor)) {
        Some(time) => Ok(time),
        None => processor.read_msr(msr::TIME_REF_COUNT),
    }
}

/// Reference time that never goes backwards, on all virtual processors
/// together.
///
/// Page and MSR may differ by a unit where a reader changes from one to the
/// other, and a hypervisor may be wrong; a reader of this clock sees time stand
/// still then.
#[derive(Debug, Default)]
pub struct ReferenceClock {
    latest: AtomicU64,
}

impl ReferenceClock {
    /// A clock that has not been read.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            latest: AtomicU64::new(0),
        }
    }

    /// Reference time in 100 ns, at least what any earlier call gave.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] as for [`reference_time`].
    pub fn now<P: Processor + ?Sized>(
        &self,
        processor: &P,
        page: Option<&ReferenceTscPage>,
    ) -> Result<u64, MsrFault> {
        let time = reference_time(processor, page)?;
        Ok(self.latest.fetch_max(time, Ordering::AcqRel).max(time))
    }
}
