//! The TLB flush hypercalls' end: virtual processors that are in the guest are called out, and forget their
//! translations before they go on.
//!
//! A processor says that it enters and then looks for a request; a requester makes the request and then looks whether
//! the processor is in the guest. All agree on the order of these four, so one of the two sees the other: either the
//! processor finds the request before it enters, or the requester calls it out.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::kick;
use crate::hv::TlbFlusher;

/// Looks at a processor that is coming out before the requester begins to sleep between them.
const QUICK_LOOKS: u32 = 1000;
/// Sleep between later looks.
const LATER: Duration = Duration::from_micros(50);

/// Which virtual processors are in the guest, and which are to forget their translations.
pub(super) struct TlbFlush(Vec<Slot>);

#[derive(Default)]
struct Slot {
    in_guest: AtomicBool,
    wanted: AtomicBool,
    /// The thread that runs the processor, while it does.
    thread: Mutex<Option<libc::pthread_t>>,
}

impl TlbFlush {
    pub(super) fn new(vp_count: u32) -> Self {
        Self((0..vp_count).map(|_| Slot::default()).collect())
    }

    /// The calling thread runs this processor until the end of the returned value's life.
    pub(super) fn run_here(&self, vp: u32) -> Option<RunsHere<'_>> {
        let slot = self.0.get(vp as usize)?;
        // SAFETY: the function has no conditions.
        *slot.lock() = Some(unsafe { libc::pthread_self() });
        Some(RunsHere(slot))
    }
}

/// The thread that runs a virtual processor.
pub(super) struct RunsHere<'a>(&'a Slot);

impl RunsHere<'_> {
    /// The processor is about to enter. Whether it must forget its translations before.
    pub(super) fn enter(&self) -> bool {
        self.0.in_guest.store(true, SeqCst);
        self.0.wanted.swap(false, SeqCst)
    }

    /// The processor has come out.
    pub(super) fn leave(&self) {
        self.0.in_guest.store(false, SeqCst);
    }
}

impl Drop for RunsHere<'_> {
    fn drop(&mut self) {
        self.leave();
        *self.0.lock() = None;
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<libc::pthread_t>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the processor may still use what it has cached.
    fn is_behind(&self) -> bool {
        self.wanted.load(SeqCst) && self.in_guest.load(SeqCst)
    }

    fn call_out(&self) {
        if let Some(thread) = *self.lock() {
            // SAFETY: the thread lives: it withdraws its name under this lock before it ends.
            unsafe { libc::pthread_kill(thread, kick::signal()) };
        }
    }
}

impl TlbFlusher for TlbFlush {
    fn flush(&self, caller: u32, vps: &mut dyn Iterator<Item = u32>) {
        let mut called = Vec::new();
        for vp in vps {
            let Some(slot) = self.0.get(vp as usize) else {
                continue;
            };
            slot.wanted.store(true, SeqCst);
            // The caller itself has come out to call.
            if vp != caller && slot.in_guest.load(SeqCst) {
                slot.call_out();
                called.push(slot);
            }
        }
        // Each comes out by itself: none waits for another one that waits, since who waits is out.
        for slot in called {
            let mut looks = 0;
            while slot.is_behind() {
                looks += 1;
                if looks < QUICK_LOOKS {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(LATER);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_processor_outside_is_not_waited_for_and_finds_the_request() {
        let tlb_flush = TlbFlush::new(2);
        tlb_flush.flush(0, &mut (0..2));
        for vp in 0..2 {
            let runs = tlb_flush.run_here(vp).unwrap();
            assert!(runs.enter());
            runs.leave();
            assert!(!runs.enter());
        }
        // There is no such processor: nobody is waited for.
        tlb_flush.flush(0, &mut (2..5));
        assert!(tlb_flush.run_here(2).is_none());
    }

    /// A processor that uses a cached value only between `enter` and `leave`, as the guest does, and takes the newest
    /// when it is told to forget. Nothing that it uses may be older than a flush that is over.
    #[test]
    fn nothing_cached_outlives_a_flush() {
        const LAST: u64 = 500;
        kick::install().unwrap();
        let tlb_flush = TlbFlush::new(2);
        let (newest, flushed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let processor = scope.spawn(|| {
                let runs = tlb_flush.run_here(1).unwrap();
                let (mut cached, mut stale) = (0, 0);
                while flushed.load(SeqCst) < LAST {
                    if runs.enter() {
                        cached = newest.load(SeqCst);
                    }
                    for _ in 0..20_000 {
                        stale += u64::from(flushed.load(SeqCst) > cached);
                    }
                    runs.leave();
                }
                stale
            });
            while !tlb_flush.0[1].in_guest.load(SeqCst) {
                std::thread::yield_now();
            }
            for value in 1..=LAST {
                newest.store(value, SeqCst);
                tlb_flush.flush(0, &mut (1..2));
                flushed.store(value, SeqCst);
            }
            assert_eq!(processor.join().unwrap(), 0, "uses of what was flushed");
        });
    }
}
