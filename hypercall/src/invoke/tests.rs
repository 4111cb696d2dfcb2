//! Calls against a scripted hypervisor.

use super::*;
use crate::call::{
    FlushFlags, FlushVirtualAddressSpace, GvaRange, MessageType, PostMessage, ProcessorSet,
    RegisterAssignment, RegisterName, RegisterTarget, RegisterValue, SparseSet,
};
use crate::mock::{Access, MockHyperV, TestPage};
use core::time::Duration;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn a_message_goes_by_its_page() {
    let hv = MockHyperV::new();
    let mut page = TestPage::parameters();
    hv.on_call(|control, input, output| {
        assert_eq!((control, output), (0x5C, 0));
        let block = TestPage::bytes(input, 256);
        assert_eq!(block[..4], [1, 0, 0, 0]);
        assert_eq!(block[16..19], *b"abc");
        assert!(block[19..].iter().all(|byte| *byte == 0));
        CallResult::SUCCESS
    });
    let message = PostMessage::new(1, MessageType::VMBUS, b"abc").unwrap();
    assert_eq!(post_message(&hv, &mut page, &message), Ok(()));
    assert_eq!(page.address() % 4096, 0);
}

#[test]
fn a_signal_goes_by_registers() {
    let hv = MockHyperV::new();
    hv.on_call(|_, _, _| CallResult::from(Status::INVALID_CONNECTION_ID));
    assert_eq!(
        signal_event(&hv, 0x2000, 0),
        Err(Status::INVALID_CONNECTION_ID)
    );
    assert_eq!(hv.take_log(), [Access::Call(0x1005D, 0x2000, 0)]);
}

#[test]
fn misaligned_pages_are_refused() {
    let page = TestPage::parameters();
    let base = core::ptr::with_exposed_provenance_mut::<u8>(page.address() as usize);
    let base = core::ptr::NonNull::new(base).unwrap();
    // SAFETY: the page lives for ever, and `page` is not used any more.
    unsafe {
        assert!(ParameterPage::new(base, 0x1008).is_none());
        assert!(ParameterPage::new(base.add(8), 0x1000).is_none());
        assert!(ParameterPage::new(base, 0x1000).is_some());
    }
}

#[test]
fn only_transient_statuses_are_retried() {
    for status in (0..=u16::MAX).map(Status) {
        let transient = matches!(status.0, 0x0B | 0x12 | 0x13);
        assert_eq!(
            RetryPolicy::new().delay_after(status).is_some(),
            transient,
            "{status}"
        );
        assert_eq!(
            RetryPolicy::initiate_contact()
                .delay_after(status)
                .is_some(),
            transient && status != Status::INVALID_CONNECTION_ID,
            "{status}"
        );
    }
}

#[test]
fn delays_double_then_stay_then_end() {
    let mut policy = RetryPolicy::new();
    let delays: Vec<Duration> =
        core::iter::from_fn(|| policy.delay_after(Status::INSUFFICIENT_BUFFERS)).collect();
    assert_eq!(delays.len(), 100);
    for (retry, delay) in delays.iter().enumerate() {
        assert_eq!(delay.as_micros(), 1 << retry.min(21));
    }
    assert_eq!(policy.retries(), 100);
}

/// Answers a list call with scripted counts and keeps the start indices.
fn scripted(hv: &MockHyperV, answers: Vec<(Status, u16)>) -> Arc<Mutex<Vec<u16>>> {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    let mut answers = answers.into_iter().cycle();
    hv.on_call(move |control, _, _| {
        seen.lock()
            .unwrap()
            .push(Control::from_bits(control).rep_start());
        let (status, completed) = answers.next().unwrap();
        CallResult::new(status, completed)
    });
    starts
}

fn run_list(hv: &MockHyperV, count: u16) -> Result<(), CallError> {
    let control = Control::new(crate::call::CallCode::FLUSH_VIRTUAL_ADDRESS_LIST);
    // SAFETY: the scripted hypervisor touches no memory.
    unsafe { rep_call(hv, control, count, 0, 0) }
}

