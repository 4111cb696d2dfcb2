//! Locks that keep two users of an image from harming each other.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;

use nix::fcntl::FcntlArg;

/// All of the file, and of whatever it may grow to.
const WHOLE: Range<i64> = 0..0;

/// What readers lock: bytes of which QEMU's tools make no use, so that they may read too.
const READERS: Range<i64> = 0..100;

/// The byte on which QEMU's tools, before they write, see whether somebody relies on nobody writing.
const NO_QEMU_WRITER: Range<i64> = 201..202;

/// Locks a file until it is closed by all, or [`unlock`]ed. Locks belong to the open file, not to the
/// process: opening a file twice makes two users.
///
/// # Errors
/// `WouldBlock` if another user excludes this one, else the host's failure.
pub(super) fn lock(file: &File, writable: bool) -> io::Result<()> {
    if writable {
        set(file, libc::F_WRLCK, &WHOLE)
    } else {
        set(file, libc::F_RDLCK, &READERS)?;
        set(file, libc::F_RDLCK, &NO_QEMU_WRITER)
    }
}

/// Gives up all locks now, even if a process that was just forked still has the file open.
pub(super) fn unlock(file: &File) {
    // There is nothing to do about a failure; the locks end when the file is closed.
    let _ = set(file, libc::F_UNLCK, &WHOLE);
}

fn set(file: &File, kind: i32, range: &Range<i64>) -> io::Result<()> {
    // The constants are small.
    #[allow(clippy::cast_possible_truncation)]
    let request = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start,
        l_len: range.end - range.start,
        l_pid: 0,
    };
    match nix::fcntl::fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&request)) {
        Ok(_) => Ok(()),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}
