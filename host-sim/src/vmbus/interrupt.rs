//! Interrupting the guest for a channel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::server::VMBUS_SINT;
use crate::hv::Hv;
use crate::memory::GuestMemory;

/// Processor number of a channel whose guest polls.
const NOBODY: u32 = u32::MAX;

/// Where a channel's interrupts go.
pub(super) struct GuestInterrupt {
    hv: Arc<Hv>,
    /// Locked while the guest is interrupted: after a move the old processor gets nothing more.
    vp: Mutex<u32>,
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
            vp: Mutex::new(vp.unwrap_or(NOBODY)),
            flag,
            page,
            raised: AtomicU64::new(0),
        }
    }

    fn vp(&self) -> MutexGuard<'_, u32> {
        self.vp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the channel's interrupts to another virtual processor; an interrupt on its way arrives before.
    pub(super) fn retarget(&self, vp: u32) {
        *self.vp() = vp;
    }

    /// Interrupts so far.
    pub(super) fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    /// Sets the channel's flag and, if it was clear, interrupts the guest.
    pub(super) fn raise(&self) {
        let vp = self.vp();
        if *vp == NOBODY {
            return;
        }
        self.raised.fetch_add(1, Ordering::Relaxed);
        let result = match &self.page {
            None => self.hv.signal_event(*vp, VMBUS_SINT, self.flag),
            Some((memory, page)) => {
                let address = page.saturating_add(u64::from(self.flag / 32) * 4);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, OnceLock};
    use std::time::Duration;

    use hypercall::msr;

    use super::*;
    use crate::hv::{HvConfig, InterruptSink, ManualClock};

    /// Holds the first interrupt up until it is told to go on.
    #[derive(Default)]
    struct Slow {
        inside: OnceLock<Mutex<Sender<u32>>>,
        go_on: OnceLock<Mutex<Receiver<()>>>,
    }

    impl InterruptSink for Slow {
        fn inject(&self, vp: u32, _vector: u8) {
            if let (Some(inside), Some(go_on)) = (self.inside.get(), self.go_on.get()) {
                inside.lock().unwrap().send(vp).unwrap();
                let _ = go_on.lock().unwrap().recv();
            }
        }
    }

    fn machine(sink: Arc<Slow>) -> (Arc<Hv>, GuestMemory) {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let clock = Arc::new(ManualClock::default());
        let hv = Hv::new(HvConfig::new(memory.clone(), clock, sink, 2)).unwrap();
        for vp in 0..2 {
            hv.write_msr(vp, msr::SCONTROL, 1).unwrap();
            hv.write_msr(vp, msr::SIEFP, (u64::from(vp) + 16) << 12 | 1)
                .unwrap();
            hv.write_msr(vp, msr::SINT0 + u32::from(VMBUS_SINT), 0x50)
                .unwrap();
        }
        (hv, memory)
    }

    // 23
    #[test]
    fn the_old_processor_gets_no_interrupt_after_the_move() {
        let sink = Arc::new(Slow::default());
        let (hv, _) = machine(Arc::clone(&sink));
        let ((inside, arrived), (go_on, wait)) = (channel(), channel());
        let _ = sink.inside.set(Mutex::new(inside));
        let _ = sink.go_on.set(Mutex::new(wait));
        let interrupt = GuestInterrupt::new(hv, Some(0), 5, None);
        std::thread::scope(|scope| {
            scope.spawn(|| interrupt.raise());
            assert_eq!(arrived.recv(), Ok(0), "the interrupt is on its way");
            let (moved, has_moved) = channel();
            let interrupt = &interrupt;
            scope.spawn(move || {
                interrupt.retarget(1);
                moved.send(()).unwrap();
            });
            let early = has_moved.recv_timeout(Duration::from_millis(50));
            drop(go_on);
            assert!(
                early.is_err(),
                "the guest would be told of the move too early"
            );
            assert_eq!(has_moved.recv(), Ok(()));
        });
    }

    // 38
    #[test]
    fn a_guest_that_polls_is_never_interrupted() {
        let (hv, memory) = machine(Arc::default());
        for page in [None, Some((memory, 0x8000))] {
            let interrupt = GuestInterrupt::new(Arc::clone(&hv), None, 5, page);
            interrupt.raise();
            assert_eq!(interrupt.raised(), 0);
        }
        for counters in hv.counters().virtual_processors {
            assert_eq!((counters.interrupts, counters.events_signalled), (0, 0));
        }
    }

    // 0.13 and 1.1
    #[test]
    fn an_interrupt_page_at_the_end_of_the_address_space_is_survived() {
        let (hv, memory) = machine(Arc::default());
        GuestInterrupt::new(hv, Some(0), 2047, Some((memory, u64::MAX - 3))).raise();
    }
}
