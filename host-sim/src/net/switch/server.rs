//! The switch: its listener and its ports.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{getsockopt, sockopt};
use serde::Serialize;

use super::table::{PortId, Table};
use crate::net::backend::BackendError;
use crate::net::frame::Frame;
use crate::net::headers::vlan_tag;
use crate::net::mac::MacAddress;
use crate::net::queue::FrameQueue;
use crate::net::stream::FrameStream;

/// Ports at once; further connections are closed.
const MAX_PORTS: usize = 64;

/// What a switch has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SwitchCounters {
    /// Ports connected now.
    pub ports: usize,
    /// Addresses known.
    pub addresses: usize,
    /// Frames sent to the one port that they are for.
    pub forwarded: u64,
    /// Frames sent to all other ports.
    pub flooded: u64,
    /// Frames that were for their own port, and copies that found no room.
    pub dropped: u64,
}

#[derive(Default)]
struct Ports {
    table: Table,
    queues: BTreeMap<PortId, Arc<FrameQueue>>,
    streams: BTreeMap<PortId, FrameStream>,
    /// Ports whose connection has ended and whose threads are to be joined.
    ended: Vec<PortId>,
}

struct Core {
    ports: Mutex<Ports>,
    begun: Instant,
    forwarded: AtomicU64,
    flooded: AtomicU64,
    dropped: AtomicU64,
}

