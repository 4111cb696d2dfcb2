use super::*;
use proptest::prelude::*;

/// 2026-11-28 17:05:09, a Saturday.
const NOW: Nanoseconds = 1_795_885_509 * SECOND;

fn get(clock: &mut Registers, index: u8, now: Nanoseconds) -> u8 {
    clock.write(0, index, now);
    clock.read(1, now)
}

fn set(clock: &mut Registers, index: u8, value: u8) {
    set_at(clock, index, value, NOW);
}

fn set_at(clock: &mut Registers, index: u8, value: u8, now: Nanoseconds) {
    clock.write(0, index, now);
    clock.write(1, value, now);
}

fn time(clock: &mut Registers) -> [u8; 8] {
    TIME_REGISTERS.map(|index| get(clock, index, NOW))
}

#[test]
fn the_hosts_time_is_read_in_every_format() {
    let clock = &mut Registers::new(NOW);
    let bcd = [0x09, 0x05, 0x17, 7, 0x28, 0x11, 0x26, 0x20];
    assert_eq!(time(clock), bcd);
    set(clock, STATUS_B, STATUS_B_24_HOURS | STATUS_B_BINARY);
    assert_eq!(time(clock), [9, 5, 17, 7, 28, 11, 26, 20]);
    set(clock, STATUS_B, 0);
    assert_eq!(get(clock, HOURS, NOW), 0x05 | PM);
    assert_eq!(get(clock, STATUS_D, NOW), 0x80);
}

#[test]
fn an_update_is_announced() {
    let clock = &mut Registers::new(NOW);
    for (at, notice) in [
        (NOW, 0),
        (NOW + SECOND - UPDATE_NOTICE - 1, 0),
        (NOW + SECOND - UPDATE_NOTICE, STATUS_A_UPDATE),
        (NOW + SECOND - 1, STATUS_A_UPDATE),
        (NOW + SECOND, 0),
    ] {
        assert_eq!(get(clock, STATUS_A, at), 0x26 | notice);
    }
    set(clock, STATUS_B, STATUS_B_SET);
    assert_eq!(get(clock, STATUS_A, NOW + SECOND - 1), 0x26);
}

#[test]
fn a_guest_sets_the_time() {
    let clock = &mut Registers::new(NOW);
    set(clock, STATUS_B, STATUS_B_SET | STATUS_B_24_HOURS);
    for (index, value) in [
        (YEAR, 0x00),
        (MONTH, 0x02),
        (DAY, 0x29),
        (HOURS, 0x23),
        (MINUTES, 0x59),
        (SECONDS, 0x58),
    ] {
        set(clock, index, value);
    }
    set(clock, STATUS_B, STATUS_B_24_HOURS);
    assert_eq!(time(clock), [0x58, 0x59, 0x23, 3, 0x29, 0x02, 0x00, 0x20]);
    set(clock, HOURS, 0x01);
    assert_eq!(get(clock, HOURS, NOW), 0x01);
}

#[test]
fn other_bytes_are_memory() {
    let clock = &mut Registers::new(NOW);
    set(clock, 0x40, 0xA5);
    let masked = get(clock, 0xC0, NOW);
    assert_eq!(masked, 0xA5, "the top bit of the index masks NMI");
    assert_eq!(clock.read(0, NOW), 0xFF);
}

#[test]
fn each_second_interrupts_once() {
    let clock = &mut Registers::new(NOW + 5);
    assert_eq!(clock.next_interrupt(), None, "nothing is enabled");
    set_at(clock, STATUS_B, STATUS_B_24_HOURS | UPDATE_ENDED, NOW + 5);
    assert_eq!(clock.next_interrupt(), Some(NOW + SECOND));
    clock.advance(NOW + SECOND - 1);
    assert!(!clock.interrupts());
    clock.advance(NOW + SECOND);
    assert!(clock.interrupts());
    assert_eq!(clock.next_interrupt(), None, "it does already");
    let flags = get(clock, STATUS_C, NOW + SECOND);
    assert_eq!(
        flags & !PERIODIC,
        STATUS_C_INTERRUPT | UPDATE_ENDED,
        "what is not enabled has its flag too"
    );
    assert!(!clock.interrupts());
    assert_eq!(get(clock, STATUS_C, NOW + SECOND), 0);
    assert_eq!(clock.next_interrupt(), Some(NOW + 2 * SECOND));
    // A clock that is being set stands still.
    set_at(clock, STATUS_B, STATUS_B_SET | UPDATE_ENDED, NOW + SECOND);
    assert_eq!(clock.next_interrupt(), None);
    clock.advance(NOW + 9 * SECOND);
    assert!(!clock.interrupts());
}

