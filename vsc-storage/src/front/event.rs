//! What happens to a controller's disks.

use core::task::{Context, Poll, Waker};

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use spin::Mutex;

use super::disk::Disk;

/// A change of a controller's disks.
#[derive(Clone, Debug)]
pub enum DiskEvent {
    /// A disk was added.
    Added(Disk),
    /// A disk was removed; requests to it fail from now on.
    Removed(Disk),
    /// Something about a disk changed: its capacity, its medium, its write protection.
    Changed(Disk),
    /// The controller was withdrawn by the host, or the host broke its channel. No further events
    /// will come; the controller is to be [closed](super::StorageController::close).
    ControllerGone,
}

/// Events not yet taken, and the tasks that wait for them.
pub(super) struct Events(Mutex<Inner>);

struct Inner {
    queue: VecDeque<DiskEvent>,
    wakers: Vec<Waker>,
    /// Something happened since a task last looked.
    news: bool,
    rescan: bool,
}

impl Events {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Inner {
            queue: VecDeque::new(),
            wakers: Vec::new(),
            news: false,
            rescan: false,
        }))
    }

    /// Wakes everybody who waits.
    pub(super) fn notify(&self) {
        let wakers = {
            let mut inner = self.0.lock();
            inner.news = true;
            core::mem::take(&mut inner.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Asks for a scan: any number of requests makes for one.
    pub(super) fn request_rescan(&self) {
        self.0.lock().rescan = true;
        self.notify();
    }

    pub(super) fn take_rescan(&self) -> bool {
        core::mem::take(&mut self.0.lock().rescan)
    }

    pub(super) fn push(&self, event: DiskEvent) {
        self.0.lock().queue.push_back(event);
    }

    pub(super) fn pop(&self) -> Option<DiskEvent> {
        self.0.lock().queue.pop_front()
    }

    /// Ready when something happened since the last time.
    pub(super) fn poll_news(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.0.lock();
        if core::mem::take(&mut inner.news) {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !inner.wakers.iter().any(|other| other.will_wake(waker)) {
            inner.wakers.push(waker.clone());
        }
        Poll::Pending
    }
}
