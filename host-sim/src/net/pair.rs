//! A back end whose other end is in the same process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::backend::{BackendWaker, Capabilities, Link, NetworkBackend, SendError};
use super::frame::Frame;
use super::queue::FrameQueue;

/// A cable between an adapter and whoever holds the [`Arc`]: the adapter's side is the [`NetworkBackend`], the other
/// side the methods of this type.
#[derive(Debug)]
pub struct Pair {
    to_guest: FrameQueue,
    from_guest: FrameQueue,
    is_up: AtomicBool,
    capabilities: Mutex<Capabilities>,
}

impl Pair {
    /// A cable with this much offload at its other end.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Arc<Self> {
        Arc::new(Self {
            to_guest: FrameQueue::default(),
            from_guest: FrameQueue::default(),
            is_up: AtomicBool::new(true),
            capabilities: Mutex::new(capabilities),
        })
    }

    /// Sends a frame to the adapter; `false` if it finds no room.
    pub fn deliver(&self, frame: Frame) -> bool {
        self.to_guest.push(frame)
    }

    /// Takes the oldest frame that the adapter has sent.
    pub fn collect(&self) -> Option<Frame> {
        self.from_guest.pop()
    }

    /// Frames that the adapter has not taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.to_guest.len()
    }

    /// Plugs the cable in or out.
    pub fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Release);
        self.to_guest.wake();
    }
}

impl NetworkBackend for Pair {
    fn describe(&self) -> String {
        "pair".into()
    }

    fn capabilities(&self) -> Capabilities {
        *self
            .capabilities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: &Frame) -> Result<(), SendError> {
        if !self.is_up.load(Ordering::Acquire) {
            return Err(SendError::LinkDown);
        }
        if self.from_guest.push(frame.clone()) {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }

    fn receive(&self, frame: &mut Frame) -> bool {
        self.to_guest.pop().map(|next| *frame = next).is_some()
    }

    fn dropped(&self) -> u64 {
        self.to_guest.dropped()
    }

    fn set_waker(&self, waker: Option<BackendWaker>) {
        self.to_guest.set_waker(waker);
    }

    fn link(&self) -> Link {
        Link::new(self.is_up.load(Ordering::Acquire))
    }
}