impl Core {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, from: PortId, frame: Frame) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (Some(destination), Some(source)) = (
            MacAddress::destination(&frame.bytes),
            MacAddress::source(&frame.bytes),
        ) else {
            return;
        };
        let vlan = vlan_tag(&frame.bytes).map_or(0, |tci| tci & 0xFFF);
        let mut ports = self.ports();
        ports.table.learn(source, vlan, from, now);
        let target = destination
            .is_unicast()
            .then(|| ports.table.find(destination, vlan, now))
            .flatten();
        let queues: Vec<_> = match target {
            Some(port) if port == from => Vec::new(),
            Some(port) => ports.queues.get(&port).cloned().into_iter().collect(),
            None => {
                let others = ports.queues.iter().filter(|(port, _)| **port != from);
                others.map(|(_, queue)| Arc::clone(queue)).collect()
            }
        };
        drop(ports);
        match target {
            Some(port) if port == from => self.dropped.fetch_add(1, Ordering::Relaxed),
            Some(_) => self.forwarded.fetch_add(1, Ordering::Relaxed),
            None => self.flooded.fetch_add(1, Ordering::Relaxed),
        };
        for queue in queues {
            if !queue.push(frame.clone()) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A switch at work. Its ports are disconnected when it is dropped.
pub struct Switch {
    path: PathBuf,
    core: Arc<Core>,
    stop: Arc<EventFd>,
    listener: Option<JoinHandle<()>>,
    /// Held as long as the path is ours.
    _lock: Flock<File>,
}

impl Switch {
    /// Listens at this path, which only its owner and root can open. A lock beside it (`PATH.lock`) is made and stays;
    /// `PATH.new` is used for a moment. A socket that a switch has left at either path is replaced.
    ///
    /// # Errors
    /// Another switch listens there, something other than a socket is there, or the system refuses.
    pub fn listen(path: &Path) -> Result<Self, BackendError> {
        let failed = |what: &str| {
            let what = format!("switch {}: {what}", path.display());
            move |error: io::Error| BackendError::system(what, error)
        };
        let beside = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let aside = beside(".new");
        // Before anything is made: what is no socket is somebody's file.
        for place in [path, &aside] {
            refuse_other_files(place).map_err(failed("socket"))?;
        }
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            // Who can open it can take it, and who can make links there must not choose what is made.
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(beside(".lock"))
            .map_err(failed("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| failed("another switch listens there")(error.into()))?;
        // Made aside, so that nobody can connect before it is closed to other users. The socket at either path is of
        // one that has ended, as the lock is ours.
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(failed("socket"))?;
        std::fs::set_permissions(&aside, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&aside, path))
            .map_err(failed("socket"))?;
        listener.set_nonblocking(true).map_err(failed("socket"))?;
        let stop = EventFd::new().map_err(|error| failed("event")(error.into()))?;
        let mut switch = Self {
            path: path.to_owned(),
            core: Arc::new(Core {
                ports: Mutex::default(),
                begun: Instant::now(),
                forwarded: AtomicU64::new(0),
                flooded: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            }),
            stop: Arc::new(stop),
            listener: None,
            _lock: lock,
        };
        let (core, stop) = (Arc::clone(&switch.core), Arc::clone(&switch.stop));
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || accept(&core, &listener, &stop))
            .map_err(failed("thread"))?;
        switch.listener = Some(thread);
        Ok(switch)
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> SwitchCounters {
        let ports = self.core.ports();
        SwitchCounters {
            ports: ports.queues.len(),
            addresses: ports.table.len(),
            forwarded: self.core.forwarded.load(Ordering::Relaxed),
            flooded: self.core.flooded.load(Ordering::Relaxed),
            dropped: self.core.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Fails if something other than a socket is at this path.
fn refuse_other_files(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is no socket", path.display()),
        )),
        // What is wrong with the path shows where it is used.
        _ => Ok(()),
    }
}

/// Accepts ports until told to stop.
fn accept(core: &Arc<Core>, listener: &UnixListener, stop: &EventFd) {
    let mut next: PortId = 0;
    loop {
        let mut wait = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut wait, PollTimeout::NONE);
        if wait[1].any().unwrap_or(false) {
            break;
        }
        reap(core);
        match listener.accept() {
            Ok((socket, _)) => {
                next += 1;
                if let Err(error) = connect(core, next, socket) {
                    tracing::warn!(%error, "a port of the switch is refused");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "the switch cannot accept a port");
                // Out of descriptors, most likely; others may give some back.
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    }
    let streams = {
        let mut ports = core.ports();
        ports.queues.clear();
        std::mem::take(&mut ports.streams)
    };
    // Joins the ports' threads, without the lock that they take.
    drop(streams);
}

/// Joins the threads of ports that have ended.
fn reap(core: &Core) {
    let mut ports = core.ports();
    let ended = std::mem::take(&mut ports.ended);
    let streams: Vec<_> = ended
        .iter()
        .filter_map(|port| ports.streams.remove(port))
        .collect();
    drop(ports);
    drop(streams);
}

fn connect(core: &Arc<Core>, port: PortId, socket: UnixStream) -> io::Result<()> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    let (ours, theirs) = (nix::unistd::geteuid().as_raw(), peer.uid());
    if theirs != ours && theirs != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("its process belongs to user {theirs}"),
        ));
    }
    let queue = Arc::new(FrameQueue::default());
    {
        let mut ports = core.ports();
        if ports.queues.len() >= MAX_PORTS {
            return Err(io::Error::other(format!("{MAX_PORTS} ports are in use")));
        }
        ports.queues.insert(port, Arc::clone(&queue));
    }
    let (forward, end) = (Arc::clone(core), Arc::clone(core));
    let stream = FrameStream::start(
        socket,
        queue,
        move |frame| {
            forward.forward(port, frame);
            true
        },
        move || {
            let mut ports = end.ports();
            ports.table.forget(port);
            ports.queues.remove(&port);
            ports.ended.push(port);
        },
    );
    match stream {
        Ok(stream) => {
            core.ports().streams.insert(port, stream);
            Ok(())
        }
        Err(error) => {
            core.ports().queues.remove(&port);
            Err(error)
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(listener) = self.listener.take()
            && listener.join().is_err()
        {
            tracing::error!("the switch's thread panicked");
        }
        // Still ours: the lock is released after this.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch")
            .field("path", &self.path)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
