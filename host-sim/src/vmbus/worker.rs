//! Open channels at work: one thread each, or one step at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use vmbus_core::ring::{IncomingRing, OutgoingRing};

use super::doorbell::Doorbell;
use super::interrupt::GuestInterrupt;
use super::vsp::{ChannelFault, ChannelIo, GuestRing, NextPoll, VspChannel, drive};
use crate::hv::Hv;
use crate::memory::GuestMemory;

/// Looks at the doorbell before a worker goes to sleep: a guest that answers at once finds it awake, which
/// saves the host a wake-up without delaying anybody for long.
const LOOKS_BEFORE_SLEEP: u32 = 200;

/// An open channel: its device's end, its rings, and where its interrupts go.
pub(super) struct ChannelRun {
    pub(super) device: Box<dyn VspChannel>,
    pub(super) incoming: IncomingRing<GuestRing>,
    pub(super) outgoing: OutgoingRing<GuestRing>,
    pub(super) memory: GuestMemory,
    pub(super) shared: Arc<ChannelShared>,
}

/// What a channel's worker and the rest of the server know of each other.
pub(super) struct ChannelShared {
    pub(super) hv: Arc<Hv>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) interrupt: GuestInterrupt,
    pub(super) stop: AtomicBool,
    pub(super) polls: AtomicU64,
}

impl ChannelRun {
    /// One turn: polls the device and interrupts the guest if that is due.
    pub(super) fn turn(&mut self) -> Result<NextPoll, ChannelFault> {
        self.shared.polls.fetch_add(1, Ordering::Relaxed);
        let now = self.shared.hv.reference_time();
        let mut io = ChannelIo::new(&mut self.incoming, &mut self.outgoing, &self.memory, now);
        let next = drive(self.device.as_mut(), &mut io);
        if io.signal().is_needed() {
            self.shared.interrupt.raise();
        }
        next
    }

    /// Works until told to stop. `fault` is told what the guest did, if it broke the channel.
    pub(super) fn work(mut self, fault: impl FnOnce(&ChannelFault)) {
        let shared = Arc::clone(&self.shared);
        shared.doorbell.attach(std::thread::current());
        let mut fault = Some(fault);
        let mut broken = false;
        while !shared.stop.load(Ordering::Acquire) {
            shared.doorbell.take();
            if broken {
                shared.doorbell.wait(None);
                continue;
            }
            match self.turn() {
                Ok(NextPoll::Now) => {}
                Ok(NextPoll::OnSignal) => sleep(&shared, None),
                Ok(NextPoll::At(time)) => sleep(&shared, Some(time)),
                Err(error) => {
                    broken = true;
                    if let Some(fault) = fault.take() {
                        fault(&error);
                    }
                }
            }
        }
    }
}

/// Waits for the doorbell or the time (100 ns units of reference time).
fn sleep(shared: &ChannelShared, until: Option<u64>) {
    for _ in 0..LOOKS_BEFORE_SLEEP {
        if shared.doorbell.is_rung() {
            return;
        }
        std::hint::spin_loop();
    }
    let timeout = until.map(|time| {
        let units = time.saturating_sub(shared.hv.reference_time());
        Duration::from_nanos(units.saturating_mul(100))
    });
    shared.doorbell.wait(timeout);
}
