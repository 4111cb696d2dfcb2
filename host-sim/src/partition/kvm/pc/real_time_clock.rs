//! The PC's real-time clock and its battery-backed memory: a date to start from. It has no alarm and no interrupt.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::calendar::Moment;
use crate::boot::acpi::hardware::CENTURY_INDEX;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY_OF_WEEK: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const STATUS_C: u8 = 0x0C;
const STATUS_D: u8 = 0x0D;

/// The time base runs at the usual rate; no update is in progress, ever.
const STATUS_A_RUNNING: u8 = 0x26;
const STATUS_B_24_HOURS: u8 = 1 << 1;
const STATUS_B_BINARY: u8 = 1 << 2;
const STATUS_B_SET: u8 = 1 << 7;
const STATUS_D_VALID: u8 = 1 << 7;
const PM: u8 = 0x80;

const INDEX_MASK: u8 = 0x7F;
const BYTES: usize = 128;

struct State {
    index: u8,
    memory: [u8; BYTES],
    /// What the guest has set the clock to, less the host's time.
    offset: i64,
}

/// The clock. Its time is the host's until the guest sets it.
pub(super) struct RealTimeClock {
    state: Mutex<State>,
    host_seconds: fn() -> i64,
}

fn host_seconds() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

impl RealTimeClock {
    pub(super) fn new() -> Self {
        Self::with_source(host_seconds)
    }

    fn with_source(host_seconds: fn() -> i64) -> Self {
        let mut memory = [0; BYTES];
        memory[usize::from(STATUS_B)] = STATUS_B_24_HOURS;
        Self {
            state: Mutex::new(State {
                index: 0,
                memory,
                offset: 0,
            }),
            host_seconds,
        }
    }

    /// The guest reads the index (offset 0) or data (1) port.
    pub(super) fn read(&self, offset: u16) -> u8 {
        let state = self.lock();
        if offset == 0 {
            // Cannot be read.
            return 0xFF;
        }
        match state.index {
            STATUS_A => STATUS_A_RUNNING,
            STATUS_C => 0,
            STATUS_D => STATUS_D_VALID,
            index if is_time(index) && !state.is_set_by_guest() => {
                let now = (self.host_seconds)().saturating_add(state.offset);
                state.time_register(index, Moment::from_unix(now))
            }
            index => state.memory[usize::from(index)],
        }
    }

