//! The guest's own code (crate `hypercall`) on in-process processors: what the guest end believes, the shim does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use host_sim::hv::{HvEvent, ManualClock, MessagePort};
use host_sim::memory::PAGE_SIZE;
use host_sim::partition::inproc::{InprocConfig, InprocPartition, InprocRuntime, InprocVp};
use hypercall::call::{MessageType, PostMessage, RegisterName, RegisterTarget, Status};
use hypercall::cpuid::{Discovery, HypercallPrivileges};
use hypercall::identity::GuestOsId;
use hypercall::invoke::{self, CallError, ParameterPage, RetryPolicy};
use hypercall::msr::TimerIndex;
use hypercall::stimer::{Expiry, Stimer, TimerMessage};
use hypercall::synic::{SintIndex, Source, Synic, SynicPage, SynicPages};
use hypercall::time::{ReferenceClock, ReferenceTscPage, enable_reference_tsc, reference_time};
use hypercall::{Processor, page, vp_index};
use vmbus_core::platform::{Platform, Runtime};

const VECTOR: u8 = 0xF3;
const MEMORY: u64 = 1 << 20;
/// Connection to which the guest posts.
const TO_HOST: u32 = 1;

fn stepped(vp_count: u32) -> (InprocPartition, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let config = InprocConfig::stepped(MEMORY, vp_count, clock.clone());
    (InprocPartition::new(config).unwrap(), clock)
}

/// One page for the hypervisor, never given back.
fn shared_page(runtime: &InprocRuntime) -> SynicPage {
    let pages = runtime.allocate_shared(1).unwrap();
    SynicPage {
        base: pages.base(),
        page_frame: runtime.page_frame(&pages, 0),
    }
}

fn parameter_page(runtime: &InprocRuntime) -> ParameterPage {
    let page = shared_page(runtime);
    // SAFETY: the page was allocated for this alone and is never given back.
    unsafe { ParameterPage::new(page.base, page.page_frame * PAGE_SIZE) }.unwrap()
}

fn enable_synic(processor: &impl Processor, runtime: &InprocRuntime) -> Synic {
    let discovery = Discovery::read(processor).unwrap();
    let pages = SynicPages {
        messages: shared_page(runtime),
        event_flags: shared_page(runtime),
    };
    // SAFETY: both pages were allocated for this alone and are never given back; interrupts are only recorded.
    unsafe { Synic::enable(processor, pages, Source::vmbus(VECTOR, &discovery)) }.unwrap()
}

fn install_page(processor: &impl Processor, runtime: &InprocRuntime) -> u64 {
    let frame = shared_page(runtime).page_frame;
    // SAFETY: the page was allocated for this alone and is never given back.
    unsafe { page::install(processor, GuestOsId::DEFAULT, frame) }.unwrap();
    frame
}

#[test]
fn discovery_finds_a_platform_for_vmbus_on_every_processor() {
    let (partition, _) = stepped(3);
    let first = Discovery::read(&partition.processor(0)).unwrap();
    assert!(first.supports_vmbus());
    assert!(first.has_frequency_msrs());
    assert!(!first.recommends_auto_eoi());
    assert_eq!(first.max_virtual_processors, Some(3));
    assert_eq!(first.version.to_string(), "10.0.20348-0-0.0");
    for vp in 0..3 {
        let processor = partition.processor(vp);
        assert_eq!(Discovery::read(&processor), Ok(first));
        assert_eq!(vp_index(&processor), Ok(vp));
    }
}

#[test]
fn the_hypercall_page_is_installed_and_removed() {
    let (partition, _) = stepped(1);
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    let frame = install_page(&processor, &runtime);
    let mut code = [0; 7];
    partition
        .memory()
        .read(frame * PAGE_SIZE, &mut code)
        .unwrap();
    assert_eq!((code[4], code[6]), (0xE6, 0xC3));
    assert_eq!(
        invoke::signal_event(&processor, 5, 0),
        Err(Status::INVALID_CONNECTION_ID)
    );
    // SAFETY: no hypercall is made after this but the one that shows that none works.
    unsafe { page::remove(&processor) }.unwrap();
    assert_eq!(
        invoke::signal_event(&processor, 5, 0),
        Err(Status::INVALID_PARTITION_STATE)
    );
}

