//! An output that nobody has to read: a thread of its own writes it.
//!
//! A reader that is slow slows the writers down once the queue is full. One that takes nothing at all for
//! [`QueuedOutput::PATIENCE`] does not stop them: what does not fit into the queue is dropped until it reads again, and
//! it is told how much that was.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Most bytes written at once: so many a reader has to take to count as one that reads.
const PIECE: usize = 512;

#[derive(Default)]
struct State {
    queue: VecDeque<u8>,
    /// Bytes that the thread has taken out of the queue and not yet written.
    under_way: usize,
    /// Pieces written so far: tells a slow reader from none.
    written: u64,
    /// Nobody has read for a while; until somebody does, nobody waits.
    is_stuck: bool,
    /// Bytes dropped since the reader was last told.
    dropped: u64,
    /// No more will come.
    is_closed: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.under_way == 0
    }

    fn room(&self) -> usize {
        QueuedOutput::LIMIT.saturating_sub(self.queue.len())
    }

    /// Tells the reader what it has missed, once there is room for more than that.
    fn tell_dropped(&mut self) {
        if self.dropped == 0 {
            return;
        }
        let note = format!(
            "\r\n[{} bytes were dropped here: nobody read them]\r\n",
            self.dropped
        );
        if self.room() > note.len() {
            self.queue.extend(note.as_bytes());
            self.dropped = 0;
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing will be any more.
    filled: Condvar,
    /// Something was written.
    taken: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a condition holds, and bytes are taken each `patience` at least.
    fn wait_while<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
        mut condition: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let mut written = state.written;
        let mut begin = Instant::now();
        while condition(&state) {
            if state.written != written {
                (written, begin) = (state.written, Instant::now());
            }
            let Some(left) = patience.checked_sub(begin.elapsed()) else {
                break;
            };
            state = self
                .taken
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state
    }

    /// The thread: writes until the queue is closed and empty.
    fn serve(&self, mut target: impl Write) {
        let mut piece = Vec::with_capacity(PIECE);
        let mut is_broken = false;
        let mut state = self.lock();
        loop {
            state.tell_dropped();
            if state.queue.is_empty() {
                if state.is_closed {
                    return;
                }
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let count = state.queue.len().min(PIECE);
            piece.clear();
            piece.extend(state.queue.drain(..count));
            state.under_way = count;
            drop(state);
            // After an error, too: a full disk has room again one day.
            match target.write_all(&piece).and_then(|()| target.flush()) {
                Ok(()) => is_broken = false,
                Err(error) if !is_broken => {
                    tracing::debug!(%error, "output is lost");
                    is_broken = true;
                }
                Err(_) => {}
            }
            state = self.lock();
            state.under_way = 0;
            state.written = state.written.wrapping_add(1);
            state.is_stuck = false;
            self.taken.notify_all();
        }
    }
}

/// An output whose writers wait for its reader only as long as it reads. Dropping it drains it with
/// [`QueuedOutput::PATIENCE`].
pub struct QueuedOutput(Arc<Shared>);

impl QueuedOutput {
    /// Most bytes that wait for the reader.
    pub const LIMIT: usize = 1 << 20;
    /// How long the reader may take nothing.
    pub const PATIENCE: Duration = Duration::from_secs(1);

    /// Starts the thread that writes to `target`.
    ///
    /// # Errors
    /// The host refuses a thread.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        // Detached: nothing but its reader ends a write to a pipe.
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || served.serve(target))?;
        Ok(Self(shared))
    }

    /// An output to a duplicate of an open file: a terminal, a pipe, a socket.
    ///
    /// # Errors
    /// The file cannot be duplicated, or the host refuses a thread.
    pub fn to(file: impl AsFd) -> io::Result<Self> {
        let file = File::from(file.as_fd().try_clone_to_owned()?);
        Self::start(Blocking(file))
    }

    /// Appends bytes; waits for room as long as the reader reads, and drops what there is no room for if it does not.
    pub fn append(&self, mut bytes: &[u8]) {
        let mut state = self.0.lock();
        loop {
            state.tell_dropped();
            // After a gap, nothing of what follows may come before the note about it.
            let room = if state.dropped == 0 { state.room() } else { 0 };
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            if state.is_empty() && !fits.is_empty() {
                self.0.filled.notify_one();
            }
            state.queue.extend(fits);
            if rest.is_empty() {
                return;
            }
            if !state.is_stuck {
                state = self
                    .0
                    .wait_while(state, Self::PATIENCE, |state| state.room() == 0);
                state.is_stuck = state.room() == 0;
            }
            if state.is_stuck || state.dropped != 0 {
                state.dropped = state.dropped.saturating_add(rest.len() as u64);
                return;
            }
            bytes = rest;
        }
    }

    /// Waits until all is written, or the reader has taken nothing for so long, or ten times so long has passed.
    /// Returns whether all is written.
    pub fn drain(&self, patience: Duration) -> bool {
        let end = Instant::now().checked_add(patience.saturating_mul(10));
        let state = self.0.lock();
        self.0
            .wait_while(state, patience, |state| {
                !state.is_empty() && end.is_none_or(|end| Instant::now() < end)
            })
            .is_empty()
    }
}

impl Write for &QueuedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    /// Waits for nobody: [`QueuedOutput::drain`] does.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for QueuedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for QueuedOutput {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.filled.notify_one();
        self.drain(Self::PATIENCE);
    }
}

/// A file whose writes wait even if somebody has made it non-blocking: a terminal is shared with other programs.
struct Blocking(File);

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut descriptor = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut descriptor, PollTimeout::NONE) {
                        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "queued_tests.rs"]
mod tests;
