//! The hypervisor shim against the rules that a Hyper-V host keeps: SynIC, time and timers.
//!
//! Tests are numbered after the conformance checklist of the hypervisor interface.

mod hv_support;
mod skip;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use host_sim::hv::{HostTscClock, Hv, HvConfig, InterruptSink, MonotonicClock, PostError};
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use hv_support::{Fixture, VECTOR, message_frame, page_register};
use hypercall::call::{MessageType, Status};
use hypercall::cpuid::{Features, Privileges};
use hypercall::msr::{self, SINT_COUNT, SintRegister, StimerConfig};
use hypercall::stimer::TimerMessage;
use hypercall::synic::{EVENT_FLAGS_SIZE, MESSAGE_SLOT_SIZE, MessagePage, SintIndex, slot};
use hypercall::time::TimeScale;
use skip::skip;

/// Interrupts of SINT2 on virtual processor 0.
const ONE_INTERRUPT: [(u32, u8); 1] = [(0, VECTOR)];

#[test]
fn conformance_09_sints_start_masked_and_want_a_vector() {
    let fixture = Fixture::new();
    for sint in SintIndex::all() {
        let msr = sint.register();
        assert_eq!(fixture.read(msr), 0x10000);
        assert!(fixture.write_faults(msr, 15));
        assert!(fixture.write_faults(msr, 0));
        fixture.write(msr, 0x1000F);
        fixture.write(msr, 16);
        assert_eq!(fixture.read(msr), 16);
    }
}

#[test]
fn conformance_09_synic_pages_start_zeroed_and_keep_their_contents() {
    let fixture = Fixture::new();
    let frame = message_frame(0);
    fixture.memory.write(frame * PAGE_SIZE, b"guest").unwrap();
    fixture.enable_synic(0);
    assert_eq!(fixture.page(frame), [0; PAGE_SIZE as usize]);
    fixture.hv.post_message(0, 2, 1, b"m").unwrap();
    fixture.write(msr::SIMP, page_register(frame + 10));
    assert_eq!(fixture.page(frame)[..5], *b"guest");
    let moved = fixture.page(frame + 10);
    assert_eq!(moved[2 * MESSAGE_SLOT_SIZE + slot::PAYLOAD], b'm');
    fixture.write(msr::SIMP, page_register(frame + 10) & !1);
    assert_eq!(fixture.page(frame + 10), [0; PAGE_SIZE as usize]);
}

#[test]
fn conformance_13_end_of_message_looks_at_every_sint() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    for sint in SintIndex::all() {
        let vector = 0x40 + sint.number();
        fixture.write(sint.register(), u64::from(vector));
        for byte in 0..2 {
            fixture
                .hv
                .post_message(0, sint.number(), 1, &[byte])
                .unwrap();
        }
    }
    assert_eq!(fixture.interrupts().len(), SINT_COUNT);
    for sint in SintIndex::all() {
        assert!(fixture.empty_slot(0, sint.number()), "{sint:?}");
    }
    fixture.write(msr::EOM, 0x1234);
    assert_eq!(fixture.interrupts().len(), SINT_COUNT);
    for sint in SintIndex::all() {
        assert_eq!(fixture.slot(0, sint.number()), (1, 1, 0, 1), "{sint:?}");
    }
}

#[test]
fn conformance_14_messages_keep_their_order_and_wait_for_the_slot() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    for byte in 0..5 {
        fixture.hv.post_message(0, 2, 1, &[byte; 3]).unwrap();
    }
    assert_eq!(fixture.interrupts(), ONE_INTERRUPT);
    assert_eq!(fixture.hv.message_queue_len(0, 2), 4);
    for byte in 0..5 {
        assert_eq!(
            fixture.slot(0, 2),
            (1, 3, u8::from(byte < 4), byte),
            "pending is set exactly while others wait"
        );
        assert_eq!(fixture.empty_slot(0, 2), byte < 4);
        fixture.write(msr::EOM, 0);
    }
    assert_eq!(fixture.interrupts().len(), 4);
    assert!(!fixture.hv.has_waiting_messages());
    let counters = fixture.hv.counters().virtual_processors[0];
    assert_eq!(counters.messages_queued, 5);
    assert_eq!(counters.messages_delivered, 5);
    assert_eq!(counters.messages_parked, 4);
    assert_eq!(counters.interrupts, 5);
}

