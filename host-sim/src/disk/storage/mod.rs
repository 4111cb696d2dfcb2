//! The bytes under an image: a host file, or memory that stands in for one.

mod file;
mod limits;
mod lock;
mod memory;
mod power_cut;
pub(super) mod random;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use vm_memory::VolatileSlice;

use super::scatter::Scatter;

pub use file::FileStorage;
pub use memory::{FaultHook, MemoryStorage, StorageChange};
pub use power_cut::{CutState, PowerCut};

/// A growable array of bytes with an explicit flush.
///
/// Image formats run on this, so that tests can replace the file by memory that records the order of
/// writes and loses unflushed ones. All methods may be called from many threads at once.
pub trait Storage: Send + Sync {
    /// Fills the view with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the storage ends before; else the host's failure.
    fn read_at(&self, offset: u64, into: Scatter<'_>) -> io::Result<()>;

    /// Writes the view's bytes from `offset` on, extending the storage with zeros where needed.
    ///
    /// # Errors
    /// The host's failure; part may have been written.
    fn write_at(&self, offset: u64, from: Scatter<'_>) -> io::Result<()>;

    /// Makes all completed writes and the size durable.
    ///
    /// # Errors
    /// The host's failure; what is durable is then unknown.
    fn flush(&self) -> io::Result<()>;

    /// Bytes now stored.
    ///
    /// # Errors
    /// The host's failure.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the storage, or extends it with zeros.
    ///
    /// # Errors
    /// The host's failure.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes a range inside the storage read as zeros, giving its space back where the host can.
    ///
    /// # Errors
    /// The host's failure; part may have been zeroed.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Whether punching gives space back. Changes no byte.
    fn can_punch(&self) -> bool {
        true
    }

    /// Gives a range's space back without a promise about what it then holds.
    ///
    /// # Errors
    /// The host's failure, or it [can't](Self::can_forget).
    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        self.punch(offset, length)
    }

    /// Whether forgetting gives space back. Changes no byte.
    fn can_forget(&self) -> bool {
        self.can_punch()
    }

    /// First range in `within` that may hold something else than zeros.
    ///
    /// # Errors
    /// The host's failure.
    fn next_data(&self, within: Range<u64>) -> io::Result<Option<Range<u64>>>;

    /// [`read_at`](Self::read_at) into ordinary memory.
    ///
    /// # Errors
    /// As `read_at`.
    fn read_bytes(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, Scatter::new(&[VolatileSlice::from(into)]))
    }

    /// [`write_at`](Self::write_at) from ordinary memory, through a private copy.
    ///
    /// # Errors
    /// As `write_at`.
    fn write_bytes(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let mut copy = from.to_vec();
        self.write_at(
            offset,
            Scatter::new(&[VolatileSlice::from(copy.as_mut_slice())]),
        )
    }
}

/// Storage that others hold too.
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn read_at(&self, offset: u64, into: Scatter<'_>) -> io::Result<()> {
        (**self).read_at(offset, into)
    }

    fn write_at(&self, offset: u64, from: Scatter<'_>) -> io::Result<()> {
        (**self).write_at(offset, from)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        (**self).set_size(size)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).punch(offset, length)
    }

    fn can_punch(&self) -> bool {
        (**self).can_punch()
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).forget(offset, length)
    }

    fn can_forget(&self) -> bool {
        (**self).can_forget()
    }

    fn next_data(&self, within: Range<u64>) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(within)
    }
}