    /// The guest writes the index (offset 0) or data (1) port.
    pub(super) fn write(&self, offset: u16, value: u8) {
        let mut state = self.lock();
        if offset == 0 {
            state.index = value & INDEX_MASK;
            return;
        }
        let now = (self.host_seconds)();
        match state.index {
            STATUS_A | STATUS_C | STATUS_D => {}
            STATUS_B => state.write_status_b(value, now),
            index if is_time(index) && !state.is_set_by_guest() => {
                // Time runs on: the register is changed in the time that it is.
                state.load_time(now);
                state.memory[usize::from(index)] = value;
                state.store_time(now);
            }
            index => state.memory[usize::from(index)] = value,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_time(index: u8) -> bool {
    matches!(
        index,
        SECONDS | MINUTES | HOURS | DAY_OF_WEEK | DAY | MONTH | YEAR | CENTURY_INDEX
    )
}

const TIME_REGISTERS: [u8; 8] = [
    SECONDS,
    MINUTES,
    HOURS,
    DAY_OF_WEEK,
    DAY,
    MONTH,
    YEAR,
    CENTURY_INDEX,
];

impl State {
    fn status_b(&self) -> u8 {
        self.memory[usize::from(STATUS_B)]
    }

    /// Whether the guest is setting the clock, which stands still meanwhile.
    fn is_set_by_guest(&self) -> bool {
        self.status_b() & STATUS_B_SET != 0
    }

    fn write_status_b(&mut self, value: u8, now: i64) {
        let was_set = self.is_set_by_guest();
        let is_set = value & STATUS_B_SET != 0;
        if is_set && !was_set {
            self.load_time(now);
        }
        // The format that the registers are in when the guest has set them.
        self.memory[usize::from(STATUS_B)] = value;
        if was_set && !is_set {
            self.store_time(now);
        }
    }

    fn load_time(&mut self, now: i64) {
        let moment = Moment::from_unix(now.saturating_add(self.offset));
        for index in TIME_REGISTERS {
            self.memory[usize::from(index)] = self.time_register(index, moment);
        }
    }

    fn store_time(&mut self, now: i64) {
        let value = |index: u8| self.decode(self.memory[usize::from(index)]);
        let hour = self.memory[usize::from(HOURS)];
        let hour = if self.status_b() & STATUS_B_24_HOURS != 0 {
            self.decode(hour)
        } else {
            self.decode(hour & !PM) % 12 + if hour & PM != 0 { 12 } else { 0 }
        };
        let moment = Moment {
            year: i64::from(value(CENTURY_INDEX)) * 100 + i64::from(value(YEAR)),
            month: value(MONTH),
            day: value(DAY),
            hour,
            minute: value(MINUTES),
            second: value(SECONDS),
        };
        self.offset = moment.to_unix().saturating_sub(now);
    }

    fn time_register(&self, index: u8, moment: Moment) -> u8 {
        let year = moment.year.rem_euclid(10_000);
        match index {
            SECONDS => self.encode(moment.second),
            MINUTES => self.encode(moment.minute),
            HOURS if self.status_b() & STATUS_B_24_HOURS != 0 => self.encode(moment.hour),
            HOURS => {
                let hour = self.encode((moment.hour + 11) % 12 + 1);
                hour | if moment.hour >= 12 { PM } else { 0 }
            }
            DAY_OF_WEEK => moment.day_of_week(),
            DAY => self.encode(moment.day),
            MONTH => self.encode(moment.month),
            YEAR => self.encode((year % 100) as u8),
            _ => self.encode((year / 100) as u8),
        }
    }

    fn encode(&self, value: u8) -> u8 {
        if self.status_b() & STATUS_B_BINARY != 0 {
            value
        } else {
            ((value / 10) << 4) | (value % 10)
        }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.status_b() & STATUS_B_BINARY != 0 {
            value
        } else {
            (value >> 4).saturating_mul(10).saturating_add(value & 0xF)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-28 17:05:09, a Saturday.
    fn fixed() -> i64 {
        1_795_885_509
    }

    fn get(clock: &RealTimeClock, index: u8) -> u8 {
        clock.write(0, index);
        clock.read(1)
    }

    fn set(clock: &RealTimeClock, index: u8, value: u8) {
        clock.write(0, index);
        clock.write(1, value);
    }

    fn time(clock: &RealTimeClock) -> [u8; 8] {
        TIME_REGISTERS.map(|index| get(clock, index))
    }

    #[test]
    fn the_hosts_time_is_read_in_every_format() {
        let clock = RealTimeClock::with_source(fixed);
        let bcd = [0x09, 0x05, 0x17, 7, 0x28, 0x11, 0x26, 0x20];
        assert_eq!(time(&clock), bcd);
        set(&clock, STATUS_B, STATUS_B_24_HOURS | STATUS_B_BINARY);
        assert_eq!(time(&clock), [9, 5, 17, 7, 28, 11, 26, 20]);
        set(&clock, STATUS_B, 0);
        assert_eq!(get(&clock, HOURS), 0x05 | PM);
        assert_eq!(get(&clock, STATUS_A) & 0x80, 0, "no update in progress");
        assert_eq!(get(&clock, STATUS_D), 0x80);
    }

    #[test]
    fn a_guest_sets_the_time() {
        let clock = RealTimeClock::with_source(fixed);
        set(&clock, STATUS_B, STATUS_B_SET | STATUS_B_24_HOURS);
        for (index, value) in [
            (YEAR, 0x00),
            (MONTH, 0x02),
            (DAY, 0x29),
            (HOURS, 0x23),
            (MINUTES, 0x59),
            (SECONDS, 0x58),
        ] {
            set(&clock, index, value);
        }
        set(&clock, STATUS_B, STATUS_B_24_HOURS);
        assert_eq!(time(&clock), [0x58, 0x59, 0x23, 3, 0x29, 0x02, 0x00, 0x20]);
        set(&clock, HOURS, 0x01);
        assert_eq!(get(&clock, HOURS), 0x01);
    }

    #[test]
    fn other_bytes_are_memory() {
        let clock = RealTimeClock::new();
        set(&clock, 0x40, 0xA5);
        assert_eq!(
            get(&clock, 0xC0),
            0xA5,
            "the top bit of the index masks NMI"
        );
        assert_eq!(clock.read(0), 0xFF);
    }

    proptest! {
        #[test]
        fn any_accesses_are_survived(accesses in prop::collection::vec((any::<bool>(), 0..2_u16, any::<u8>()), 0..64)) {
            let clock = RealTimeClock::with_source(fixed);
            for (write, offset, value) in accesses {
                if write {
                    clock.write(offset, value);
                } else {
                    clock.read(offset);
                }
            }
        }
    }
}
