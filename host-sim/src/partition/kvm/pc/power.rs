//! ACPI's fixed hardware: power button, sleep control, the power management timer.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{End, Line};
use crate::boot::acpi::hardware::{
    PM_TIMER, PM1_CONTROL, PM1_CONTROL_BYTES, PM1_EVENT, PM1_EVENT_BYTES, SLEEP_TYPE_OFF,
};

const STATUS_BUTTON: u16 = 1 << 8;
/// ACPI mode is always on.
const CONTROL_SCI_ENABLE: u16 = 1;
const CONTROL_SLEEP_TYPE: u32 = 10;
const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;
/// Bits of the control register that read back: sleep type and bus-master reload.
const CONTROL_STORED: u16 = 0b111 << CONTROL_SLEEP_TYPE | 1 << 1;

const TIMER_HERTZ: u128 = 3_579_545;
const NANOSECONDS: u128 = 1_000_000_000;

const EVENT_END: u16 = PM1_EVENT + PM1_EVENT_BYTES as u16;
const CONTROL_END: u16 = PM1_CONTROL + PM1_CONTROL_BYTES as u16;

#[derive(Clone, Copy, Default)]
struct Registers {
    status: u16,
    enable: u16,
    control: u16,
}

/// The registers, and the interrupt line that they raise.
pub(super) struct Power {
    registers: Mutex<Registers>,
    line: Box<dyn Line>,
    begin: Instant,
}

impl Power {
    pub(super) fn new(line: Box<dyn Line>) -> Self {
        Self {
            registers: Mutex::new(Registers::default()),
            line,
            begin: Instant::now(),
        }
    }

    pub(super) fn reset(&self) {
        self.update(|registers| *registers = Registers::default());
    }

    pub(super) fn press_button(&self) {
        self.update(|registers| registers.status |= STATUS_BUTTON);
    }

    /// The guest reads some of the bytes; those that are no register's are zero.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) {
        let registers = *self.lock();
        let timer = self.timer().to_le_bytes();
        for (byte, port) in data.iter_mut().zip(port..) {
            *byte = match port {
                PM1_EVENT..EVENT_END => {
                    let [a, b] = registers.status.to_le_bytes();
                    let [c, d] = registers.enable.to_le_bytes();
                    [a, b, c, d][usize::from(port - PM1_EVENT)]
                }
                PM1_CONTROL..CONTROL_END => (registers.control | CONTROL_SCI_ENABLE).to_le_bytes()
                    [usize::from(port - PM1_CONTROL)],
                _ => match port.checked_sub(PM_TIMER) {
                    Some(at) => timer.get(usize::from(at)).copied().unwrap_or(0),
                    None => 0,
                },
            };
        }
    }

    /// The guest writes some of the bytes. Breaks if it switches the machine off.
    pub(super) fn write(&self, port: u16, data: &[u8]) -> ControlFlow<End> {
        let mut off = false;
        self.update(|registers| {
            for (&byte, port) in data.iter().zip(port..) {
                let shifted = |first: u16| u16::from(byte) << (8 * (port - first));
                let mask = |first: u16| 0xFF_u16 << (8 * (port - first));
                const ENABLE: u16 = PM1_EVENT + 2;
                match port {
                    // Ones clear.
                    PM1_EVENT..ENABLE => registers.status &= !shifted(PM1_EVENT),
                    ENABLE..EVENT_END => {
                        registers.enable = registers.enable & !mask(ENABLE) | shifted(ENABLE);
                    }
                    PM1_CONTROL..CONTROL_END => {
                        let stored = registers.control & !mask(PM1_CONTROL);
                        let value = stored | shifted(PM1_CONTROL);
                        registers.control = value & CONTROL_STORED;
                        let kind = value >> CONTROL_SLEEP_TYPE & 0b111;
                        // Other kinds of sleep do not exist.
                        off |=
                            value & CONTROL_SLEEP_ENABLE != 0 && kind == u16::from(SLEEP_TYPE_OFF);
                    }
                    _ => {}
                }
            }
        });
        if off {
            ControlFlow::Break(End::PowerOff { status: 0 })
        } else {
            ControlFlow::Continue(())
        }
    }

    fn timer(&self) -> u32 {
        (self.begin.elapsed().as_nanos() * TIMER_HERTZ / NANOSECONDS) as u32
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registers> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Registers)) {
        let mut registers = self.lock();
        let is_raised = |registers: &Registers| registers.status & registers.enable != 0;
        let before = is_raised(&registers);
        change(&mut registers);
        let after = is_raised(&registers);
        // Under the lock, so that the line ends up as the registers say.
        if before != after {
            self.line.set(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Flag(Arc<AtomicBool>);

    impl Line for Flag {
        fn set(&self, raised: bool) {
            self.0.store(raised, Ordering::Relaxed);
        }
    }

    fn power() -> (Power, Arc<AtomicBool>) {
        let raised = Arc::new(AtomicBool::new(false));
        (Power::new(Box::new(Flag(Arc::clone(&raised)))), raised)
    }

    fn half(power: &Power, port: u16) -> u16 {
        let mut data = [0; 2];
        power.read(port, &mut data);
        u16::from_le_bytes(data)
    }

    #[test]
    fn the_button_interrupts_until_its_status_is_cleared() {
        let (power, raised) = power();
        power.press_button();
        assert!(!raised.load(Ordering::Relaxed), "not enabled");
        assert!(
            power
                .write(PM1_EVENT + 2, &STATUS_BUTTON.to_le_bytes())
                .is_continue()
        );
        assert!(raised.load(Ordering::Relaxed));
        assert_eq!(half(&power, PM1_EVENT), STATUS_BUTTON);
        assert!(power.write(PM1_EVENT, &[0xFF, 0xFE]).is_continue());
        assert!(raised.load(Ordering::Relaxed), "another bit was cleared");
        assert!(
            power
                .write(PM1_EVENT, &STATUS_BUTTON.to_le_bytes())
                .is_continue()
        );
        assert!(!raised.load(Ordering::Relaxed));
        power.press_button();
        power.reset();
        assert!(!raised.load(Ordering::Relaxed));
        assert_eq!(half(&power, PM1_EVENT + 2), 0);
    }

    #[test]
    fn only_state_s5_switches_off() {
        let (power, _) = power();
        assert_eq!(half(&power, PM1_CONTROL), CONTROL_SCI_ENABLE);
        let off = u16::from(SLEEP_TYPE_OFF) << CONTROL_SLEEP_TYPE;
        assert!(power.write(PM1_CONTROL, &off.to_le_bytes()).is_continue());
        assert_eq!(half(&power, PM1_CONTROL), off | CONTROL_SCI_ENABLE);
        let other = 1 << CONTROL_SLEEP_TYPE | CONTROL_SLEEP_ENABLE;
        assert!(power.write(PM1_CONTROL, &other.to_le_bytes()).is_continue());
        let off = off | CONTROL_SLEEP_ENABLE;
        assert_eq!(
            power.write(PM1_CONTROL, &off.to_le_bytes()),
            ControlFlow::Break(End::PowerOff { status: 0 })
        );
    }

    #[test]
    fn the_timer_runs() {
        let (power, _) = power();
        let mut data = [0; 4];
        power.read(PM_TIMER, &mut data);
        let first = u32::from_le_bytes(data);
        let mut last = first;
        while last == first {
            power.read(PM_TIMER, &mut data);
            last = u32::from_le_bytes(data);
        }
        assert!(last > first);
        let mut beyond = [1; 8];
        power.read(PM_TIMER, &mut beyond);
        assert_eq!(beyond[4..], [0; 4]);
    }
}
