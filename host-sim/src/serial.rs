//! The PC's 16550 serial port, and where its output goes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Number of I/O ports of a 16550.
pub const PORT_COUNT: u16 = 8;

/// Where a port's output goes; standard output is one such place.
pub type Output = Box<dyn Write + Send>;

/// The port's interrupt line.
struct Line(Option<EventFd>);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |line| line.write(1))
    }
}

/// A 16550 whose transmitter is always ready.
pub struct SerialPort {
    device: Mutex<Serial<Line, NoEvents, Output>>,
}

impl SerialPort {
    /// A port that sends to `output` and raises `interrupt`, if there is one.
    #[must_use]
    pub fn new(output: Output, interrupt: Option<EventFd>) -> Self {
        Self {
            device: Mutex::new(Serial::new(Line(interrupt), output)),
        }
    }

    /// The guest reads the register at `offset`, 0 to 7.
    pub fn read(&self, offset: u8) -> u8 {
        self.lock().read(offset)
    }

    /// The guest writes the register at `offset`, 0 to 7.
    ///
    /// An output that fails loses its bytes: the guest's serial line is not connected then.
    pub fn write(&self, offset: u8, value: u8) {
        if let Err(error) = self.lock().write(offset, value) {
            tracing::debug!(%error, "serial output is lost");
        }
    }

    /// Gives the guest bytes to read; returns how many its receive buffer had room for.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut device = self.lock();
        let room = device.fifo_capacity().min(bytes.len());
        device.enqueue_raw_bytes(&bytes[..room]).unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Serial<Line, NoEvents, Output>> {
        // A panicking output leaves the registers as they are: still those of a 16550.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

    const DATA: u8 = 0;
    const INTERRUPT_ENABLE: u8 = 1;
    const LINE_STATUS: u8 = 5;

    #[test]
    fn the_transmitter_is_always_ready_and_sends_bytes_on() {
        let capture = Capture::new(5);
        let port = SerialPort::new(Box::new(capture.clone()), None);
        for byte in *b"hello, world" {
            assert_ne!(port.read(LINE_STATUS) & 0x20, 0);
            port.write(DATA, byte);
        }
        assert_eq!(capture.text(), "hello");
    }

    #[test]
    fn input_is_read_back_and_raises_the_interrupt() {
        let line = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let port = SerialPort::new(Box::new(io::sink()), Some(line.try_clone().unwrap()));
        port.write(INTERRUPT_ENABLE, 1);
        assert_eq!(port.receive(b"ok"), 2);
        assert!(line.read().is_ok());
        assert_eq!([port.read(DATA), port.read(DATA)], *b"ok");
        assert!(port.receive(&[0; 1000]) < 1000);
    }

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
