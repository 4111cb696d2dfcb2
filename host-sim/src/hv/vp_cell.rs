//! A virtual processor's state behind its lock, with what others look at without taking it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::vectors::VectorSet;
use super::vp::VpState;

/// Stands for "no timer is running" among deadlines.
const NEVER: u64 = u64::MAX;

pub(super) struct VpCell {
    index: u32,
    state: Mutex<VpState>,
    waiting_messages: AtomicBool,
    next_deadline: AtomicU64,
}

impl VpCell {
    pub(super) fn new(index: u32, state: VpState) -> Self {
        Self {
            index,
            state: Mutex::new(state),
            waiting_messages: AtomicBool::new(false),
            next_deadline: AtomicU64::new(NEVER),
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// For reading; changes go through [`VpCell::update`].
    pub(super) fn lock(&self) -> MutexGuard<'_, VpState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_waiting_messages(&self) -> bool {
        self.waiting_messages.load(Ordering::Relaxed)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let deadline = self.next_deadline.load(Ordering::Relaxed);
        (deadline != NEVER).then_some(deadline)
    }

    /// Changes the state under the lock. Returns the result, the vectors to raise once it is released, and whether
    /// somebody who waits for the next thing to do has to be told of something sooner.
    pub(super) fn update<R>(
        &self,
        act: impl FnOnce(&mut VpState, &mut VectorSet) -> R,
    ) -> (R, VectorSet, bool) {
        let mut raise = VectorSet::default();
        let mut state = self.lock();
        let result = act(&mut state, &mut raise);
        state.counters.interrupts += u64::from(raise.len());
        let waiting = state.waiting_messages() != 0;
        let deadline = state.next_deadline().unwrap_or(NEVER);
        // Written under the lock only, so that the last writer's view stays.
        let waited = self.waiting_messages.swap(waiting, Ordering::Relaxed);
        let before = self.next_deadline.swap(deadline, Ordering::Relaxed);
        drop(state);
        (result, raise, (waiting && !waited) || deadline < before)
    }
}
