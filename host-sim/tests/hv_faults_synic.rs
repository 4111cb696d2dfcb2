//! Hostile and careless guests against the hypervisor shim, numbered after the catalogue of faults.

mod hv_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_sim::hv::{ManualClock, MonotonicClock, Refusal};
use host_sim::memory::PAGE_SIZE;
use host_sim::partition::inproc::{InprocConfig, InprocPartition};
use hv_support::{Fixture, HYPERCALL_FRAME, PAGES, VECTOR, message_frame, page_register};
use hypercall::call::Status;
use hypercall::cpuid::{Features, Privileges};
use hypercall::msr::{self, SintIndex, SintRegister, StimerConfig};
use hypercall::synic::{EVENT_FLAGS_SIZE, EventFlagsPage, MESSAGE_SLOT_SIZE, slot};
use hypercall::time::ReferenceTscPage;

#[test]
fn fault_32_a_slot_that_is_never_cleared_holds_up_itself_only() {
    let fixture = Fixture::with(|config| config.message_queue_limit = 100);
    fixture.enable_synic(0);
    fixture.enable_synic(1);
    fixture.write(msr::SINT0 + 3, 0x50);
    let mut refused = 0;
    for _ in 0..1_000 {
        refused += u32::from(fixture.hv.post_message(0, 2, 1, b"x").is_err());
        fixture.hv.poll_message_queues();
        fixture.hv.vp_exited(0);
    }
    assert_eq!(refused, 1_000 - 101);
    assert_eq!(fixture.interrupts(), [(0, VECTOR)]);
    fixture.hv.post_message(0, 3, 1, b"other").unwrap();
    fixture.hv.post_message(1, 2, 1, b"other").unwrap();
    assert_eq!(fixture.interrupts(), [(0, 0x50), (1, VECTOR)]);
}

#[test]
fn fault_32_a_guest_that_forgets_end_of_message_gets_its_messages_by_the_poll() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    for byte in 0..4 {
        fixture.hv.post_message(0, 2, 1, &[byte]).unwrap();
    }
    for byte in 0..4 {
        assert_eq!(fixture.slot(0, 2).3, byte);
        fixture.empty_slot(0, 2);
        if byte % 2 == 0 {
            fixture.hv.poll_message_queues();
        } else {
            fixture.hv.vp_exited(0);
        }
    }
    assert!(!fixture.hv.has_waiting_messages());
}

#[test]
fn fault_85_pages_that_move_while_messages_queue() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    let first = message_frame(0);
    for byte in 0..4 {
        fixture.hv.post_message(0, 2, 1, &[byte]).unwrap();
    }
    let slot_type = |frame: u64| {
        let page = fixture.page(frame);
        page[2 * MESSAGE_SLOT_SIZE + slot::TYPE]
    };
    // The message in the slot moves along, the others wait on.
    fixture.write(msr::SIMP, page_register(40));
    assert_eq!((slot_type(first), slot_type(40)), (0, 1));
    assert_eq!(fixture.hv.message_queue_len(0, 2), 3);
    // Not RAM: the page stays where it is.
    assert!(fixture.write_faults(msr::SIMP, page_register(PAGES)));
    assert!(fixture.write_faults(msr::SIEFP, page_register((1 << 52) - 1)));
    assert_eq!(slot_type(40), 1);
    // Off: nothing is written anywhere, nothing is lost.
    fixture.write(msr::SIMP, 0);
    fixture.hv.post_message(0, 2, 1, &[4]).unwrap();
    fixture.write(msr::EOM, 0);
    assert_eq!((slot_type(first), slot_type(40)), (0, 0));
    fixture.write(msr::SIMP, page_register(first));
    fixture.interrupts();
    for byte in 0..5 {
        assert_eq!(fixture.slot(0, 2).3, byte);
        fixture.empty_slot(0, 2);
        fixture.write(msr::EOM, 0);
    }
    assert_eq!(fixture.hv.message_queue_len(0, 2), 0);
}

