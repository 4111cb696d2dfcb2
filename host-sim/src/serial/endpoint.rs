//! What a serial line can be connected with: nothing, standard input and output, a file, a Unix socket.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::socket::SerialSocket;
use super::{Output, SerialPort};
use crate::output::{QueuedOutput, Standard};

/// The other end of a serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nobody: output is dropped.
    Nothing,
    /// This process's standard input and output.
    Stdio,
    /// A file that output is written to, emptied first.
    File(PathBuf),
    /// A Unix socket to listen at, for one client at a time.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::Nothing),
            None if text == "stdio" => Ok(Self::Stdio),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(format!(
                "`{text}` is none of none, stdio, file:PATH and unix:PATH"
            )),
        }
    }
}

/// The other end of a serial line cannot be had.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// A file cannot be written.
    #[error("cannot write the serial port's file '{}': {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A socket cannot be made.
    #[error("cannot listen at the serial port's socket '{}': {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no thread to wait for input.
    #[error("cannot start a thread for a serial port: {0}")]
    Thread(#[source] io::Error),
}

/// The other end of a line, ready: where output goes, and where input will come from.
pub struct Opened {
    /// For the port.
    pub output: Output,
    source: Source,
}

enum Source {
    Nothing,
    Stdin,
    Socket(SerialSocket),
}

/// Keeps input coming. A socket is closed, and its file removed, when this is dropped.
pub struct Feeder {
    _socket: Option<SerialSocket>,
}

impl Endpoint {
    /// Opens the file or makes the socket.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn open(&self) -> Result<Opened, EndpointError> {
        let (output, source): (Output, _) = match self {
            Self::Nothing => (Box::new(io::sink()), Source::Nothing),
            Self::Stdio => (Box::new(Standard::Output), Source::Stdin),
            Self::File(path) => {
                let file = File::create(path).map_err(|source| EndpointError::File {
                    path: path.clone(),
                    source,
                })?;
                let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
                let output: Output = if is_regular {
                    Box::new(file)
                } else {
                    // A pipe or a terminal: whoever should read it may not.
                    Box::new(QueuedOutput::to(file).map_err(EndpointError::Thread)?)
                };
                (output, Source::Nothing)
            }
            Self::Unix(path) => {
                let socket =
                    SerialSocket::listen(path).map_err(|source| EndpointError::Socket {
                        path: path.clone(),
                        source,
                    })?;
                (Box::new(socket.output()), Source::Socket(socket))
            }
        };
        Ok(Opened { output, source })
    }
}

impl Opened {
    /// Splits off the output, which a port is made with; what is left is to be fed to that port.
    #[must_use]
    pub fn take_output(&mut self) -> Output {
        std::mem::replace(&mut self.output, Box::new(io::sink()))
    }

    /// Feeds input to the port from now on.
    ///
    /// # Errors
    /// [`EndpointError::Thread`].
    pub fn feed(self, port: &Arc<SerialPort>) -> Result<Feeder, EndpointError> {
        let socket = match self.source {
            Source::Nothing => None,
            Source::Stdin => {
                let port = Arc::clone(port);
                // Nothing ends a read of standard input; the thread lives as long as the process.
                std::thread::Builder::new()
                    .name("serial-stdin".to_owned())
                    .spawn(move || feed_stdin(&port))
                    .map_err(EndpointError::Thread)?;
                None
            }
            Source::Socket(mut socket) => {
                socket.feed(port).map_err(EndpointError::Thread)?;
                Some(socket)
            }
        };
        Ok(Feeder { _socket: socket })
    }
}

fn feed_stdin(port: &SerialPort) {
    const PATIENCE: Duration = Duration::from_secs(3600);
    let mut buffer = [0; 256];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    rest = &rest[port.receive_all(rest, PATIENCE)..];
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!(%error, "no more input for the serial port");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, endpoint) in [
            ("none", Endpoint::Nothing),
            ("stdio", Endpoint::Stdio),
            ("file:a:b", Endpoint::File("a:b".into())),
            ("unix:/run/x", Endpoint::Unix("/run/x".into())),
        ] {
            assert_eq!(text.parse(), Ok(endpoint));
        }
        for text in ["", "pty", "file:", "unix:", "file"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let nowhere = "/nonexistent/directory/x";
        assert!(matches!(
            Endpoint::File(nowhere.into()).open(),
            Err(EndpointError::File { .. })
        ));
        assert!(matches!(
            Endpoint::Unix(nowhere.into()).open(),
            Err(EndpointError::Socket { .. })
        ));
    }
}