#[test]
fn conformance_14_queues_are_bounded_and_refuse_nonsense() {
    let fixture = Fixture::with(|config| config.message_queue_limit = 3);
    for _ in 0..3 {
        fixture.hv.post_message(1, 2, 1, &[]).unwrap();
    }
    assert_eq!(
        fixture.hv.post_message(1, 2, 1, &[]),
        Err(PostError::QueueFull)
    );
    assert_eq!(fixture.hv.message_queue_len(1, 2), 3);
    assert_eq!(fixture.hv.message_queue_len(9, 2), 0);
    assert_eq!(
        fixture.hv.post_message(2, 2, 1, &[]),
        Err(PostError::NoSuchVp(2))
    );
    assert_eq!(
        fixture.hv.post_message(0, 16, 1, &[]),
        Err(PostError::NoSuchSint(16))
    );
    for (message_type, length) in [(0, 1), (1, 241)] {
        assert!(matches!(
            fixture
                .hv
                .post_message(0, 2, message_type, &vec![0; length]),
            Err(PostError::Message { .. })
        ));
    }
    fixture.enable_synic(1);
    assert_eq!(fixture.hv.message_queue_len(1, 2), 2);
}

#[test]
fn conformance_15_an_event_interrupts_when_its_flag_was_clear() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.hv.signal_event(0, 2, 0),
        Err(Status::INVALID_SYNIC_STATE)
    );
    fixture.enable_synic(0);
    let base = 2 * EVENT_FLAGS_SIZE as u64;
    for (flag, offset, bit) in [(0, 0, 1), (9, 1, 2), (2047, 255, 0x80)] {
        fixture.hv.signal_event(0, 2, flag).unwrap();
        assert_eq!(fixture.interrupts(), ONE_INTERRUPT);
        fixture.hv.signal_event(0, 2, flag).unwrap();
        assert_eq!(fixture.interrupts(), []);
        assert_eq!(fixture.event_byte(0, base + offset), bit);
    }
    let address = (message_frame(0) + 1) * PAGE_SIZE + base;
    fixture.memory.write(address, &[0]).unwrap();
    fixture.hv.signal_event(0, 2, 0).unwrap();
    assert_eq!(fixture.interrupts(), ONE_INTERRUPT);
    for (vp, sint, flag, status) in [
        (0, 2, 2048, Status::INVALID_PARAMETER),
        (0, 16, 0, Status::INVALID_PARAMETER),
        (2, 2, 0, Status::INVALID_VP_INDEX),
    ] {
        assert_eq!(fixture.hv.signal_event(vp, sint, flag), Err(status));
    }
    let counters = fixture.hv.counters().virtual_processors[0];
    assert_eq!((counters.events_signalled, counters.events_refused), (7, 1));
}

#[test]
fn conformance_16_the_synic_may_come_enabled_out_of_reset() {
    let fixture = Fixture::with(|config| config.synic_enabled_at_reset = true);
    assert_eq!(fixture.read(msr::SCONTROL), 1);
    fixture.write(msr::SCONTROL, 0);
    fixture.hv.reset_vp(0);
    assert_eq!(fixture.read(msr::SCONTROL), 1);
    assert_eq!(Fixture::new().read(msr::SCONTROL), 0);
}

#[test]
fn conformance_19_counter_register_and_page_agree() {
    let fixture = Fixture::new();
    fixture.write(msr::REFERENCE_TSC, page_register(5));
    for step in [0, 1, 7, 1_000, 123_456_789, 1 << 40] {
        fixture.clock.advance_counts(step);
        let page = fixture.page(5);
        let u64_at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
        let scale = TimeScale {
            scale: u64_at(8),
            offset: u64_at(16).cast_signed(),
        };
        let tsc = host_sim::hv::Clock::tsc(fixture.clock.as_ref());
        assert_eq!(scale.time_at(tsc), fixture.read(msr::TIME_REF_COUNT));
    }
}

