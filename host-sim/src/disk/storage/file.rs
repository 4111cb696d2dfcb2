//! A host file or block device as [`Storage`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileTypeExt as _;

use nix::fcntl::FallocateFlags;
use nix::unistd::{Whence, lseek64};

use super::limits::{self, DeviceLimits};
use super::{Scatter, Storage};

/// Slices handed to the kernel in one call. Below its limit of 1024, to keep the array on the stack.
const BATCH: usize = 64;

/// Zeros written at a time where the host cannot punch holes.
const ZERO_CHUNK: usize = 1 << 20;

/// A host file or block device.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    /// What it can if it is a block device.
    device: Option<DeviceLimits>,
}

/// Which way bytes move.
#[derive(Clone, Copy)]
enum Transfer {
    Read,
    Write,
}

impl FileStorage {
    /// Takes a file that is open for what will be asked of it.
    ///
    /// # Errors
    /// The host can't tell what sort of file this is.
    pub fn new(file: File) -> io::Result<Self> {
        let device = if file.metadata()?.file_type().is_block_device() {
            Some(DeviceLimits::of(&file)?)
        } else {
            None
        };
        Ok(Self { file, device })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether this is a block device, whose size is fixed.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.device.is_some()
    }

    /// Locks the file, against all other use if `writable`, else against writers, until this is dropped.
    ///
    /// Programs that use open-file-description locks (this one, QEMU's tools) respect it.
    ///
    /// # Errors
    /// `WouldBlock` if another user excludes this one, else the host's failure.
    pub fn lock(&self, writable: bool) -> io::Result<()> {
        super::lock::lock(&self.file, writable)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        Ok(nix::fcntl::fallocate(
            self.file.as_fd(),
            flags,
            file_offset(offset)?,
            file_offset(length)?,
        )?)
    }

    /// Moves the whole view, going on after short transfers and signals.
    fn transfer(&self, mut offset: u64, mut view: Scatter<'_>, way: Transfer) -> io::Result<()> {
        while !view.is_empty() {
            let mut vectors = [libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }; BATCH];
            let mut count = 0;
            for (vector, piece) in vectors.iter_mut().zip(view.pieces()) {
                *vector = libc::iovec {
                    iov_base: piece.ptr_guard_mut().as_ptr().cast(),
                    iov_len: piece.len(),
                };
                count += 1;
            }
            let moved = self.call(file_offset(offset)?, &vectors[..count], way)?;
            match moved {
                None => {}
                Some(0) => {
                    return Err(match way {
                        Transfer::Read => io::ErrorKind::UnexpectedEof.into(),
                        Transfer::Write => io::ErrorKind::WriteZero.into(),
                    });
                }
                Some(bytes) => {
                    offset += bytes;
                    view = view.split_at(bytes).1;
                }
            }
        }
        Ok(())
    }

    /// One system call; `None` if a signal interrupted it.
    fn call(
        &self,
        offset: libc::off64_t,
        vectors: &[libc::iovec],
        way: Transfer,
    ) -> io::Result<Option<u64>> {
        let fd = self.file.as_raw_fd();
        let base = vectors.as_ptr();
        // At most BATCH elements.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let count = vectors.len() as libc::c_int;
        // SAFETY: `base` points to `count` initialised vectors. Each names memory of a `VolatileSlice`
        // that is alive through the borrow in the caller's view, and volatile memory may be read or
        // written by anybody at any time. The descriptor is open as long as `self`.
        let moved = unsafe {
            match way {
                Transfer::Read => libc::preadv64(fd, base, count, offset),
                Transfer::Write => libc::pwritev64(fd, base, count, offset),
            }
        };
        match u64::try_from(moved) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(error),
            },
        }
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        super::lock::unlock(&self.file);
    }
}

impl Storage for FileStorage {
    fn read_at(&self, offset: u64, into: Scatter<'_>) -> io::Result<()> {
        self.transfer(offset, into, Transfer::Read)
    }

    fn write_at(&self, offset: u64, from: Scatter<'_>) -> io::Result<()> {
        self.transfer(offset, from, Transfer::Write)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        if self.is_block_device() {
            let end = lseek64(self.file.as_fd(), 0, Whence::SeekEnd)?;
            u64::try_from(end).map_err(io::Error::other)
        } else {
            Ok(self.file.metadata()?.len())
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        match self.punch_hole(offset, length) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
                let zeros = vec![0; ZERO_CHUNK.min(usize::try_from(length).unwrap_or(ZERO_CHUNK))];
                let mut done = 0;
                while done < length {
                    let count = (length - done).min(zeros.len() as u64);
                    // At most `zeros.len()`, so it fits.
                    self.write_bytes(offset + done, &zeros[..count as usize])?;
                    done += count;
                }
                Ok(())
            }
            result => result,
        }
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.device {
            Some(limits) if !limits.zeroes && length != 0 => {
                limits::forget(&self.file, offset, length)
            }
            _ => self.punch(offset, length),
        }
    }

    fn can_forget(&self) -> bool {
        match self.device {
            Some(limits) => limits.zeroes || limits.forgets,
            None => self.can_punch(),
        }
    }

    fn can_punch(&self) -> bool {
        if let Some(limits) = self.device {
            return limits.zeroes;
        }
        let Ok(end) = self.size().map(|size| size.next_multiple_of(1 << 16)) else {
            return false;
        };
        // There is nothing beyond the end to give back, but the host already refuses if it never could.
        self.punch_hole(end, 1 << 16).is_ok()
    }

    fn next_data(&self, within: Range<u64>) -> io::Result<Option<Range<u64>>> {
        if within.is_empty() {
            return Ok(None);
        }
        let seek = |offset, whence| lseek64(self.file.as_fd(), offset, whence);
        let start = match seek(file_offset(within.start)?, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::Error::ENXIO) => return Ok(None),
            // A device, or a file system without holes: all of it is data.
            Err(nix::Error::EINVAL | nix::Error::EOPNOTSUPP) => return Ok(Some(within)),
            Err(error) => return Err(error.into()),
        };
        let end = seek(start, Whence::SeekHole)?;
        let start = u64::try_from(start).map_err(io::Error::other)?;
        let end = u64::try_from(end).map_err(io::Error::other)?;
        let data = start..end.min(within.end);
        Ok((!data.is_empty()).then_some(data))
    }
}

/// An offset or length as the kernel takes it.
fn file_offset(offset: u64) -> io::Result<libc::off64_t> {
    libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}
