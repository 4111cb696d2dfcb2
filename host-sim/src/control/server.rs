//! The host's end: a socket, and a thread for each connection.

use std::fs;
use std::io::{self, BufReader};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
    sockopt::PeerCredentials,
};
use nix::sys::stat::{Mode, fchmod};
use serde_json::Value;
use thiserror::Error;

use super::error::{ControlError, ErrorKind};
use super::named::Named;
use super::path::make_folder;
use super::request::Request;
use super::wire::{Line, MAX_REQUEST, Response, read_line, write_line};

/// Connections served at once; more are closed at once.
const MOST_CONNECTIONS: usize = 16;
/// Requests under way that may wait; more are refused. There are always connections left to stop a machine by that does
/// not answer.
const MOST_WAITING: usize = 12;

/// What carries requests out. Called from several threads at once.
pub trait Control: Send + Sync {
    /// Carries out a request.
    ///
    /// # Errors
    /// Why it was not carried out.
    fn execute(&self, request: Request) -> Result<Value, ControlError>;
}

/// The socket can't be made.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another machine listens there.
    #[error("the control socket '{}' is in use by another machine", .0.display())]
    InUse(PathBuf),
    /// There is a file, but no socket.
    #[error("'{}' exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The host refuses.
    #[error("cannot make the control socket '{}': {source}", path.display())]
    Host {
        /// Where it was to be.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
}

struct Shared {
    control: Arc<dyn Control>,
    stop: AtomicBool,
    connections: AtomicUsize,
    /// Requests under way that may wait.
    waiting: AtomicUsize,
    /// Connections that are open, for an end that waits for nobody.
    streams: Mutex<Vec<(usize, UnixStream)>>,
}

impl Shared {
    fn execute(&self, request: Request) -> Result<Value, ControlError> {
        if !request.may_wait() {
            return self.control.execute(request);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.before >= MOST_WAITING {
            let reason = format!("{MOST_WAITING} requests are under way already");
            return Err(ControlError::new(ErrorKind::Busy, reason));
        }
        self.control.execute(request)
    }
}

/// A request that may wait, as long as it lives.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    /// How many others there were.
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::AcqRel);
        Self { count, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A control socket that is served until this is dropped; the socket's file is then removed.
pub struct ControlServer {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Listens at `path`, and has `control` carry out what comes. Only the socket's owner can connect.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn start(path: &Path, control: Arc<dyn Control>) -> Result<Self, ListenError> {
        let host = |source: io::Error| ListenError::Host {
            path: path.to_owned(),
            source,
        };
        make_folder(path).map_err(host)?;
        remove_stale(path)?;
        let listener = bind_owner_only(path).map_err(host)?;
        let shared = Arc::new(Shared {
            control,
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            streams: Mutex::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || accept(&listener, &shared))
                .map_err(host)?
        };
        Ok(Self {
            path: path.to_owned(),
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Whoever waits in `accept` takes this connection and sees the stop.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
        // Only the directions from the clients: answers under way still go out.
        for (_, stream) in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Read);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes away the socket of a machine that is gone.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ListenError::Host {
                path: path.to_owned(),
                source,
            }),
        _ => Err(ListenError::InUse(path.to_owned())),
    }
}

/// A listening socket that has never been open to others, not even between `bind` and a `chmod` after it: Linux gives
/// the file the mode that the socket has.
fn bind_owner_only(path: &Path) -> io::Result<UnixListener> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(8)?)?;
    Ok(UnixListener::from(socket))
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket");
                // Out of descriptors, most likely: that passes.
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if !is_owner(&stream) {
            continue;
        }
        if shared.connections.fetch_add(1, Ordering::AcqRel) >= MOST_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            let error = ControlError::new(ErrorKind::Busy, "too many connections");
            let mut stream = stream;
            // A client that does not read keeps nobody waiting.
            let _ = stream
                .set_nonblocking(true)
                .and_then(|()| write_line(&mut stream, &Response::Error(error)));
            continue;
        }
        if let Ok(stream) = stream.try_clone() {
            lock(&shared.streams).push((number, stream));
        }
        let owned = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("control-client".to_owned());
        let spawned = thread.spawn(move || {
            if let Err(error) = serve(stream, &owned) {
                tracing::debug!(%error, "control connection");
            }
            lock(&owned.streams).retain(|(of, _)| *of != number);
            owned.connections.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            lock(&shared.streams).retain(|(of, _)| *of != number);
            shared.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Whether the other end is this user, or root.
fn is_owner(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

fn serve(stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let malformed = |reason: String| {
            Response::Error(ControlError::new(
                ErrorKind::Malformed,
                format!("no request: {reason}"),
            ))
        };
        let response = match read_line(&mut reader, MAX_REQUEST)? {
            Line::End => return Ok(()),
            Line::Good(Named(request)) => shared.execute(request).into(),
            Line::Bad(reason) => malformed(reason),
            Line::TooLong => {
                let reason = format!("it is longer than {MAX_REQUEST} bytes");
                return write_line(&mut writer, &malformed(reason));
            }
        };
        write_line(&mut writer, &response)?;
    }
}
