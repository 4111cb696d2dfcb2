//! The shim behind real virtual processors: hypercalls, SynIC, time, crash reports.

mod kvm_support;

use std::sync::{Arc, Mutex, Weak};

use host_sim::boot::elf;
use host_sim::hv::{CrashMessage, EventPort, Hv, HvEvent, MessagePort};
use host_sim::memory::GuestMemory;
use host_sim::partition::kvm::{KvmConfig, Outcome, Partition, Platform};
use host_sim::serial::Capture;
use hypercall::call::{CallCode, Status};
use hypercall::cpuid::Recommendations;
use kvm_support::{finish, image, machine, machine_with};

const RAM: u64 = 16 << 20;
const MESSAGE_CONNECTION: u32 = 0x51;
const FIRST_EVENT_CONNECTION: u32 = 0x100;
const VMBUS_SINT: u8 = 2;

/// Answers a virtual processor's message, which holds its index, with a message.
struct Echo(Weak<Hv>);

/// Answers this virtual processor's event with an event.
struct Bounce(Weak<Hv>, u32);

impl MessagePort for Echo {
    fn post(&self, message_type: u32, payload: &[u8]) -> Status {
        assert_eq!(message_type, 0x77);
        let vp = u32::from_le_bytes(payload.try_into().unwrap());
        let hv = self.0.upgrade().unwrap();
        let answer = [0x40 + vp as u8, 0, 0, 0];
        hv.post_message(vp, VMBUS_SINT, 0x78, &answer).unwrap();
        Status::SUCCESS
    }
}

impl EventPort for Bounce {
    fn signal(&self, flag: u16) -> Status {
        assert_eq!(flag, 0);
        let hv = self.0.upgrade().unwrap();
        hv.signal_event(self.1, VMBUS_SINT, 100 + self.1 as u16)
            .unwrap();
        Status::SUCCESS
    }
}

#[test]
fn every_processor_exchanges_messages_and_events_with_the_host() {
    let Some(bytes) = image("kvm hypervisor") else {
        return;
    };
    for processors in [1, 2] {
        let Some(mut machine) = machine("kvm hypervisor", processors, RAM) else {
            return;
        };
        let hv = Arc::clone(machine.partition.hv());
        let echo = Arc::new(Echo(Arc::downgrade(&hv)));
        hv.add_message_port(MESSAGE_CONNECTION, echo).unwrap();
        for vp in 0..processors {
            let bounce = Arc::new(Bounce(Arc::downgrade(&hv), vp));
            hv.add_event_port(FIRST_EVENT_CONNECTION + vp, bounce)
                .unwrap();
        }
        let image = elf::parse(&bytes).unwrap();
        machine
            .partition
            .load_elf(&image, "selftest=hypervisor")
            .unwrap();
        let mut running = machine.partition.start().unwrap();
        let outcome = finish(&mut running);
        let good = Outcome::PoweredOff { status: 0 };
        let report = machine.report.text();
        assert_eq!(
            outcome,
            good,
            "{outcome}\n{report}\n{}",
            machine.console.text()
        );
        let mut wanted = String::new();
        for vp in 0..processors {
            let (message, flag) = (0x40 + vp, 100 + vp);
            wanted += &format!("vp {vp} message Some({message}) flag Some({flag})\n");
        }
        assert_eq!(report, wanted + "done\n");
        let counters = hv.counters();
        assert_eq!(counters.total_hypercalls(), 2 * u64::from(processors));
        assert_eq!(running.exit_counts().hypercall, counters.total_hypercalls());
    }
}

#[test]
fn conformance_28_flushes_and_interrupts_by_hypercall_reach_the_other_processor() {
    let Some(bytes) = image("kvm remote") else {
        return;
    };
    let calls = Recommendations::REMOTE_FLUSH | Recommendations::CLUSTER_IPI;
    let Some(mut machine) = machine_with("kvm remote", 2, RAM, calls) else {
        return;
    };
    let image = elf::parse(&bytes).unwrap();
    machine
        .partition
        .load_elf(&image, "selftest=remote")
        .unwrap();
    let hv = Arc::clone(machine.partition.hv());
    let mut running = machine.partition.start().unwrap();
    let outcome = finish(&mut running);
    let report = machine.report.text();
    let good = Outcome::PoweredOff { status: 0 };
    assert_eq!(
        outcome,
        good,
        "{outcome}\n{report}\n{}",
        machine.console.text()
    );
    assert_eq!(
        report,
        "both interrupted\n40 pages replaced, 0 reads of old ones\n"
    );
    let calls = hv.counters().hypercalls;
    let count = |code: CallCode| calls.get(&code.0).copied().unwrap_or(0);
    assert_eq!(count(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE), 20);
    assert_eq!(count(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST), 20);
    assert_eq!(count(CallCode::SEND_SYNTHETIC_CLUSTER_IPI), 1);
    assert_eq!(hv.counters().hypercalls_failed, 0);
}

#[test]
fn a_guest_that_panics_tells_the_hypervisor_why() {
    let Some(bytes) = image("kvm crash report") else {
        return;
    };
    if machine("kvm crash report", 1, RAM).is_none() {
        return;
    }
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let mut partition = Partition::new(KvmConfig {
        memory: GuestMemory::new(RAM).unwrap(),
        vp_count: 1,
        platform: Platform::Bare,
        console: Box::new(Capture::new(1 << 16)),
        report: Box::new(Capture::new(1 << 16)),
        on_event: Some(Arc::new(move |event| seen.lock().unwrap().push(event))),
    })
    .unwrap();
    let image = elf::parse(&bytes).unwrap();
    partition.load_elf(&image, "selftest=panic").unwrap();
    let mut running = partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 101 });
    let events = events.lock().unwrap();
    let [HvEvent::Crash(report)] = events.as_slice() else {
        panic!("{events:?}");
    };
    let Some(CrashMessage::Text(text)) = &report.message else {
        panic!("{report:?}");
    };
    assert!(text.contains("a panic on purpose"), "{text}");
}
