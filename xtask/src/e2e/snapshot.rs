//! The outer machine's state just after its start, kept in the cache: later runs begin there.
//!
//! A state belongs to one build of QEMU, one command line, one kernel and one initial file system: its name holds the
//! hash of them all. Nothing of the disks is in it, since the machine looks at them only afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::attempt::{READY, Running};
use super::monitor::{self, Monitor};
use crate::run::{Error, say};

/// The machine's start, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Writing its state, some hundred megabytes at the most.
const SAVE_LIMIT: Duration = Duration::from_secs(120);

/// What states' names begin with.
const PREFIX: &str = "outer-";

/// The place of a state that depends on these bytes. States of other bytes are removed: they are large, and each
/// change makes the old one useless.
///
/// # Errors
/// The folder cannot be made or read.
pub(crate) fn place(cache: &Path, depends_on: &[&[u8]]) -> Result<PathBuf, Error> {
    let folder = cache.join("snapshots");
    std::fs::create_dir_all(&folder)?;
    let mut hash = Sha256::new();
    for part in depends_on {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let key = hash.finalize();
    let key: String = key[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{PREFIX}{key}.state");
    for entry in std::fs::read_dir(&folder)?.flatten() {
        let other = entry.file_name().to_string_lossy().into_owned();
        if other.starts_with(PREFIX) && other.ends_with(".state") && other != name {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(folder.join(name))
}

/// Starts the machine and saves its state once it is ready. The file is complete or absent.
///
/// # Errors
/// The machine does not become ready, or QEMU cannot save it.
pub(crate) fn take(command: &mut Command, state: &Path, folder: &Path) -> Result<(), Error> {
    say("starting the outer machine and keeping its state for later runs");
    let socket = monitor::listen(command, folder);
    let running = Running::start(command, &folder.join("snapshot.log"))?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match running.line(deadline) {
            Ok(line) if line.contains(READY) => break,
            Ok(_) => {}
            Err(reason) => return Err(Error::new(format!("the outer machine: {reason}"))),
        }
    }
    let arriving = state.with_extension(format!("arriving.{}", std::process::id()));
    let saved = save(&socket, &arriving).and_then(|()| Ok(std::fs::rename(&arriving, state)?));
    drop(running);
    if saved.is_err() {
        let _ = std::fs::remove_file(&arriving);
    }
    saved
}

/// Has a command of [`take`]'s kind begin with a state.
pub(crate) fn restore(command: &mut Command, state: &Path) -> Result<(), Error> {
    command
        .arg("-incoming")
        .arg(format!("exec:cat {}", quoted(state)?));
    Ok(())
}

/// An option of QEMU's with a path in it: a comma is written twice.
pub(crate) fn option(before: &str, path: &Path, after: &str) -> String {
    let path = path.display().to_string().replace(',', ",,");
    format!("{before}{path}{after}")
}

/// A path as the shell takes it for one word.
fn quoted(path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text) if !text.contains('\'') => Ok(format!("'{text}'")),
        _ => Err(Error::new(format!(
            "{}: QEMU cannot be told this path",
            path.display()
        ))),
    }
}

fn save(socket: &Path, state: &Path) -> Result<(), Error> {
    let mut monitor = Monitor::connect(socket)?;
    let to = format!("exec:cat > {}", quoted(state)?);
    monitor.ask(&json!({ "execute": "migrate", "arguments": { "uri": to } }))?;
    let deadline = Instant::now() + SAVE_LIMIT;
    loop {
        let answer = monitor.ask(&json!({ "execute": "query-migrate" }))?;
        match answer["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                return Err(Error::new(format!("QEMU cannot save its state: {answer}")));
            }
            _ if Instant::now() >= deadline => {
                return Err(Error::new("QEMU takes too long to save its state"));
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_depends_on_every_byte_and_old_states_go() {
        let cache = tempfile::tempdir().unwrap();
        let first = place(cache.path(), &[b"ab", b"c"]).unwrap();
        std::fs::write(&first, "state").unwrap();
        assert_eq!(place(cache.path(), &[b"ab", b"c"]).unwrap(), first);
        assert!(first.is_file());
        assert_ne!(place(cache.path(), &[b"a", b"bc"]).unwrap(), first);
        assert!(!first.exists());
    }

    #[test]
    fn paths_that_the_shell_would_take_apart_are_refused() {
        assert_eq!(quoted(Path::new("/a b")).unwrap(), "'/a b'");
        assert!(quoted(Path::new("/it's")).is_err());
        assert_eq!(option("file=", Path::new("/a,b"), ",x"), "file=/a,,b,x");
    }
}
