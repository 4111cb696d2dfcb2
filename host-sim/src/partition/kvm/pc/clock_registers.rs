//! The registers of a PC's real-time clock (MC146818): time, alarm, and what it interrupts for. No clock inside: every
//! call is told the host's time.

use super::calendar::Moment;
use crate::boot::acpi::hardware::CENTURY_INDEX;

/// The host's time, in nanoseconds since the beginning of 1970.
pub(super) type Nanoseconds = i64;

const SECOND: Nanoseconds = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const DAY_OF_WEEK: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const STATUS_C: u8 = 0x0C;
const STATUS_D: u8 = 0x0D;

/// The time base, which always runs at the usual rate.
const STATUS_A_RUNNING: u8 = 0x20;
/// The rate of periodic interrupts; 6 is 1024 Hz.
const STATUS_A_RATE: u8 = 0x0F;
/// An update begins soon: what is read may change meanwhile.
const STATUS_A_UPDATE: u8 = 1 << 7;
/// How long before.
const UPDATE_NOTICE: Nanoseconds = 244_000;
const STATUS_B_24_HOURS: u8 = 1 << 1;
const STATUS_B_BINARY: u8 = 1 << 2;
const STATUS_B_SET: u8 = 1 << 7;
const STATUS_D_VALID: u8 = 1 << 7;
const PM: u8 = 0x80;
/// An alarm's field with these bits is that of any time.
const ANY: u8 = 0xC0;

// Reasons to interrupt: the same bits are flags in status C and enable interrupts in status B.
const UPDATE_ENDED: u8 = 1 << 4;
const ALARM: u8 = 1 << 5;
const PERIODIC: u8 = 1 << 6;
const REASONS: u8 = UPDATE_ENDED | ALARM | PERIODIC;
const STATUS_C_INTERRUPT: u8 = 1 << 7;

/// Ticks of the time base in a second; a rate of `n` interrupts each 2^(n - 1) of them.
const TIME_BASE: i128 = 32_768;

const INDEX_MASK: u8 = 0x7F;
const BYTES: usize = 128;

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

/// Ticks of the time base at a moment.
fn ticks(at: Nanoseconds) -> i128 {
    (i128::from(at) * TIME_BASE).div_euclid(SECOND.into())
}

/// The moment of a tick.
fn moment(tick: i128) -> Nanoseconds {
    let at = (tick * i128::from(SECOND) + TIME_BASE - 1).div_euclid(TIME_BASE);
    at.try_into().unwrap_or(Nanoseconds::MAX)
}

/// The registers, and the other bytes of the battery-backed memory.
pub(super) struct Registers {
    index: u8,
    memory: [u8; BYTES],
    /// What the guest has set the clock to, less the host's time, in seconds.
    offset: i64,
    /// Reasons to interrupt that have come up and that the guest has not read.
    flags: u8,
    /// Until when they are known.
    seen: Nanoseconds,
}

impl Registers {
    /// A clock that shows the host's time.
    pub(super) fn new(now: Nanoseconds) -> Self {
        let mut memory = [0; BYTES];
        memory[usize::from(STATUS_A)] = STATUS_A_RUNNING | 6;
        memory[usize::from(STATUS_B)] = STATUS_B_24_HOURS;
        Self {
            index: 0,
            memory,
            offset: 0,
            flags: 0,
            seen: now,
        }
    }

    /// The machine was reset: nothing interrupts any more; the time goes on.
    pub(super) fn reset(&mut self) {
        self.memory[usize::from(STATUS_B)] &= !REASONS;
        self.flags = 0;
    }

    /// The guest reads the index (port 0) or data (1) port.
    pub(super) fn read(&mut self, port: u16, now: Nanoseconds) -> u8 {
        if port == 0 {
            // Cannot be read.
            return 0xFF;
        }
        self.advance(now);
        match self.index {
            STATUS_A => self.status_a(now),
            STATUS_C => {
                let interrupts = self.interrupts();
                let flags = std::mem::take(&mut self.flags);
                flags | if interrupts { STATUS_C_INTERRUPT } else { 0 }
            }
            STATUS_D => STATUS_D_VALID,
            index if is_time(index) && !self.is_set_by_guest() => {
                self.time_register(index, Moment::from_unix(self.time(now)))
            }
            index => self.memory[usize::from(index)],
        }
    }

    /// The guest writes the index (port 0) or data (1) port.
    pub(super) fn write(&mut self, port: u16, value: u8, now: Nanoseconds) {
        if port == 0 {
            self.index = value & INDEX_MASK;
            return;
        }
        self.advance(now);
        match self.index {
            // A guest that stops the time base to set the clock starts it again.
            STATUS_A => {
                self.memory[usize::from(STATUS_A)] = STATUS_A_RUNNING | value & STATUS_A_RATE;
            }
            STATUS_C | STATUS_D => {}
            STATUS_B => self.write_status_b(value, now),
            index if is_time(index) && !self.is_set_by_guest() => {
                // Time runs on: the register is changed in the time that it is.
                self.load_time(now);
                self.memory[usize::from(index)] = value;
                self.store_time(now);
            }
            index => self.memory[usize::from(index)] = value,
        }
    }

