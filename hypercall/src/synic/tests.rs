//! The guest's side of the SynIC against the host's side in the mock.

use super::message_page::TakeStep;
use super::*;
use crate::MsrFault;
use crate::call::{MESSAGE_PAYLOAD_SIZE, MessageType, Status};
use crate::mock::{Access, MockHyperV, discovery, frame_of};
use crate::msr::{self, SintRegister};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeSet;
use std::string::ToString;
use std::vec::Vec;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

const VECTOR: u8 = 0xF3;
const SINT: SintIndex = SintIndex::VMBUS;

/// A page that is never freed, dirty with what someone left there.
fn page() -> SynicPage {
    let page = Box::leak(Box::new(MessagePage::new()));
    for slot in &page.slots {
        slot.message_type.store(77, Ordering::Relaxed);
        slot.payload[29].store(u64::MAX, Ordering::Relaxed);
    }
    SynicPage {
        page_frame: frame_of(page),
        base: NonNull::from(page).cast(),
    }
}

fn pages() -> SynicPages {
    SynicPages {
        messages: page(),
        event_flags: page(),
    }
}

fn source() -> Source {
    Source::vmbus(VECTOR, &discovery())
}

fn enable(hv: &MockHyperV) -> Synic {
    // SAFETY: the pages are leaked, and the vector goes into a list.
    unsafe { Synic::enable(hv, pages(), source()) }.unwrap()
}

fn disable(hv: &MockHyperV, synic: &Synic) -> Result<(), MsrFault> {
    // SAFETY: the mock has one processor.
    unsafe { synic.disable(hv, SINT) }
}

/// Reads every message that can be had without another interrupt.
fn drain(hv: &MockHyperV, synic: &Synic) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| synic.read_message(hv, SINT).unwrap())
        .map(|message| message.payload().to_vec())
        .collect()
}

fn flags(synic: &Synic) -> Vec<u16> {
    let mut found = Vec::new();
    synic.scan_event_flags(SINT, |flag| found.push(flag));
    found
}

#[test]
fn the_layout_is_the_specifications() {
    let header = MessageHeader {
        message_type: U32::new(1),
        payload_size: 2,
        flags: 3,
        reserved: U16::ZERO,
        origin: U64::new(4),
    };
    let mut expected = [0; 16];
    expected[slot::TYPE] = 1;
    expected[slot::PAYLOAD_SIZE] = 2;
    expected[slot::FLAGS] = 3;
    expected[slot::ORIGIN] = 4;
    assert_eq!(header.as_bytes(), expected);
    assert_eq!(slot::offset(SINT), 0x200);
    assert_eq!(
        EventFlagPosition::of(SINT, 65),
        Some(EventFlagPosition {
            offset: 0x208,
            mask: 2
        })
    );
    assert_eq!(EventFlagPosition::of(SINT, 2048), None);
}

#[test]
fn registers_are_written_in_order_and_pages_are_zeroed() {
    let hv = MockHyperV::new();
    let pages = pages();
    // SAFETY: the pages are leaked.
    let synic = unsafe { Synic::enable(&hv, pages, source()) }.unwrap();
    assert_eq!(
        hv.take_writes(),
        [
            (msr::SIMP, pages.messages.page_frame << 12 | 1),
            (msr::SIEFP, pages.event_flags.page_frame << 12 | 1),
            (SINT.register(), 0xF3),
            (msr::SCONTROL, 1),
        ]
    );
    for slot in &synic.message_page().slots {
        assert_eq!(slot.message_type.load(Ordering::Relaxed), 0);
        assert!(slot.payload.iter().all(|w| w.load(Ordering::Relaxed) == 0));
    }
    assert_eq!(flags(&synic), []);
    disable(&hv, &synic).unwrap();
    assert_eq!(
        hv.take_writes(),
        [
            (SINT.register(), 0x100F3),
            (msr::SIMP, 0),
            (msr::SIEFP, 0),
            (msr::SCONTROL, 0),
        ]
    );
}

