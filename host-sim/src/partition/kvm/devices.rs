//! The devices at I/O ports.

use std::ops::ControlFlow;

use guest_image::boot_info::{CONSOLE_PORT, POWER_OFF_PORT, REPORT_PORT};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use super::{ExitReason, KvmError};
use crate::serial::{Output, PORT_COUNT, SerialPort};

/// Interrupt lines of the PC's first and second serial port.
const CONSOLE_LINE: u32 = 4;
const REPORT_LINE: u32 = 3;

/// What a read from nowhere gives.
const FLOATING_BUS: u8 = 0xFF;

/// The machine's devices. Every virtual processor reaches them at once.
pub(super) struct Devices {
    console: SerialPort,
    report: SerialPort,
}

/// Who answers at a port.
enum Target<'a> {
    Serial(&'a SerialPort, u8, ExitReason),
    PowerOff,
    Nobody,
}

impl Devices {
    pub(super) fn new(fd: &VmFd, console: Output, report: Output) -> Result<Self, KvmError> {
        Ok(Self {
            console: SerialPort::new(console, Some(interrupt_line(fd, CONSOLE_LINE)?)),
            report: SerialPort::new(report, Some(interrupt_line(fd, REPORT_LINE)?)),
        })
    }

    /// The console's port.
    pub(super) fn console(&self) -> &SerialPort {
        &self.console
    }

    fn target(&self, port: u16) -> Target<'_> {
        let at = |base: u16| {
            let offset = port
                .checked_sub(base)
                .filter(|offset| *offset < PORT_COUNT)?;
            u8::try_from(offset).ok()
        };
        if let Some(offset) = at(CONSOLE_PORT) {
            return Target::Serial(&self.console, offset, ExitReason::Console);
        }
        if let Some(offset) = at(REPORT_PORT) {
            return Target::Serial(&self.report, offset, ExitReason::Report);
        }
        match port {
            POWER_OFF_PORT => Target::PowerOff,
            _ => Target::Nobody,
        }
    }

    /// The guest reads `data.len()` bytes from a port.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) -> ExitReason {
        match self.target(port) {
            Target::Serial(serial, offset, reason) => {
                data.fill_with(|| serial.read(offset));
                reason
            }
            Target::PowerOff | Target::Nobody => {
                data.fill(FLOATING_BUS);
                ExitReason::PortRead
            }
        }
    }

    /// The guest writes bytes to a port. Breaks with the status of a power-off.
    pub(super) fn write(&self, port: u16, data: &[u8]) -> (ExitReason, ControlFlow<u8>) {
        match self.target(port) {
            Target::Serial(serial, offset, reason) => {
                for &byte in data {
                    serial.write(offset, byte);
                }
                (reason, ControlFlow::Continue(()))
            }
            Target::PowerOff => {
                let status = data.first().copied().unwrap_or(FLOATING_BUS);
                (ExitReason::PowerOff, ControlFlow::Break(status))
            }
            Target::Nobody => (ExitReason::PortWrite, ControlFlow::Continue(())),
        }
    }
}

fn interrupt_line(fd: &VmFd, line: u32) -> Result<EventFd, KvmError> {
    let event = EventFd::new(libc::EFD_NONBLOCK).map_err(|source| KvmError::Refused {
        step: "make an interrupt line",
        source,
    })?;
    fd.register_irqfd(&event, line)
        .map_err(KvmError::refused("connect an interrupt line"))?;
    Ok(event)
}
