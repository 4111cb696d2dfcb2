//! A TAP interface of the host, with checksum and segmentation offload.

mod device;
mod vnet_header;

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::uio::writev;

use super::MAX_FRAME;
use super::backend::{BackendError, BackendWaker, Capabilities, Link, NetworkBackend, SendError};
use super::frame::Frame;
use super::queue::FrameQueue;

pub use vnet_header::{VNET_HEADER_SIZE, VnetHeader};

/// A TAP interface in use.
///
/// The interface has to exist and belong to the user, or the process needs `CAP_NET_ADMIN`; then it is made and goes
/// with the process. Addresses, bridges and "up" are the operator's business.
#[derive(Debug)]
pub struct Tap {
    name: String,
    file: Arc<File>,
    incoming: Arc<FrameQueue>,
    is_up: Arc<AtomicBool>,
    stop: Arc<EventFd>,
    reader: Option<JoinHandle<()>>,
}

impl Tap {
    /// Opens or makes the interface.
    ///
    /// # Errors
    /// No permission, no such device, or a name that is none.
    pub fn open(name: &str) -> Result<Self, BackendError> {
        let (file, name) = device::open(name)?;
        let failed = |error: Errno| BackendError::system("no event for the TAP interface", error);
        let stop = Arc::new(EventFd::new().map_err(failed)?);
        let mut tap = Self {
            name,
            file: Arc::new(file),
            incoming: Arc::default(),
            is_up: Arc::new(AtomicBool::new(true)),
            stop,
            reader: None,
        };
        let reader = Reader {
            file: Arc::clone(&tap.file),
            incoming: Arc::clone(&tap.incoming),
            is_up: Arc::clone(&tap.is_up),
            stop: Arc::clone(&tap.stop),
        };
        tap.reader = Some(
            std::thread::Builder::new()
                .name("tap".into())
                .spawn(move || reader.run())
                .map_err(|error| BackendError::system("no thread for the TAP interface", error))?,
        );
        Ok(tap)
    }

    /// The interface's name, which the system has chosen if a pattern like `tap%d` was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

struct Reader {
    file: Arc<File>,
    incoming: Arc<FrameQueue>,
    is_up: Arc<AtomicBool>,
    stop: Arc<EventFd>,
}

impl Reader {
    fn run(self) {
        let mut buffer = vec![0; VNET_HEADER_SIZE + MAX_FRAME];
        loop {
            let mut wait = [
                PollFd::new(self.file.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wait, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "the TAP interface cannot be waited for");
                    break;
                }
            }
            let has = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if has(&wait[1]) {
                return;
            }
            if has(&wait[0]) && !self.drain(&mut buffer) {
                break;
            }
        }
        self.is_up.store(false, Ordering::Release);
        self.incoming.wake();
    }

    /// Reads what there is; `false` if the interface is gone.
    fn drain(&self, buffer: &mut [u8]) -> bool {
        loop {
            match (&*self.file).read(buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.set_up(true);
                    let Some(frame) = VnetHeader::split(&buffer[..count]) else {
                        continue;
                    };
                    // Waits for room: the interface's own queue holds the rest, and drops beyond.
                    if !self.incoming.push_waiting(frame) {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // EBADFD: the interface was deleted. EIO cannot be had by reading.
                    tracing::info!(%error, "the TAP interface is gone");
                    return false;
                }
            }
        }
    }

    fn set_up(&self, is_up: bool) {
        if self.is_up.swap(is_up, Ordering::AcqRel) != is_up {
            self.incoming.wake();
        }
    }
}

impl NetworkBackend for Tap {
    fn describe(&self) -> String {
        format!("tap:{}", self.name)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            checksum: true,
            segmentation_ipv4: true,
            segmentation_ipv6: true,
        }
    }

    fn send(&self, frame: &Frame) -> Result<(), SendError> {
        let header = VnetHeader::new(&frame.offload).to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(&frame.bytes)];
        match writev(&*self.file, &parts) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Err(SendError::Full),
            Err(Errno::EINVAL | Errno::EMSGSIZE) => Err(SendError::Refused),
            // EIO: the interface is down; EBADFD: it was deleted.
            Err(_) => Err(SendError::LinkDown),
        }
    }

    fn receive(&self, frame: &mut Frame) -> bool {
        self.incoming.pop().map(|next| *frame = next).is_some()
    }

    fn set_waker(&self, waker: Option<BackendWaker>) {
        self.incoming.set_waker(waker);
    }

    fn link(&self) -> Link {
        Link::new(self.is_up.load(Ordering::Acquire))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.incoming.close();
        let _ = self.stop.write(1);
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            tracing::error!("the TAP interface's thread panicked");
        }
    }
}