#[test]
fn conformance_18_the_page_is_valid_at_once_and_has_a_new_sequence_each_time() {
    let fixture = Fixture::new();
    let sequence = || u32::from_le_bytes(fixture.page(5)[..4].try_into().unwrap());
    fixture.memory.write(5 * PAGE_SIZE, &[0xEE; 64]).unwrap();
    fixture.write(msr::REFERENCE_TSC, page_register(5) | 0xFFE);
    assert_eq!(fixture.read(msr::REFERENCE_TSC), page_register(5) | 0xFFE);
    assert_eq!(sequence(), 1);
    fixture.clock.advance(50);
    fixture.hv.set_reference_time(1_000_000);
    assert_eq!(sequence(), 2);
    assert_eq!(fixture.read(msr::TIME_REF_COUNT), 1_000_000);
    fixture.write(msr::REFERENCE_TSC, 0);
    assert_eq!(fixture.page(5)[..64], [0xEE; 64]);
    fixture.write(msr::REFERENCE_TSC, page_register(5));
    assert_eq!(sequence(), 3);
    assert!(fixture.write_faults(msr::REFERENCE_TSC, page_register(hv_support::PAGES)));
}

#[test]
fn conformance_18_a_guest_with_another_counter_gets_no_valid_page() {
    let fixture = Fixture::with(|config| {
        config.clock = Arc::new(MonotonicClock::beside(Some(3_000_000_000)));
    });
    fixture.write(msr::REFERENCE_TSC, page_register(5));
    fixture.hv.set_reference_time(7);
    assert_eq!(fixture.page(5)[..24], [0; 24]);
}

struct NoInterrupts;

impl InterruptSink for NoInterrupts {
    fn inject(&self, _vp: u32, _vector: u8) {}
}

// Spec 01, 8.2.
#[test]
fn the_rate_of_a_guests_own_counter_is_told_or_not_offered() {
    let hv = |rate: Option<u64>| {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let clock = Arc::new(MonotonicClock::beside(rate));
        let config = HvConfig::new(memory, clock, Arc::new(NoInterrupts), 1);
        let offered = (
            config.privileges.contains(Privileges::FREQUENCY),
            config.features.contains(Features::FREQUENCY),
        );
        (Hv::new(config).unwrap(), offered)
    };
    let (known, offered) = hv(Some(2_903_000_000));
    assert_eq!(offered, (true, true));
    assert_eq!(known.read_msr(0, msr::TSC_FREQUENCY), Ok(2_903_000_000));
    let (unknown, offered) = hv(None);
    assert_eq!(offered, (false, false));
    assert!(unknown.read_msr(0, msr::TSC_FREQUENCY).is_err());
}

fn direct(periodic: bool) -> StimerConfig {
    StimerConfig::OFF
        .with_direct(0xED)
        .with_periodic(periodic)
        .with_auto_enable(true)
}

#[test]
fn conformance_20_one_shot_timers() {
    let fixture = Fixture::new();
    fixture.clock.advance(10_000);
    let (config, count) = (msr::STIMER0_CONFIG, msr::STIMER0_COUNT);
    fixture.write(config, direct(false).with_enabled(true).bits());
    assert_eq!(fixture.hv.next_deadline(), None, "count 0 never fires");
    assert_eq!(fixture.read(config) & 1, 1);
    let now = fixture.read(msr::TIME_REF_COUNT);
    fixture.write(count, now + 500);
    assert_eq!(fixture.hv.next_deadline(), Some(now + 500));
    fixture.advance(499);
    assert_eq!(fixture.interrupts(), []);
    fixture.advance(1);
    assert_eq!(fixture.interrupts(), [(0, 0xED)]);
    assert_eq!(fixture.read(config) & 1, 0, "expiry clears enable");
    assert_eq!(fixture.read(count), now + 500);
    // Only the count is written to arm it again; a time that has passed expires at once.
    fixture.write(count, 1);
    assert_eq!(fixture.interrupts(), [(0, 0xED)]);
    fixture.write(count, now + 5_000);
    fixture.write(count, 0);
    assert_eq!(fixture.read(config) & 1, 0, "count 0 stops it");
    fixture.advance(10_000);
    assert_eq!(fixture.interrupts(), []);
    assert_eq!(fixture.hv.next_deadline(), None);
}

#[test]
fn conformance_20_periodic_timers_do_not_drift() {
    let fixture = Fixture::new();
    fixture
        .hv
        .write_msr(1, msr::STIMER3_CONFIG, direct(true).bits())
        .unwrap();
    fixture.hv.write_msr(1, msr::STIMER3_COUNT, 1_000).unwrap();
    for step in [1_000, 1_300, 700, 999, 1] {
        fixture.advance(step);
    }
    assert_eq!(fixture.interrupts(), [(1, 0xED); 4]);
    assert_eq!(fixture.hv.next_deadline(), Some(5_000));
    let counters = fixture.hv.counters().virtual_processors[1];
    assert_eq!(counters.timer_expirations, 4);
}

