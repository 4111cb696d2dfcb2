//! The PC's 16550 serial port.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vm_superio::serial::{Error as SerialError, SerialEvents};
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Number of I/O ports of a 16550.
pub const PORT_COUNT: u16 = 8;

/// Where a port's output goes; standard output is one such place.
pub type Output = Box<dyn Write + Send>;

/// The port's interrupt line.
struct Line(Option<Arc<EventFd>>);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |line| line.write(1))
    }
}

/// The output, which stays when the port is reset.
#[derive(Clone)]
struct SharedOutput(Arc<Mutex<Output>>);

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}

/// Tells those who have more for the guest to read that it has read everything.
#[derive(Default)]
struct Room {
    /// How often the receive buffer has become empty.
    emptied: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.emptied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        *self.lock() += 1;
        self.changed.notify_all();
    }
}

/// The device's events, of which only one is of use.
struct Events(Arc<Room>);

impl SerialEvents for Events {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.0.announce();
    }
}

type Device = Serial<Line, Events, SharedOutput>;

// Offsets of registers, and bits in them.
const INTERRUPT_ENABLE: u8 = 1;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const LINE_STATUS: u8 = 5;
const RECEIVE_INTERRUPT: u8 = 1;
const NO_INTERRUPT: u8 = 1;
const IDENTIFICATION: u8 = 0xF;
const DATA_AVAILABLE: u8 = 4;
const DIVISOR_LATCH: u8 = 0x80;
const DATA_READY: u8 = 1;

/// The device, and what it does not do by itself. On a real port, the interrupt for input is pending until all is read,
/// and not only until the first byte is: a driver that reads so many bytes at a time would leave the others where they
/// are. And input that came while the interrupt was disabled interrupts as soon as it is enabled, which drivers count on
/// that have throttled their input for a while.
struct Registers {
    device: Device,
    divisor_latch: bool,
    receive_interrupt: bool,
}

impl Registers {
    fn new(device: Device) -> Self {
        Self {
            device,
            divisor_latch: false,
            receive_interrupt: false,
        }
    }

    /// Whether input that nobody has read calls for an interrupt.
    fn input_interrupts(&mut self) -> bool {
        self.receive_interrupt && self.device.read(LINE_STATUS) & DATA_READY != 0
    }

    fn read(&mut self, offset: u8) -> u8 {
        let value = self.device.read(offset);
        let idle = offset == INTERRUPT_IDENTIFICATION && value & NO_INTERRUPT != 0;
        if idle && self.input_interrupts() {
            value & !IDENTIFICATION | DATA_AVAILABLE
        } else {
            value
        }
    }

    /// Writes a register; whether the line has to be raised beyond what the device does.
    fn write(&mut self, offset: u8, value: u8) -> (bool, Result<(), SerialError<io::Error>>) {
        let result = self.device.write(offset, value);
        match offset {
            LINE_CONTROL => self.divisor_latch = value & DIVISOR_LATCH != 0,
            INTERRUPT_ENABLE if !self.divisor_latch => {
                let before = self.receive_interrupt;
                self.receive_interrupt = value & RECEIVE_INTERRUPT != 0;
                return (!before && self.input_interrupts(), result);
            }
            _ => {}
        }
        (false, result)
    }
}

/// A 16550 whose transmitter is always ready.
pub struct SerialPort {
    device: Mutex<Registers>,
    room: Arc<Room>,
    output: SharedOutput,
    line: Option<Arc<EventFd>>,
}

impl SerialPort {
    /// A port that sends to `output` and raises `interrupt`, if there is one.
    #[must_use]
    pub fn new(output: Output, interrupt: Option<EventFd>) -> Self {
        let output = SharedOutput(Arc::new(Mutex::new(output)));
        let (line, room) = (interrupt.map(Arc::new), Arc::default());
        Self {
            device: Mutex::new(Registers::new(device(&line, &room, &output))),
            room,
            output,
            line,
        }
    }

    /// The machine was reset: registers as at power-on, input that the guest has not read is gone.
    pub fn reset(&self) {
        *self.lock() = Registers::new(device(&self.line, &self.room, &self.output));
        self.room.announce();
    }

    /// The guest reads the register at `offset`, 0 to 7.
    pub fn read(&self, offset: u8) -> u8 {
        self.lock().read(offset)
    }

    /// The guest writes the register at `offset`, 0 to 7.
    ///
    /// An output that fails loses its bytes: the guest's serial line is not connected then.
    pub fn write(&self, offset: u8, value: u8) {
        let (raise, result) = self.lock().write(offset, value);
        if let Err(error) = result {
            tracing::debug!(%error, "serial output is lost");
        }
        if raise && let Err(error) = Line(self.line.clone()).trigger() {
            tracing::debug!(%error, "the serial port's interrupt is lost");
        }
    }