#[test]
fn reserved_bits_are_kept() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::SIMP, 0xABC << 12 | 0x5A4);
    hv.set_msr(msr::SIEFP, 0x248);
    hv.set_msr(msr::SCONTROL, 0xF0F0);
    let reserved = 0xFFFF_FFFF_FFE8_FF00;
    hv.set_msr(
        SINT.register(),
        SintRegister::RESET.bits() | reserved | 1 << 17,
    );
    let synic = enable(&hv);
    assert_eq!(hv.msr(msr::SIMP) & 0xFFF, 0x5A5);
    assert_eq!(hv.msr(msr::SIEFP) & 0xFFF, 0x249);
    assert_eq!(hv.msr(msr::SCONTROL), 0xF0F1);
    assert_eq!(hv.msr(SINT.register()), reserved | 0xF3);
    disable(&hv, &synic).unwrap();
    assert_eq!(hv.msr(msr::SIMP), 0x5A4);
    assert_eq!(hv.msr(msr::SCONTROL), 0xF0F0);
    assert_eq!(hv.msr(SINT.register()), reserved | 0x100F3);
}

#[test]
fn automatic_eoi_follows_the_recommendation() {
    let mut discovery = discovery();
    assert!(!Source::vmbus(VECTOR, &discovery).auto_eoi);
    discovery.recommendations = crate::cpuid::Recommendations::empty();
    assert!(Source::vmbus(VECTOR, &discovery).auto_eoi);
}

#[test]
fn the_initial_state_of_the_global_switch_does_not_matter() {
    for initial in [0, 1] {
        let hv = MockHyperV::new();
        hv.set_msr(msr::SCONTROL, initial);
        enable(&hv);
        assert!(hv.take_writes().contains(&(msr::SCONTROL, 1)));
    }
}

#[test]
fn bad_arguments_change_nothing() {
    let hv = MockHyperV::new();
    let good = pages();
    let try_with = |pages, source| {
        // SAFETY: the pages are leaked.
        unsafe { Synic::enable(&hv, pages, source) }.unwrap_err()
    };
    let mut pages = good;
    // SAFETY: within the page.
    pages.messages.base = unsafe { pages.messages.base.add(8) };
    assert!(matches!(
        try_with(pages, source()),
        EnableError::Misaligned { .. }
    ));
    let mut pages = good;
    pages.event_flags.page_frame = pages.messages.page_frame;
    assert!(matches!(
        try_with(pages, source()),
        EnableError::SamePage { .. }
    ));
    let low = Source {
        vector: 15,
        ..source()
    };
    assert_eq!(try_with(good, low), EnableError::Vector { vector: 15 });
    assert_eq!(hv.take_log(), []);
}

#[test]
fn messages_come_in_order_with_one_end_of_message_for_each_that_waited() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    for n in 0..5u8 {
        hv.send(SINT, MessageType::VMBUS, &[n; 13]);
    }
    assert_eq!(hv.queued(SINT), 4);
    hv.take_log();
    let expected: Vec<Vec<u8>> = (0..5u8).map(|n| [n; 13].to_vec()).collect();
    assert_eq!(drain(&hv, &synic), expected);
    // The last message had nothing waiting behind it.
    assert_eq!(hv.take_log(), [Access::Write(msr::EOM, 0); 4]);
    assert_eq!(hv.take_interrupts(), [VECTOR; 5]);
}

#[test]
fn an_interrupt_without_a_message_is_normal() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    hv.take_log();
    assert_eq!(synic.read_message(&hv, SINT), Ok(None));
    assert_eq!(hv.take_log(), []);
}

#[test]
fn header_fields_and_payload_arrive() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    let payload: Vec<u8> = (0..240).map(|n| n as u8).collect();
    hv.send(SINT, MessageType::TIMER_EXPIRED, &payload);
    synic
        .message_page()
        .slot(SINT)
        .origin
        .store(9, Ordering::Relaxed);
    let message = synic.read_message(&hv, SINT).unwrap().unwrap();
    assert_eq!(message.message_type, MessageType::TIMER_EXPIRED);
    assert!(message.message_type.is_hypervisor());
    assert_eq!(message.origin, 9);
    assert_eq!(message.payload(), payload);
    hv.send(SINT, MessageType::VMBUS, &[]);
    let message = synic.read_message(&hv, SINT).unwrap().unwrap();
    assert_eq!(message.payload(), []);
}