#[test]
fn conformance_21_message_mode_wants_a_sint() {
    let fixture = Fixture::new();
    let config = msr::STIMER0_CONFIG;
    fixture.write(config, 1);
    assert_eq!(fixture.read(config), 0);
    fixture.write(config, StimerConfig::OFF.with_auto_enable(true).bits());
    fixture.write(msr::STIMER0_COUNT, 5);
    assert_eq!(fixture.read(config) & 1, 0);
    assert_eq!(fixture.hv.next_deadline(), None);
}

#[test]
fn conformance_22_a_timer_has_one_message_at_most() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    let config = StimerConfig::OFF
        .with_message(SintIndex::VMBUS)
        .with_periodic(true)
        .with_auto_enable(true);
    fixture.write(msr::STIMER1_CONFIG, config.bits());
    fixture.write(msr::STIMER1_COUNT, 1_000);
    for _ in 0..10 {
        fixture.advance(1_000);
    }
    assert_eq!(fixture.interrupts(), ONE_INTERRUPT);
    assert_eq!(fixture.hv.message_queue_len(0, 2), 1);
    let timer_type = MessageType::TIMER_EXPIRED.0;
    assert_eq!(fixture.slot(0, 2), (timer_type, 24, 1, 1));
    let counters = fixture.hv.counters().virtual_processors[0];
    assert_eq!(counters.timer_expirations, 10);
    assert_eq!(counters.timer_ticks_skipped, 8);
    // The second message tells when it was due and when it was delivered.
    fixture.empty_slot(0, 2);
    fixture.write(msr::EOM, 0);
    let mut payload = [0; 24];
    let address = message_frame(0) * PAGE_SIZE + (2 * MESSAGE_SLOT_SIZE + slot::PAYLOAD) as u64;
    fixture.memory.read(address, &mut payload).unwrap();
    let message = TimerMessage::parse(&payload).unwrap();
    assert_eq!(message.timer_index.get(), 1);
    assert_eq!(message.expiration_time.get(), 2_000);
    assert_eq!(message.delivery_time.get(), 10_000);
}

#[test]
fn conformance_22_stopping_a_timer_takes_its_waiting_message_back() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    fixture.hv.post_message(0, 2, 1, b"vmbus").unwrap();
    let config = StimerConfig::OFF
        .with_message(SintIndex::VMBUS)
        .with_auto_enable(true);
    fixture.write(msr::STIMER0_CONFIG, config.bits());
    fixture.write(msr::STIMER0_COUNT, 1);
    fixture.advance(1);
    assert_eq!(fixture.hv.message_queue_len(0, 2), 1);
    fixture.write(msr::STIMER0_COUNT, 0);
    assert_eq!(fixture.hv.message_queue_len(0, 2), 0);
}

#[test]
fn conformance_24_reset_clears_every_state() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    fixture.enable_synic(0);
    fixture.enable_synic(1);
    fixture.write(msr::REFERENCE_TSC, page_register(5));
    fixture.write(msr::CRASH_P0, 3);
    fixture.write(msr::STIMER0_CONFIG, direct(true).bits());
    fixture.write(msr::STIMER0_COUNT, 1_000);
    for _ in 0..3 {
        fixture.hv.post_message(0, 2, 1, b"x").unwrap();
        fixture.hv.post_message(1, 2, 1, b"x").unwrap();
    }
    fixture.hv.reset_vp(0);
    assert_eq!(fixture.read(msr::SCONTROL), 0);
    assert_eq!(fixture.read(msr::SIMP), 0);
    assert_eq!(fixture.read(msr::SIEFP), 0);
    assert_eq!(fixture.read(msr::SINT0 + 2), 0x10000);
    assert_eq!(fixture.read(msr::STIMER0_CONFIG), 0);
    assert_eq!(fixture.read(msr::STIMER0_COUNT), 0);
    assert_eq!(fixture.hv.next_deadline(), None);
    assert_eq!(fixture.hv.message_queue_len(0, 2), 0);
    assert_eq!(fixture.page(message_frame(0)), [0; PAGE_SIZE as usize]);
    assert_eq!(fixture.hv.message_queue_len(1, 2), 2);
    assert!(fixture.hv.is_hypercall_page_enabled());

    fixture.clock.advance(100);
    fixture.hv.reset();
    assert_eq!(fixture.hv.message_queue_len(1, 2), 0);
    assert!(!fixture.hv.is_hypercall_page_enabled());
    for msr in [
        msr::GUEST_OS_ID,
        msr::HYPERCALL,
        msr::REFERENCE_TSC,
        msr::CRASH_P0,
    ] {
        assert_eq!(fixture.read(msr), 0, "{msr:#x}");
    }
    for frame in 0..hv_support::PAGES {
        assert_eq!(fixture.page(frame), [0; PAGE_SIZE as usize]);
    }
    assert!(fixture.read(msr::TIME_REF_COUNT) >= 100);
    // What comes anew starts from zeroes.
    fixture.enable_synic(0);
    assert_eq!(fixture.slot(0, 2), (0, 0, 0, 0));
}

