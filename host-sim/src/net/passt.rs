//! User-mode networking by passt: a process that speaks for the guest with the host's own sockets.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::backend::{BackendError, BackendWaker, Link, NetworkBackend, SendError};
use super::frame::Frame;
use super::queue::FrameQueue;
use super::stream::FrameStream;

/// A connection with passt, or anything that speaks its protocol. When that dies, the link is down for good.
pub struct Passt {
    incoming: Arc<FrameQueue>,
    outgoing: Arc<FrameQueue>,
    is_up: Arc<AtomicBool>,
    description: String,
    /// Dropped before the process is ended.
    stream: Mutex<Option<FrameStream>>,
    process: Mutex<Option<Child>>,
}

impl Passt {
    /// Connects to a passt that listens at this path.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, BackendError> {
        let socket = UnixStream::connect(path).map_err(|error| {
            BackendError::system(
                format!("no connection with passt at {}", path.display()),
                error,
            )
        })?;
        Self::over(socket, format!("passt:{}", path.display()), None)
    }

    /// Starts passt as a child. It ends with this value.
    ///
    /// # Errors
    /// There is no passt, or it does not start.
    pub fn spawn() -> Result<Self, BackendError> {
        Self::spawn_program(Path::new("passt"), &[])
    }

    /// As [`spawn`](Self::spawn), with another program of the same protocol and further arguments. The program gets
    /// the connected socket as a descriptor whose number follows `--fd`, and is to stay in the foreground.
    ///
    /// # Errors
    /// There is no such program, or it does not start.
    pub fn spawn_program(program: &Path, arguments: &[&str]) -> Result<Self, BackendError> {
        let (ours, theirs) = UnixStream::pair()
            .map_err(|error| BackendError::system("no sockets for passt", error))?;
        let theirs = OwnedFd::from(theirs);
        let number = theirs.as_raw_fd();
        let mut command = Command::new(program);
        command
            .args(["--foreground", "--quiet", "--fd", &number.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // SAFETY: between fork and exec only `fcntl` and `prctl` are called, which are async-signal-safe; the
        // descriptor is open, as `theirs` lives until the child has been started.
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(number, libc::F_SETFD, 0) < 0
                    || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) < 0
                {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                BackendError::Missing(format!(
                    "{} is not installed (package passt); --net user needs nothing",
                    program.display()
                ))
            } else {
                BackendError::system(format!("{} does not start", program.display()), error)
            }
        })?;
        drop(theirs);
        Self::over(ours, "passt".into(), Some(child))
    }

    fn over(
        socket: UnixStream,
        description: String,
        process: Option<Child>,
    ) -> Result<Self, BackendError> {
        let incoming = Arc::new(FrameQueue::default());
        let outgoing = Arc::new(FrameQueue::default());
        let is_up = Arc::new(AtomicBool::new(true));
        // From here on the process is ended by the drop.
        let passt = Self {
            incoming: Arc::clone(&incoming),
            outgoing: Arc::clone(&outgoing),
            is_up: Arc::clone(&is_up),
            description,
            stream: Mutex::new(None),
            process: Mutex::new(process),
        };
        let queue = Arc::clone(&incoming);
        let stream = FrameStream::start(
            socket,
            outgoing,
            move |frame| queue.push_waiting(frame),
            move || {
                is_up.store(false, Ordering::Release);
                incoming.wake();
            },
        )
        .map_err(|error| BackendError::system("no threads for passt", error))?;
        *passt.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(passt)
    }

    /// Process id of the passt that was started.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_ref().map(Child::id)
    }

    /// Where passt would be found in `PATH`; `None` if it is not installed.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join("passt"))
            .find(|program| program.is_file())
    }
}

impl NetworkBackend for Passt {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn send(&self, frame: &Frame) -> Result<(), SendError> {
        if !self.is_up.load(Ordering::Acquire) {
            return Err(SendError::LinkDown);
        }
        if self.outgoing.push(frame.clone()) {
            Ok(())
        } else {
            Err(SendError::Full)
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

impl Drop for Passt {
    fn drop(&mut self) {
        // The reader may wait for room.
        self.incoming.close();
        drop(
            self.stream
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let process = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut process) = process {
            // It ends by itself when its socket does, but nobody waits for that.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl std::fmt::Debug for Passt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passt")
            .field("description", &self.description)
            .field("link", &self.link())
            .finish_non_exhaustive()
    }
}