    /// Takes note of what has happened by now.
    pub(super) fn advance(&mut self, now: Nanoseconds) {
        let before = std::mem::replace(&mut self.seen, now);
        if now <= before {
            // The host's clock was set back.
            return;
        }
        if let Some(shift) = self.periodic_shift()
            && ticks(before) >> shift != ticks(now) >> shift
        {
            self.flags |= PERIODIC;
        }
        let seconds = now.div_euclid(SECOND) - before.div_euclid(SECOND);
        if seconds == 0 || self.is_set_by_guest() {
            return;
        }
        self.flags |= UPDATE_ENDED;
        if self
            .until_alarm(self.time(before))
            .is_some_and(|until| until <= seconds)
        {
            self.flags |= ALARM;
        }
    }

    /// Whether the clock interrupts.
    pub(super) fn interrupts(&self) -> bool {
        self.flags & self.status_b() & REASONS != 0
    }

    /// When it will, if it does not yet and the guest does nothing.
    pub(super) fn next_interrupt(&self) -> Option<Nanoseconds> {
        if self.interrupts() {
            return None;
        }
        let enabled = |reason| self.status_b() & reason != 0;
        let second = self.seen.div_euclid(SECOND);
        let after = |seconds: i64| second.saturating_add(seconds).saturating_mul(SECOND);
        let runs = !self.is_set_by_guest();
        let update = (enabled(UPDATE_ENDED) && runs).then(|| after(1));
        let alarm = (enabled(ALARM) && runs)
            .then(|| self.until_alarm(self.time(self.seen)).map(after))
            .flatten();
        let periodic = self
            .periodic_shift()
            .filter(|_| enabled(PERIODIC))
            .map(|shift| moment(((ticks(self.seen) >> shift) + 1) << shift));
        [update, alarm, periodic].into_iter().flatten().min()
    }

    /// The clock's time, in seconds.
    fn time(&self, now: Nanoseconds) -> i64 {
        now.div_euclid(SECOND).saturating_add(self.offset)
    }

    fn status_a(&self, now: Nanoseconds) -> u8 {
        let is_soon = now.rem_euclid(SECOND) >= SECOND - UPDATE_NOTICE && !self.is_set_by_guest();
        self.memory[usize::from(STATUS_A)] | if is_soon { STATUS_A_UPDATE } else { 0 }
    }

    fn status_b(&self) -> u8 {
        self.memory[usize::from(STATUS_B)]
    }

    /// Each so many ticks, as a power of two, a periodic interrupt is due; none if they are off.
    fn periodic_shift(&self) -> Option<u32> {
        match u32::from(self.memory[usize::from(STATUS_A)] & STATUS_A_RATE) {
            0 => None,
            // These two are the same as 8 and 9.
            rate @ 1..=2 => Some(rate + 6),
            rate => Some(rate - 1),
        }
    }

    /// Seconds from a time of the clock to the next that is the alarm's; none if there is no such time.
    fn until_alarm(&self, time: i64) -> Option<i64> {
        let field = |index: u8| {
            let value = self.memory[usize::from(index)];
            (value & ANY != ANY).then_some(value)
        };
        let second = field(SECONDS_ALARM).map(|value| self.decode(value));
        let minute = field(MINUTES_ALARM).map(|value| self.decode(value));
        let hour = field(HOURS_ALARM).map(|value| self.decode_hour(value));
        let differs =
            |wanted: Option<u8>, is: i64| wanted.is_some_and(|wanted| i64::from(wanted) != is);
        let mut until = 1;
        while until <= SECONDS_PER_DAY {
            let of_day = time.saturating_add(until).rem_euclid(SECONDS_PER_DAY);
            until += if differs(hour, of_day / 3600) {
                3600 - of_day % 3600
            } else if differs(minute, of_day / 60 % 60) {
                60 - of_day % 60
            } else if differs(second, of_day % 60) {
                1
            } else {
                return Some(until);
            };
        }
        None
    }

    /// Whether the guest is setting the clock, which stands still meanwhile.
    fn is_set_by_guest(&self) -> bool {
        self.status_b() & STATUS_B_SET != 0
    }

    fn write_status_b(&mut self, value: u8, now: Nanoseconds) {
        let was_set = self.is_set_by_guest();
        let is_set = value & STATUS_B_SET != 0;
        if is_set && !was_set {
            self.load_time(now);
        }
        // The format that the registers are in when the guest has set them. A clock that stands still has no updates.
        let value = if is_set { value & !UPDATE_ENDED } else { value };
        self.memory[usize::from(STATUS_B)] = value;
        if was_set && !is_set {
            self.store_time(now);
        }
    }

    fn load_time(&mut self, now: Nanoseconds) {
        let moment = Moment::from_unix(self.time(now));
        for index in TIME_REGISTERS {
            self.memory[usize::from(index)] = self.time_register(index, moment);
        }
    }

    fn store_time(&mut self, now: Nanoseconds) {
        let value = |index: u8| self.decode(self.memory[usize::from(index)]);
        let hour = self.decode_hour(self.memory[usize::from(HOURS)]);
        let moment = Moment {
            year: i64::from(value(CENTURY_INDEX)) * 100 + i64::from(value(YEAR)),
            month: value(MONTH),
            day: value(DAY),
            hour,
            minute: value(MINUTES),
            second: value(SECONDS),
        };
        self.offset = moment.to_unix().saturating_sub(now.div_euclid(SECOND));
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

    fn decode_hour(&self, value: u8) -> u8 {
        if self.status_b() & STATUS_B_24_HOURS != 0 {
            self.decode(value)
        } else {
            self.decode(value & !PM) % 12 + if value & PM != 0 { 12 } else { 0 }
        }
    }
}

#[cfg(test)]
#[path = "clock_registers_tests.rs"]
mod tests;