#[test]
fn fault_32_message_slot_not_cleared_holds_back_only_its_source() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    hv.send(SINT, MessageType::VMBUS, b"first");
    hv.send(SINT, MessageType::VMBUS, b"second");
    // The slot is not read. Another source is not affected by that.
    let other = SintIndex::new(5).unwrap();
    hv.send(other, MessageType::VMBUS, b"other");
    assert!(synic.read_message(&hv, other).unwrap().is_some());
    assert_eq!(hv.queued(SINT), 1);
    assert_eq!(drain(&hv, &synic), [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn fault_32_pending_flag_without_end_of_message() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    let slot = synic.message_page().slot(SINT);
    // A host that always claims that another message waits.
    slot.flags.store(0xFF, Ordering::Relaxed);
    assert_eq!(synic.read_message(&hv, SINT), Ok(None));
    hv.take_log();
    slot.message_type.store(1, Ordering::Relaxed);
    assert!(synic.read_message(&hv, SINT).unwrap().is_some());
    assert_eq!(synic.read_message(&hv, SINT), Ok(None));
    assert_eq!(hv.take_log(), [Access::Write(msr::EOM, 0)]);
    // Without the register, the fault surfaces and the slot is free.
    hv.refuse(msr::EOM);
    slot.message_type.store(1, Ordering::Relaxed);
    assert_eq!(
        synic.read_message(&hv, SINT),
        Err(ReadMessageError::EndOfMessage(MsrFault { msr: msr::EOM }))
    );
    assert_eq!(synic.read_message(&hv, SINT), Ok(None));
}

#[test]
fn fault_32_slot_that_lies_about_its_size() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    for size in 0..=u8::MAX {
        let slot = synic.message_page().slot(SINT);
        slot.payload_size.store(size, Ordering::Relaxed);
        slot.flags.store(MESSAGE_PENDING, Ordering::Relaxed);
        slot.message_type.store(1, Ordering::Relaxed);
        hv.take_log();
        let result = synic.read_message(&hv, SINT);
        if usize::from(size) <= MESSAGE_PAYLOAD_SIZE {
            let message = result.unwrap().unwrap();
            assert_eq!(message.payload().len(), usize::from(size));
        } else {
            let error = result.unwrap_err();
            assert_eq!(
                error,
                ReadMessageError::Size(MessageSizeError {
                    message_type: MessageType::VMBUS,
                    payload_size: size
                })
            );
            assert!(error.to_string().contains(&size.to_string()));
        }
        // The slot is free and the next message is asked for in both cases.
        assert_eq!(slot.message_type.load(Ordering::Relaxed), 0);
        assert_eq!(hv.take_log(), [Access::Write(msr::EOM, 0)]);
    }
}

#[test]
fn fault_32_no_wakeup_is_lost_between_threads() {
    const MESSAGES: u32 = 20_000;
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            for n in 0..MESSAGES {
                hv.send(SINT, MessageType::VMBUS, &n.to_le_bytes());
            }
        });
        let mut next = 0;
        while next < MESSAGES {
            // In this order: what the host did before it ended is seen.
            let ended = host.is_finished();
            let interrupts = hv.take_interrupts().len();
            assert!(
                interrupts > 0 || !ended,
                "messages from {next} on wait without an interrupt"
            );
            // One message for each interrupt, as a minimal handler reads them.
            for _ in 0..interrupts {
                if let Some(message) = synic.read_message(&hv, SINT).unwrap() {
                    assert_eq!(message.payload(), next.to_le_bytes());
                    next += 1;
                }
            }
        }
    });
    assert_eq!(hv.queued(SINT), 0);
}

