//! Open channels at work: one thread each, or one step at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vmbus_core::ring::{IncomingRing, OutgoingRing};

use super::doorbell::Doorbell;
use super::interrupt::GuestInterrupt;
use super::patience::Patience;
use super::vsp::{ChannelFault, ChannelIo, GuestRing, NextPoll, VspChannel, drive_awake};
use crate::hv::Hv;
use crate::memory::GuestMemory;

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
        self.turn_with(&Patience::NONE)
    }

    /// As [`turn`](Self::turn), and looks for further packets for a while before the guest is asked for signals.
    fn turn_with(&mut self, patience: &Patience) -> Result<NextPoll, ChannelFault> {
        self.shared.polls.fetch_add(1, Ordering::Relaxed);
        let now = self.shared.hv.reference_time();
        let mut io = ChannelIo::new(&mut self.incoming, &mut self.outgoing, &self.memory, now);
        let next = drive_awake(self.device.as_mut(), &mut io);
        // Before anything that takes time.
        if io.signal().is_needed() {
            self.shared.interrupt.raise();
        }
        let next = next?;
        if next == NextPoll::Now || io.is_input_held() {
            return Ok(next);
        }
        let (doorbell, incoming) = (&self.shared.doorbell, io.incoming);
        let more = next == NextPoll::OnSignal
            && patience
                .look(|| Ok::<_, ChannelFault>(doorbell.is_rung() || incoming.has_data()?))?;
        if more || incoming.unmask_interrupts()? {
            return Ok(NextPoll::Now);
        }
        Ok(next)
    }

    /// Works until told to stop. `fault` is told what the guest did, if it broke the channel.
    pub(super) fn work(mut self, fault: impl FnOnce(&ChannelFault)) {
        let shared = Arc::clone(&self.shared);
        shared.doorbell.attach(std::thread::current());
        let mut patience = Patience::new();
        let error = loop {
            // In this order: a ring that comes with the stop must not be taken without seeing the stop.
            shared.doorbell.take();
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            match self.turn_with(&patience) {
                Ok(NextPoll::Now) => {}
                Ok(NextPoll::OnSignal) => {
                    let begun = Instant::now();
                    sleep(&shared, None);
                    patience.slept(begun.elapsed());
                }
                Ok(NextPoll::At(time)) => sleep(&shared, Some(time)),
                Err(error) => break error,
            }
        };
        // The guest's fault ends the device's end at once; the channel stays until the guest closes it.
        drop(self);
        fault(&error);
        loop {
            shared.doorbell.take();
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            shared.doorbell.wait(None);
        }
    }
}

/// Waits for the doorbell or the time (100 ns units of reference time).
fn sleep(shared: &ChannelShared, until: Option<u64>) {
    let timeout = until.map(|time| {
        let units = time.saturating_sub(shared.hv.reference_time());
        Duration::from_nanos(units.saturating_mul(100))
    });
    shared.doorbell.wait(timeout);
}
