//! Where serial output can go besides files and terminals.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// An output that keeps the first bytes, up to a limit, in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    limit: usize,
}

impl Capture {
    /// Keeps at most `limit` bytes; what follows is dropped.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            kept: Arc::default(),
            limit,
        }
    }

    /// What has been written so far, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.limit.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that hands complete lines, without their line feed, to a function.
///
/// A line longer than [`LineOutput::LONGEST_LINE`] is handed over in pieces; bytes that are not UTF-8 are replaced. What
/// follows the last line feed is handed over when the output is dropped.
pub struct LineOutput<F: FnMut(&str)> {
    line: Vec<u8>,
    on_line: F,
}

impl<F: FnMut(&str)> LineOutput<F> {
    /// Most bytes that are kept for one line.
    pub const LONGEST_LINE: usize = 64 * 1024;

    /// Calls `on_line` for each line, on the thread of the virtual processor that completes it.
    pub fn new(on_line: F) -> Self {
        Self {
            line: Vec::new(),
            on_line,
        }
    }

    fn hand_over(&mut self) {
        (self.on_line)(&String::from_utf8_lossy(&self.line));
        self.line.clear();
    }
}

impl<F: FnMut(&str)> Write for LineOutput<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                self.hand_over();
                continue;
            }
            if self.line.len() == Self::LONGEST_LINE {
                self.hand_over();
            }
            self.line.push(byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&str)> Drop for LineOutput<F> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_over_whole_and_long_ones_in_pieces() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let mut output = LineOutput::new(move |line: &str| seen.lock().unwrap().push(line.len()));
        let longest = LineOutput::<fn(&str)>::LONGEST_LINE;
        output.write_all(b"one\n\nth").unwrap();
        output.write_all(b"ree\n").unwrap();
        output.write_all(&vec![b'x'; longest + 7]).unwrap();
        output.write_all(b"\nrest").unwrap();
        drop(output);
        assert_eq!(*lines.lock().unwrap(), [3, 0, 5, longest, 7, 4]);
    }
}
