//! One channel of a controller, shared by the tasks that use it.
//!
//! A lane couples a transport with its request queue and remembers who waits for what. Whoever
//! looks at it, a waiting task or the channel's interrupt, takes *all* completions out of the ring
//! and wakes their owners: no task depends on another one being polled.
//!
//! No waker is called or dropped, and no buffer freed, while the lock is held: either may run
//! arbitrary code, the drop of a request's future included.

mod slots;
mod state;

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use core::task::{Context, Poll, Waker};

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;

use spin::Mutex;

use self::state::{After, State};
use super::port::{Job, LaneStatistics, Port};
use super::transport::Transport;
use crate::disk::DiskError;
use crate::init::Negotiated;
use crate::queue::Outcome;

/// Called when devices changed, or when the lane has come to its end.
pub(super) type Notify = Box<dyn Fn() + Send + Sync>;

/// One channel of a controller.
pub(super) struct Lane<T: Transport> {
    state: Mutex<State<T>>,
    /// Somebody wants the ring looked at; whoever holds the lock does it.
    again: AtomicBool,
    notify: Notify,
    /// Registered with the transport.
    waker: Waker,
}

/// Wakes the lane from the channel's interrupt.
struct LaneWaker<T: Transport>(Weak<Lane<T>>);

impl<T: Transport> Wake for LaneWaker<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(lane) = self.0.upgrade() {
            lane.interrupt();
        }
    }
}

impl<T: Transport> Lane<T> {
    /// Takes over a channel on which `negotiated` is in force, with room for `capacity` requests.
    pub(super) fn new(
        transport: T,
        negotiated: &Negotiated,
        capacity: usize,
        notify: Notify,
    ) -> Result<Arc<Self>, TryReserveError> {
        let state = State::new(transport, negotiated, capacity)?;
        let lane = Arc::new_cyclic(|weak: &Weak<Self>| Self {
            state: Mutex::new(state),
            again: AtomicBool::new(false),
            notify,
            waker: Waker::from(Arc::new(LaneWaker(weak.clone()))),
        });
        // From here on interrupts reach the lane; this also takes what came before.
        lane.interrupt();
        Ok(lane)
    }

    /// Runs `work` under the lock and, without it, what `work` left to do.
    fn with<R>(&self, work: impl FnOnce(&mut State<T>, &mut After) -> R) -> R {
        let mut after = After::default();
        let result = work(&mut self.state.lock(), &mut after);
        after.run(&self.notify);
        self.pump();
        result
    }

    /// The channel's interrupt.
    fn interrupt(&self) {
        self.again.store(true, Ordering::Relaxed);
        self.pump();
    }

    /// Looks at the ring as long as somebody wants it.
    ///
    /// Never waits for the lock: if somebody holds it (perhaps this very thread, further up its
    /// stack), the holder comes here when it has released it.
    fn pump(&self) {
        loop {
            // Between setting the mark and trying the lock on one side, and between releasing the
            // lock and looking at the mark on the other: one of the two sees the other's step.
            fence(Ordering::SeqCst);
            if !self.again.load(Ordering::Relaxed) {
                return;
            }
            let Some(mut state) = self.state.try_lock() else {
                return;
            };
            self.again.store(false, Ordering::Relaxed);
            let mut after = After::default();
            state.listen(&self.waker);
            if state.drain(true, &mut after) {
                self.again.store(true, Ordering::Relaxed);
            }
            drop(state);
            after.run(&self.notify);
        }
    }
}

/// Fails what is still in flight when a close is over, given up ones included.
struct Closing<'a, T: Transport> {
    lane: &'a Lane<T>,
    acknowledged: bool,
}

impl<T: Transport> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        let acknowledged = self.acknowledged;
        self.lane
            .with(|state, after| state.closed(acknowledged, after));
    }
}

impl<T: Transport> Port for Lane<T> {
    fn poll(&self, job: &mut Job, context: &mut Context<'_>) -> Poll<Result<Outcome, DiskError>> {
        self.with(|state, after| {
            let poll = state.poll(job, context, after);
            // More packets than fit one look: the rest is taken before this returns.
            if after.is_cut_short() {
                self.again.store(true, Ordering::Relaxed);
            }
            poll
        })
    }

    fn abandon(&self, job: &mut Job) {
        self.with(|state, after| state.abandon(job, after));
    }

    fn poll_idle(&self, context: &mut Context<'_>) -> Poll<()> {
        self.with(|state, after| {
            let poll = state.poll_idle(context, after);
            if after.is_cut_short() {
                self.again.store(true, Ordering::Relaxed);
            }
            poll
        })
    }

    fn stop(&self) {
        self.with(|state, after| state.stop(after));
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            let transport = self.with(|state, _| state.take_transport());
            let Some(transport) = transport else {
                return true;
            };
            let mut closing = Closing {
                lane: self,
                acknowledged: false,
            };
            closing.acknowledged = transport.close().await;
            closing.acknowledged
        })
    }

    fn is_open(&self) -> bool {
        self.with(|state, _| state.is_open())
    }

    fn take_rescan(&self) -> bool {
        self.with(|state, _| state.take_rescan())
    }

    fn statistics(&self) -> LaneStatistics {
        self.with(|state, _| state.statistics())
    }
}