/// Wakes a guest that waits for interrupts on a thread.
#[derive(Default)]
struct Bell(Mutex<u64>, std::sync::Condvar);

impl InterruptSink for Bell {
    fn inject(&self, _vp: u32, _vector: u8) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }
}

/// A guest that only acts on interrupts, and writes EOM only when told so, gets every message whole and in order.
#[test]
fn conformance_11_12_no_message_is_lost_or_torn_between_two_threads() {
    const MESSAGES: u64 = 20_000;
    let memory = GuestMemory::new(32 * PAGE_SIZE).unwrap();
    let bell = Arc::new(Bell::default());
    let clock = Arc::new(MonotonicClock::as_guest_tsc());
    let hv = Hv::new(HvConfig::new(memory.clone(), clock, bell.clone(), 1)).unwrap();
    for (msr, value) in [
        (msr::SIMP, page_register(3)),
        (
            msr::SINT0 + 2,
            SintRegister::from_bits(u64::from(VECTOR)).bits(),
        ),
        (msr::SCONTROL, 1),
    ] {
        hv.write_msr(0, msr, value).unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let host = std::thread::spawn({
        let (hv, done) = (hv.clone(), done.clone());
        move || {
            let mut next = 0_u64;
            while next < MESSAGES && !done.load(Ordering::Relaxed) {
                let payload = next.to_le_bytes().repeat(1 + next as usize % 30);
                match hv.post_message(0, 2, 1, &payload) {
                    Ok(()) => next += 1,
                    Err(PostError::QueueFull) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let page = memory.page_pointer(3).unwrap().cast::<MessagePage>();
    // SAFETY: the page is RAM that stays mapped while `memory` lives and consists of atomics.
    let page = unsafe { page.as_ref() };
    let mut expected = 0_u64;
    let mut rung = 0;
    while expected < MESSAGES {
        {
            let mut count = bell.0.lock().unwrap();
            while *count == rung {
                let (guard, timeout) = bell
                    .1
                    .wait_timeout(count, std::time::Duration::from_secs(30))
                    .unwrap();
                count = guard;
                assert!(!timeout.timed_out(), "message {expected} never came");
            }
            rung = *count;
        }
        while let Some(taken) = page.take(SintIndex::VMBUS) {
            let message = taken.message.unwrap();
            let length = 1 + expected as usize % 30;
            assert_eq!(message.payload(), expected.to_le_bytes().repeat(length));
            expected += 1;
            if taken.pending {
                hv.write_msr(0, msr::EOM, 0).unwrap();
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    host.join().unwrap();
    assert_eq!(
        hv.counters().virtual_processors[0].messages_delivered,
        MESSAGES
    );
}

#[test]
fn the_host_counter_drives_reference_time() {
    let Ok(clock) = HostTscClock::new() else {
        return skip("time-stamp counter", "this machine has no invariant one");
    };
    let fixture = Fixture::with(|config| config.clock = Arc::new(clock));
    let before = fixture.read(msr::TIME_REF_COUNT);
    let begin = std::time::Instant::now();
    while begin.elapsed().as_micros() < 2_000 {
        std::hint::spin_loop();
    }
    // Ten units in a microsecond; a calibration off by a factor would show.
    let passed = fixture.read(msr::TIME_REF_COUNT) - before;
    assert!(passed >= 15_000, "{passed}");
}
