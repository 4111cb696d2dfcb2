//! Hostile hypercalls against the hypervisor shim, numbered after the catalogue of faults.

mod hv_support;

use std::sync::atomic::{AtomicBool, Ordering};

use host_sim::memory::PAGE_SIZE;
use hv_support::{Fixture, INPUT_FRAME, OUTPUT_FRAME, PAGES, TestPort, raw};
use hypercall::call::{CallCode, CallKind, Control, PostMessage, SignalEvent, Status};
use hypercall::cpuid::HypercallPrivileges;
use zerocopy::IntoBytes;

#[test]
fn fault_42_input_that_straddles_or_is_not_there() {
    let fixture = Fixture::with(|config| {
        config.hypercall_privileges |= HypercallPrivileges::ACCESS_VP_REGISTERS
            | HypercallPrivileges::EXTENDED_HYPERCALLS
            | HypercallPrivileges::ACCESS_PARTITION_ID;
    });
    fixture.install_hypercall_page();
    let calls = [
        PostMessage::CONTROL,
        Control::new(CallCode::SIGNAL_EVENT),
        Control::new(CallCode::GET_VP_REGISTERS)
            .with_rep(4, 0)
            .unwrap(),
        Control::new(CallCode::SET_VP_REGISTERS)
            .with_rep(4, 0)
            .unwrap(),
    ];
    let end = PAGES * PAGE_SIZE;
    let input = INPUT_FRAME * PAGE_SIZE;
    for control in calls.map(Control::bits) {
        for offset in [1, 4, 7] {
            let status = fixture.status(control, input + offset, OUTPUT_FRAME * PAGE_SIZE);
            assert_eq!(status, Status::INVALID_ALIGNMENT);
        }
        for address in [end, end + 8, 1 << 52, !0xfff] {
            let status = fixture.status(control, address, OUTPUT_FRAME * PAGE_SIZE);
            assert_eq!(status, Status::INVALID_PARAMETER, "{address:#x}");
        }
        if control != calls[1].bits() {
            let status = fixture.status(control, input + PAGE_SIZE - 8, 0);
            assert_eq!(status, Status::INVALID_HYPERCALL_INPUT);
        }
    }
    // Output areas are held to the same rules.
    let query = Control::new(CallCode::EXT_QUERY_CAPABILITIES).bits();
    let id = Control::new(CallCode::GET_PARTITION_ID).bits();
    for control in [query, id] {
        assert_eq!(fixture.status(control, 0, 4), Status::INVALID_ALIGNMENT);
        assert_eq!(fixture.status(control, 0, end), Status::INVALID_PARAMETER);
    }
    let registers = calls[2].bits();
    fixture.input(&[0; 64]);
    for (output, status) in [
        (1, Status::INVALID_ALIGNMENT),
        (PAGE_SIZE - 8, Status::INVALID_HYPERCALL_INPUT),
        (end, Status::INVALID_PARAMETER),
    ] {
        assert_eq!(fixture.status(registers, input, output), status);
    }
}

/// The guest changes the size while the host looks at it: the port sees a size that was checked.
#[test]
fn fault_42_input_that_changes_under_the_host() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let port = TestPort::new(Status::SUCCESS);
    fixture.hv.add_message_port(1, port.clone()).unwrap();
    let input = fixture.input(
        PostMessage {
            connection_id: 1.into(),
            reserved: 0.into(),
            message_type: 1.into(),
            payload_size: 8.into(),
            payload: [0; 240],
        }
        .as_bytes(),
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let size = fixture.memory.atomic_u32(input + 12).unwrap();
            while !done.load(Ordering::Relaxed) {
                size.store(u32::MAX, Ordering::Relaxed);
                size.store(8, Ordering::Relaxed);
            }
        });
        for _ in 0..20_000 {
            let status = fixture.status(PostMessage::CONTROL.bits(), input, 0);
            assert!(matches!(
                status,
                Status::SUCCESS | Status::INVALID_PARAMETER
            ));
        }
        done.store(true, Ordering::Relaxed);
    });
    let messages = port.messages.lock().unwrap();
    assert!(messages.iter().all(|(_, payload)| payload.len() == 8));
}

#[test]
fn fault_43_lists_that_do_not_suit_the_call() {
    let fixture = Fixture::with(|config| {
        config.hypercall_privileges |= HypercallPrivileges::ACCESS_VP_REGISTERS;
    });
    fixture.install_hypercall_page();
    let input = fixture.input(&[0; 256]);
    let output = OUTPUT_FRAME * PAGE_SIZE;
    let (count, start, words) = (|n: u64| n << 32, |n: u64| n << 48, |n: u64| n << 17);
    let simple = [PostMessage::CONTROL, SignalEvent::CONTROL];
    let shapes = [
        count(1),
        count(0xFFF),
        start(1),
        start(0xFFF),
        words(1),
        words(0x3FF),
    ];
    for control in simple {
        for shape in shapes {
            let status = fixture.status(raw(control, shape), input, output);
            assert_eq!(status, Status::INVALID_HYPERCALL_INPUT);
        }
    }
    for code in [CallCode::GET_VP_REGISTERS, CallCode::SET_VP_REGISTERS] {
        let control = Control::new(code);
        for shape in [
            0,
            count(1) | start(1),
            count(4) | start(5),
            count(4) | start(0xFFF),
            count(0xFFF),
            count(1) | words(1),
        ] {
            let result = fixture.call(raw(control, shape), input, output);
            assert_eq!(
                result.status(),
                Status::INVALID_HYPERCALL_INPUT,
                "{shape:#x}"
            );
            assert_eq!(result.completed(), 0);
        }
        let fast = control.with_fast().with_rep(1, 0).unwrap().bits();
        assert_eq!(fixture.status(fast, 0, 0), Status::INVALID_HYPERCALL_INPUT);
    }
}

/// Every code, in both forms, with harmless and with hostile parameters: an unknown one is status 2, none is a fault.
#[test]
fn fault_44_sweep_over_all_codes() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let granted = [
        CallCode::POST_MESSAGE,
        CallCode::SIGNAL_EVENT,
        CallCode::NOTIFY_LONG_SPIN_WAIT,
    ];
    for code in (0..=u16::MAX).map(CallCode) {
        let control = Control::new(code);
        let control = match code.kind() {
            Some(CallKind::Rep | CallKind::RepVariable) => control.with_rep(1, 0).unwrap(),
            _ => control,
        };
        for control in [control, control.with_fast()] {
            for (input, output) in [(0, 0), (u64::MAX, u64::MAX), (INPUT_FRAME * PAGE_SIZE, 8)] {
                let status = fixture.status(control.bits(), input, output);
                if !granted.contains(&code) {
                    let known = matches!(
                        code.0,
                        0x46 | 0x50 | 0x51 | 0x69..=0x6B | 0x99 | 0x9A | 0xDB | 0x8001..=0x8003
                    );
                    let expected = if known {
                        Status::ACCESS_DENIED
                    } else {
                        Status::INVALID_HYPERCALL_CODE
                    };
                    assert_eq!(status, expected, "{code}");
                }
            }
        }
    }
    let counters = fixture.hv.counters();
    assert_eq!(counters.hypercalls.len(), 0x1_0000);
    assert_eq!(counters.total_hypercalls(), 0x1_0000 * 6);
}