#[test]
fn a_list_is_resumed_where_the_hypervisor_left_off() {
    let hv = MockHyperV::new();
    let ok = Status::SUCCESS;
    let starts = scripted(&hv, vec![(ok, 3), (ok, 3), (ok, 7), (ok, 10)]);
    assert_eq!(run_list(&hv, 10), Ok(()));
    assert_eq!(*starts.lock().unwrap(), [0, 3, 3, 7]);
}

#[test]
fn a_failure_tells_how_far_the_list_got() {
    let hv = MockHyperV::new();
    scripted(
        &hv,
        vec![(Status::SUCCESS, 3), (Status::INVALID_PARAMETER, 5)],
    );
    assert_eq!(
        run_list(&hv, 10),
        Err(CallError::Status {
            status: Status::INVALID_PARAMETER,
            completed: 5
        })
    );
    // A count beyond the list is not believed.
    scripted(&hv, vec![(Status::SUCCESS, 3), (Status::TIMEOUT, 11)]);
    assert_eq!(
        run_list(&hv, 10),
        Err(CallError::Status {
            status: Status::TIMEOUT,
            completed: 3
        })
    );
}

#[test]
fn a_hypervisor_that_counts_wrong_or_stalls_is_left() {
    let hv = MockHyperV::new();
    scripted(&hv, vec![(Status::SUCCESS, 3), (Status::SUCCESS, 2)]);
    assert_eq!(
        run_list(&hv, 10),
        Err(CallError::Disorder {
            start: 3,
            completed: 2
        })
    );
    scripted(&hv, vec![(Status::SUCCESS, 11)]);
    assert_eq!(
        run_list(&hv, 10),
        Err(CallError::Disorder {
            start: 0,
            completed: 11
        })
    );
    let starts = scripted(&hv, vec![(Status::SUCCESS, 4)]);
    assert_eq!(run_list(&hv, 10), Err(CallError::Stalled { completed: 4 }));
    assert_eq!(starts.lock().unwrap().len(), 1001);
    assert_eq!(run_list(&hv, 0), Err(CallError::Parameters));
    assert_eq!(run_list(&hv, 4096), Err(CallError::Parameters));
}

#[test]
fn flushes_lie_in_their_page() {
    let hv = MockHyperV::new();
    let mut page = TestPage::parameters();
    hv.on_call(|control, input, output| {
        assert_eq!((control, output), (0x02, 0));
        assert_eq!(words(&TestPage::bytes(input, 24)), [0x5000, 1, 3]);
        CallResult::SUCCESS
    });
    let input = FlushVirtualAddressSpace::new(0x5000, FlushFlags::ALL_PROCESSORS, 3);
    assert_eq!(flush(&hv, &mut page, &input), Ok(()));

    hv.on_call(|control, input, _| {
        assert_eq!(control, 0x13 | 2 << 17);
        assert_eq!(
            words(&TestPage::bytes(input, 48)),
            [0x5000, 0, 0, 0b101, 0b10, 0b1]
        );
        CallResult::SUCCESS
    });
    let mut set = SparseSet::new();
    set.insert(1).unwrap();
    set.insert(128).unwrap();
    let set = ProcessorSet::Sparse(set);
    let none = FlushFlags::empty();
    assert_eq!(flush_ex(&hv, &mut page, 0x5000, none, &set), Ok(()));

    hv.on_call(|control, input, _| {
        assert_eq!(control, 0x14 | 2 << 17 | 1 << 32);
        assert_eq!(
            words(&TestPage::bytes(input, 56)),
            [0x5000, 0, 0, 0b101, 0b10, 0b1, 0x8001]
        );
        CallResult::new(Status::SUCCESS, 1)
    });
    let range = [GvaRange::new(0x8000, 2).unwrap()];
    assert_eq!(
        flush_list_ex(&hv, &mut page, 0x5000, none, &set, &range),
        Ok(())
    );
}

