//! The hypervisor shim against the rules that a Hyper-V host keeps: discovery and MSRs.
//!
//! Tests are numbered after the conformance checklist of the hypervisor interface; hypercalls are in `hv_calls.rs`,
//! SynIC, time and timers in `hv_synic.rs`. Number 7 (#UD outside ring 0) concerns back ends with real processors only.

mod hv_support;

use std::sync::{Arc, Mutex};

use host_sim::hv::{CrashMessage, Hv, HvConfig, HvError, HvEvent, ManualClock, Refusal};
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use hv_support::{Fixture, HYPERCALL_FRAME, Recorder, page_register};
use hypercall::call::{PostMessage, SignalEvent, Status};
use hypercall::cpuid::{
    Features, HypercallPrivileges, LEAF_FEATURES, LEAF_LIMITS, LEAF_RECOMMENDATIONS, Privileges,
    Recommendations,
};
use hypercall::identity::{GuestOsId, OsType};
use hypercall::msr::{self, CrashControl};

#[test]
fn conformance_01_leaves_say_what_is_there_and_nothing_else() {
    let fixture = Fixture::new();
    let leaf = |number| fixture.hv.cpuid(number, 0).unwrap();
    let vendor = leaf(0x4000_0000);
    assert_eq!(vendor.eax, 0x4000_0006);
    assert_eq!(
        (vendor.ebx, vendor.ecx, vendor.edx),
        (0x7263_694D, 0x666F_736F, 0x7648_2074)
    );
    assert_eq!(leaf(0x4000_0001).eax, 0x3123_7648);
    let features = leaf(LEAF_FEATURES);
    assert_eq!(features.eax, 0b1010_1110_1110, "MSRs");
    assert_eq!(features.ebx, 0b11_0000, "PostMessage and SignalEvent");
    assert_eq!(features.edx, 1 << 8 | 1 << 10 | 1 << 19);
    assert_eq!(leaf(LEAF_RECOMMENDATIONS).ebx, u32::MAX);
    assert!(leaf(LEAF_LIMITS).eax >= 2);
    assert_eq!(fixture.hv.cpuid(0x4000_0007, 0), None);
    assert_eq!(fixture.hv.cpuid(1, 0), None);
}

#[test]
fn conformance_01_what_is_not_implemented_cannot_be_offered() {
    type Change = fn(&mut HvConfig);
    let refused: [Change; 7] = [
        |config| config.privileges |= Privileges::APIC,
        |config| config.hypercall_privileges |= HypercallPrivileges::CPU_MANAGEMENT,
        |config| config.features |= Features::XMM_INPUT,
        |config| config.recommendations |= Recommendations::REMOTE_FLUSH,
        |config| config.privileges -= Privileges::VP_INDEX,
        |config| config.vp_count = 0,
        |config| config.clock = Arc::new(ManualClock::new(10_000_000)),
    ];
    for change in refused {
        let memory = GuestMemory::new(PAGE_SIZE).unwrap();
        let clock = Arc::new(ManualClock::default());
        let mut config = HvConfig::new(memory, clock, Arc::new(Recorder::default()), 1);
        change(&mut config);
        let error = Hv::new(config).err().unwrap();
        assert!(!error.to_string().is_empty());
        assert!(!matches!(error, HvError::HypercallPort(_)));
    }
}

#[test]
fn conformance_02_no_hypercall_page_without_identity() {
    let fixture = Fixture::new();
    let before = fixture.page(HYPERCALL_FRAME);
    fixture.write(msr::HYPERCALL, page_register(HYPERCALL_FRAME));
    assert_eq!(fixture.read(msr::HYPERCALL) & 1, 0);
    assert_eq!(fixture.page(HYPERCALL_FRAME), before);
    fixture.install_hypercall_page();
    assert_eq!(fixture.read(msr::HYPERCALL), page_register(HYPERCALL_FRAME));
    assert!(fixture.hv.is_hypercall_page_enabled());
    fixture.write(msr::GUEST_OS_ID, 0);
    assert_eq!(fixture.read(msr::HYPERCALL) & 1, 0);
    assert!(!fixture.hv.is_hypercall_page_enabled());
    assert_eq!(fixture.page(HYPERCALL_FRAME), before);
    let call = SignalEvent::CONTROL.bits();
    assert_eq!(fixture.status(call, 1, 0), Status::INVALID_PARTITION_STATE);
}

#[test]
fn conformance_03_the_page_traps_returns_and_uncovers_what_it_hid() {
    let fixture = Fixture::with(|config| config.hypercall_port = 0x5A);
    let mut beneath = vec![0x55; PAGE_SIZE as usize];
    beneath[0] = 1;
    fixture
        .memory
        .write(HYPERCALL_FRAME * PAGE_SIZE, &beneath)
        .unwrap();
    fixture.install_hypercall_page();
    let page = fixture.page(HYPERCALL_FRAME);
    assert_eq!(page[..7], [0xF3, 0x0F, 0x1E, 0xFA, 0xE6, 0x5A, 0xC3]);
    assert!(page[7..].iter().all(|&byte| byte == 0xCC));
    // Moving it while enabled is legal.
    fixture.write(msr::HYPERCALL, page_register(HYPERCALL_FRAME + 3));
    assert_eq!(fixture.page(HYPERCALL_FRAME), beneath);
    assert_eq!(fixture.page(HYPERCALL_FRAME + 3), page);
    fixture.write(msr::HYPERCALL, 0);
    assert_eq!(fixture.page(HYPERCALL_FRAME + 3), [0; PAGE_SIZE as usize]);
}

