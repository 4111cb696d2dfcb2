//! The two 16550 serial ports: console for people, report channel for the host's program.

use core::fmt;

use guest_image::boot_info::{CONSOLE_PORT, REPORT_PORT};
use spin::Mutex;
use x86::io::{inb, outb};

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const DIVISOR_ACCESS: u8 = 0x80;
const EIGHT_BITS: u8 = 0x03;
/// FIFO on, both directions emptied.
const FIFO_ON: u8 = 0x07;
/// Data terminal ready, request to send.
const MODEM_READY: u8 = 0x03;
const TRANSMITTER_EMPTY: u8 = 0x20;
/// Bytes that an empty transmitter takes without being asked again.
const FIFO_BYTES: usize = 16;
/// Most looks at a transmitter that never empties: output is then lost rather than the guest stuck.
const MOST_LOOKS: u32 = 100_000;

/// A serial port, as a stream of text.
pub(super) struct Serial {
    base: u16,
}

static CONSOLE: Mutex<Serial> = Mutex::new(Serial { base: CONSOLE_PORT });
static REPORT: Mutex<Serial> = Mutex::new(Serial { base: REPORT_PORT });

impl Serial {
    fn write_register(&self, register: u16, value: u8) {
        // SAFETY: the ports of a 16550 touch no memory of ours.
        unsafe { outb(self.base + register, value) };
    }

    fn initialise(&self) {
        self.write_register(INTERRUPT_ENABLE, 0);
        self.write_register(LINE_CONTROL, DIVISOR_ACCESS);
        // Divisor 1: 115,200 baud.
        self.write_register(DATA, 1);
        self.write_register(INTERRUPT_ENABLE, 0);
        self.write_register(LINE_CONTROL, EIGHT_BITS);
        self.write_register(FIFO_CONTROL, FIFO_ON);
        self.write_register(MODEM_CONTROL, MODEM_READY);
    }

    /// One look at the line status for each FIFO's worth of bytes: each look is an exit to the host.
    fn send(&self, bytes: &[u8]) {
        for burst in bytes.chunks(FIFO_BYTES) {
            let mut looks = 0;
            // SAFETY: as in `write_register`.
            while unsafe { inb(self.base + LINE_STATUS) } & TRANSMITTER_EMPTY == 0 {
                looks += 1;
                if looks == MOST_LOOKS {
                    return;
                }
                core::hint::spin_loop();
            }
            for &byte in burst {
                self.write_register(DATA, byte);
            }
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}

/// Sets both ports up.
pub(super) fn initialise() {
    CONSOLE.lock().initialise();
    REPORT.lock().initialise();
}

/// Prints to the console. Lines of several processors do not mix.
pub(super) fn print(text: fmt::Arguments<'_>) {
    let _ = fmt::Write::write_fmt(&mut *CONSOLE.lock(), text);
}

/// Prints to the report channel.
pub(super) fn report(text: fmt::Arguments<'_>) {
    let _ = fmt::Write::write_fmt(&mut *REPORT.lock(), text);
}

/// The console for last words: whoever holds its lock may be the one that failed.
pub(super) fn unlocked_console() -> Serial {
    Serial { base: CONSOLE_PORT }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        print(format_args!(
            "[{} {}] {}\n",
            record.level(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Sends `log` records, warnings and worse, to the console.
pub(super) fn install_logger() {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}
