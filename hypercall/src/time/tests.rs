//! Reference time by page, by MSR, and across the switch between them.

use super::*;
use crate::mock::{MockHyperV, frame_of};
use crate::{CpuidResult, MsrFault};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use proptest::prelude::*;
use std::boxed::Box;

/// A processor whose counter and reference time are functions.
struct Scripted<T, C> {
    tsc: T,
    counter: C,
}

// SAFETY: nothing is done that memory safety could rest on.
unsafe impl<T: Fn() -> u64, C: Fn() -> u64> Processor for Scripted<T, C> {
    fn cpuid(&self, _: u32, _: u32) -> CpuidResult {
        CpuidResult::default()
    }
    fn read_msr(&self, register: u32) -> Result<u64, MsrFault> {
        assert_eq!(register, msr::TIME_REF_COUNT);
        Ok((self.counter)())
    }
    unsafe fn write_msr(&self, msr: u32, _: u64) -> Result<(), MsrFault> {
        Err(MsrFault { msr })
    }
    unsafe fn hypercall(&self, _: u64, _: u64, _: u64) -> u64 {
        unreachable!()
    }
    fn tsc(&self) -> u64 {
        (self.tsc)()
    }
}

const HALF: TimeScale = TimeScale {
    scale: 1 << 63,
    offset: 0,
};

#[test]
fn scale_of_the_specification() {
    let time = TimeScale::from_frequency(2_500_000_000).unwrap();
    assert_eq!(time.scale, 73_786_976_294_838_206);
    assert_eq!(time.offset, 0);
    assert_eq!(TimeScale::from_frequency(20_000_000), Some(HALF));
    assert_eq!(TimeScale::from_frequency(10_000_000), None);
    assert!(TimeScale::from_frequency(10_000_001).is_some());
    assert_eq!(TimeScale::from_frequency(0), None);
}

#[test]
fn sequences_leave_out_the_invalid_ones() {
    assert_eq!(next_sequence(0), 1);
    assert_eq!(next_sequence(1), 2);
    assert_eq!(next_sequence(u32::MAX - 2), u32::MAX - 1);
    assert_eq!(next_sequence(u32::MAX - 1), 1);
    assert_eq!(next_sequence(u32::MAX), 1);
}

#[test]
fn a_valid_page_spares_the_register() {
    let page = ReferenceTscPage::new();
    page.publish(TimeScale { offset: -5, ..HALF });
    let processor = Scripted {
        tsc: || 1000,
        counter: || panic!("the register is not needed"),
    };
    assert_eq!(reference_time(&processor, Some(&page)), Ok(495));
    assert_eq!(page.sequence.load(Ordering::Relaxed), 1);
    page.publish(HALF);
    assert_eq!(page.sequence.load(Ordering::Relaxed), 2);
    assert_eq!(reference_time(&processor, Some(&page)), Ok(500));
}

#[test]
fn fault_88_reference_tsc_sequence_zero_falls_back() {
    let page = ReferenceTscPage::new();
    let processor = Scripted {
        tsc: || 1000,
        counter: || 42,
    };
    assert_eq!(reference_time(&processor, Some(&page)), Ok(42));
    page.publish_as(HALF, SEQUENCE_INVALID_OLD);
    assert_eq!(reference_time(&processor, Some(&page)), Ok(42));
    page.publish(HALF);
    assert_eq!(reference_time(&processor, Some(&page)), Ok(500));
    page.invalidate();
    assert_eq!(reference_time(&processor, Some(&page)), Ok(42));
    assert_eq!(reference_time(&processor, None), Ok(42));
}

#[test]
fn fault_88_reference_tsc_changed_once_under_the_reader() {
    let page = ReferenceTscPage::new();
    page.publish(HALF);
    let changed = AtomicBool::new(false);
    let processor = Scripted {
        // The change comes after scale and offset have been read.
        tsc: || {
            if !changed.swap(true, Ordering::Relaxed) {
                page.publish(TimeScale {
                    offset: 7000,
                    ..HALF
                });
            }
            1000
        },
        counter: || 42,
    };
    assert_eq!(reference_time(&processor, Some(&page)), Ok(7500));
}

#[test]
fn fault_88_reference_tsc_changing_for_ever_falls_back() {
    let page = ReferenceTscPage::new();
    page.publish(HALF);
    let tries = AtomicU64::new(0);
    let processor = Scripted {
        tsc: || {
            tries.fetch_add(1, Ordering::Relaxed);
            page.publish(HALF);
            1000
        },
        counter: || 42,
    };
    assert_eq!(reference_time(&processor, Some(&page)), Ok(42));
    assert_eq!(tries.load(Ordering::Relaxed), 64);
}