#[test]
fn conformance_08_registers_that_are_not_granted_fault() {
    let fixture = Fixture::new();
    for msr in (0x4000_0000..0x4000_0200).chain([0x3fff_ffff, 0x4000_1080, 0x1b, 0]) {
        let exists = matches!(
            msr,
            0x4000_0000..=0x4000_0003
                | 0x4000_0020..=0x4000_0023
                | 0x4000_0080..=0x4000_0084
                | 0x4000_0090..=0x4000_009f
                | 0x4000_00b0..=0x4000_00b7
                | 0x4000_0100..=0x4000_0105
        );
        let read = fixture.hv.read_msr(0, msr);
        assert_eq!(read.is_ok(), exists, "{msr:#x}");
        if !exists {
            let fault = fixture.hv.write_msr(0, msr, 0).unwrap_err();
            assert_eq!(fault.refusal, Refusal::NotAvailable);
            assert_eq!(fault.msr, msr);
        }
    }
    let bare = Fixture::with(|config| {
        config.privileges = Privileges::MANDATORY;
        config.features = Features::empty();
    });
    for msr in [
        msr::TIME_REF_COUNT,
        msr::SCONTROL,
        msr::EOM,
        msr::STIMER0_CONFIG,
        msr::RESET,
        msr::REFERENCE_TSC,
        msr::TSC_FREQUENCY,
        msr::CRASH_P0,
        msr::CRASH_CTL,
    ] {
        assert!(bare.hv.read_msr(0, msr).is_err(), "{msr:#x}");
        assert!(bare.hv.write_msr(0, msr, 0).is_err(), "{msr:#x}");
    }
    assert!(fixture.hv.read_msr(2, msr::VP_INDEX).is_err());
}

#[test]
fn conformance_08_read_only_registers_fault_on_writes() {
    let fixture = Fixture::new();
    for msr in [
        msr::VP_INDEX,
        msr::TIME_REF_COUNT,
        msr::TSC_FREQUENCY,
        msr::APIC_FREQUENCY,
        msr::SVERSION,
    ] {
        assert!(fixture.write_faults(msr, 0), "{msr:#x}");
    }
    assert_eq!(fixture.read(msr::TSC_FREQUENCY), 2_560_000_000);
    assert_eq!(fixture.read(msr::APIC_FREQUENCY), 1_000_000_000);
    assert_eq!(fixture.read(msr::SVERSION), 1);
    assert_eq!(fixture.read(msr::EOM), 0);
}

#[test]
fn conformance_10_auto_eoi_is_discouraged() {
    let leaf = Fixture::new().hv.cpuid(LEAF_RECOMMENDATIONS, 0).unwrap();
    let recommended = Recommendations::from_bits_retain(leaf.eax);
    assert!(recommended.contains(Recommendations::DEPRECATE_AUTO_EOI));
    assert!(recommended.contains(Recommendations::RELAXED_TIMING));
}

#[test]
fn conformance_17_vp_indices_are_dense_and_fixed() {
    let fixture = Fixture::new();
    for vp in 0..2 {
        assert_eq!(fixture.hv.read_msr(vp, msr::VP_INDEX), Ok(u64::from(vp)));
        assert!(fixture.hv.write_msr(vp, msr::VP_INDEX, 0).is_err());
    }
}

fn crash_fixture() -> (Fixture, Arc<Mutex<Vec<HvEvent>>>) {
    let fixture = Fixture::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    fixture.hv.set_event_sink({
        let events = events.clone();
        move |event| events.lock().unwrap().push(event)
    });
    (fixture, events)
}