#[test]
fn fault_32_a_message_between_any_two_steps_is_not_lost() {
    for step in [TakeStep::Copied, TakeStep::Freed] {
        let hv = MockHyperV::new();
        let synic = enable(&hv);
        hv.send(SINT, MessageType::VMBUS, b"first");
        hv.take_interrupts();
        let taken = synic
            .message_page()
            .slot(SINT)
            .take_in_steps(|now| {
                if now == step {
                    hv.send(SINT, MessageType::VMBUS, b"second");
                }
            })
            .unwrap();
        assert_eq!(taken.message.unwrap().payload(), b"first");
        // Either the host found the slot free and interrupted, or it waits and
        // the guest has seen that.
        let interrupted = !hv.take_interrupts().is_empty();
        assert_eq!(interrupted, step == TakeStep::Freed);
        assert_eq!(taken.pending, step == TakeStep::Copied);
        if taken.pending {
            end_of_message(&hv).unwrap();
        }
        assert_eq!(drain(&hv, &synic), [b"second".to_vec()]);
    }
}

#[test]
fn a_message_that_someone_else_took_is_not_taken_again() {
    let page = MessagePage::new();
    let slot = page.slot(SINT);
    slot.message_type.store(1, Ordering::Release);
    // The crash path polls the slot just before it is freed.
    let taken = slot.take_in_steps(|step| {
        if step == TakeStep::Copied {
            assert!(slot.take().is_some());
        }
    });
    assert_eq!(taken, None);
}

#[test]
fn every_signal_that_is_due_an_interrupt_is_handled_once() {
    const SIGNALS: u32 = 1_000_000;
    let page = EventFlagsPage::new();
    let mut handled = 0;
    let due = std::thread::scope(|scope| {
        // All in one word, so that clearing one flag could lose another.
        let set = |n: &u32| page.set(SINT, (n % 64) as u16).unwrap();
        let host = scope.spawn(move || (0..SIGNALS).filter(set).count());
        while !host.is_finished() {
            scan_event_flags(&page, SINT, |_| handled += 1);
        }
        host.join().unwrap()
    });
    scan_event_flags(&page, SINT, |_| handled += 1);
    assert_eq!(handled, due);
}

#[test]
fn two_readers_never_take_one_message_twice() {
    let page = MessagePage::new();
    let slot = page.slot(SINT);
    for _ in 0..2_000 {
        slot.message_type.store(1, Ordering::Release);
        let taken: usize = std::thread::scope(|scope| {
            let reader = scope.spawn(|| usize::from(page.take(SINT).is_some()));
            usize::from(page.take(SINT).is_some()) + reader.join().unwrap()
        });
        assert_eq!(taken, 1);
    }
}

