//! The hypervisor shim's hypercalls against the rules that a Hyper-V host keeps.
//!
//! Tests are numbered after the conformance checklist of the hypervisor interface.

mod hv_support;

use host_sim::memory::PAGE_SIZE;
use hv_support::{Fixture, INPUT_FRAME, OUTPUT_FRAME, TestPort, raw};
use hypercall::call::{
    CallCode, CallResult, Control, PostMessage, RegisterName, RegisterTarget, SignalEvent, Status,
    VpRegistersHeader,
};
use hypercall::cpuid::HypercallPrivileges;
use hypercall::identity::{GuestOsId, OsType};
use zerocopy::IntoBytes;

#[test]
fn conformance_04_misplaced_areas_are_refused() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let post = PostMessage::CONTROL.bits();
    let base = INPUT_FRAME * PAGE_SIZE;
    assert_eq!(fixture.status(post, base + 4, 0), Status::INVALID_ALIGNMENT);
    let straddling = base + PAGE_SIZE - 248;
    assert_eq!(
        fixture.status(post, straddling, 0),
        Status::INVALID_HYPERCALL_INPUT
    );
    let unmapped = hv_support::PAGES * PAGE_SIZE;
    for address in [unmapped, !0xfff, !0xff] {
        assert_eq!(
            fixture.status(post, address, 0),
            Status::INVALID_PARAMETER,
            "{address:#x}"
        );
    }
}

/// GetVpRegisters for these names; two elements at a time.
fn register_fixture(names: &[RegisterName]) -> (Fixture, u64) {
    let fixture = Fixture::with(|config| {
        config.hypercall_privileges |= HypercallPrivileges::ACCESS_VP_REGISTERS;
        config.reps_per_call = 2;
    });
    fixture.install_hypercall_page();
    let mut input = VpRegistersHeader::from(RegisterTarget::SELF)
        .as_bytes()
        .to_vec();
    for name in names {
        input.extend(name.0.to_le_bytes());
    }
    let address = fixture.input(&input);
    (fixture, address)
}

#[test]
fn conformance_05_completed_elements_count_from_the_first() {
    let names = [
        RegisterName::GUEST_OS_ID,
        RegisterName::VP_INDEX,
        RegisterName::SVERSION,
        RegisterName::HYPERVISOR_VERSION,
        RegisterName(0x1234_5678),
    ];
    let (fixture, input) = register_fixture(&names);
    let control = Control::new(CallCode::GET_VP_REGISTERS);
    let output = OUTPUT_FRAME * PAGE_SIZE;
    let call = |count, start| {
        let control = control.with_rep(count, start).unwrap();
        fixture.call(control.bits(), input, output)
    };
    assert_eq!(call(5, 0), CallResult::new(Status::SUCCESS, 2));
    assert_eq!(call(5, 2), CallResult::new(Status::SUCCESS, 4));
    assert_eq!(call(5, 4), CallResult::new(Status::UNKNOWN_REGISTER, 4));
    assert_eq!(call(4, 3), CallResult::new(Status::SUCCESS, 4));
    let page = fixture.page(OUTPUT_FRAME);
    let id = GuestOsId::open_source(OsType::PRIVATE).bits();
    assert_eq!(page[..8], id.to_le_bytes());
    assert_eq!(page[32..40], 1_u64.to_le_bytes());
    assert_eq!(page[48..52], 20_348_u32.to_le_bytes());
    assert!(page[64..].iter().all(|&byte| byte == 0));
}