#[test]
fn conformance_23_crash_parameters_and_message_are_reported() {
    let (fixture, events) = crash_fixture();
    let supported = CrashControl::NOTIFY | CrashControl::MESSAGE;
    assert_eq!(fixture.read(msr::CRASH_CTL), supported.bits());
    fixture.memory.write(0x3000, b"it broke").unwrap();
    for (index, value) in (0..).zip([7_u64, 8, 9, 0x3000, 8]) {
        fixture.write(msr::CRASH_P0 + index, value);
        assert_eq!(fixture.read(msr::CRASH_P0 + index), value);
    }
    fixture.write(msr::CRASH_CTL, CrashControl::MESSAGE.bits());
    assert!(events.lock().unwrap().is_empty(), "no notification wanted");
    fixture.write(msr::CRASH_CTL, supported.bits());
    fixture.write(msr::CRASH_CTL, CrashControl::NOTIFY.bits());
    fixture.write(msr::CRASH_P3, u64::MAX - 3);
    fixture.write(msr::CRASH_P4, u64::MAX);
    fixture.write(msr::CRASH_CTL, supported.bits());
    let events = events.lock().unwrap();
    let messages: Vec<_> = events
        .iter()
        .map(|event| match event {
            HvEvent::Crash(report) => {
                assert_eq!(report.parameters[..3], [7, 8, 9]);
                report.message.clone()
            }
            HvEvent::ResetRequested { .. } => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(
        messages,
        [
            Some(CrashMessage::Text("it broke".into())),
            None,
            Some(CrashMessage::NotRam {
                address: u64::MAX - 3,
                length: u64::MAX
            })
        ]
    );
}

#[test]
fn the_reset_register_asks_for_a_reset() {
    let (fixture, events) = crash_fixture();
    fixture.write(msr::RESET, 2);
    assert!(events.lock().unwrap().is_empty());
    fixture.hv.write_msr(1, msr::RESET, 1).unwrap();
    assert_eq!(*events.lock().unwrap(), [HvEvent::ResetRequested { vp: 1 }]);
    assert_eq!(fixture.read(msr::RESET), 0);
}

#[test]
fn conformance_27_there_is_no_assist_page() {
    let fixture = Fixture::new();
    let leaf = fixture.hv.cpuid(LEAF_FEATURES, 0).unwrap();
    assert!(!Privileges::from_bits_retain(leaf.eax).contains(Privileges::APIC));
    assert!(fixture.hv.write_msr(0, msr::VP_ASSIST_PAGE, 1).is_err());
}

#[test]
fn an_assist_page_can_be_tolerated() {
    let fixture = Fixture::with(|config| config.vp_assist_page = true);
    let leaf = fixture.hv.cpuid(LEAF_FEATURES, 0).unwrap();
    assert!(!Privileges::from_bits_retain(leaf.eax).contains(Privileges::APIC));
    fixture.memory.write(9 * PAGE_SIZE, &[7; 8]).unwrap();
    fixture.write(msr::VP_ASSIST_PAGE, 0x9001);
    assert_eq!(fixture.read(msr::VP_ASSIST_PAGE), 0x9001);
    let mut beneath = [1; 8];
    fixture.memory.read(9 * PAGE_SIZE, &mut beneath).unwrap();
    assert_eq!(beneath, [0; 8], "no end of an interrupt is waived");
    assert!(fixture.write_faults(msr::VP_ASSIST_PAGE, 0xFFFF_F001));
    fixture.hv.reset_vp(0);
    assert_eq!(fixture.read(msr::VP_ASSIST_PAGE), 0);
    fixture.memory.read(9 * PAGE_SIZE, &mut beneath).unwrap();
    assert_eq!(beneath, [7; 8]);
    assert!(fixture.hv.write_msr(0, msr::VP_ASSIST_PAGE + 1, 1).is_err());
}

#[test]
fn documented_vectors() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    assert_eq!(SignalEvent::CONTROL.bits(), 0x1005D);
    assert_eq!(PostMessage::CONTROL.bits(), 0x5C);
    let linux = GuestOsId::open_source(OsType::LINUX).with_version(0x0006_0C00);
    fixture.write(msr::GUEST_OS_ID, linux.bits());
    assert_eq!(fixture.read(msr::GUEST_OS_ID), 0x8100_0006_0C00_0000);
    fixture.write(msr::SINT0 + 2, 0xF3);
    assert_eq!(fixture.read(msr::SINT0 + 2), 0xF3);
    fixture.write(msr::SINT0 + 2, 0x200F3);
    assert_eq!(
        fixture.read(msr::SINT0 + 2),
        0x200F3,
        "stored, not honoured"
    );
    fixture.write(msr::STIMER0_CONFIG, 0x1ED9);
    assert_eq!(fixture.read(msr::STIMER0_CONFIG), 0x1ED9);
}

#[test]
fn counters_are_exact() {
    let fixture = Fixture::new();
    fixture.install_hypercall_page();
    fixture.status(SignalEvent::CONTROL.bits(), 1, 0);
    fixture.status(SignalEvent::CONTROL.bits(), 1, 0);
    fixture.status(0x9999, 0, 0);
    fixture.read(msr::VP_INDEX);
    let _ = fixture.hv.read_msr(0, 0x4000_0199);
    let counters = fixture.hv.counters();
    assert_eq!(counters.hypercalls[&0x5D], 2);
    assert_eq!(counters.hypercalls[&0x9999], 1);
    assert_eq!(counters.hypercalls_failed, 3);
    assert_eq!(counters.msr_writes[&msr::HYPERCALL], 1);
    assert_eq!(counters.msr_reads[&msr::VP_INDEX], 1);
    assert_eq!(counters.msr_faults, 1);
    let json = serde_json::to_string(&fixture.hv.snapshot()).unwrap();
    assert!(json.contains("virtual_processors"));
}
