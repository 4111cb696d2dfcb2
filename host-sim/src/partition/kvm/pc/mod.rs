//! What a PC has besides serial ports and KVM's interrupt controllers and timer: real-time clock, power management,
//! and the ways to reset it. Everything else that software may look for is not there.

mod calendar;
mod clock_registers;
mod line;
mod power;
mod real_time_clock;

use std::ops::ControlFlow;

use power::Power;
use real_time_clock::RealTimeClock;

use super::devices::End;
use crate::boot::acpi::hardware::{
    PM_TIMER, PM_TIMER_BYTES, PM1_EVENT, REAL_TIME_CLOCK, RESET, RESET_VALUE,
};

pub(super) use line::Line;

/// Command port of the keyboard controller, which is not there but for this command: pulse the reset line.
const KEYBOARD_COMMAND: u16 = 0x64;
const PULSE_RESET: u8 = 0xFE;
/// The bit of the reset register's value that starts the reset.
const RESET_START: u8 = 1 << 2;

/// Ports of power management.
const POWER: std::ops::Range<u16> = PM1_EVENT..PM_TIMER + PM_TIMER_BYTES as u16;

const _: () = assert!(RESET_VALUE & RESET_START != 0);

/// The devices.
pub(super) struct Pc {
    clock: RealTimeClock,
    power: Power,
}

impl Pc {
    /// Devices with the interrupt lines of power management and of the real-time clock.
    pub(super) fn new(power: Box<dyn Line>, clock: Box<dyn Line>) -> Self {
        Self {
            clock: RealTimeClock::new(clock),
            power: Power::new(power),
        }
    }

    /// The machine was reset. The real-time clock's time goes on.
    pub(super) fn reset(&self) {
        self.clock.reset();
        self.power.reset();
    }

    /// Presses the power button.
    pub(super) fn press_power_button(&self) {
        self.power.press_button();
    }

    /// The guest reads from a port; `false` if nobody answers.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) -> bool {
        if POWER.contains(&port) {
            self.power.read(port, data);
            return true;
        }
        if (REAL_TIME_CLOCK..REAL_TIME_CLOCK + 2).contains(&port) {
            data.fill_with(|| self.clock.read(port - REAL_TIME_CLOCK));
            return true;
        }
        false
    }

    /// The guest writes to a port; `None` if nobody answers.
    pub(super) fn write(&self, port: u16, data: &[u8]) -> Option<ControlFlow<End>> {
        let go_on = Some(ControlFlow::Continue(()));
        let reset = Some(ControlFlow::Break(End::Reset));
        if POWER.contains(&port) {
            return Some(self.power.write(port, data));
        }
        match (port, data) {
            (KEYBOARD_COMMAND, [PULSE_RESET, ..]) => reset,
            // As a wider access, the port is part of another register.
            (RESET, [value]) if value & RESET_START != 0 => reset,
            (RESET, [_]) => go_on,
            _ if (REAL_TIME_CLOCK..REAL_TIME_CLOCK + 2).contains(&port) => {
                for &byte in data {
                    self.clock.write(port - REAL_TIME_CLOCK, byte);
                }
                go_on
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoLine;

    impl Line for NoLine {
        fn set(&self, _raised: bool) {}
    }

    #[test]
    fn each_way_to_reset_does() {
        let pc = Pc::new(Box::new(NoLine), Box::new(NoLine));
        let reset = Some(ControlFlow::Break(End::Reset));
        assert_eq!(pc.write(RESET, &[RESET_VALUE]), reset);
        assert_eq!(pc.write(RESET, &[6]), reset);
        assert_eq!(pc.write(0x64, &[0xFE]), reset);
        assert_eq!(pc.write(RESET, &[2]), Some(ControlFlow::Continue(())));
        assert_eq!(pc.write(RESET - 1, &0x8000_0000_u32.to_le_bytes()), None);
        assert_eq!(pc.write(0x64, &[0xAA]), None);
    }

    #[test]
    fn only_what_is_there_answers() {
        let pc = Pc::new(Box::new(NoLine), Box::new(NoLine));
        let mut data = [0];
        for port in [0x70, 0x71, 0x600, 0x604, 0x60B] {
            assert!(pc.read(port, &mut data), "{port:#x}");
        }
        for port in [0x60, 0x64, 0x72, 0x5FF, 0x60C, 0xCF8, 0xCFC] {
            assert!(!pc.read(port, &mut data), "{port:#x}");
        }
    }
}
