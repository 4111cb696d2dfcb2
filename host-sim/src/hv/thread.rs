//! The thread that drives synthetic timers and the safety poll in real time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Hv;

/// How long a message may wait for an end-of-message write that never comes.
const SAFETY_POLL: Duration = Duration::from_millis(1);

/// Wakes the timer thread when something is to be done sooner than it knows.
#[derive(Default)]
pub(super) struct Alarm {
    /// Whether anybody listens; rings cost nothing otherwise.
    listened: AtomicBool,
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Alarm {
    pub(super) fn ring(&self) {
        if self.listened.load(Ordering::Relaxed) {
            *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.wake.notify_one();
        }
    }

    /// Waits for a ring since the last wait, at most `limit` (`None`: as long as it takes).
    fn wait(&self, limit: Option<Duration>) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if !*rung {
            rung = match limit {
                Some(limit) => {
                    self.wake
                        .wait_timeout(rung, limit)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }
}

/// A running thread that calls [`Hv::run_timers`] when a timer is due and [`Hv::poll_message_queues`] every millisecond
/// while a message waits. It sleeps otherwise, and ends when this handle is dropped.
///
/// Not for a [`Clock`](super::Clock) that moves only by hand. One per [`Hv`] at a time.
pub struct TimerThread {
    hv: Arc<Hv>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimerThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The host refuses a thread.
    pub fn start(hv: Arc<Hv>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        hv.alarm.listened.store(true, Ordering::SeqCst);
        let thread = std::thread::Builder::new()
            .name("hv-timers".into())
            .spawn({
                let hv = hv.clone();
                let stop = stop.clone();
                move || {
                    while !stop.load(Ordering::Acquire) {
                        let wait = step(&hv);
                        hv.alarm.wait(wait);
                    }
                }
            })?;
        Ok(Self {
            hv,
            stop,
            thread: Some(thread),
        })
    }
}

/// Does what is due. Returns how long there is nothing more to do.
fn step(hv: &Hv) -> Option<Duration> {
    hv.run_timers(hv.reference_time());
    hv.poll_message_queues();
    let until_timer = hv.next_deadline().map(|deadline| {
        let units = deadline.saturating_sub(hv.reference_time());
        Duration::from_nanos(units.saturating_mul(100))
    });
    let until_poll = hv.has_waiting_messages().then_some(SAFETY_POLL);
    [until_timer, until_poll].into_iter().flatten().min()
}

impl Drop for TimerThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.hv.alarm.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the timer thread panicked");
        }
        self.hv.alarm.listened.store(false, Ordering::SeqCst);
    }
}
