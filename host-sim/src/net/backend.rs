//! The back end's interface.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::frame::Frame;

/// What can be left to a back end in the frames that it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Transport checksums.
    pub checksum: bool,
    /// Segmentation of TCP over IPv4; implies `checksum`.
    pub segmentation_ipv4: bool,
    /// Segmentation of TCP over IPv6; implies `checksum`.
    pub segmentation_ipv6: bool,
}

/// The link behind an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub is_up: bool,
    /// Bit/s.
    pub speed: u64,
}

impl Link {
    /// Speed of links that have none of their own: 10 Gbit/s.
    pub const DEFAULT_SPEED: u64 = 10_000_000_000;

    /// A link without a speed of its own.
    #[must_use]
    pub const fn new(is_up: bool) -> Self {
        Self {
            is_up,
            speed: Self::DEFAULT_SPEED,
        }
    }
}

/// Why a frame was not sent; it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room; the network will have to do without.
    #[error("no room for the frame")]
    Full,
    /// The link is down.
    #[error("the link is down")]
    LinkDown,
    /// The back end takes no such frame.
    #[error("the back end refuses the frame")]
    Refused,
}

/// A back end cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was to be done.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// What is needed is not there.
    #[error("{0}")]
    Missing(String),
}

impl BackendError {
    pub(crate) fn system(what: impl Into<String>, error: impl Into<std::io::Error>) -> Self {
        Self::System {
            what: what.into(),
            error: error.into(),
        }
    }
}

/// Tells an adapter that its back end has something: a frame after none, or another state of the link. Must not block.
#[derive(Clone)]
pub struct BackendWaker(Arc<dyn Fn() + Send + Sync>);

impl BackendWaker {
    /// A waker that calls `wake`.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes the adapter.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for BackendWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackendWaker")
    }
}

/// What an adapter is plugged into. All methods may be called from any thread, and none waits.
pub trait NetworkBackend: Send + Sync {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// What can be left to it.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Sends a frame, which leaves nothing to be done that the [capabilities](Self::capabilities) don't cover.
    ///
    /// # Errors
    /// The frame is lost.
    fn send(&self, frame: &Frame) -> Result<(), SendError>;

    /// Takes the oldest frame received into `frame`; `false` if there is none.
    fn receive(&self, frame: &mut Frame) -> bool;

    /// Forgets all frames received, as for an adapter that was not there when they came.
    fn discard(&self) {
        let mut frame = Frame::default();
        let mut left = 2 * super::QUEUE_FRAMES;
        while left != 0 && self.receive(&mut frame) {
            left -= 1;
        }
    }

    /// Frames for the adapter that found no room, because it did not take those before them, since the back end was made.
    /// 0 where nobody knows.
    fn dropped(&self) -> u64 {
        0
    }

    /// Replaces who is woken.
    fn set_waker(&self, waker: Option<BackendWaker>);

    /// The state of the link.
    fn link(&self) -> Link;
}
