//! The memory of a failure after which nothing more may be promised.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DiskError, Storage};

/// Set once a flush or metadata write failed.
///
/// The host forgets what it could not write after having said so once: a later flush that succeeds would
/// be a lie about the earlier data.
#[derive(Debug, Default)]
pub(super) struct Poison(AtomicBool);

impl Poison {
    /// Fails if an earlier failure forbids to go on.
    pub(super) fn check(&self) -> Result<(), DiskError> {
        if self.0.load(Ordering::Acquire) {
            return Err(DiskError::Poisoned);
        }
        Ok(())
    }

    /// Remembers a failure.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Flushes the storage, remembering failure.
    pub(super) fn flush(&self, storage: &impl Storage) -> Result<(), DiskError> {
        self.check()?;
        storage.flush().map_err(|error| self.flush_failed(&error))?;
        // A flush that failed meanwhile in another thread may have taken this one's data with it.
        self.check()
    }

    /// Never "no space": that would invite to try again.
    fn flush_failed(&self, error: &io::Error) -> DiskError {
        self.set();
        DiskError::Io {
            operation: "flush",
            offset: 0,
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}