/// Registers of this partition's own processors at the one trust level that there is, and of nobody else's.
#[test]
fn registers_of_strangers_are_refused() {
    let (fixture, _) = register_fixture(&[]);
    let control = Control::new(CallCode::GET_VP_REGISTERS)
        .with_rep(1, 0)
        .unwrap();
    let own = RegisterTarget::SELF;
    let named = |target: RegisterTarget| {
        let mut input = VpRegistersHeader::from(target).as_bytes().to_vec();
        input.extend(RegisterName::VP_INDEX.0.to_le_bytes());
        let input = fixture.input(&input);
        let status = fixture.status(control.bits(), input, OUTPUT_FRAME * PAGE_SIZE);
        (status, fixture.page(OUTPUT_FRAME)[0])
    };
    assert_eq!(named(own), (Status::SUCCESS, 0));
    let other = RegisterTarget { vp_index: 1, ..own };
    assert_eq!(named(other), (Status::SUCCESS, 1));
    for (target, status) in [
        (
            RegisterTarget { vp_index: 2, ..own },
            Status::INVALID_VP_INDEX,
        ),
        (
            RegisterTarget {
                partition_id: 2,
                ..own
            },
            Status::INVALID_PARTITION_ID,
        ),
        (
            RegisterTarget {
                vtl: Some(1),
                ..own
            },
            Status::INVALID_VTL_STATE,
        ),
    ] {
        assert_eq!(named(target).0, status, "{target:?}");
    }
}

#[test]
fn conformance_06_checks_come_in_the_documented_order() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let unknown = Control::new(CallCode(0x4321));
    // Everything is wrong with it, but the code comes first.
    assert_eq!(
        fixture.status(raw(unknown, 0xF << 60 | 1 << 27), 1, 1),
        Status::INVALID_HYPERCALL_CODE
    );
    let registers = Control::new(CallCode::GET_VP_REGISTERS);
    assert_eq!(
        fixture.status(raw(registers, 0xF << 60), 1, 1),
        Status::ACCESS_DENIED
    );
    let mut reserved = (27..32).chain(44..48).chain(60..64);
    assert!(reserved.all(|bit| {
        let control = raw(PostMessage::CONTROL, 1 << bit);
        fixture.status(control, 1, 0) == Status::INVALID_HYPERCALL_INPUT
    }));
    let post = PostMessage::CONTROL.bits();
    assert_eq!(fixture.status(post, 1, 0), Status::INVALID_ALIGNMENT);

    let mute = Fixture::with(|config| config.hypercall_privileges = HypercallPrivileges::empty());
    mute.install_hypercall_page();
    for control in [PostMessage::CONTROL, SignalEvent::CONTROL] {
        assert_eq!(mute.status(control.bits(), 1, 0), Status::ACCESS_DENIED);
    }
}

#[test]
fn conformance_25_messages_are_checked_and_arrive_at_their_port() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let port = TestPort::new(Status::SUCCESS);
    fixture.hv.add_message_port(1, port.clone()).unwrap();
    let full = TestPort::new(Status::INSUFFICIENT_BUFFERS);
    fixture.hv.add_message_port(2, full).unwrap();
    let message = PostMessage {
        connection_id: 1.into(),
        reserved: 0.into(),
        message_type: 1.into(),
        payload_size: 3.into(),
        payload: [0xAB; 240],
    };
    assert_eq!(fixture.post(&message), Status::SUCCESS);
    assert_eq!(*port.messages.lock().unwrap(), [(1, vec![0xAB; 3])]);
    type Change = fn(&mut PostMessage);
    let cases: [(Change, Status); 8] = [
        (|m| m.message_type = 0.into(), Status::INVALID_PARAMETER),
        (
            |m| m.message_type = (1 << 31).into(),
            Status::INVALID_PARAMETER,
        ),
        (|m| m.payload_size = 241.into(), Status::INVALID_PARAMETER),
        (
            |m| m.payload_size = u32::MAX.into(),
            Status::INVALID_PARAMETER,
        ),
        (|m| m.reserved = 1.into(), Status::INVALID_PARAMETER),
        (
            |m| m.connection_id = 3.into(),
            Status::INVALID_CONNECTION_ID,
        ),
        (
            |m| m.connection_id = 0x0100_0001.into(),
            Status::INVALID_CONNECTION_ID,
        ),
        (|m| m.connection_id = 2.into(), Status::INSUFFICIENT_BUFFERS),
    ];
    for (change, status) in cases {
        let mut wrong = message;
        change(&mut wrong);
        assert_eq!(fixture.post(&wrong), status, "{wrong:?}");
    }
    assert_eq!(port.messages.lock().unwrap().len(), 1);
    let fast = PostMessage::CONTROL.with_fast().bits();
    assert_eq!(fixture.status(fast, 1, 0), Status::INVALID_HYPERCALL_INPUT);
    assert!(fixture.hv.remove_message_port(1));
    assert_eq!(fixture.post(&message), Status::INVALID_CONNECTION_ID);
}

