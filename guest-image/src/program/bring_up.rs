//! From nothing to a SynIC on every processor.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use hypercall::Processor;
use hypercall::cpuid::Discovery;
use hypercall::identity::GuestOsId;
use hypercall::synic::{Source, Synic, SynicPage, SynicPages};
use vmbus_core::bus::BusProcessor;
use vmbus_core::platform::{Platform, Runtime, SharedPages};

use super::{EnvironmentBus, Failure, tell};
use crate::environment::Environment;

/// Where SynIC interrupts arrive: the handler only acknowledges.
const SYNIC_VECTOR: u8 = 0xF3;
/// Time that another processor has to start its SynIC, in 100 ns units: 30 s.
const PATIENCE: u64 = 300_000_000;

/// The hypervisor's side of the machine, as far as it is set up.
pub(super) struct Machine<E: Environment> {
    processor: E::Processor,
    discovery: Discovery,
    boot_vp: u32,
    synic: Arc<Synic>,
    /// Pages that the hypervisor has; leaked unless it gives them back.
    _pages: Vec<SharedPages>,
}

/// Discovers the hypervisor, installs the hypercall page and starts the boot processor's SynIC.
pub(super) fn meet_hypervisor<E: Environment>(environment: &E) -> Result<Machine<E>, Failure> {
    let runtime = environment.runtime();
    let bare = environment.processor();
    let discovery = Discovery::read(&bare).map_err(|why| Failure::new("no Hyper-V here", why))?;
    tell(
        environment,
        "hypervisor.vendor",
        format_args!("Microsoft Hv, interface Hv#1"),
    );
    let version = discovery.version;
    tell(
        environment,
        "hypervisor.version",
        format_args!(
            "{}.{} build {}",
            version.major, version.minor, version.build
        ),
    );
    let features = format!(
        "privileges {:?}, hypercalls {:?}, features {:?}, recommendations {:?}",
        discovery.privileges,
        discovery.hypercall_privileges,
        discovery.features,
        discovery.recommendations
    );
    tell(
        environment,
        "hypervisor.features",
        format_args!("{features}"),
    );
    if !discovery.supports_vmbus() {
        return Err(Failure::new("hypervisor", "it lacks what VMBus needs"));
    }

    let page = allocate(&*runtime)?;
    let frame = runtime.page_frame(&page, 0);
    // SAFETY: the page is fresh, ours, and stays allocated: it is kept until the end, then leaked.
    unsafe { hypercall::page::install(&bare, GuestOsId::DEFAULT, frame) }
        .map_err(|why| Failure::new("hypercall page", why))?;
    // SAFETY: the page was just installed and stays so.
    let processor = unsafe { environment.with_hypercall_page(page.base()) };

    let mut pages = Vec::new();
    pages.push(page);
    let (boot_vp, synic) = start_synic(&processor, &*runtime, &discovery, &mut pages)?;
    Ok(Machine {
        processor,
        discovery,
        boot_vp,
        synic: Arc::new(synic),
        _pages: pages,
    })
}

fn allocate(runtime: &(impl Platform + ?Sized)) -> Result<SharedPages, Failure> {
    runtime
        .allocate_shared(1)
        .ok_or_else(|| Failure::new("memory", "no page for the hypervisor"))
}

/// Starts the SynIC of the processor that runs this.
fn start_synic<P: Processor>(
    processor: &P,
    runtime: &(impl Platform + ?Sized),
    discovery: &Discovery,
    pages: &mut Vec<SharedPages>,
) -> Result<(u32, Synic), Failure> {
    let vp = hypercall::vp_index(processor).map_err(|why| Failure::new("VP index", why))?;
    let (messages, flags) = (allocate(runtime)?, allocate(runtime)?);
    let page = |pages: &SharedPages| SynicPage {
        base: pages.base(),
        page_frame: runtime.page_frame(pages, 0),
    };
    let given = SynicPages {
        messages: page(&messages),
        event_flags: page(&flags),
    };
    // SAFETY: both pages are fresh and ours; they are kept until the end, then leaked. The vector has its handler
    // on every processor, and nothing moves this code to another one.
    let synic = unsafe { Synic::enable(processor, given, Source::vmbus(SYNIC_VECTOR, discovery)) }
        .map_err(|why| Failure::new("SynIC", why))?;
    pages.extend([messages, flags]);
    Ok((vp, synic))
}

impl<E: Environment> Machine<E> {
    /// Index of the boot processor.
    pub(super) fn boot_vp(&self) -> u32 {
        self.boot_vp
    }

    /// The boot processor for the bus.
    pub(super) fn boot_processor(&self) -> BusProcessor<E::Processor> {
        BusProcessor {
            vp_index: self.boot_vp,
            processor: self.processor.clone(),
            synic: Arc::clone(&self.synic),
        }
    }

    /// Starts the SynIC of every other processor and has it serve the bus.
    pub(super) fn start_other_processors(
        &mut self,
        environment: &E,
        bus: &EnvironmentBus<E>,
    ) -> Result<(), Failure> {
        let others = environment.processor_count().saturating_sub(1);
        let hook_bus = bus.clone();
        environment.on_interrupt(Arc::new(move |processor| hook_bus.dispatch(processor)));
        let started = Arc::new(AtomicU32::new(0));
        for index in 1..=others {
            let (bus, runtime) = (bus.clone(), environment.runtime());
            let (processor, discovery) = (self.processor.clone(), self.discovery);
            let started = Arc::clone(&started);
            let work = move || {
                let mut pages = Vec::new();
                match start_synic(&processor, &*runtime, &discovery, &mut pages) {
                    Ok((vp_index, synic)) => {
                        bus.add_processor(BusProcessor {
                            vp_index,
                            processor,
                            synic: Arc::new(synic),
                        });
                        started.fetch_add(1, Ordering::Release);
                    }
                    Err(Failure(why)) => log::error!("processor {index}: {why}"),
                }
                // The hypervisor has them from now on; dropping them leaks them.
                drop(pages);
            };
            environment
                .run_on(index, alloc::boxed::Box::new(work))
                .map_err(|why| Failure::new("processors", why))?;
        }
        let runtime = environment.runtime();
        let deadline = runtime.now().saturating_add(PATIENCE);
        while started.load(Ordering::Acquire) < others {
            if runtime.now() > deadline {
                return Err(Failure::new(
                    "processors",
                    "not all of them have started their SynIC",
                ));
            }
            runtime.idle();
        }
        tell(
            environment,
            "processors",
            format_args!("{}", others.saturating_add(1)),
        );
        Ok(())
    }

    /// Takes the boot processor's SynIC back, before the machine is powered off.
    ///
    /// # Safety
    /// Nothing uses that SynIC any more.
    pub(super) unsafe fn leave(self) {
        // SAFETY: the caller vouches that nothing needs the SynIC of this processor any more.
        let left =
            unsafe { hypercall::teardown::virtual_processor(&self.processor, &self.discovery) };
        if let Err(why) = left {
            log::warn!("leaving the SynIC: {why}");
        }
    }
}