    /// Gives the guest bytes to read; returns how many its receive buffer had room for.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let device = &mut self.lock().device;
        let room = device.fifo_capacity().min(bytes.len());
        if room == 0 {
            return 0;
        }
        device.enqueue_raw_bytes(&bytes[..room]).unwrap_or(0)
    }

    /// Gives the guest bytes to read, waiting for it to make room, at most `patience` at a time. Returns how many it
    /// has taken: all, unless it has read nothing for so long.
    pub fn receive_all(&self, bytes: &[u8], patience: Duration) -> usize {
        let mut taken = 0;
        loop {
            // Read before the attempt: room made after it is noticed.
            let emptied = *self.room.lock();
            let count = self.receive(&bytes[taken..]);
            taken += count;
            if taken == bytes.len() {
                return taken;
            }
            if count != 0 {
                continue;
            }
            let (now, _) = self
                .room
                .changed
                .wait_timeout_while(self.room.lock(), patience, |now| *now == emptied)
                .unwrap_or_else(PoisonError::into_inner);
            if *now == emptied {
                return taken;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        // A panicking output leaves the registers as they are: still those of a 16550.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn device(line: &Option<Arc<EventFd>>, room: &Arc<Room>, output: &SharedOutput) -> Device {
    Serial::with_events(Line(line.clone()), Events(Arc::clone(room)), output.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Capture;

    const DATA: u8 = 0;

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
    fn input_that_came_while_its_interrupt_was_disabled_interrupts_when_it_is_enabled() {
        let line = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let port = SerialPort::new(Box::new(io::sink()), Some(line.try_clone().unwrap()));
        port.write(INTERRUPT_ENABLE, 1);
        port.write(INTERRUPT_ENABLE, 0);
        assert_eq!(port.receive(b"x"), 1);
        assert!(line.read().is_err(), "not enabled");
        assert_eq!(port.read(INTERRUPT_IDENTIFICATION) & IDENTIFICATION, 1);
        // The divisor's upper half lies at the same place.
        port.write(LINE_CONTROL, DIVISOR_LATCH);
        port.write(INTERRUPT_ENABLE, 1);
        assert!(line.read().is_err(), "a divisor");
        port.write(LINE_CONTROL, 0);
        port.write(INTERRUPT_ENABLE, 1);
        assert!(line.read().is_ok());
        // As long as the input is there, whatever else has been looked at.
        for _ in 0..2 {
            let identification = port.read(INTERRUPT_IDENTIFICATION) & IDENTIFICATION;
            assert_eq!(identification, DATA_AVAILABLE);
        }
        assert_eq!(port.read(DATA), b'x');
        assert_eq!(port.read(INTERRUPT_IDENTIFICATION) & IDENTIFICATION, 1);
    }

    #[test]
    fn the_interrupt_is_pending_until_all_is_read() {
        let port = SerialPort::new(Box::new(io::sink()), None);
        let pending = || port.read(INTERRUPT_IDENTIFICATION) & IDENTIFICATION;
        assert_eq!(port.receive(b"abc"), 3);
        assert_eq!(pending(), NO_INTERRUPT);
        port.write(INTERRUPT_ENABLE, RECEIVE_INTERRUPT);
        for byte in *b"abc" {
            assert_eq!(pending(), DATA_AVAILABLE);
            assert_eq!(port.read(DATA), byte);
        }
        assert_eq!(pending(), NO_INTERRUPT);
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
    fn no_byte_of_a_long_input_is_lost() {
        let port = Arc::new(SerialPort::new(Box::new(io::sink()), None));
        let input: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        let feeder = {
            let (port, input) = (Arc::clone(&port), input.clone());
            std::thread::spawn(move || port.receive_all(&input, Duration::from_secs(60)))
        };
        let mut read = Vec::new();
        while read.len() < input.len() {
            if port.read(LINE_STATUS) & DATA_READY == 0 {
                std::thread::yield_now();
                continue;
            }
            read.push(port.read(DATA));
        }
        assert_eq!(feeder.join().unwrap(), input.len());
        assert!(read == input);
    }

    #[test]
    fn a_guest_that_reads_nothing_takes_what_there_is_room_for() {
        let port = SerialPort::new(Box::new(io::sink()), None);
        let taken = port.receive_all(&[7; 1000], Duration::from_millis(1));
        assert!((1..1000).contains(&taken));
        assert_eq!(port.receive(b"x"), 0);
        port.reset();
        assert_eq!(port.read(LINE_STATUS) & DATA_READY, 0);
        assert_eq!(port.receive(b"x"), 1);
    }

    #[test]
    fn output_goes_on_after_a_reset() {
        let capture = Capture::new(100);
        let port = SerialPort::new(Box::new(capture.clone()), None);
        port.write(DATA, b'a');
        port.write(INTERRUPT_ENABLE, 3);
        port.reset();
        assert_eq!(port.read(INTERRUPT_ENABLE), 0);
        port.write(DATA, b'b');
        assert_eq!(capture.text(), "ab");
    }
}
