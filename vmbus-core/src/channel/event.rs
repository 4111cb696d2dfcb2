//! How a channel's owner learns that the host has signalled it.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};

use spin::Mutex;

/// The host has taken the channel back, the connection has ended, or the channel was closed with its
/// primary channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelGone;

impl fmt::Display for ChannelGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is gone")
    }
}

impl core::error::Error for ChannelGone {}

#[derive(Debug, Default)]
struct Waiting {
    /// The usual single waiter costs no allocation.
    first: Option<Waker>,
    others: Vec<Waker>,
}

/// The interrupts of one channel.
///
/// A signal means that there may be packets in the incoming ring or room in the outgoing one, or nothing at
/// all: look at both. Signals that come before anybody waits are remembered as one.
#[derive(Debug, Default)]
pub struct ChannelEvent {
    signalled: AtomicBool,
    gone: AtomicBool,
    count: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl ChannelEvent {
    /// An event that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the event happen: wakes all who wait. The bus does so; tests and kernels that dispatch
    /// interrupts on their own may.
    pub fn signal(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.signalled.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The channel is gone for good. Those who wait are to be [woken](Self::wake).
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// Wakes all who wait.
    pub(crate) fn wake(&self) {
        let waiting = core::mem::take(&mut *self.waiting.lock());
        // Outside the lock: a waker may do anything.
        if let Some(waker) = waiting.first {
            waker.wake();
        }
        for waker in waiting.others {
            waker.wake();
        }
    }

    /// Whether the channel is gone: the rings are dead, and only closing is left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Number of signals so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Wakes `waker` at the next signal, or when the channel is gone. Several may register; each is woken
    /// once. To lose nothing, register first and look at the rings then.
    pub fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        let known = waiting
            .first
            .iter()
            .chain(&waiting.others)
            .any(|known| known.will_wake(waker));
        if known {
            return;
        }
        if waiting.first.is_none() {
            waiting.first = Some(waker.clone());
        } else {
            waiting.others.push(waker.clone());
        }
    }

    /// Takes the remembered signal: whether there has been one since it was last taken.
    pub fn take(&self) -> bool {
        self.signalled.swap(false, Ordering::SeqCst)
    }

    /// Waits for a signal, and takes it. A remembered signal ends the wait at once. For one waiter; several
    /// would take the signals from each other.
    pub const fn wait(&self) -> ChannelWait<'_> {
        ChannelWait { event: self }
    }
}

/// Future of [`ChannelEvent::wait`]: a signal, or [`ChannelGone`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ChannelWait<'a> {
    event: &'a ChannelEvent,
}

impl Future for ChannelWait<'_> {
    type Output = Result<(), ChannelGone>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let event = self.event;
        let look = || {
            if event.is_gone() {
                return Poll::Ready(Err(ChannelGone));
            }
            if event.take() {
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        };
        let ready = look();
        if ready.is_ready() {
            return ready;
        }
        event.register(context.waker());
        // A signal between the look and the registration would have woken nobody.
        look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use core::pin::pin;
    use core::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_signal_wakes_and_is_taken_once() {
        let event = ChannelEvent::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(event.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        event.signal();
        event.signal();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        assert!(pin!(event.wait()).poll(&mut context).is_pending());
        assert_eq!(event.count(), 2);
    }

    #[test]
    fn all_who_register_are_woken() {
        let event = ChannelEvent::new();
        let counts: [Arc<Count>; 3] = Default::default();
        for count in &counts {
            event.register(&Waker::from(count.clone()));
        }
        event.signal();
        event.signal();
        for count in &counts {
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn the_end_is_for_ever() {
        let event = ChannelEvent::new();
        event.signal();
        event.set_gone();
        event.wake();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let wait = pin!(event.wait());
            assert_eq!(wait.poll(&mut context), Poll::Ready(Err(ChannelGone)));
        }
    }
}
