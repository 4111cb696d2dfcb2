//! Reading messages, against an honest host and a lying one.

use super::*;
use crate::call::MESSAGE_PAYLOAD_SIZE;
use crate::synic::message_page::TakeStep;
use proptest::prelude::*;

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

proptest! {
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
