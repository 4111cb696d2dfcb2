//! Which chunks of a disk are copied, and who copies them.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::SnapshotError;

/// Bytes in the smallest chunk.
const SMALLEST: u64 = 64 << 10;
/// Most chunks of a disk: larger disks have larger chunks.
const MOST: u64 = 1 << 20;

/// State of a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// To be copied.
    Waiting,
    /// Somebody copies it.
    Claimed,
    /// Copied, or not needed.
    Done,
}

struct State {
    chunks: Vec<Chunk>,
    failure: Option<SnapshotError>,
}

/// The chunks of one snapshot.
pub(super) struct Chunks {
    size: u64,
    chunk_size: u64,
    state: Mutex<State>,
    /// A chunk is done, or all has failed.
    changed: Condvar,
}

impl Chunks {
    /// All chunks of a disk of `size` bytes, waiting.
    pub(super) fn new(size: u64) -> Self {
        let chunk_size = size.div_ceil(MOST).next_power_of_two().max(SMALLEST);
        let count = size.div_ceil(chunk_size) as usize;
        Self {
            size,
            chunk_size,
            state: Mutex::new(State {
                chunks: vec![Chunk::Waiting; count],
                failure: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies each waiting chunk that the range touches with `copy`, and returns when those that others copy are done
    /// too. With the first failure everything is done.
    pub(super) fn each(
        &self,
        range: Range<u64>,
        mut copy: impl FnMut(Range<u64>) -> Result<(), SnapshotError>,
    ) {
        if range.is_empty() {
            return;
        }
        for index in range.start / self.chunk_size..=(range.end - 1) / self.chunk_size {
            if !self.claim(index as usize) {
                continue;
            }
            let start = index * self.chunk_size;
            let result = copy(start..(start + self.chunk_size).min(self.size));
            let mut state = self.lock();
            if let Err(error) = result {
                state.failure.get_or_insert(error);
            }
            state.chunks[index as usize] = Chunk::Done;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Claims a chunk for the caller to copy; `false` if it is done, which is waited for.
    fn claim(&self, index: usize) -> bool {
        let mut state = self.lock();
        loop {
            if state.chunks[index] == Chunk::Claimed {
                // Also after a failure: whoever copies still reads the disk.
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if state.failure.is_some() || state.chunks[index] == Chunk::Done {
                return false;
            }
            state.chunks[index] = Chunk::Claimed;
            return true;
        }
    }

    /// Takes chunks that lie wholly in the range as done, if nobody has begun with them.
    pub(super) fn skip(&self, range: Range<u64>) {
        let mut state = self.lock();
        let last = if range.end >= self.size {
            state.chunks.len()
        } else {
            (range.end / self.chunk_size) as usize
        };
        let first = range.start.div_ceil(self.chunk_size) as usize;
        for chunk in state.chunks.iter_mut().take(last).skip(first) {
            if *chunk == Chunk::Waiting {
                *chunk = Chunk::Done;
            }
        }
    }

    /// Ends the copying, for this reason unless there is another already.
    pub(super) fn fail(&self, error: SnapshotError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Why the copying has ended before its time.
    pub(super) fn failure(&self) -> Option<SnapshotError> {
        self.lock().failure.clone()
    }
}
