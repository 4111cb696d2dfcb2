//! The devices at I/O ports.

use std::ops::ControlFlow;
use std::sync::Arc;

use guest_image::boot_info::{CONSOLE_PORT, POWER_OFF_PORT, REPORT_PORT};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use super::pc::Pc;
use super::vm::CurrentVm;
use super::{ExitReason, KvmError, pc};
use crate::boot::acpi::hardware::{REAL_TIME_CLOCK_LINE, SCI, SERIAL, SERIAL_LINES};
use crate::serial::{Output, PORT_COUNT, SerialPort};

/// What a read from nowhere gives.
const FLOATING_BUS: u8 = 0xFF;

const _: () = {
    assert!(SERIAL[0] == CONSOLE_PORT);
    assert!(SERIAL[1] == REPORT_PORT);
};

/// How a device ends the machine's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is switched off.
    PowerOff {
        /// The guest's status.
        status: u8,
    },
    /// It is reset.
    Reset,
}

/// The machine's devices. Every virtual processor reaches them at once.
pub(super) struct Devices {
    /// COM1 (console) and COM2 (report channel).
    serial: [Arc<SerialPort>; 2],
    lines: [EventFd; 2],
    /// The rest of a PC, where the machine is one.
    pc: Option<Pc>,
}

/// Who answers at a port.
enum Target<'a> {
    Serial(&'a SerialPort, u8, ExitReason),
    PowerOff,
    Other,
}

impl Devices {
    /// The serial ports alone, not connected to a machine's interrupt controllers yet.
    pub(super) fn new(console: Output, report: Output) -> Result<Self, KvmError> {
        let line = || {
            EventFd::new(libc::EFD_NONBLOCK).map_err(|source| KvmError::Refused {
                step: "make an interrupt line",
                source,
            })
        };
        let clone = |line: &EventFd| {
            line.try_clone().map_err(|source| KvmError::Refused {
                step: "make an interrupt line",
                source,
            })
        };
        let lines = [line()?, line()?];
        Ok(Self {
            serial: [
                Arc::new(SerialPort::new(console, Some(clone(&lines[0])?))),
                Arc::new(SerialPort::new(report, Some(clone(&lines[1])?))),
            ],
            lines,
            pc: None,
        })
    }

    /// Adds the rest of a PC.
    pub(super) fn with_pc(mut self, vm: Arc<CurrentVm>) -> Self {
        self.pc = Some(Pc::new(
            Box::new(MachineLine(Arc::clone(&vm), SCI)),
            Box::new(MachineLine(vm, REAL_TIME_CLOCK_LINE)),
        ));
        self
    }

    /// Connects the interrupt lines to a machine's interrupt controllers.
    pub(super) fn connect(&self, fd: &VmFd) -> Result<(), KvmError> {
        for (event, line) in self.lines.iter().zip(SERIAL_LINES) {
            fd.register_irqfd(event, line.into())
                .map_err(KvmError::refused("connect an interrupt line"))?;
        }
        Ok(())
    }

    /// Disconnects the interrupt lines from a machine that is replaced. An event belongs to one machine at a time.
    pub(super) fn disconnect(&self, fd: &VmFd) -> Result<(), KvmError> {
        for (event, line) in self.lines.iter().zip(SERIAL_LINES) {
            fd.unregister_irqfd(event, line.into())
                .map_err(KvmError::refused("disconnect an interrupt line"))?;
        }
        Ok(())
    }

    /// The machine was reset.
    pub(super) fn reset(&self) {
        for port in &self.serial {
            port.reset();
        }
        if let Some(pc) = &self.pc {
            pc.reset();
        }
    }

    /// COM1 (0) and COM2 (1).
    pub(super) fn serial(&self) -> &[Arc<SerialPort>; 2] {
        &self.serial
    }

    /// Presses the power button; `false` if the machine has none.
    pub(super) fn press_power_button(&self) -> bool {
        if let Some(pc) = &self.pc {
            pc.press_power_button();
        }
        self.pc.is_some()
    }

    fn target(&self, port: u16) -> Target<'_> {
        let reasons = [ExitReason::Console, ExitReason::Report];
        for ((serial, base), reason) in self.serial.iter().zip(SERIAL).zip(reasons) {
            if let Some(offset) = port.checked_sub(base).filter(|offset| *offset < PORT_COUNT) {
                return Target::Serial(serial, offset as u8, reason);
            }
        }
        match port {
            POWER_OFF_PORT => Target::PowerOff,
            _ => Target::Other,
        }
    }

    /// The guest reads `data.len()` bytes from a port.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) -> ExitReason {
        match self.target(port) {
            Target::Serial(serial, offset, reason) => {
                data.fill_with(|| serial.read(offset));
                reason
            }
            Target::Other if self.pc.as_ref().is_some_and(|pc| pc.read(port, data)) => {
                ExitReason::Platform
            }
            Target::PowerOff | Target::Other => {
                data.fill(FLOATING_BUS);
                ExitReason::PortRead
            }
        }
    }

    /// The guest writes bytes to a port. Breaks if that ends the run.
    pub(super) fn write(&self, port: u16, data: &[u8]) -> (ExitReason, ControlFlow<End>) {
        match self.target(port) {
            Target::Serial(serial, offset, reason) => {
                for &byte in data {
                    serial.write(offset, byte);
                }
                (reason, ControlFlow::Continue(()))
            }
            Target::PowerOff => {
                let status = data.first().copied().unwrap_or(FLOATING_BUS);
                let end = ControlFlow::Break(End::PowerOff { status });
                (ExitReason::PowerOff, end)
            }
            Target::Other => match self.pc.as_ref().and_then(|pc| pc.write(port, data)) {
                Some(flow) => (ExitReason::Platform, flow),
                None => (ExitReason::PortWrite, ControlFlow::Continue(())),
            },
        }
    }
}

/// An interrupt line at the I/O APIC of the machine that is current.
struct MachineLine(Arc<CurrentVm>, u8);

impl pc::Line for MachineLine {
    fn set(&self, raised: bool) {
        let Self(vm, line) = self;
        if let Err(error) = vm.get().set_irq_line(u32::from(*line), raised) {
            tracing::warn!(%error, line, raised, "an interrupt line cannot be set");
        }
    }
}