#[test]
fn conformance_26_signals_are_checked_and_arrive_at_their_port() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    let port = TestPort::new(Status::SUCCESS);
    fixture.hv.add_event_port(0x2001, port.clone()).unwrap();
    assert!(fixture.hv.add_event_port(0x2001, port.clone()).is_err());
    assert!(
        fixture
            .hv
            .add_event_port(0x0100_0000, port.clone())
            .is_err()
    );
    let fast = SignalEvent::CONTROL.bits();
    let slow = Control::new(CallCode::SIGNAL_EVENT).bits();
    for (signal, status) in [
        (0x2001_u64, Status::SUCCESS),
        (0x2001 | 3 << 32, Status::SUCCESS),
        (0x2001 | 4 << 32, Status::INVALID_PARAMETER),
        (0x2001 | 1 << 48, Status::INVALID_HYPERCALL_INPUT),
        (0x2002, Status::INVALID_CONNECTION_ID),
        (0x0100_2001, Status::INVALID_CONNECTION_ID),
    ] {
        assert_eq!(fixture.status(fast, signal, 0), status, "{signal:#x}");
        let input = fixture.input(&signal.to_le_bytes());
        assert_eq!(fixture.status(slow, input, 0), status, "{signal:#x}");
    }
    assert_eq!(*port.signals.lock().unwrap(), [0, 0, 3, 3]);
    assert!(fixture.hv.remove_event_port(0x2001));
    assert!(!fixture.hv.remove_event_port(0x2001));
    assert_eq!(
        fixture.status(fast, 0x2001, 0),
        Status::INVALID_CONNECTION_ID
    );
}

#[test]
fn conformance_28_flushes_and_ipis_are_neither_hinted_nor_there() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    for code in [0x02, 0x03, 0x0B, 0x13, 0x14, 0x15] {
        let control = Control::new(CallCode(code)).bits();
        assert_eq!(
            fixture.status(control, INPUT_FRAME * PAGE_SIZE, 0),
            Status::INVALID_HYPERCALL_CODE
        );
    }
}

#[test]
fn small_calls_answer() {
    let fixture = Fixture::with(|config| {
        config.hypercall_privileges |=
            HypercallPrivileges::ACCESS_PARTITION_ID | HypercallPrivileges::EXTENDED_HYPERCALLS;
    });
    fixture.install_hypercall_page();
    let output = OUTPUT_FRAME * PAGE_SIZE;
    let slow = |code| fixture.status(Control::new(code).bits(), 0, output);
    assert_eq!(slow(CallCode::GET_PARTITION_ID), Status::SUCCESS);
    assert_eq!(fixture.page(OUTPUT_FRAME)[..8], 1_u64.to_le_bytes());
    assert_eq!(slow(CallCode::EXT_QUERY_CAPABILITIES), Status::SUCCESS);
    assert_eq!(fixture.page(OUTPUT_FRAME)[..8], [0; 8]);
    assert_eq!(
        slow(CallCode::EXT_GET_BOOT_ZEROED_MEMORY),
        Status::ACCESS_DENIED
    );
    let fast = Control::new(CallCode::EXT_QUERY_CAPABILITIES).with_fast();
    assert_eq!(fixture.status(fast.bits(), 0, 0), Status::INVALID_PARAMETER);
    let spin = Control::new(CallCode::NOTIFY_LONG_SPIN_WAIT).with_fast();
    assert_eq!(fixture.status(spin.bits(), 100, 0), Status::SUCCESS);
}
