//! A root shell in the guest, over its second serial port.
//!
//! A request is a line `ID BASE64`: a number and a script. The answer is `@out ID`, the script's output in lines of
//! base64, `@err ID`, its error output likewise, and `@end ID STATUS`. Everything else on the line is passed over, so
//! that both ends find each other again after lost bytes. The guest's end is the initramfs's `init`.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long one look at the socket may wait.
const GLANCE: Duration = Duration::from_millis(200);

/// How long the first question of all waits for its answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that a guest may send without an end of line before it counts as mad.
const LONGEST_LINE: usize = 1 << 16;

/// What a script left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: u32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without white space at its end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// Why a script has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellError {
    /// No answer in time.
    Silent(Duration),
    /// The line is closed: the host or the guest is gone.
    Closed(String),
    /// The answer makes no sense.
    Nonsense(String),
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Closed(reason) => write!(f, "the serial line is closed: {reason}"),
            Self::Nonsense(what) => write!(f, "the guest's shell answered nonsense: {what}"),
        }
    }
}

/// The runner's end of the line.
pub struct Shell {
    stream: UnixStream,
    received: Vec<u8>,
    last_id: u64,
}

impl Shell {
    /// Takes a connected line.
    ///
    /// # Errors
    /// The socket refuses a time limit.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            last_id: 0,
        })
    }

    /// Runs a script in the guest and waits for its end.
    ///
    /// # Errors
    /// No answer within `limit`, or none that makes sense. A script that fails is no error.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Output, ShellError> {
        let id = self.send(script)?;
        self.answer(id, limit)
    }

    /// Asks again and again, less and less often, until the guest's shell answers any of it.
    ///
    /// # Errors
    /// It does not within `limit`, or the line closes.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<(), ShellError> {
        let end = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < end {
            // Questions to a guest that is not listening yet are lost. Those to a slow one are answered late.
            self.send(":")?;
            let deadline = end.min(Instant::now() + pause);
            while let Some(line) = self.line(deadline)? {
                if line.starts_with("@end ") {
                    return Ok(());
                }
            }
            pause *= 2;
        }
        Err(ShellError::Silent(limit))
    }

    fn send(&mut self, script: &str) -> Result<u64, ShellError> {
        self.last_id += 1;
        // The empty line ends whatever half a line the guest may hold.
        let line = format!("\n{} {}\n", self.last_id, encode(script.as_bytes()));
        let written = self.stream.write_all(line.as_bytes());
        written.map_err(|error| ShellError::Closed(error.to_string()))?;
        Ok(self.last_id)
    }

    fn answer(&mut self, id: u64, limit: Duration) -> Result<Output, ShellError> {
        let deadline = Instant::now() + limit;
        let (out, err, end) = (
            format!("@out {id}"),
            format!("@err {id}"),
            format!("@end {id} "),
        );
        let mut output = Output::default();
        let mut part: Option<&mut Vec<u8>> = None;
        while let Some(line) = self.line(deadline)? {
            if line == out {
                part = Some(&mut output.stdout);
            } else if line == err {
                part = Some(&mut output.stderr);
            } else if let Some(status) = line.strip_prefix(&end) {
                output.status = status
                    .parse()
                    .map_err(|_| ShellError::Nonsense(format!("status {status}")))?;
                return Ok(output);
            } else if let Some(part) = part.as_mut() {
                let bytes = decode(&line).ok_or(ShellError::Nonsense(line))?;
                part.extend(bytes);
            }
        }
        Err(ShellError::Silent(limit))
    }

    /// The next line without its end, or `None` when time is up.
    fn line(&mut self, deadline: Instant) -> Result<Option<String>, ShellError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if self.received.len() > LONGEST_LINE {
                return Err(ShellError::Nonsense("a line without an end".to_owned()));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ShellError::Closed("end of file".to_owned())),
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(ShellError::Closed(error.to_string())),
            }
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648) in one line.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of one line of base64 (RFC 4648), or `None` if it is none.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for (index, chunk) in text.chunks(4).enumerate() {
        let padding = chunk
            .iter()
            .rev()
            .take_while(|digit| **digit == b'=')
            .count();
        let last = (index + 1) * 4 == text.len();
        if padding > 2 || (padding > 0 && !last) {
            return None;
        }
        let mut word = 0_u32;
        for digit in &chunk[..4 - padding] {
            let value = DIGITS.iter().position(|known| known == digit)?;
            word = word << 6 | u32::try_from(value).ok()?;
        }
        word <<= 6 * padding;
        bytes.extend(&word.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
        for bad in ["Zg=", "Z===", "Zg==Zg==", "Z*==", "é=="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    /// A guest that reads one request and writes these lines.
    fn guest(answer: &'static str) -> Shell {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut request = [0; 64];
            let _ = theirs.read(&mut request);
            let _ = theirs.write_all(answer.as_bytes());
            // The line stays open until the test is over.
            let _ = theirs.read(&mut request);
        });
        Shell::new(ours).unwrap()
    }

    #[test]
    fn an_answer_is_taken_apart_and_noise_passed_over() {
        let mut shell =
            guest("noise\r\n@end 7 1\n@out 1\r\nZm9v\r\nYmFy\r\n@err 1\nZg==\n@end 1 3\n");
        let output = shell.run("true", Duration::from_secs(10)).unwrap();
        assert_eq!(output.text(), "foobar");
        assert_eq!((output.status, output.stderr), (3, b"f".to_vec()));
    }

    #[test]
    fn a_late_answer_shows_that_the_guest_is_ready() {
        let mut shell = guest("login: \n@out 1\n@err 1\n@end 1 0\n");
        shell.wait_until_ready(Duration::from_secs(10)).unwrap();
        let silent = guest("noise\n").wait_until_ready(Duration::from_millis(1));
        assert!(matches!(silent, Err(ShellError::Silent(_))));
    }

    #[test]
    fn nonsense_silence_and_a_closed_line_are_told() {
        let run = |answer| guest(answer).run("true", Duration::from_millis(1));
        assert_eq!(run(""), Err(ShellError::Silent(Duration::from_millis(1))));
        let run = |answer| guest(answer).run("true", Duration::from_secs(10));
        assert!(matches!(run("@out 1\n**\n"), Err(ShellError::Nonsense(_))));
        assert!(matches!(run("@end 1 x\n"), Err(ShellError::Nonsense(_))));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let closed = Shell::new(ours)
            .unwrap()
            .run("true", Duration::from_secs(10));
        assert!(matches!(closed, Err(ShellError::Closed(_))));
    }
}
