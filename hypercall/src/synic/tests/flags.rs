//! Scanning event flags.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn every_signal_that_is_due_an_interrupt_is_handled_once() {
    const SIGNALS: usize = 4_000_000;
    let page = EventFlagsPage::new();
    let mut handled = 0;
    // The host goes on for as long as the guest is at it: however the threads are scheduled, they meet.
    let done = core::sync::atomic::AtomicBool::new(false);
    let due = std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            let mut due = 0;
            while !done.load(Ordering::Relaxed) {
                // All in one word, so that clearing one flag could lose another.
                let new = (0..64)
                    .filter(|flag| page.set(SINT, *flag).unwrap())
                    .count();
                due += new;
                if new == 0 {
                    std::thread::yield_now();
                }
            }
            due
        });
        while handled < SIGNALS {
            let before = handled;
            scan_event_flags(&page, SINT, |_| handled += 1);
            if handled == before {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        host.join().unwrap()
    });
    scan_event_flags(&page, SINT, |_| handled += 1);
    assert_eq!(handled, due);
}

#[test]
fn fault_85_siefp_moved_while_flags_are_set() {
    let hv = MockHyperV::new();
    let old = enable(&hv);
    assert_eq!(hv.signal(SINT, 7), Status::SUCCESS);
    disable(&hv, &old).unwrap();
    assert_eq!(hv.signal(SINT, 8), Status::INVALID_SYNIC_STATE);
    assert_eq!(flags(&old), [7]);
    let new = enable(&hv);
    assert_eq!(hv.signal(SINT, 9), Status::SUCCESS);
    assert_eq!(flags(&new), [9]);
    assert_eq!(flags(&old), []);
}

#[test]
fn a_flag_interrupts_once_until_it_is_cleared() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    for flag in [2047, 0, 64, 63, 0, 0] {
        assert_eq!(hv.signal(SINT, flag), Status::SUCCESS);
    }
    assert_eq!(hv.signal(SINT, 2048), Status::INVALID_PARAMETER);
    assert_eq!(hv.take_interrupts().len(), 4);
    assert_eq!(flags(&synic), [0, 63, 64, 2047]);
    assert_eq!(flags(&synic), []);
    hv.signal(SINT, 0);
    assert_eq!(hv.take_interrupts().len(), 1);
    assert!(synic.event_flags_page().test_and_clear(SINT, 0));
    assert!(!synic.event_flags_page().test_and_clear(SINT, 0));
    assert!(!synic.event_flags_page().test_and_clear(SINT, 2048));
}

#[test]
fn a_flag_is_clear_before_it_is_handled() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    hv.signal(SINT, 5);
    hv.take_interrupts();
    let mut handled = 0;
    // A host that signals from within the handling: the scan ends, and the new
    // signal has an interrupt of its own.
    synic.scan_event_flags(SINT, |flag| {
        handled += 1;
        hv.signal(SINT, flag);
    });
    assert_eq!(handled, 1);
    assert_eq!(hv.take_interrupts(), [VECTOR]);
    assert_eq!(flags(&synic), [5]);
}

proptest! {
    #[test]
    fn every_set_flag_is_found_once(
        set in proptest::collection::btree_set(0..EVENT_FLAG_COUNT, 0..100),
        sint in 0u8..16,
    ) {
        let sint = SintIndex::new(sint).unwrap();
        let page = EventFlagsPage::new();
        for flag in &set {
            prop_assert_eq!(page.set(sint, *flag), Some(true));
            prop_assert_eq!(page.set(sint, *flag), Some(false));
            let position = EventFlagPosition::of(sint, *flag).unwrap();
            let word = position.offset % EVENT_FLAGS_SIZE / 8;
            prop_assert!(page.words(sint)[word].load(Ordering::Relaxed) & position.mask != 0);
        }
        let mut found = Vec::new();
        scan_event_flags(&page, sint, |flag| found.push(flag));
        prop_assert!(found.is_sorted());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), set);
        for sint in SintIndex::all() {
            scan_event_flags(&page, sint, |flag| panic!("flag {flag} of {sint:?} is left"));
        }
    }
}