#[test]
fn the_empty_set_makes_no_call() {
    let hv = MockHyperV::new();
    let mut page = TestPage::parameters();
    let set = ProcessorSet::Sparse(SparseSet::new());
    let none = FlushFlags::empty();
    let range = [GvaRange::new(0x8000, 2).unwrap()];
    assert_eq!(flush_ex(&hv, &mut page, 0, none, &set), Ok(()));
    assert_eq!(flush_list_ex(&hv, &mut page, 0, none, &set, &range), Ok(()));
    // SAFETY: no call is made.
    assert_eq!(unsafe { send_ipi_ex(&hv, &mut page, 0xF0, &set) }, Ok(()));
    assert_eq!(hv.take_log(), []);
}

#[test]
fn long_lists_are_split() {
    let hv = MockHyperV::new();
    let mut page = TestPage::parameters();
    let counts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&counts);
    hv.on_call(move |control, input, _| {
        let count = Control::from_bits(control).rep_count();
        let list = words(&TestPage::bytes(input, 24 + 8 * usize::from(count)));
        let mut seen = seen.lock().unwrap();
        let before: u16 = seen.iter().sum();
        assert!(
            (u64::from(before)..)
                .zip(&list[3..])
                .all(|(n, word)| n << 12 == *word)
        );
        seen.push(count);
        if before + count > 1100 {
            return CallResult::new(Status::TIMEOUT, 82);
        }
        CallResult::new(Status::SUCCESS, count)
    });
    let ranges: Vec<GvaRange> = (0..1200)
        .map(|n| GvaRange::new(n << 12, 1).unwrap())
        .collect();
    let header = FlushVirtualAddressSpace::new(0, FlushFlags::ALL_ADDRESS_SPACES, 1);
    assert_eq!(
        flush_list(&hv, &mut page, &header, &ranges),
        Err(CallError::Status {
            status: Status::TIMEOUT,
            completed: 1100
        })
    );
    assert_eq!(*counts.lock().unwrap(), [509, 509, 182]);
}

#[test]
fn interrupts_and_hints_go_by_registers() {
    let hv = MockHyperV::new();
    let mut page = TestPage::parameters();
    hv.on_call(|_, _, _| CallResult::SUCCESS);
    // SAFETY: the scripted hypervisor sends nothing.
    assert_eq!(unsafe { send_ipi(&hv, 0xF0, 0b110) }, Ok(()));
    notify_long_spin_wait(&hv, 99);
    assert_eq!(
        hv.take_log(),
        [
            Access::Call(0x1000B, 0xF0, 0b110),
            Access::Call(0x10008, 99, 0)
        ]
    );
    hv.on_call(|control, input, _| {
        assert_eq!(control, 0x15);
        assert_eq!(words(&TestPage::bytes(input, 24)), [0xF0, 1, 0]);
        CallResult::from(Status::ACCESS_DENIED)
    });
    assert_eq!(
        // SAFETY: the scripted hypervisor sends nothing.
        unsafe { send_ipi_ex(&hv, &mut page, 0xF0, &ProcessorSet::All) },
        Err(CallError::from(Status::ACCESS_DENIED))
    );
}