#[test]
fn fault_85_pages_that_move_under_a_posting_host_lose_nothing() {
    const FLAGS: u16 = 2048;
    let fixture = Fixture::with(|config| config.message_queue_limit = FLAGS.into());
    fixture.enable_synic(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frame = 40;
            while !done.load(Ordering::Relaxed) {
                fixture.write(msr::SIMP, page_register(frame));
                fixture.write(msr::SIEFP, page_register(frame + 1));
                frame = 40 + (frame + 2) % 20;
            }
        });
        let all = (0..FLAGS).all(|flag| {
            fixture.hv.signal_event(0, 2, flag).is_ok()
                && fixture
                    .hv
                    .post_message(0, 2, 1, &flag.to_le_bytes())
                    .is_ok()
        });
        // Whatever came of it: the other thread waits for this.
        done.store(true, Ordering::Relaxed);
        assert!(all);
    });
    fixture.write(msr::SIMP, page_register(message_frame(0)));
    fixture.write(msr::SIEFP, page_register(message_frame(0) + 1));
    for offset in 0..EVENT_FLAGS_SIZE as u64 {
        let base = 2 * EVENT_FLAGS_SIZE as u64;
        assert_eq!(fixture.event_byte(0, base + offset), 0xFF);
    }
    for flag in 0..FLAGS {
        assert_eq!(fixture.slot(0, 2).3, flag.to_le_bytes()[0]);
        fixture.empty_slot(0, 2);
        fixture.write(msr::EOM, 0);
    }
    assert!(!fixture.hv.has_waiting_messages());
}

#[test]
fn fault_85_overlays_on_one_page_harm_the_guest_only() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    fixture.enable_synic(0);
    for msr in [msr::SIMP, msr::SIEFP, msr::REFERENCE_TSC] {
        fixture.write(msr, page_register(HYPERCALL_FRAME));
    }
    for _ in 0..3 {
        fixture.hv.post_message(0, 2, 1, &[0xFF; 240]).unwrap();
        let _ = fixture.hv.signal_event(0, 2, 5);
        fixture.write(msr::EOM, 0);
    }
    fixture.hv.reset();
    assert_eq!(fixture.read(msr::SIMP), 0);
}

#[test]
fn fault_86_masked_polled_and_auto_eoi_sources() {
    let fixture = Fixture::new();
    fixture.enable_synic(0);
    let sint2 = SintIndex::VMBUS.register();
    let open = SintRegister::RESET.with_vector(VECTOR).with_masked(false);
    // Masked: the message is stored without an interrupt, then and later; events are refused.
    fixture.write(sint2, open.with_masked(true).bits());
    fixture.hv.post_message(0, 2, 1, b"a").unwrap();
    fixture.hv.post_message(0, 2, 1, b"b").unwrap();
    assert_eq!(
        fixture.hv.signal_event(0, 2, 1),
        Err(Status::INVALID_SYNIC_STATE)
    );
    assert_eq!(fixture.event_byte(0, 2 * EVENT_FLAGS_SIZE as u64), 0);
    assert_eq!(fixture.slot(0, 2).3, b'a');
    fixture.write(sint2, open.bits());
    assert_eq!(fixture.interrupts(), []);
    // Unmasking retries: the slot is free by now.
    fixture.write(sint2, open.with_masked(true).bits());
    fixture.empty_slot(0, 2);
    fixture.write(sint2, open.bits());
    assert_eq!(fixture.slot(0, 2).3, b'b');
    assert_eq!(fixture.interrupts(), [(0, VECTOR)]);
    // Polling: everything but the interrupt.
    fixture.empty_slot(0, 2);
    fixture.write(sint2, open.with_polling(true).bits());
    fixture.hv.post_message(0, 2, 1, b"c").unwrap();
    fixture.hv.signal_event(0, 2, 1).unwrap();
    assert_eq!(fixture.slot(0, 2).3, b'c');
    assert_eq!(fixture.event_byte(0, 2 * EVENT_FLAGS_SIZE as u64), 2);
    assert_eq!(fixture.interrupts(), []);
    // AutoEOI: stored, and interrupts as ever.
    fixture.empty_slot(0, 2);
    fixture.write(sint2, open.with_auto_eoi(true).bits());
    assert_eq!(fixture.read(sint2), open.with_auto_eoi(true).bits());
    fixture.hv.post_message(0, 2, 1, b"d").unwrap();
    assert_eq!(fixture.interrupts(), [(0, VECTOR)]);
    // Every mixture of the three bits is accepted if the vector is.
    for bits in 0..8 {
        fixture.write(sint2, u64::from(VECTOR) | bits << 16);
    }
}

