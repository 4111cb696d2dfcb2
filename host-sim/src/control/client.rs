//! The client's end.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use super::error::ControlError;
use super::request::Request;
use super::wire::{Line, MAX_RESPONSE, Response, read_line, write_line};

/// A call that led to nothing.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The machine did not do it.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// The socket failed, or nobody listens.
    #[error("the control socket: {0}")]
    Socket(#[from] io::Error),
    /// The machine ended before it answered.
    #[error("the machine ended before it answered")]
    Ended,
    /// The answer makes no sense.
    #[error("the answer is none of this protocol: {0}")]
    Nonsense(String),
}

/// A connection to a machine's control socket.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// There is no socket, nobody listens, or it is another user's.
    pub fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(|stream| Self {
            reader: BufReader::new(stream),
        })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call(&mut self, request: &Request) -> Result<Value, ClientError> {
        write_line(self.reader.get_mut(), request)?;
        match read_line(&mut self.reader, MAX_RESPONSE)? {
            Line::Good(Response::Ok(value)) => Ok(value),
            Line::Good(Response::Error(error)) => Err(error.into()),
            Line::End => Err(ClientError::Ended),
            Line::Bad(reason) => Err(ClientError::Nonsense(reason)),
            Line::TooLong => Err(ClientError::Nonsense("it is too long".to_owned())),
        }
    }
}
