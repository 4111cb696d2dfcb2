//! Running commands: announced, with errors that name the command.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Why a command of ours could not do its work.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    exit_code: u8,
}

impl Error {
    /// A failure with exit status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: 1,
        }
    }

    /// The same failure with the exit status of the command that failed.
    pub(crate) fn with_exit_code(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// The status that our process should exit with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where build products go.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Says what is about to happen, on standard error: standard output belongs to the result.
pub(crate) fn say(text: &str) {
    eprintln!("== {text}");
}

fn name_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn failure(command: &Command, status: std::process::ExitStatus) -> Error {
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Error::new(format!("`{}` failed: {status}", name_of(command))).with_exit_code(code)
}

/// Runs a command to its end with our own standard streams.
pub(crate) fn check(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|error| Error::new(format!("cannot start `{}`: {error}", name_of(command))))?;
    if status.success() {
        Ok(())
    } else {
        Err(failure(command, status))
    }
}

/// Whether a program can be started with these arguments and exits with success, silently.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a command printed while it also went to our own streams.
pub(crate) struct Shown {
    /// Both streams, line by line, in the order of arrival.
    pub(crate) lines: Vec<String>,
    /// Whether it exited with success, or why not.
    pub(crate) outcome: Result<(), Error>,
}

/// Runs a command, shows its output and keeps the lines for counting.
pub(crate) fn show(command: &mut Command) -> Result<Shown, Error> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot start `{}`: {error}", name_of(command))))?;
    let lines = Mutex::new(Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| stdout.map(|stream| tee(stream, &lines)));
        scope.spawn(|| stderr.map(|stream| tee(stream, &lines)));
    });
    let status = child.wait()?;
    let outcome = if status.success() {
        Ok(())
    } else {
        Err(failure(command, status))
    };
    Ok(Shown {
        lines: lines.into_inner().unwrap_or_default(),
        outcome,
    })
}

fn tee(stream: impl Read, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).into_owned();
        // A closed standard output must not stop the command that we count.
        let _ = writeln!(std::io::stdout(), "{line}");
        if let Ok(mut lines) = lines.lock() {
            lines.push(line);
        }
    }
}
