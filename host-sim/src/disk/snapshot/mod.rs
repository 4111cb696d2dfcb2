//! A disk whose state of one moment can be copied while the guest goes on writing.
//!
//! From [`Snapshots::begin`] on, what a guest's write would overwrite is first copied into the snapshot's file, and
//! [`Snapshot::finish`] copies all the rest. Nobody waits for longer than one chunk takes. If the copy fails, the
//! snapshot does, never the guest's write.

mod chunks;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;
use vm_memory::VolatileSlice;

use self::chunks::Chunks;
use super::{DiskError, DiskImage, DiskInfo, Durability, FileStorage, Scatter, Storage};

/// Why there is no copy of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// One is being made already.
    #[error("a snapshot of the disk is being made already")]
    InProgress,
    /// The snapshot's file can't be written.
    #[error("the snapshot's file: {0}")]
    Target(DiskError),
    /// The disk can't be read.
    #[error("the disk: {0}")]
    Source(DiskError),
    /// The snapshot was given up.
    #[error("the snapshot was given up")]
    Abandoned,
}

/// Any disk, with snapshots.
pub struct Snapshots {
    disk: Arc<dyn DiskImage>,
    /// Held for reading while the disk is changed, so that a snapshot begins between two changes.
    current: RwLock<Option<Arc<Copy>>>,
}

/// A snapshot that has begun and is not complete. Dropped, it is given up.
pub struct Snapshot {
    of: Arc<Snapshots>,
    copy: Arc<Copy>,
}

/// The copying.
struct Copy {
    disk: Arc<dyn DiskImage>,
    target: FileStorage,
    chunks: Chunks,
}

impl Snapshots {
    /// The disk, without a snapshot.
    #[must_use]
    pub fn new(disk: Arc<dyn DiskImage>) -> Arc<Self> {
        Arc::new(Self {
            disk,
            current: RwLock::default(),
        })
    }

    /// Keeps the disk's state of this moment, to be copied into `target`, whose content is lost.
    ///
    /// # Errors
    /// [`SnapshotError::InProgress`], or the file does not take the disk's size.
    pub fn begin(self: &Arc<Self>, target: File) -> Result<Snapshot, SnapshotError> {
        self.begin_noting(target, |_| {})
    }

    /// As [`begin`](Self::begin); `note` may look at the disk in the very moment.
    fn begin_noting(
        self: &Arc<Self>,
        target: File,
        note: impl FnOnce(&dyn DiskImage),
    ) -> Result<Snapshot, SnapshotError> {
        let size = self.disk.info().size;
        let prepare = || {
            let target = FileStorage::new(target)?;
            if !target.is_block_device() {
                target.set_size(0)?;
                target.set_size(size)?;
            }
            Ok(target)
        };
        let target = prepare().map_err(|error| target_failed(0, &error))?;
        let copy = Arc::new(Copy {
            disk: Arc::clone(&self.disk),
            target,
            chunks: Chunks::new(size),
        });
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            return Err(SnapshotError::InProgress);
        }
        note(&*self.disk);
        *current = Some(Arc::clone(&copy));
        Ok(Snapshot {
            of: Arc::clone(self),
            copy,
        })
    }

    /// Changes the disk; what a snapshot still needs of the range is copied before.
    fn change<T>(&self, offset: u64, length: u64, change: impl FnOnce() -> T) -> T {
        let current: RwLockReadGuard<'_, _> =
            self.current.read().unwrap_or_else(PoisonError::into_inner);
        // A range that is not on the disk changes nothing: the disk itself says so.
        if let Some(copy) = &*current
            && self.disk.info().check_range(offset, length).is_ok()
        {
            copy.copy(offset..offset + length);
        }
        change()
    }
}

impl DiskImage for Snapshots {
    fn info(&self) -> &DiskInfo {
        self.disk.info()
    }

    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        self.disk.read(offset, into)
    }

    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let length = Scatter::new(from).len();
        self.change(offset, length, || self.disk.write(offset, from, durability))
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.change(offset, length, || self.disk.discard(offset, length))
    }

    fn discard_granularity(&self) -> u64 {
        self.disk.discard_granularity()
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.disk.next_data(offset)
    }
}

impl Snapshot {
    /// Copies all that is not copied yet, and makes the copy durable.
    ///
    /// # Errors
    /// [`SnapshotError`]; the file's content is then of no use.
    pub fn finish(self) -> Result<(), SnapshotError> {
        let (copy, size) = (&self.copy, self.copy.disk.info().size);
        let mut offset = 0;
        while offset < size {
            // What is not copied yet is as it was at the snapshot's moment, so zeros that are found here were zeros
            // then, and the file has them.
            let data = copy.disk.next_data(offset).map_err(SnapshotError::Source)?;
            let data = data.unwrap_or(size..size);
            copy.chunks.skip(offset..data.start);
            copy.copy(data.clone());
            if let Some(error) = copy.chunks.failure() {
                return Err(error);
            }
            offset = data.end;
        }
        copy.target
            .flush()
            .map_err(|error| target_failed(0, &error))?;
        copy.chunks.failure().map_or(Ok(()), Err)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // Those who copy for a write are done, or give up.
        self.copy.chunks.fail(SnapshotError::Abandoned);
        *self
            .of
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Copy {
    /// Sees that every chunk of the range is copied; others may be at some of them.
    fn copy(&self, range: Range<u64>) {
        let mut buffer = Vec::new();
        self.chunks.each(range, |chunk| {
            buffer.resize((chunk.end - chunk.start) as usize, 0);
            self.disk
                .read_bytes(chunk.start, &mut buffer)
                .map_err(SnapshotError::Source)?;
            if buffer.iter().all(|byte| *byte == 0) && !self.target.is_block_device() {
                return Ok(());
            }
            self.target
                .write_at(
                    chunk.start,
                    Scatter::new(&[VolatileSlice::from(buffer.as_mut_slice())]),
                )
                .map_err(|error| target_failed(chunk.start, &error))
        });
    }
}

fn target_failed(offset: u64, error: &io::Error) -> SnapshotError {
    SnapshotError::Target(DiskError::from_io("write", offset, error))
}

#[cfg(test)]
mod tests;
