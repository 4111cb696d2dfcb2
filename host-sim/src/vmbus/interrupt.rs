//! Interrupting the guest for a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::server::VMBUS_SINT;
use crate::hv::Hv;
use crate::memory::GuestMemory;

/// Processor number of a channel whose guest polls.
const NOBODY: u32 = u32::MAX;

/// Where a channel's interrupts go.
pub(super) struct GuestInterrupt {
    hv: Arc<Hv>,
    vp: AtomicU32,
    flag: u16,
    /// Before version 2.4: the interrupt page, in which the channel's bit is set.
    page: Option<(GuestMemory, u64)>,
    raised: AtomicU64,
}

impl GuestInterrupt {
    pub(super) fn new(
        hv: Arc<Hv>,
        vp: Option<u32>,
        flag: u16,
        page: Option<(GuestMemory, u64)>,
    ) -> Self {
        Self {
            hv,
            vp: AtomicU32::new(vp.unwrap_or(NOBODY)),
            flag,
            page,
            raised: AtomicU64::new(0),
        }
    }

    /// Moves the channel's interrupts to another virtual processor.
    pub(super) fn retarget(&self, vp: u32) {
        self.vp.store(vp, Ordering::Release);
    }

    /// Interrupts so far.
    pub(super) fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    /// Sets the channel's flag and, if it was clear, interrupts the guest.
    pub(super) fn raise(&self) {
        let vp = self.vp.load(Ordering::Acquire);
        if vp == NOBODY {
            return;
        }
        self.raised.fetch_add(1, Ordering::Relaxed);
        let result = match &self.page {
            None => self.hv.signal_event(vp, VMBUS_SINT, self.flag),
            Some((memory, page)) => {
                let address = page + u64::from(self.flag / 32) * 4;
                match memory.atomic_u32(address) {
                    Ok(word) => word.fetch_or(1 << (self.flag % 32), Ordering::SeqCst),
                    Err(error) => {
                        tracing::debug!(%error, "the guest's interrupt page is no memory");
                        return;
                    }
                };
                // Flag 0 says "look at the interrupt page".
                self.hv.signal_event(0, VMBUS_SINT, 0)
            }
        };
        if let Err(status) = result {
            // A guest with its SynIC off is not interrupted; it looks at its rings when it comes back.
            tracing::trace!(?status, flag = self.flag, "the guest takes no interrupt");
        }
    }
}
