//! A guest's port of a switch.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::server::Switch;
use crate::net::backend::{BackendError, BackendWaker, Link, NetworkBackend, SendError};
use crate::net::frame::Frame;
use crate::net::queue::FrameQueue;
use crate::net::stream::FrameStream;

/// Time between attempts to reach the switch: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A connection with a switch. While there is none the link is down, and the connection is made again.
pub struct SwitchPort {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    incoming: Arc<FrameQueue>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Of the connection, while there is one.
    outgoing: Option<Arc<FrameQueue>>,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects; `None` if there is no switch.
    fn connect(self: &Arc<Self>) -> Option<FrameStream> {
        let socket = UnixStream::connect(&self.path).ok()?;
        let outgoing = Arc::new(FrameQueue::default());
        self.state().outgoing = Some(Arc::clone(&outgoing));
        let (receiver, ender) = (Arc::clone(self), Arc::clone(self));
        let stream = FrameStream::start(
            socket,
            outgoing,
            move |frame| {
                // A guest that takes nothing does not hold the switch back; the queue counts what it loses.
                receiver.incoming.push(frame);
                true
            },
            move || {
                ender.state().outgoing = None;
                ender.changed.notify_all();
                ender.incoming.wake();
            },
        );
        match stream {
            Ok(stream) => {
                self.incoming.wake();
                Some(stream)
            }
            Err(error) => {
                tracing::warn!(%error, "no connection with the switch");
                self.state().outgoing = None;
                None
            }
        }
    }

    /// Keeps the connection until told to stop.
    fn keep(self: &Arc<Self>, mut stream: Option<FrameStream>, mut switch: Option<Switch>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut state = self.state();
            if state.stop {
                break;
            }
            if state.outgoing.is_some() {
                pause = FIRST_PAUSE;
                drop(
                    self.changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                continue;
            }
            if stream.is_some() {
                drop(state);
                // Joins its threads, which have ended.
                stream = None;
                continue;
            }
            state = self
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.stop {
                break;
            }
            drop(state);
            pause = (pause * 2).min(LAST_PAUSE);
            stream = self.connect();
            if stream.is_none() && switch.is_none() {
                // The one that was the switch has ended; one of those left becomes it, by the lock.
                switch = Switch::listen(&self.path).ok();
                stream = self.connect();
            }
        }
        drop(stream);
        drop(switch);
    }
}

impl SwitchPort {
    /// Connects with the switch at this path, and starts it if there is none.
    ///
    /// # Errors
    /// There is no switch and none can be started there.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            incoming: Arc::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut switch = None;
        let mut stream = shared.connect();
        if stream.is_none() {
            match Switch::listen(path) {
                Ok(listening) => switch = Some(listening),
                // Another process may be starting it at this moment: the keeper tries again.
                Err(error) if is_contended(&error) => {}
                Err(error) => return Err(error),
            }
            stream = shared.connect();
        }
        let keeper = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("switch-port".into())
            .spawn(move || keeper.keep(stream, switch))
            .map_err(|error| BackendError::system("no thread for the switch's port", error))?;
        Ok(Self {
            shared,
            keeper: Some(thread),
        })
    }
}

/// Whether another process holds the switch's lock.
fn is_contended(error: &BackendError) -> bool {
    matches!(error, BackendError::System { error, .. } if error.kind() == std::io::ErrorKind::WouldBlock)
}

impl NetworkBackend for SwitchPort {
    fn describe(&self) -> String {
        format!("switch:{}", self.shared.path.display())
    }

    fn send(&self, frame: &Frame) -> Result<(), SendError> {
        let outgoing = self.shared.state().outgoing.clone();
        let Some(outgoing) = outgoing else {
            return Err(SendError::LinkDown);
        };
        if outgoing.push(frame.clone()) {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }

    fn receive(&self, frame: &mut Frame) -> bool {
        self.shared
            .incoming
            .pop()
            .map(|next| *frame = next)
            .is_some()
    }

    fn dropped(&self) -> u64 {
        self.shared.incoming.dropped()
    }

    fn set_waker(&self, waker: Option<BackendWaker>) {
        self.shared.incoming.set_waker(waker);
    }

    fn link(&self) -> Link {
        Link::new(self.shared.state().outgoing.is_some())
    }
}

impl Drop for SwitchPort {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.incoming.close();
        self.shared.changed.notify_all();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the thread of a switch's port panicked");
        }
    }
}

impl std::fmt::Debug for SwitchPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwitchPort")
            .field("path", &self.shared.path)
            .field("link", &self.link())
            .finish_non_exhaustive()
    }
}