#[test]
fn fault_88_reference_tsc_never_mixes_two_publications() {
    const ROUNDS: u32 = 20_000;
    let page = ReferenceTscPage::new();
    // With counter 2, the pairs give 1000 and 2001; mixed they would give 2000
    // or 1001.
    let pairs = [
        TimeScale {
            scale: 0,
            offset: 1000,
        },
        TimeScale {
            scale: 1 << 63,
            offset: 2000,
        },
    ];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                page.publish(pairs[round as usize % 2]);
                if round % 64 == 0 {
                    page.invalidate();
                }
            }
            done.store(true, Ordering::Release);
        });
        let processor = Scripted {
            tsc: || 2,
            counter: || 42,
        };
        while !done.load(Ordering::Acquire) {
            let time = reference_time(&processor, Some(&page)).unwrap();
            assert!(matches!(time, 42 | 1000 | 2001), "{time}");
        }
    });
}

#[test]
fn fault_88_time_stands_still_rather_than_go_back() {
    let page = ReferenceTscPage::new();
    let clock = ReferenceClock::new();
    let tsc = AtomicU64::new(2000);
    let processor = Scripted {
        tsc: || tsc.load(Ordering::Relaxed),
        counter: || tsc.load(Ordering::Relaxed) / 2 - 1,
    };
    page.publish(HALF);
    assert_eq!(clock.now(&processor, Some(&page)), Ok(1000));
    // The register is one unit behind the page.
    page.invalidate();
    assert_eq!(clock.now(&processor, Some(&page)), Ok(1000));
    tsc.store(2002, Ordering::Relaxed);
    assert_eq!(clock.now(&processor, Some(&page)), Ok(1000));
    tsc.store(2010, Ordering::Relaxed);
    assert_eq!(clock.now(&processor, Some(&page)), Ok(1004));
    page.publish(HALF);
    assert_eq!(clock.now(&processor, Some(&page)), Ok(1005));
}

#[test]
fn the_clock_is_monotone_over_threads() {
    let clock = ReferenceClock::new();
    let shared = AtomicU64::new(0);
    let latest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (clock, shared, latest) = (&clock, &shared, &latest);
            scope.spawn(move || {
                let processor = Scripted {
                    tsc: || 0,
                    // One of the processors is behind the other.
                    counter: || {
                        shared
                            .fetch_add(1, Ordering::SeqCst)
                            .saturating_sub(thread * 9)
                    },
                };
                for _ in 0..10_000 {
                    let before = latest.load(Ordering::SeqCst);
                    let now = clock.now(&processor, None).unwrap();
                    assert!(now >= before);
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            });
        }
    });
}

#[test]
fn fault_89_a_missing_counter_is_a_typed_error() {
    let hv = MockHyperV::new();
    hv.refuse(msr::TIME_REF_COUNT);
    let fault = MsrFault {
        msr: msr::TIME_REF_COUNT,
    };
    assert_eq!(reference_time(&hv, None), Err(fault));
    assert_eq!(ReferenceClock::new().now(&hv, None), Err(fault));
}

#[test]
fn the_page_register_keeps_its_reserved_bits() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::REFERENCE_TSC, 0xF0);
    let page = Box::leak(Box::new(ReferenceTscPage::new()));
    let frame = frame_of(page);
    // SAFETY: the page is leaked.
    unsafe { enable_reference_tsc(&hv, frame) }.unwrap();
    assert_eq!(hv.msr(msr::REFERENCE_TSC), frame << 12 | 0xF1);
    disable_reference_tsc(&hv).unwrap();
    assert_eq!(hv.msr(msr::REFERENCE_TSC), 0xF0);
}

proptest! {
    #[test]
    fn a_second_of_ticks_is_a_second(frequency in 10_000_001u64..10_000_000_000, seconds in 0u64..100_000) {
        let time = TimeScale::from_frequency(frequency).unwrap();
        let units = time.time_at(frequency * seconds);
        let exact = seconds * UNITS_PER_SECOND;
        prop_assert!(units <= exact && units + 1 >= exact, "{units} for {exact}");
    }

    #[test]
    fn an_anchor_holds(scale: u64, tsc: u64, at: u64) {
        let time = TimeScale { scale, offset: 0 }.anchored(tsc, at);
        prop_assert_eq!(time.time_at(tsc), at);
    }

    #[test]
    fn any_page_is_survived(sequence: u32, scale: u64, offset: i64, tsc: u64) {
        let page = ReferenceTscPage::new();
        page.publish_as(TimeScale { scale, offset }, sequence);
        let processor = Scripted { tsc: || tsc, counter: || 42 };
        prop_assert!(reference_time(&processor, Some(&page)).is_ok());
    }
}