#[test]
fn fault_85_simp_moved_while_messages_queue() {
    let hv = MockHyperV::new();
    let old = enable(&hv);
    for n in 0..3u8 {
        hv.send(SINT, MessageType::VMBUS, &[n]);
    }
    disable(&hv, &old).unwrap();
    // What reached the old page is read there; nothing more arrives in it.
    assert_eq!(drain(&hv, &old), [[0]]);
    hv.send(SINT, MessageType::VMBUS, &[3]);
    assert_eq!(old.read_message(&hv, SINT), Ok(None));
    assert_eq!(hv.queued(SINT), 3);
    // The rest arrives in the new page, in order.
    let new = enable(&hv);
    assert_eq!(drain(&hv, &new), [[1], [2], [3]]);
    assert_eq!(old.read_message(&hv, SINT), Ok(None));
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
fn fault_86_every_mix_of_masked_polling_and_auto_eoi() {
    for mix in 0..8 {
        let hv = MockHyperV::new();
        let (masked, polling, auto_eoi) = (mix & 1 != 0, mix & 2 != 0, mix & 4 != 0);
        let synic = enable(&hv);
        let source = Source {
            polling,
            auto_eoi,
            ..source()
        };
        // SAFETY: the vector goes into a list.
        unsafe { unmask(&hv, source) }.unwrap();
        if masked {
            mask(&hv, SINT).unwrap();
        }
        let register = SintRegister::from_bits(hv.msr(SINT.register()));
        assert_eq!(register.is_masked(), masked);
        assert_eq!(register.is_polling(), polling);
        assert_eq!(register.is_auto_eoi(), auto_eoi);
        assert_eq!(register.vector(), VECTOR);

        hv.send(SINT, MessageType::VMBUS, b"m");
        let signalled = hv.signal(SINT, 3);
        let interrupts = hv.take_interrupts().len();
        if masked {
            assert_eq!(signalled, Status::INVALID_SYNIC_STATE);
        } else {
            assert_eq!(signalled, Status::SUCCESS);
        }
        assert_eq!(interrupts, if masked || polling { 0 } else { 2 });
        // With or without interrupt, polling finds what there is.
        assert_eq!(drain(&hv, &synic), [b"m".to_vec()]);
        assert_eq!(flags(&synic).len(), usize::from(!masked));

        // A message that came while masked is found by polling after unmasking.
        mask(&hv, SINT).unwrap();
        hv.send(SINT, MessageType::VMBUS, b"n");
        // SAFETY: the vector goes into a list.
        unsafe { unmask(&hv, source) }.unwrap();
        assert_eq!(hv.take_interrupts(), []);
        assert_eq!(drain(&hv, &synic), [b"n".to_vec()]);
    }
}

#[test]
fn fault_89_each_refused_register_is_a_typed_error() {
    for register in [msr::SIMP, msr::SIEFP, SINT.register(), msr::SCONTROL] {
        let hv = MockHyperV::new();
        hv.refuse_writes(register);
        // SAFETY: the pages are leaked.
        let error = unsafe { Synic::enable(&hv, pages(), source()) }.unwrap_err();
        assert_eq!(
            error,
            EnableError::Fault {
                fault: MsrFault { msr: register },
                pages_released: true
            }
        );
        assert!(error.to_string().contains("general protection fault"));
        assert_eq!(hv.msr(msr::SIMP) & 1, 0);
        assert_eq!(hv.msr(msr::SIEFP) & 1, 0);
        assert_eq!(hv.msr(SINT.register()) & 1 << 16, 1 << 16);
    }
}

#[test]
fn fault_89_a_vector_below_16_faults() {
    let hv = MockHyperV::new();
    let low = Source {
        vector: 15,
        ..source()
    };
    assert_eq!(
        // SAFETY: the mock refuses the vector.
        unsafe { unmask(&hv, low) },
        Err(MsrFault {
            msr: SINT.register()
        })
    );
}

#[test]
fn fault_89_disabling_goes_on_past_faults() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    hv.refuse(msr::SIMP);
    assert_eq!(disable(&hv, &synic), Err(MsrFault { msr: msr::SIMP }));
    assert_eq!(hv.msr(msr::SIEFP), 0);
    assert_eq!(hv.msr(msr::SCONTROL), 0);
    assert_eq!(hv.msr(SINT.register()) & 1 << 16, 1 << 16);
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

    #[test]
    fn any_contents_of_a_slot_are_survived(
        message_type: u32,
        size: u8,
        slot_flags: u8,
        word: u64,
    ) {
        let page = MessagePage::new();
        let slot = page.slot(SINT);
        slot.message_type.store(message_type, Ordering::Relaxed);
        slot.payload_size.store(size, Ordering::Relaxed);
        slot.flags.store(slot_flags, Ordering::Relaxed);
        for payload in &slot.payload {
            payload.store(word, Ordering::Relaxed);
        }
        match page.take(SINT) {
            None => prop_assert_eq!(message_type, 0),
            Some(taken) => {
                prop_assert_eq!(taken.pending, slot_flags & 1 != 0);
                prop_assert_eq!(taken.message.is_ok(), usize::from(size) <= 240);
                if let Ok(message) = taken.message {
                    prop_assert_eq!(message.message_type, MessageType(message_type));
                    prop_assert_eq!(message.payload().len(), usize::from(size));
                    let bytes = word.to_le_bytes();
                    prop_assert!(message.payload().chunks(8).all(|c| *c == bytes[..c.len()]));
                }
            }
        }
        prop_assert!(page.take(SINT).is_none());
    }
}