#[test]
fn an_alarm_interrupts_at_its_time_in_every_format() {
    let in_24_hours = STATUS_B_24_HOURS | ALARM;
    for (format, alarm, until) in [
        (in_24_hours, [0x17, 0x05, 0x12], 3),
        (in_24_hours, [0x17, 0x05, 0x09], 86_400),
        (in_24_hours, [0x00, 0x00, 0x00], 24_891),
        (in_24_hours, [0xFF, 0xC0, 0x00], 51),
        (in_24_hours, [0xFF, 0x04, 0xFF], 3_531),
        (in_24_hours, [0xFF, 0xFF, 0xFF], 1),
        (in_24_hours | STATUS_B_BINARY, [17, 59, 30], 3_261),
        (ALARM, [0x05 | PM, 0x06, 0x00], 51),
        (ALARM, [0x12, 0x00, 0x00], 24_891),
    ] {
        let clock = &mut Registers::new(NOW);
        set(clock, STATUS_B, format);
        for (index, value) in [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM]
            .into_iter()
            .zip(alarm)
        {
            set(clock, index, value);
        }
        let due = NOW + until * SECOND;
        assert_eq!(clock.next_interrupt(), Some(due), "{alarm:x?}");
        clock.advance(due - 1);
        assert!(!clock.interrupts(), "{alarm:x?}");
        clock.advance(due);
        assert!(clock.interrupts(), "{alarm:x?}");
    }
    let clock = &mut Registers::new(NOW);
    set(clock, STATUS_B, in_24_hours);
    set(clock, HOURS_ALARM, 0x25);
    assert_eq!(clock.next_interrupt(), None);
    clock.advance(NOW + 3 * SECONDS_PER_DAY * SECOND);
    assert!(!clock.interrupts());
}

#[test]
fn periodic_interrupts_come_at_their_rate() {
    for (rate, count) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        let clock = &mut Registers::new(NOW);
        set(clock, STATUS_A, STATUS_A_RUNNING | rate);
        set(clock, STATUS_B, STATUS_B_24_HOURS | PERIODIC);
        let mut seen = 0;
        while let Some(at) = clock.next_interrupt().filter(|at| *at <= NOW + SECOND) {
            clock.advance(at - 1);
            assert!(!clock.interrupts(), "rate {rate}, {seen}");
            clock.advance(at);
            assert!(clock.interrupts(), "rate {rate}, {seen}");
            get(clock, STATUS_C, at);
            seen += 1;
        }
        assert_eq!(seen, count, "rate {rate}");
    }
    let clock = &mut Registers::new(NOW);
    set(clock, STATUS_A, STATUS_A_RUNNING);
    set(clock, STATUS_B, STATUS_B_24_HOURS | PERIODIC);
    assert_eq!(clock.next_interrupt(), None, "rate 0 is off");
}

#[test]
fn a_reset_leaves_the_time_and_nothing_that_interrupts() {
    let clock = &mut Registers::new(NOW);
    set(clock, HOURS, 0x03);
    set(clock, STATUS_B, STATUS_B_24_HOURS | UPDATE_ENDED);
    clock.advance(NOW + SECOND);
    assert!(clock.interrupts());
    clock.reset();
    assert!(!clock.interrupts());
    assert_eq!(clock.next_interrupt(), None);
    assert_eq!(get(clock, STATUS_C, NOW + SECOND), 0);
    assert_eq!(get(clock, HOURS, NOW + SECOND), 0x03);
}

#[test]
fn a_host_that_sets_its_clock_back_is_survived() {
    let clock = &mut Registers::new(NOW);
    set(clock, STATUS_B, STATUS_B_24_HOURS | UPDATE_ENDED);
    clock.advance(NOW - 100 * SECOND);
    assert!(!clock.interrupts());
    assert_eq!(clock.next_interrupt(), Some(NOW - 99 * SECOND));
}

proptest! {
    #[test]
    fn any_accesses_are_survived_and_the_next_interrupt_is_to_come(
        accesses in prop::collection::vec((any::<bool>(), 0..2_u16, any::<u8>(), -SECOND..90_000 * SECOND), 0..64)
    ) {
        let mut clock = Registers::new(NOW);
        let mut now = NOW;
        for (write, port, value, passed) in accesses {
            now += passed;
            if write {
                clock.write(port, value, now);
            } else {
                clock.read(port, now);
            }
            clock.advance(now);
            if let Some(next) = clock.next_interrupt() {
                prop_assert!(next > now);
                let mut later = Registers { memory: clock.memory, ..Registers::new(now) };
                (later.offset, later.flags) = (clock.offset, clock.flags);
                later.advance(next);
                prop_assert!(later.interrupts());
            }
        }
    }
}