#[test]
fn messages_and_events_arrive() {
    let (partition, _) = stepped(1);
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    let hv = partition.hv();
    hv.post_message(0, 2, 1, b"early").unwrap();
    let synic = enable_synic(&processor, &runtime);
    for byte in 0..10 {
        hv.post_message(0, 2, 1, &[byte; 240]).unwrap();
    }
    assert_eq!(
        runtime.take_pending().into_iter().collect::<Vec<_>>(),
        [VECTOR]
    );
    let next = || synic.read_message(&processor, SintIndex::VMBUS).unwrap();
    assert_eq!(next().unwrap().payload(), b"early");
    for byte in 0..10 {
        let message = next().unwrap();
        assert_eq!(message.message_type, MessageType::VMBUS);
        assert_eq!(message.payload(), [byte; 240]);
    }
    assert_eq!(next(), None);
    for flag in [0, 63, 64, 700, 2047] {
        hv.signal_event(0, 2, flag).unwrap();
    }
    let mut flags = Vec::new();
    synic.scan_event_flags(SintIndex::VMBUS, |flag| flags.push(flag));
    assert_eq!(flags, [0, 63, 64, 700, 2047]);
    // SAFETY: the processor is the one that the SynIC belongs to; nothing interrupts.
    unsafe { synic.disable(&processor, SintIndex::VMBUS) }.unwrap();
    assert_eq!(hv.signal_event(0, 2, 1), Err(Status::INVALID_SYNIC_STATE));
    hv.post_message(0, 2, 1, b"late").unwrap();
    assert_eq!(hv.message_queue_len(0, 2), 1);
}

#[test]
fn reference_time_is_the_same_by_page_and_by_register() {
    let (partition, clock) = stepped(2);
    let (processor, runtime) = (partition.processor(1), partition.runtime(1));
    let place = shared_page(&runtime);
    // SAFETY: the page was allocated for this alone and is never given back.
    unsafe { enable_reference_tsc(&processor, place.page_frame) }.unwrap();
    // SAFETY: as above; it is aligned, mapped as long as the partition, and consists of atomics.
    let tsc_page = unsafe { place.base.cast::<ReferenceTscPage>().as_ref() };
    let latest = ReferenceClock::new();
    for step in [0, 1, 10, 1_000_000, 77_777_777] {
        clock.advance(step);
        let time = tsc_page.read(&processor).unwrap();
        assert_eq!(reference_time(&processor, None), Ok(time));
        assert_eq!(latest.now(&processor, Some(tsc_page)), Ok(time));
        assert_eq!(runtime.now(), time);
    }
}

