//! Discovery, hypercalls, SynIC and time on every processor, without a bus.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use hypercall::Processor as _;
use hypercall::call::{MessageType, PostMessage};
use hypercall::cpuid::Discovery;
use hypercall::identity::GuestOsId;
use hypercall::invoke::{ParameterPage, post_message, signal_event};
use hypercall::msr::{SintIndex, TIME_REF_COUNT, VP_INDEX};
use hypercall::synic::{Source, Synic, SynicPage, SynicPages};
use vmbus_core::platform::{Platform as _, Runtime as _};

use super::super::processor::ThisProcessor;
use super::super::runtime::MachineRuntime;
use super::super::{interrupts, serial, smp};

/// Connections that the test on the host offers. It answers a message with a message; and each virtual processor's event,
/// for which there is a connection each from this one on, with an event.
const MESSAGE_CONNECTION: u32 = 0x51;
const FIRST_EVENT_CONNECTION: u32 = 0x100;
const MESSAGE_TYPE: u32 = 0x77;

/// What can go wrong; the report says where.
pub(super) type Outcome = Result<(), &'static str>;

/// Runs the exchange on each processor, one after the other.
pub(super) fn run(processor_count: u32) -> u8 {
    let runtime = Arc::new(MachineRuntime::new());
    let status = match prepare(&runtime).and_then(|processor| {
        let discovery = Discovery::read(&processor).map_err(|_| "discovery")?;
        exchange(&runtime, processor, &discovery)?;
        on_others(&runtime, processor, discovery, processor_count)?;
        check_time(&runtime, processor)
    }) {
        Ok(()) => 0,
        Err(step) => {
            serial::report(format_args!("failed: {step}\n"));
            1
        }
    };
    serial::report(format_args!("done\n"));
    status
}

/// Installs the hypercall page.
pub(super) fn prepare(runtime: &MachineRuntime) -> Result<ThisProcessor, &'static str> {
    let bare = ThisProcessor::new();
    let page = page(runtime)?;
    // SAFETY: a fresh page that is never freed.
    unsafe { hypercall::page::install(&bare, GuestOsId::DEFAULT, page.page_frame) }
        .map_err(|_| "hypercall page")?;
    // SAFETY: the page has just been installed; all memory is executable.
    Ok(unsafe { bare.with_hypercall_page(page.base) })
}

/// A page that is never freed.
pub(super) fn page(runtime: &MachineRuntime) -> Result<SynicPage, &'static str> {
    let pages = runtime.allocate_shared(1).ok_or("memory")?;
    Ok(SynicPage {
        base: pages.base(),
        page_frame: runtime.page_frame(&pages, 0),
    })
}

/// Enables this processor's SynIC, sends a message and an event, and waits for the host's.
fn exchange(runtime: &MachineRuntime, processor: ThisProcessor, discovery: &Discovery) -> Outcome {
    let vp = processor.read_msr(VP_INDEX).map_err(|_| "VP index")? as u32;
    let pages = SynicPages {
        messages: page(runtime)?,
        event_flags: page(runtime)?,
    };
    // SAFETY: fresh pages that are never freed; the vector has a handler; this code stays on its processor.
    let synic = unsafe {
        let source = Source::vmbus(interrupts::SYNIC, discovery);
        Synic::enable(&processor, pages, source)
    }
    .map_err(|_| "SynIC")?;

    let mut parameters = parameter_page(runtime)?;
    let message = PostMessage::new(
        MESSAGE_CONNECTION,
        MessageType(MESSAGE_TYPE),
        &vp.to_le_bytes(),
    )
    .map_err(|_| "message")?;
    post_message(&processor, &mut parameters, &message).map_err(|_| "post message")?;
    signal_event(&processor, FIRST_EVENT_CONNECTION + vp, 0).map_err(|_| "signal event")?;

    let (mut answer, mut flag) = (None, None);
    while answer.is_none() || flag.is_none() {
        interrupts::wait();
        if let Some(message) = synic
            .read_message(&processor, SintIndex::VMBUS)
            .map_err(|_| "read message")?
        {
            answer = message.payload().first().copied();
        }
        synic.scan_event_flags(SintIndex::VMBUS, |number| flag = Some(number));
    }
    serial::report(format_args!("vp {vp} message {answer:?} flag {flag:?}\n"));
    Ok(())
}

pub(super) fn parameter_page(runtime: &MachineRuntime) -> Result<ParameterPage, &'static str> {
    let page = page(runtime)?;
    let base: NonNull<u8> = page.base;
    // SAFETY: a fresh page that is never freed; memory is identity-mapped.
    unsafe { ParameterPage::new(base, base.addr().get() as u64) }.ok_or("parameter page")
}

fn on_others(
    runtime: &Arc<MachineRuntime>,
    processor: ThisProcessor,
    discovery: Discovery,
    processor_count: u32,
) -> Outcome {
    let discovery = Arc::new(discovery);
    for index in 1..processor_count {
        let done = Arc::new(AtomicU32::new(0));
        let work = {
            let (runtime, done) = (Arc::clone(runtime), Arc::clone(&done));
            let discovery = Arc::clone(&discovery);
            Box::new(move || {
                let outcome = exchange(&runtime, processor, &discovery);
                if let Err(step) = outcome {
                    serial::report(format_args!("failed: {step}\n"));
                }
                done.store(if outcome.is_ok() { 1 } else { 2 }, Ordering::Release);
            })
        };
        smp::run_on(index, work).map_err(|_| "other processor")?;
        while done.load(Ordering::Acquire) == 0 {
            runtime.idle();
        }
        if done.load(Ordering::Acquire) == 2 {
            return Err("exchange on another processor");
        }
    }
    Ok(())
}

/// Time from the page, if there is one, and from the MSR is one time.
fn check_time(runtime: &MachineRuntime, processor: ThisProcessor) -> Outcome {
    let mut last = 0;
    for _ in 0..10 {
        let by_msr = processor
            .read_msr(TIME_REF_COUNT)
            .map_err(|_| "reference counter")?;
        let by_page = runtime.now();
        // The two may disagree by a unit.
        if by_msr + 1 < last || by_page + 1 < by_msr {
            return Err("reference time runs backwards");
        }
        last = by_page;
    }
    Ok(())
}
