//! Files: into the guest, and backups of its disks.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use hypercall::time::UNITS_PER_SECOND;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use super::{ControlError, ErrorKind, Machine, device, done};
use crate::control::request::{CopyFileRequest, VssRequest};
use crate::ic::Pending;
use crate::ic::file_copy::NewFile;
use crate::ic::vss::{FreezeRequest, LONGEST};

/// Longest that a guest may be given to freeze, in seconds.
const LONGEST_FREEZE: u64 = LONGEST / UNITS_PER_SECOND;

impl Machine {
    pub(super) fn copy_file(&self, request: &CopyFileRequest) -> Result<Value, ControlError> {
        let service = device(self.host.services.file_copy.as_ref(), "file copy")?;
        let failed = |error: io::Error| cannot("read", &request.source, &error);
        let source = File::open(&request.source).map_err(failed)?;
        let metadata = source.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let error = io::Error::other("it is no regular file");
            return Err(failed(error));
        }
        let Some((directory, name)) = split_target(&request.target) else {
            return Err(ControlError::new(
                ErrorKind::Invalid,
                format!("'{}' is no absolute path of a file", request.target),
            ));
        };
        let file = NewFile {
            overwrite: request.overwrite,
            create_path: request.create_path,
            ..NewFile::new(directory, name, metadata.len())
        };
        service.copy(&file, source)?;
        Ok(json!({"bytes": metadata.len()}))
    }

    pub(super) fn vss(&self, request: VssRequest) -> Result<Value, ControlError> {
        let service = device(self.host.services.vss.as_ref(), "backup service")?;
        let (lun, to, seconds) = match request {
            VssRequest::Check {} => {
                service.check().and_then(Pending::wait)?;
                return Ok(done());
            }
            VssRequest::Backup {
                lun,
                to,
                freeze_timeout,
            } => (lun, to, freeze_timeout),
        };
        let seconds = seconds.map(u64::from);
        if seconds.is_some_and(|seconds| !(1..=LONGEST_FREEZE).contains(&seconds)) {
            return Err(ControlError::new(
                ErrorKind::Invalid,
                format!("a guest has 1 to {LONGEST_FREEZE} seconds to freeze"),
            ));
        }
        // A file that is there may be the only copy of something, the disk's own image even.
        if std::fs::symlink_metadata(&to).is_ok() {
            let error = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(cannot("make", &to, &error));
        }
        // What is called as wished is complete, whatever ends this process meanwhile.
        let partial = partial_path(&to);
        let target = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&partial)
            .map_err(|error| cannot("make", &partial, &error))?;
        let backup = || -> Result<(), ControlError> {
            let freeze = FreezeRequest {
                timeout: seconds.map(|seconds| seconds * UNITS_PER_SECOND),
                ..FreezeRequest::default()
            };
            let begin = || self.host.disks.begin_snapshot(0, lun, target);
            let snapshot = service.backup(&freeze, begin)??;
            // The guest is thawed by now.
            snapshot.finish()?;
            rename_new(&partial, &to).map_err(|error| cannot("make", &to, &error))
        };
        backup().inspect_err(|_| {
            let _ = std::fs::remove_file(&partial);
        })?;
        Ok(json!({"path": to}))
    }
}

/// What a file is called until it is complete.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    name.into()
}

/// Renames a file, unless there is one that is called so.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some file systems cannot tell.
        Err(Errno::EINVAL) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> ControlError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    };
    ControlError::new(kind, format!("cannot {what} '{}': {error}", path.display()))
}

/// Directory and name of a file in the guest, whose system may write paths in another way. The directory keeps the
/// separator at its end: Linux's daemon makes missing folders up to the last separator that it sees.
fn split_target(path: &str) -> Option<(&str, &str)> {
    let bytes = path.as_bytes();
    let has_drive = bytes.get(1) == Some(&b':') && bytes[0].is_ascii_alphabetic();
    let separator = match bytes.first()? {
        b'/' => '/',
        _ if has_drive && bytes.get(2) == Some(&b'\\') => '\\',
        _ => return None,
    };
    let (directory, name) = path.split_at(path.rfind(separator)? + 1);
    (!name.is_empty()).then_some((directory, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_file_gets_its_name_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let partial = partial_path(&path);
        assert_ne!(partial, path);
        std::fs::write(&partial, b"new").unwrap();
        rename_new(&partial, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        std::fs::write(&partial, b"newer").unwrap();
        let error = rename_new(&partial, &path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn targets_are_split() {
        for (path, expected) in [
            ("/a/b/c.txt", Some(("/a/b/", "c.txt"))),
            ("/c.txt", Some(("/", "c.txt"))),
            ("C:\\dir\\c.txt", Some(("C:\\dir\\", "c.txt"))),
            ("C:\\c.txt", Some(("C:\\", "c.txt"))),
            ("c.txt", None),
            ("/a/", None),
            ("", None),
            ("ä:\\x", None),
        ] {
            assert_eq!(split_target(path), expected, "{path}");
        }
    }
}
