//! An answer that will come.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request::RequestError;

enum State<T, E> {
    Waiting,
    Done(Result<T, E>),
    /// Nobody will answer any more.
    Dropped,
    Taken,
}

struct Slot<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

impl<T, E> Slot<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State<T, E>) {
        *self.lock() = state;
        self.changed.notify_all();
    }
}

/// An answer that the guest owes. It comes, or an error does, as long as the bus is at work.
#[must_use = "the outcome is worth knowing"]
pub struct Pending<T, E> {
    slot: Arc<Slot<T, E>>,
}

/// The other end of a [`Pending`]. Dropped without an answer, it says that the request was abandoned.
pub(super) struct Promise<T, E> {
    slot: Arc<Slot<T, E>>,
}

/// Both ends of a new answer.
pub(super) fn pending<T, E>() -> (Promise<T, E>, Pending<T, E>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State::Waiting),
        changed: Condvar::new(),
    });
    let promise = Promise {
        slot: Arc::clone(&slot),
    };
    (promise, Pending { slot })
}

impl<T, E> Promise<T, E> {
    pub(super) fn resolve(self, result: Result<T, E>) {
        self.slot.set(State::Done(result));
    }
}

impl<T, E> Drop for Promise<T, E> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Dropped;
            drop(state);
            self.slot.changed.notify_all();
        }
    }
}

impl<T, E: From<RequestError>> Pending<T, E> {
    /// The outcome, if it is there; once.
    pub fn take(&mut self) -> Option<Result<T, E>> {
        Self::take_from(&mut self.slot.lock())
    }

    fn take_from(state: &mut State<T, E>) -> Option<Result<T, E>> {
        match std::mem::replace(state, State::Taken) {
            State::Done(result) => Some(result),
            State::Dropped => Some(Err(RequestError::Abandoned.into())),
            State::Waiting => {
                *state = State::Waiting;
                None
            }
            State::Taken => None,
        }
    }

    /// Waits for the outcome. Not for the thread that runs the bus step by step.
    ///
    /// # Errors
    /// What became of the request; [`RequestError::Abandoned`] if its outcome was taken before.
    pub fn wait(self) -> Result<T, E> {
        let waiting = |state: &mut State<T, E>| matches!(state, State::Waiting);
        let state = self.slot.lock();
        let state = self.slot.changed.wait_while(state, waiting);
        Self::take_from(&mut state.unwrap_or_else(PoisonError::into_inner))
            .unwrap_or_else(|| Err(RequestError::Abandoned.into()))
    }

    /// Waits for the outcome, at most so long; `None` if it did not come.
    pub fn wait_for(&mut self, time: Duration) -> Option<Result<T, E>> {
        let begun = Instant::now();
        let mut state = self.slot.lock();
        while matches!(*state, State::Waiting) {
            let left = time.checked_sub(begun.elapsed())?;
            let waited = self.slot.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Self::take_from(&mut state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_taken_once() {
        let (promise, mut answer) = pending::<u8, RequestError>();
        assert_eq!(answer.take(), None);
        promise.resolve(Ok(7));
        assert_eq!(answer.take(), Some(Ok(7)));
        assert_eq!(answer.take(), None);
        assert_eq!(answer.wait(), Err(RequestError::Abandoned));
    }

    #[test]
    fn what_is_dropped_is_abandoned() {
        let (promise, answer) = pending::<u8, RequestError>();
        let waiter = std::thread::spawn(|| answer.wait());
        drop(promise);
        assert_eq!(waiter.join().unwrap(), Err(RequestError::Abandoned));
        let (promise, mut answer) = pending::<u8, RequestError>();
        assert_eq!(answer.wait_for(Duration::from_millis(1)), None);
        promise.resolve(Ok(1));
        assert_eq!(answer.wait_for(Duration::ZERO), Some(Ok(1)));
    }
}