#[test]
fn registers_are_read_in_order() {
    let hv = MockHyperV::new();
    let (mut input, mut output) = (TestPage::parameters(), TestPage::parameters());
    // Two registers per return, the name doubled as value.
    hv.on_call(|control, input, output| {
        let control = Control::from_bits(control);
        assert_eq!(control.code().0, 0x50);
        let (start, count) = (control.rep_start(), control.rep_count());
        let end = count.min(start + 2);
        for n in usize::from(start)..usize::from(end) {
            let name = TestPage::bytes(input + 16 + 4 * n as u64, 4);
            let value = u32::from_le_bytes(name.try_into().unwrap());
            if value == 0xDEAD {
                return CallResult::new(Status::UNKNOWN_REGISTER, n as u16);
            }
            let value = u128::from(value) << 64 | u128::from(2 * value);
            TestPage::write(output + 16 * n as u64, &value.to_le_bytes());
        }
        CallResult::new(Status::SUCCESS, end)
    });
    let names = [3, 1, 4, 1, 5].map(RegisterName);
    let mut values = [RegisterValue::ZERO; 5];
    let target = RegisterTarget::SELF;
    get_vp_registers(&hv, &mut input, &mut output, target, &names, &mut values).unwrap();
    assert_eq!(values.map(RegisterValue::as_u64), [6, 2, 8, 2, 10]);
    assert_eq!(values[0].0.get(), 3 << 64 | 6);
    assert_eq!(
        get_vp_register(&hv, &mut input, &mut output, target, RegisterName::VP_INDEX),
        Ok(2 * 0x90003)
    );

    let names = [7, 0xDEAD, 8].map(RegisterName);
    let mut values = [RegisterValue::ZERO; 3];
    assert_eq!(
        get_vp_registers(&hv, &mut input, &mut output, target, &names, &mut values),
        Err(CallError::Status {
            status: Status::UNKNOWN_REGISTER,
            completed: 1
        })
    );
    assert_eq!(values.map(RegisterValue::as_u64), [14, 0, 0]);
    assert_eq!(
        get_vp_registers(&hv, &mut input, &mut output, target, &names, &mut []),
        Err(CallError::Parameters)
    );
    let names = [RegisterName(0); GET_REGISTERS_MAX + 1];
    let mut values = [RegisterValue::ZERO; GET_REGISTERS_MAX + 1];
    assert_eq!(
        get_vp_registers(&hv, &mut input, &mut output, target, &names, &mut values),
        Err(CallError::Parameters)
    );
}

#[test]
fn registers_are_written_in_order() {
    let hv = MockHyperV::new();
    let mut input = TestPage::parameters();
    hv.on_call(|control, input, _| {
        assert_eq!(control, 0x51 | 2 << 32);
        let block = TestPage::bytes(input, 16 + 64);
        assert_eq!(block[16..20], 0x210u32.to_le_bytes());
        assert_eq!(block[32..40], 11u64.to_le_bytes());
        assert_eq!(block[48..52], 0x211u32.to_le_bytes());
        assert_eq!(block[64..72], 12u64.to_le_bytes());
        CallResult::new(Status::SUCCESS, 2)
    });
    let set = |name, value| RegisterAssignment::new(name, RegisterValue::from_u64(value));
    let list = [
        set(RegisterName::CRASH_P0, 11),
        set(RegisterName(0x211), 12),
    ];
    let target = RegisterTarget::SELF;
    // SAFETY: crash parameters have no effect.
    unsafe {
        assert_eq!(set_vp_registers(&hv, &mut input, target, &list), Ok(()));
        let list = [list[0]; SET_REGISTERS_MAX + 1];
        assert_eq!(
            set_vp_registers(&hv, &mut input, target, &list),
            Err(CallError::Parameters)
        );
    }
}

proptest! {
    #[test]
    fn no_answers_of_the_hypervisor_hang_a_list(
        count in 1u16..4096,
        answers in proptest::collection::vec((0u16..3, 0u16..4096), 1..20),
    ) {
        let hv = MockHyperV::new();
        let answers = answers
            .into_iter()
            .map(|(status, completed)| (Status(if status == 2 { 5 } else { 0 }), completed))
            .collect();
        let starts = scripted(&hv, answers);
        let result = run_list(&hv, count);
        let starts = starts.lock().unwrap();
        prop_assert!(starts.is_sorted());
        prop_assert!(starts.iter().all(|start| *start < count));
        if let Err(CallError::Status { completed, .. } | CallError::Stalled { completed }) = result {
            prop_assert!(completed <= usize::from(count));
        }
    }
}
