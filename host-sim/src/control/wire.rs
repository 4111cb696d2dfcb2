//! Lines on the socket.

use std::io::{self, BufRead, Read as _, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ControlError;

/// Most bytes of a request's line.
pub const MAX_REQUEST: u64 = 1 << 20;

/// Most bytes of an answer's line, which a client reads: that of `inspect` is the longest.
pub(super) const MAX_RESPONSE: u64 = 64 << 20;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Response {
    /// It was carried out; what came of it.
    Ok(Value),
    /// It was not.
    Error(ControlError),
}

impl From<Result<Value, ControlError>> for Response {
    fn from(result: Result<Value, ControlError>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(error),
        }
    }
}

/// What a line turned out to be.
pub(super) enum Line<T> {
    /// The other end has closed.
    End,
    /// No JSON of this kind; why not. The next line may be.
    Bad(String),
    /// Longer than allowed: where the next line begins is unknown.
    TooLong,
    /// As expected.
    Good(T),
}

/// Reads one line of at most `limit` bytes.
pub(super) fn read_line<T: DeserializeOwned>(
    reader: &mut impl BufRead,
    limit: u64,
) -> io::Result<Line<T>> {
    let mut bytes = Vec::new();
    let read = reader.take(limit).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if bytes.last() != Some(&b'\n') && read as u64 == limit {
        return Ok(Line::TooLong);
    }
    Ok(match serde_json::from_slice(&bytes) {
        Ok(value) => Line::Good(value),
        Err(error) => Line::Bad(error.to_string()),
    })
}

/// Writes one line.
pub(super) fn write_line(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    writer.write_all(&bytes)?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let mut input: &[u8] = b"1\n\n2";
        assert!(matches!(read_line::<u8>(&mut input, 8), Ok(Line::Good(1))));
        assert!(matches!(read_line::<u8>(&mut input, 8), Ok(Line::Bad(_))));
        assert!(matches!(read_line::<u8>(&mut input, 8), Ok(Line::Good(2))));
        assert!(matches!(read_line::<u8>(&mut input, 8), Ok(Line::End)));
        let mut input: &[u8] = b"12345678";
        assert!(matches!(read_line::<u64>(&mut input, 8), Ok(Line::TooLong)));
        let mut input: &[u8] = b"1234567\n";
        assert!(matches!(
            read_line::<u64>(&mut input, 8),
            Ok(Line::Good(1_234_567))
        ));
    }
}
