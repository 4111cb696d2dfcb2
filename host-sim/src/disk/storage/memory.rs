//! Memory as [`Storage`]: for tests, models and fuzzing.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Scatter, Storage};

/// Bytes stored together.
const PAGE: u64 = 4096;

/// A change to a storage, in the order in which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChange {
    /// Bytes were written.
    Write {
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// The size was set.
    SetSize(u64),
    /// A range was made to read as zeros.
    Punch {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// All that came before was made durable.
    Flush,
}

/// Decides whether a change fails, before it has any effect.
pub type FaultHook = Box<dyn FnMut(&StorageChange) -> Option<io::Error> + Send>;

/// Sparse memory that stands in for a file, optionally recording changes and failing on request.
#[derive(Default)]
pub struct MemoryStorage {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: Content,
    record: Option<Vec<StorageChange>>,
    fault: Option<FaultHook>,
}

/// The bytes: pages that were never written are zero.
#[derive(Clone, Default)]
struct Content {
    size: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl MemoryStorage {
    /// Empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Storage that holds these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let storage = Self::new();
        storage.lock().content.write(0, bytes);
        storage
    }

    /// Another storage with the same content, neither recording nor failing.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let content = self.lock().content.clone();
        Self {
            state: Mutex::new(State {
                content,
                ..State::default()
            }),
        }
    }

    /// All bytes.
    ///
    /// # Panics
    /// There are more than this machine can address.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = self.lock();
        let size = usize::try_from(state.content.size).expect("addressable size");
        let mut bytes = vec![0; size];
        state.content.read(0, &mut bytes);
        bytes
    }

    /// Bytes that take up memory, in whole pages.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.lock().content.pages.len() as u64 * PAGE
    }

    /// Starts to record changes, anew.
    pub fn start_recording(&self) {
        self.lock().record = Some(Vec::new());
    }

    /// The changes so far; recording goes on.
    #[must_use]
    pub fn recorded(&self) -> Vec<StorageChange> {
        self.lock().record.clone().unwrap_or_default()
    }

    /// Number of changes so far.
    #[must_use]
    pub fn recorded_count(&self) -> usize {
        self.lock().record.as_ref().map_or(0, Vec::len)
    }

    /// Asks `hook` about every change from now on. Failed changes are not recorded.
    pub fn set_fault(&self, hook: Option<FaultHook>) {
        self.lock().fault = hook;
    }

    /// Performs a change.
    ///
    /// # Errors
    /// What the fault hook says.
    pub fn apply(&self, change: StorageChange) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(error) = state.fault.as_mut().and_then(|fault| fault(&change)) {
            return Err(error);
        }
        match &change {
            StorageChange::Write { offset, data } => {
                if offset.checked_add(data.len() as u64).is_none() {
                    return Err(io::Error::from_raw_os_error(libc::EFBIG));
                }
                state.content.write(*offset, data);
            }
            StorageChange::SetSize(size) => state.content.set_size(*size),
            StorageChange::Punch { offset, length } => {
                let size = state.content.size;
                state
                    .content
                    .zero((*offset).min(size)..offset.saturating_add(*length).min(size));
            }
            StorageChange::Flush => {}
        }
        if let Some(record) = &mut state.record {
            record.push(change);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Copies bytes out; those beyond the end are left alone.
    fn read(&self, offset: u64, into: &mut [u8]) {
        for (page, inside, part) in pages(offset, into.len()) {
            let into = &mut into[part];
            match self.pages.get(&page) {
                Some(bytes) => into.copy_from_slice(&bytes[inside..inside + into.len()]),
                None => into.fill(0),
            }
        }
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        for (page, inside, part) in pages(offset, from.len()) {
            let from = &from[part];
            let bytes = self
                .pages
                .entry(page)
                .or_insert_with(|| vec![0; PAGE as usize].into());
            bytes[inside..inside + from.len()].copy_from_slice(from);
        }
        self.size = self.size.max(offset + from.len() as u64);
    }

    fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.zero(size..self.size);
        }
        self.size = size;
    }

    fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touched = range.start / PAGE..range.end.div_ceil(PAGE);
        let numbers: Vec<u64> = self.pages.range(touched).map(|(page, _)| *page).collect();
        for page in numbers {
            let start = page * PAGE;
            let from = range.start.max(start) - start;
            let to = range.end.min(start + PAGE) - start;
            if to - from == PAGE {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                bytes[from as usize..to as usize].fill(0);
            }
        }
    }
}

/// The pages that `length` bytes at `offset` touch: page number, first byte in the page, range of the
/// bytes.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        // Below the page size.
        let inside = (at % PAGE) as usize;
        let count = (PAGE as usize - inside).min(length - done);
        let part = done..done + count;
        done += count;
        Some((at / PAGE, inside, part))
    })
}

impl std::fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryStorage")
            .field("size", &state.content.size)
            .field("pages", &state.content.pages.len())
            .finish_non_exhaustive()
    }
}

impl Storage for MemoryStorage {
    fn read_at(&self, mut offset: u64, into: Scatter<'_>) -> io::Result<()> {
        let state = self.lock();
        match offset.checked_add(into.len()) {
            Some(end) if end <= state.content.size => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        let mut bytes = Vec::new();
        for piece in into.pieces() {
            bytes.resize(piece.len(), 0);
            state.content.read(offset, &mut bytes);
            piece.copy_from(&bytes);
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, from: Scatter<'_>) -> io::Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        let length = usize::try_from(from.len()).map_err(io::Error::other)?;
        let mut data = vec![0; length];
        from.copy_to(&mut data);
        self.apply(StorageChange::Write { offset, data })
    }

    fn flush(&self) -> io::Result<()> {
        self.apply(StorageChange::Flush)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.lock().content.size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.apply(StorageChange::SetSize(size))
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.apply(StorageChange::Punch { offset, length })
    }

    fn next_data(&self, within: Range<u64>) -> io::Result<Option<Range<u64>>> {
        let state = self.lock();
        let end = within.end.min(state.content.size);
        if within.start >= end {
            return Ok(None);
        }
        let found = state
            .content
            .pages
            .range(within.start / PAGE..end.div_ceil(PAGE))
            .next();
        Ok(found.map(|(page, _)| (page * PAGE).max(within.start)..((page + 1) * PAGE).min(end)))
    }
}