#[test]
fn timers_expire_by_interrupt_and_by_message() {
    let (partition, clock) = stepped(1);
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    let synic = enable_synic(&processor, &runtime);
    let discovery = Discovery::read(&processor).unwrap();
    let direct = Expiry::choose(&discovery, 0xED, SintIndex::VMBUS);
    let direct = Stimer::one_shot(&processor, TimerIndex::FIRST, direct).unwrap();
    let sint = Expiry::Message {
        sint: SintIndex::VMBUS,
    };
    let message = Stimer::one_shot(&processor, TimerIndex::new(1).unwrap(), sint).unwrap();
    direct.arm(&processor, 1_000).unwrap();
    message.arm(&processor, 2_000).unwrap();
    let run = |units| {
        clock.advance(units);
        partition.hv().run_timers(partition.hv().reference_time());
        runtime.take_pending().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(run(1_000), [0xED]);
    assert!(run(999).is_empty());
    assert_eq!(run(1), [VECTOR]);
    let expiry = synic
        .read_message(&processor, SintIndex::VMBUS)
        .unwrap()
        .unwrap();
    assert_eq!(expiry.message_type, MessageType::TIMER_EXPIRED);
    let payload = TimerMessage::parse(expiry.payload()).unwrap();
    assert_eq!(payload.expiration_time.get(), 2_000);
    direct.arm(&processor, 5_000).unwrap();
    direct.disarm(&processor).unwrap();
    message.stop(&processor).unwrap();
    assert!(run(10_000).is_empty());
}

#[test]
fn registers_are_read_in_one_call_or_in_many() {
    let clock = Arc::new(ManualClock::default());
    let config = InprocConfig::stepped(MEMORY, 2, clock);
    let partition = InprocPartition::with_hypervisor(config, |hv| {
        hv.hypercall_privileges |= HypercallPrivileges::ACCESS_VP_REGISTERS;
        hv.reps_per_call = 3;
    })
    .unwrap();
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    install_page(&processor, &runtime);
    let (mut input, mut output) = (parameter_page(&runtime), parameter_page(&runtime));
    let target = RegisterTarget {
        vp_index: 1,
        ..RegisterTarget::SELF
    };
    let mut read =
        |name| invoke::get_vp_register(&processor, &mut input, &mut output, target, name);
    assert_eq!(read(RegisterName::VP_INDEX), Ok(1));
    assert_eq!(
        read(RegisterName::GUEST_OS_ID),
        Ok(GuestOsId::DEFAULT.bits())
    );
    assert_eq!(
        read(RegisterName::VP_RUNTIME),
        Err(CallError::Status {
            status: Status::UNKNOWN_REGISTER,
            completed: 0
        })
    );
    let names: Vec<RegisterName> = (0..16)
        .map(|sint| RegisterName(RegisterName::SINT0.0 + sint))
        .collect();
    let mut values = [hypercall::call::RegisterValue::ZERO; 16];
    invoke::get_vp_registers(
        &processor,
        &mut input,
        &mut output,
        target,
        &names,
        &mut values,
    )
    .unwrap();
    assert!(values.iter().all(|value| value.as_u64() == 0x10000));
    assert_eq!(partition.hv().counters().hypercalls[&0x50], 3 + 6);
}

/// Answers each message with one of its own, once a few have been refused for want of buffers.
struct Echo {
    hv: std::sync::Weak<host_sim::hv::Hv>,
    refusals: AtomicU32,
}

impl MessagePort for Echo {
    fn post(&self, message_type: u32, payload: &[u8]) -> Status {
        let patience = self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if patience.is_ok() {
            return Status::INSUFFICIENT_BUFFERS;
        }
        let hv = self
            .hv
            .upgrade()
            .expect("a port is called by its hypervisor");
        hv.post_message(0, 2, message_type, payload)
            .map_or(Status::INSUFFICIENT_BUFFERS, |()| Status::SUCCESS)
    }
}

/// A whole guest on threads: it sleeps until it is interrupted, and the port calls back into the shim.
#[test]
fn a_threaded_guest_talks_with_a_port_and_sleeps_in_between() {
    let partition = InprocPartition::new(InprocConfig::threaded(MEMORY, 2)).unwrap();
    let echo = Echo {
        hv: Arc::downgrade(partition.hv()),
        refusals: AtomicU32::new(5),
    };
    partition
        .hv()
        .add_message_port(TO_HOST, Arc::new(echo))
        .unwrap();
    let guest = partition
        .spawn_vp(0, |InprocVp { processor, runtime }| {
            install_page(&processor, &runtime);
            let synic = enable_synic(&processor, &runtime);
            let mut parameters = parameter_page(&runtime);
            let mut answers = 0_u32;
            for round in 0..200_u32 {
                let payload = round.to_le_bytes();
                let message = PostMessage::new(TO_HOST, MessageType::VMBUS, &payload).unwrap();
                let mut policy = RetryPolicy::new();
                while let Err(status) = invoke::post_message(&processor, &mut parameters, &message)
                {
                    std::thread::sleep(policy.delay_after(status).unwrap());
                }
                loop {
                    let answer = synic.read_message(&processor, SintIndex::VMBUS).unwrap();
                    if let Some(answer) = answer {
                        assert_eq!(answer.payload(), payload);
                        answers += 1;
                        break;
                    }
                    runtime.idle();
                }
            }
            assert!(runtime.take_pending().contains(VECTOR));
            answers
        })
        .unwrap();
    assert_eq!(guest.join().unwrap(), 200);
    assert!(!partition.is_online(0));
    assert!(partition.spawn_vp(2, |_| ()).is_err());
}

#[test]
fn a_real_time_timer_wakes_an_idle_processor() {
    let partition = InprocPartition::new(InprocConfig::threaded(MEMORY, 1)).unwrap();
    let guest = partition
        .spawn_vp(0, |InprocVp { processor, runtime }| {
            let expiry = Expiry::Direct { vector: 0xED };
            let timer = Stimer::one_shot(&processor, TimerIndex::FIRST, expiry).unwrap();
            for _ in 0..5 {
                let deadline = runtime.now() + 20_000;
                timer.arm(&processor, deadline).unwrap();
                while !runtime.take_pending().contains(0xED) {
                    runtime.idle();
                }
                assert!(runtime.now() >= deadline);
            }
        })
        .unwrap();
    guest.join().unwrap();
}

/// The message waits in the queue with the slot emptied and no end-of-message written: only the timer thread's poll can
/// bring it.
#[test]
fn the_timer_thread_delivers_what_a_forgetful_guest_left() {
    let partition = InprocPartition::new(InprocConfig::threaded(MEMORY, 1)).unwrap();
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    let synic = enable_synic(&processor, &runtime);
    for _ in 0..5 {
        partition.hv().post_message(0, 2, 1, b"x").unwrap();
    }
    for _ in 0..5 {
        while synic.message_page().take(SintIndex::VMBUS).is_none() {
            runtime.idle();
        }
    }
    assert!(!partition.hv().has_waiting_messages());
}

#[test]
fn a_crash_is_reported_with_its_text() {
    let (partition, _) = stepped(1);
    let (processor, runtime) = (partition.processor(0), partition.runtime(0));
    let (sender, receiver) = std::sync::mpsc::channel();
    partition
        .hv()
        .set_event_sink(move |event| sender.send(event).unwrap());
    let text = shared_page(&runtime);
    let address = text.page_frame * PAGE_SIZE;
    partition.memory().write(address, b"panicked").unwrap();
    hypercall::crash::report(&processor, [1, 2, 3, 4, 5]).unwrap();
    // SAFETY: the text lies in a page that is never given back.
    unsafe { hypercall::crash::report_message(&processor, [0; 3], address, 8) }.unwrap();
    let reports: Vec<_> = receiver.try_iter().collect();
    assert_eq!(reports.len(), 2);
    assert!(matches!(&reports[0], HvEvent::Crash(report)
        if report.parameters == [1, 2, 3, 4, 5] && report.message.is_none()));
    assert!(matches!(&reports[1], HvEvent::Crash(report)
        if report.message == Some(host_sim::hv::CrashMessage::Text("panicked".into()))));
}

#[test]
fn pages_are_zeroed_contiguous_and_given_back() {
    let (partition, _) = stepped(1);
    let runtime = partition.runtime(0);
    let free = partition.free_pages();
    let pages = runtime.allocate_shared(3).unwrap();
    let first = runtime.page_frame(&pages, 0);
    assert_eq!(runtime.page_frame(&pages, 2), first + 2);
    assert_eq!(
        partition.memory().page_pointer(first + 1).unwrap().as_ptr(),
        pages.base().as_ptr().wrapping_add(4096)
    );
    partition
        .memory()
        .write(first * PAGE_SIZE, &[9; 100])
        .unwrap();
    assert_eq!(partition.free_pages(), free - 3);
    // SAFETY: the pages are from this runtime, and nobody uses them any more.
    unsafe { runtime.free_shared(pages) };
    assert_eq!(partition.free_pages(), free);
    let again = runtime.allocate_shared(3).unwrap();
    assert_eq!(runtime.page_frame(&again, 0), first);
    let mut bytes = [1; 100];
    partition
        .memory()
        .read(first * PAGE_SIZE, &mut bytes)
        .unwrap();
    assert_eq!(bytes, [0; 100]);
    assert!(runtime.allocate_shared(1 << 20).is_none());
    assert!(runtime.allocate_shared(0).is_none());
}

#[test]
fn an_idle_processor_runs_the_simulation_when_stepped() {
    let (partition, _) = stepped(2);
    let idled = Arc::new(AtomicU32::new(0));
    partition.set_idle_hook({
        let idled = idled.clone();
        move |vp| {
            idled.fetch_add(1 + 10 * vp, Ordering::Relaxed);
        }
    });
    partition.runtime(0).idle();
    partition.runtime(1).idle();
    assert_eq!(idled.load(Ordering::Relaxed), 12);
    let runtime = partition.runtime(1);
    assert!(!runtime.is_shut_down());
    partition.shutdown();
    runtime.idle();
    assert!(runtime.is_shut_down());
    assert_eq!(Arc::strong_count(&idled), 1, "the hook is gone");
}

#[test]
fn a_partition_that_cannot_be_says_why() {
    let clock = Arc::new(ManualClock::default());
    for (memory, vps, reason) in [
        (0, 1, "guest memory"),
        (4097, 1, "guest memory"),
        (16 * PAGE_SIZE, 1, "16 reserved"),
        (MEMORY, 0, "0 virtual processors"),
    ] {
        let config = InprocConfig::stepped(memory, vps, clock.clone());
        let error = InprocPartition::new(config).err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
