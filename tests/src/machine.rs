//! Virtual processors of an in-process partition as a kernel would have them: hypercall page installed, SynIC on.

use std::sync::Arc;

use host_sim::partition::inproc::{InprocPartition, InprocProcessor, InprocRuntime};
use hypercall::cpuid::Discovery;
use hypercall::identity::GuestOsId;
use hypercall::synic::{Source, Synic, SynicPage, SynicPages};
use hypercall::{page, teardown};
use vmbus_core::bus::{Bus, BusProcessor};
use vmbus_core::platform::{Platform, SharedPages};

/// The vector of VMBus interrupts; any would do.
pub const VECTOR: u8 = 0xF3;

/// A bus of an in-process guest.
pub type InprocBus = Bus<InprocRuntime, InprocProcessor>;

/// A page that the hypervisor is given for a while.
struct LentPage {
    runtime: Arc<InprocRuntime>,
    pages: SharedPages,
}

impl LentPage {
    fn new(runtime: &Arc<InprocRuntime>) -> Self {
        let pages = runtime
            .allocate_shared(1)
            .expect("a page for the hypervisor");
        Self {
            runtime: runtime.clone(),
            pages,
        }
    }

    fn frame(&self) -> u64 {
        self.runtime.page_frame(&self.pages, 0)
    }

    fn as_synic_page(&self) -> SynicPage {
        SynicPage {
            base: self.pages.base(),
            page_frame: self.frame(),
        }
    }

    /// Frees the page, which the hypervisor must have given back.
    fn free(self) {
        // SAFETY: the page is from this runtime, and the caller has taken it back from the hypervisor, which alone
        // accessed it beside atomics of values that are gone by now.
        unsafe { self.runtime.free_shared(self.pages) };
    }
}

/// One virtual processor with its SynIC on.
struct Vp {
    processor: InprocProcessor,
    synic: Arc<Synic>,
    pages: [LentPage; 2],
}

/// The virtual processors of a guest, ready for a bus.
pub struct Machine {
    discovery: Discovery,
    hypercall_page: LentPage,
    vps: Vec<Vp>,
}

impl Machine {
    /// Switches on what a bus needs, on every virtual processor of the partition.
    ///
    /// # Panics
    /// The hypervisor refuses any of it.
    #[must_use]
    pub fn start(partition: &InprocPartition) -> Self {
        let first = partition.processor(0);
        let discovery = Discovery::read(&first).expect("a hypervisor");
        assert!(discovery.supports_vmbus());
        let hypercall_page = LentPage::new(&partition.runtime(0));
        // SAFETY: the page was allocated for this alone and stays until `stop` has removed it.
        unsafe { page::install(&first, GuestOsId::DEFAULT, hypercall_page.frame()) }
            .expect("a hypercall page");
        let vps = (0..partition.vp_count())
            .map(|vp| {
                partition.set_online(vp, true);
                Vp::start(partition, vp, &discovery)
            })
            .collect();
        Self {
            discovery,
            hypercall_page,
            vps,
        }
    }

    /// A virtual processor as a bus wants it.
    ///
    /// # Panics
    /// There is no such processor.
    #[must_use]
    pub fn bus_processor(&self, vp: u32) -> BusProcessor<InprocProcessor> {
        let found = &self.vps[vp as usize];
        BusProcessor {
            vp_index: vp,
            processor: found.processor.clone(),
            synic: found.synic.clone(),
        }
    }

    /// Adds all processors but the first to a bus, which has that one already.
    pub fn add_others(&self, bus: &InprocBus) {
        for vp in 1..self.vps.len() {
            bus.add_processor(self.bus_processor(u32::try_from(vp).expect("few processors")));
        }
    }

    /// Switches everything off and frees the pages. Nobody may use a bus on these processors any more.
    ///
    /// # Panics
    /// A register refuses, or somebody still has a SynIC.
    pub fn stop(self) {
        for vp in &self.vps {
            assert_eq!(Arc::strong_count(&vp.synic), 1, "a bus still has the SynIC");
            // SAFETY: the assertion shows that nobody uses the SynIC; there are no interrupt handlers in process.
            unsafe { teardown::virtual_processor(&vp.processor, &self.discovery) }
                .expect("the processor's pages back");
        }
        let first = &self.vps[0].processor;
        // SAFETY: all processors are torn down, and no bus makes hypercalls any more.
        unsafe { teardown::partition(first, &self.discovery) }.expect("the hypercall page back");
        self.hypercall_page.free();
        for vp in self.vps {
            drop(vp.synic);
            for page in vp.pages {
                page.free();
            }
        }
    }
}

impl Vp {
    fn start(partition: &InprocPartition, vp: u32, discovery: &Discovery) -> Self {
        let runtime = partition.runtime(vp);
        let processor = partition.processor(vp);
        let pages = [LentPage::new(&runtime), LentPage::new(&runtime)];
        let synic_pages = SynicPages {
            messages: pages[0].as_synic_page(),
            event_flags: pages[1].as_synic_page(),
        };
        let source = Source::vmbus(VECTOR, discovery);
        // SAFETY: both pages were allocated for this alone and stay until `Machine::stop`; interrupts are only
        // recorded, so there is no handler to be in place.
        let synic = unsafe { Synic::enable(&processor, synic_pages, source) }.expect("a SynIC");
        Self {
            processor,
            synic: Arc::new(synic),
            pages,
        }
    }
}
