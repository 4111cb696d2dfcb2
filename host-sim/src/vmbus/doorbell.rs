//! Doorbells: how a channel's worker learns that there may be something to do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use hypercall::call::Status;

use crate::hv::EventPort;

/// Wakes one channel's worker. Ringing never blocks and is remembered.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    rung: AtomicBool,
    worker: OnceLock<Thread>,
    /// Signals by the guest: one for each of its hypercalls.
    guest_signals: AtomicU64,
}

impl Doorbell {
    /// The thread that waits here.
    pub(super) fn attach(&self, worker: Thread) {
        // A worker attaches once, before anybody can close its channel.
        let _ = self.worker.set(worker);
        self.ring();
    }

    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(worker) = self.worker.get()
        {
            worker.unpark();
        }
    }

    /// Whether it was rung; it no longer is then.
    pub(super) fn take(&self) -> bool {
        // The read-only look first keeps the line shared while nothing happens.
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Waits until it is rung, or for so long.
    pub(super) fn wait(&self, timeout: Option<Duration>) {
        if self.is_rung() {
            return;
        }
        match timeout {
            Some(timeout) => std::thread::park_timeout(timeout),
            None => std::thread::park(),
        }
    }

    pub(super) fn guest_signals(&self) -> u64 {
        self.guest_signals.load(Ordering::Relaxed)
    }

    /// The guest signalled.
    pub(super) fn ring_by_guest(&self) {
        self.guest_signals.fetch_add(1, Ordering::Relaxed);
        self.ring();
    }
}

/// The port that a channel's guest signals.
pub(super) struct ChannelPort(pub(super) std::sync::Arc<Doorbell>);

impl EventPort for ChannelPort {
    fn signal(&self, _flag: u16) -> Status {
        self.0.ring_by_guest();
        Status::SUCCESS
    }
}