#[test]
fn fault_87_timer_periods_and_counts_at_the_limits() {
    let fixture = Fixture::new();
    fixture.clock.advance(1_000_000);
    let (config, count) = (msr::STIMER2_CONFIG, msr::STIMER2_COUNT);
    let direct = StimerConfig::OFF.with_direct(0xED).with_auto_enable(true);
    // Period 0 stops.
    fixture.write(config, direct.with_periodic(true).with_enabled(true).bits());
    fixture.write(count, 0);
    assert_eq!(fixture.hv.next_deadline(), None);
    // Period 1 is stretched: a second makes 10 µs ticks, not 100 ns ones, and falling behind is bounded.
    fixture.write(count, 1);
    let begin = fixture.read(msr::TIME_REF_COUNT);
    assert_eq!(fixture.hv.next_deadline(), Some(begin + 100));
    fixture.advance(10_000_000);
    let counters = fixture.hv.counters().virtual_processors[0];
    assert!(counters.timer_expirations < 20, "{counters:?}");
    assert_eq!(
        counters.timer_expirations + counters.timer_ticks_skipped,
        100_000
    );
    // Lazy: one expiration makes up for all.
    let lazy = direct.with_periodic(true).with_lazy(true);
    fixture.write(config, lazy.bits());
    fixture.write(count, 1);
    fixture.interrupts();
    fixture.advance(10_000_000);
    assert_eq!(fixture.interrupts(), [(0, 0xED)]);
    // Periods and times at the end of the range never come.
    fixture.write(count, u64::MAX);
    fixture.advance(1 << 40);
    assert_eq!(fixture.interrupts(), []);
    fixture.write(count, 0);
    fixture.write(config, direct.bits());
    fixture.write(count, u64::MAX);
    fixture.advance(1 << 40);
    assert_eq!(fixture.interrupts(), []);
    // The past is now.
    fixture.write(count, 1);
    assert_eq!(fixture.interrupts(), [(0, 0xED)]);
    assert_eq!(fixture.read(config) & 1, 0);
    // A vector that no local APIC takes is not raised.
    fixture.write(
        config,
        StimerConfig::OFF
            .with_direct(3)
            .with_auto_enable(true)
            .bits(),
    );
    fixture.write(count, 1);
    assert_eq!(fixture.interrupts(), []);
}

/// Time is set forward again and again under a reader. What it reads from the page lies between what the counter register
/// said before and says after, so time goes back for nobody.
#[test]
fn fault_88_reference_time_that_changes_under_a_reader() {
    let config = InprocConfig {
        clock: Arc::new(MonotonicClock::as_guest_tsc()),
        ..InprocConfig::stepped(64 * PAGE_SIZE, 1, Arc::new(ManualClock::default()))
    };
    let partition = InprocPartition::new(config).unwrap();
    let (hv, processor) = (partition.hv(), partition.processor(0));
    hv.write_msr(0, msr::REFERENCE_TSC, page_register(5))
        .unwrap();
    let page = partition
        .memory()
        .page_pointer(5)
        .unwrap()
        .cast::<ReferenceTscPage>();
    // SAFETY: the page is RAM that stays mapped while the partition lives and consists of atomics.
    let page = unsafe { page.as_ref() };
    let done = AtomicBool::new(false);
    let mut by_page = 0_u32;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                hv.set_reference_time(hv.reference_time() + 10_000);
                for _ in 0..200 {
                    std::hint::spin_loop();
                }
            }
        });
        for _ in 0..20_000 {
            let before = hv.reference_time();
            let Some(time) = page.read(&processor) else {
                continue;
            };
            let after = hv.reference_time();
            assert!(before <= time && time <= after, "{before} {time} {after}");
            by_page += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{by_page} of 20000 reads found the page valid");
    // The guest may write the page; the next sequence does not come from there.
    page.sequence.store(u32::MAX - 1, Ordering::Relaxed);
    hv.set_reference_time(hv.reference_time());
    assert!(page.read(&processor).is_some());
    assert_ne!(page.sequence.load(Ordering::Relaxed), 0);
}

