//! A serial line that ends at a Unix socket.
//!
//! One client at a time is connected; the next waits. What the guest sends while nobody is connected is kept, up to a
//! limit, for the next client; of more than that the oldest is dropped. A client that does not read cannot stop the
//! guest: the limit holds for it, too.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use vmm_sys_util::eventfd::EventFd;

use super::SerialPort;

/// Most bytes of output that wait for a client.
const BACKLOG_LIMIT: usize = 1 << 20;
/// Most bytes that are read from a client at once; more stay in the socket until the guest has read them.
const INPUT_BYTES: usize = 4096;
/// How often a guest that has not read its input is looked at, in milliseconds.
const LOOK_AGAIN: u8 = 2;
/// How long the input of a client that has gone is kept for a guest that reads nothing; the next client waits for it.
const INPUT_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

struct Shared {
    state: Mutex<State>,
    wake: EventFd,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    client: Option<UnixStream>,
    backlog: VecDeque<u8>,
    dropped: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends as much as the client takes now. Returns whether it still is there.
    fn flush(&mut self) -> bool {
        let Some(client) = &self.client else {
            return false;
        };
        while !self.backlog.is_empty() {
            let (first, _) = self.backlog.as_slices();
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(client.as_raw_fd(), first, flags) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(nix::errno::Errno::EAGAIN) => return true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => {
                    self.client = None;
                    return false;
                }
            }
        }
        true
    }

    fn append(&mut self, bytes: &[u8]) {
        self.backlog.extend(bytes);
        let excess = self.backlog.len().saturating_sub(BACKLOG_LIMIT);
        if excess != 0 {
            if self.dropped == 0 {
                tracing::warn!("serial output that nobody reads is dropped");
            }
            self.dropped += excess as u64;
            self.backlog.drain(..excess);
        }
    }
}

/// The output end, for the port.
struct SocketOutput(Arc<Shared>);

impl Write for SocketOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        state.append(bytes);
        if state.flush() && !state.backlog.is_empty() {
            drop(state);
            // The thread waits until the client takes the rest.
            self.0.wake.write(1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that a serial line ends at. Dropping it disconnects the client and removes the socket's file.
pub struct SerialSocket {
    shared: Arc<Shared>,
    path: PathBuf,
    listener: Option<UnixListener>,
    thread: Option<JoinHandle<()>>,
}

impl SerialSocket {
    /// Listens at a path, for the owner of this process alone. A socket there that nobody listens at is replaced.
    ///
    /// # Errors
    /// The system's: something else is there, or the path cannot be used.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let is_socket =
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
                stop: AtomicBool::new(false),
            }),
            path: path.to_owned(),
            listener: Some(listener),
            thread: None,
        })
    }

    /// An output that leads to the client.
    #[must_use]
    pub fn output(&self) -> impl Write + Send + use<> {
        SocketOutput(Arc::clone(&self.shared))
    }

    /// Accepts clients from now on, and gives the port what they send.
    ///
    /// # Errors
    /// The host refuses a thread.
    pub fn feed(&mut self, port: &Arc<SerialPort>) -> io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Err(io::Error::other("the socket feeds a port already"));
        };
        let (shared, port) = (Arc::clone(&self.shared), Arc::clone(port));
        let thread = std::thread::Builder::new()
            .name("serial-socket".to_owned())
            .spawn(move || serve(&shared, &listener, &port))?;
        self.thread = Some(thread);
        Ok(())
    }
}

impl Drop for SerialSocket {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Its counter cannot be full: the thread has not been woken that often.
        let _ = self.shared.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.lock().client = None;
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(shared: &Shared, listener: &UnixListener, port: &SerialPort) {
    while !shared.stop.load(Ordering::Acquire) {
        match wait(
            shared,
            listener.as_fd(),
            PollFlags::POLLIN,
            PollTimeout::NONE,
        ) {
            Ok(ready) if ready.contains(PollFlags::POLLIN) => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "the serial port's socket cannot be waited for");
                return;
            }
        }
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::debug!(%error, "a client of the serial port's socket is lost");
                continue;
            }
        };
        let reader = match client.try_clone().and_then(|reader| {
            reader.set_nonblocking(true)?;
            Ok(reader)
        }) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(%error, "a client of the serial port's socket is refused");
                continue;
            }
        };
        let mut state = shared.lock();
        state.client = Some(client);
        state.flush();
        drop(state);
        serve_client(shared, reader, port);
        shared.lock().client = None;
    }
}

/// Waits until the descriptor is ready or the thread is woken; gives what the descriptor is ready for.
fn wait(
    shared: &Shared,
    descriptor: BorrowedFd<'_>,
    events: PollFlags,
    timeout: PollTimeout,
) -> io::Result<PollFlags> {
    // SAFETY: the event outlives this borrow of its descriptor.
    let wake = unsafe { BorrowedFd::borrow_raw(shared.wake.as_raw_fd()) };
    let mut descriptors = [
        PollFd::new(wake, PollFlags::POLLIN),
        PollFd::new(descriptor, events),
    ];
    // One for which nothing is asked is left out: that its other end has gone would be told all the time.
    let count = if events.is_empty() { 1 } else { 2 };
    match poll(&mut descriptors[..count], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready = descriptors[1].revents().unwrap_or(PollFlags::empty());
    // Empties the counter, if it was that.
    let _ = shared.wake.read();
    Ok(ready)
}

/// Whether the client has closed its end: it gets nothing any more.
fn has_closed(reader: &UnixStream) -> bool {
    let mut descriptors = [PollFd::new(reader.as_fd(), PollFlags::empty())];
    matches!(poll(&mut descriptors, PollTimeout::ZERO), Ok(1..))
}

/// Until the client is gone and the guest has its input, or has left it for a while, or the thread is to end.
fn serve_client(shared: &Shared, mut reader: UnixStream, port: &SerialPort) {
    let mut buffer = [0; INPUT_BYTES];
    let mut pending = 0..0;
    // When the guest last took some of the input.
    let mut taken = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        let count = port.receive(&buffer[pending.clone()]);
        pending.start += count;
        if count > 0 || pending.is_empty() {
            taken = Instant::now();
        } else if taken.elapsed() > INPUT_PATIENCE && has_closed(&reader) {
            tracing::debug!("the guest does not read what a client of its serial port has left");
            return;
        }
        let (mut events, mut timeout) = (PollFlags::empty(), PollTimeout::NONE);
        if pending.is_empty() {
            events |= PollFlags::POLLIN;
        } else {
            timeout = PollTimeout::from(LOOK_AGAIN);
        }
        if !shared.lock().backlog.is_empty() {
            events |= PollFlags::POLLOUT;
        }
        let ready = match wait(shared, reader.as_fd(), events, timeout) {
            Ok(ready) => ready,
            Err(error) => {
                tracing::warn!(%error, "a client of the serial port's socket cannot be waited for");
                return;
            }
        };
        let mut state = shared.lock();
        if !state.flush() && state.client.is_none() {
            return;
        }
        drop(state);
        let has_gone = ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        if !pending.is_empty() || !(ready.contains(PollFlags::POLLIN) || has_gone) {
            continue;
        }
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => pending = 0..count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