#[test]
fn fault_89_reserved_bits_fault_and_preserved_bits_stay() {
    let fixture = Fixture::with(|config| config.privileges |= Privileges::TSC_INVARIANT);
    fixture.install_hypercall_page();
    let mut faulting = Vec::new();
    for bit in 1..12 {
        faulting.push((msr::HYPERCALL, page_register(HYPERCALL_FRAME) | 1 << bit));
    }
    for bit in (13..16).chain(20..64) {
        faulting.push((msr::STIMER0_CONFIG, 1 << bit));
    }
    for bit in 1..64 {
        faulting.push((msr::TSC_INVARIANT_CONTROL, 1 << bit));
    }
    for msr in [msr::HYPERCALL, msr::REFERENCE_TSC, msr::SIMP, msr::SIEFP] {
        faulting.push((msr, page_register(PAGES)));
        faulting.push((msr, page_register((1 << 52) - 1)));
    }
    for sint in SintIndex::all() {
        faulting.push((sint.register(), 0xF));
        faulting.push((sint.register(), 0x6_0000));
    }
    for (msr, value) in faulting {
        assert!(fixture.write_faults(msr, value), "{msr:#x} {value:#x}");
    }
    fixture.write(msr::TSC_INVARIANT_CONTROL, 1);
    assert!(fixture.write_faults(msr::TSC_INVARIANT_CONTROL, 0));
    for (msr, value) in [
        (msr::SCONTROL, !0),
        (msr::SIMP, page_register(30) | 0xFFE),
        (msr::SIEFP, page_register(31) | 0xFFE),
        (msr::REFERENCE_TSC, page_register(32) | 0xFFE),
        (msr::SINT0, !0x7_00FF | 0x1_0000),
        (msr::GUEST_OS_ID, !0),
    ] {
        fixture.write(msr, value);
        assert_eq!(fixture.read(msr), value, "{msr:#x}");
    }
    // Without the feature for it, direct mode is reserved.
    let plain = Fixture::with(|config| config.features -= Features::DIRECT_STIMERS);
    assert!(plain.write_faults(msr::STIMER0_CONFIG, 1 << 12));
    // A locked page register stays as it is until reset.
    let lockable = Fixture::with(|config| config.features |= Features::HYPERCALL_LOCK);
    lockable.install_hypercall_page();
    lockable.write(msr::HYPERCALL, page_register(HYPERCALL_FRAME) | 2);
    let refused = lockable.hv.write_msr(0, msr::HYPERCALL, 0).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Locked);
    assert!(lockable.hv.is_hypercall_page_enabled());
    lockable.hv.reset();
    assert_eq!(lockable.read(msr::HYPERCALL), 0);
}

#[test]
fn fault_90_interrupts_to_processors_that_are_offline() {
    for vp_count in [1, 2, 3, 8, 64] {
        let clock = Arc::new(ManualClock::default());
        let partition = InprocPartition::new(InprocConfig::stepped(
            512 * PAGE_SIZE,
            vp_count,
            clock.clone(),
        ))
        .unwrap();
        let hv = partition.hv();
        for vp in 0..vp_count {
            let frame = 64 + 2 * u64::from(vp);
            for (msr, value) in [
                (msr::SIMP, page_register(frame)),
                (msr::SIEFP, page_register(frame + 1)),
                (msr::SINT0 + 2, u64::from(VECTOR)),
                (msr::SCONTROL, 1),
            ] {
                hv.write_msr(vp, msr, value).unwrap();
            }
            hv.signal_event(vp, 2, 7).unwrap();
            hv.post_message(vp, 2, 1, b"x").unwrap();
            let online = vp == 0;
            assert_eq!(partition.is_online(vp), online);
            assert_eq!(partition.take_pending(vp).contains(VECTOR), online);
            assert_eq!(partition.dropped_interrupts(vp), if online { 0 } else { 2 });
            // Its flag and message are there when it comes online, its interrupt is not.
            partition.set_online(vp, true);
            assert!(partition.take_pending(vp).is_empty());
            let page = partition.memory().page_pointer(frame + 1).unwrap();
            // SAFETY: RAM that stays mapped while the partition lives; the structure consists of atomics.
            let flags = unsafe { page.cast::<EventFlagsPage>().as_ref() };
            assert!(flags.test_and_clear(SintIndex::VMBUS, 7));
            hv.signal_event(vp, 2, 7).unwrap();
            assert!(partition.take_pending(vp).contains(VECTOR));
        }
        assert_eq!(
            hv.signal_event(vp_count, 2, 7),
            Err(Status::INVALID_VP_INDEX)
        );
        assert!(hv.post_message(vp_count, 2, 1, b"x").is_err());
        assert!(hv.read_msr(vp_count, msr::VP_INDEX).is_err());
        assert!(partition.take_pending(vp_count).is_empty());
        hv.reset_vp(vp_count);
        hv.vp_exited(vp_count);
    }
}
