//! A guest's virtual processor and the host's worker as two threads, everything between them included.
//!
//! The guest connects to VMBus through the hypervisor shim of an in-process partition, opens the storage controller
//! and drives its request queue as a kernel's driver does: it submits as many requests as are free with one commit,
//! takes what has been completed with interrupts masked, and idles with interrupts unmasked when there is nothing
//! to take. Signals are hypercalls and SynIC event flags.

use std::sync::Arc;

use host_sim::disk::DiskImage;
use host_sim::host::{Host, HostOptions, Place, SCSI_INSTANCE, StorageDevice, Traffic};
use host_sim::memory::PAGE_SIZE;
use host_sim::partition::inproc::{InprocConfig, InprocPartition, InprocProcessor, InprocRuntime};
use hypercall::cpuid::Discovery;
use hypercall::identity::GuestOsId;
use hypercall::synic::{Source, Synic, SynicPage, SynicPages};
use vmbus_core::bus::{Bus, BusOptions, BusProcessor, OpenOptions};
use vmbus_core::channel::Channel;
use vmbus_core::executor::block_on;
use vmbus_core::packet::GpaRange;
use vmbus_core::platform::{Platform, Runtime, SharedPages};
use vsc_storage::init::{InitOptions, Initialisation, Negotiated, Progress};
use vsc_storage::queue::{Address, Data, Received, Request, RequestQueue};

use super::images::REQUEST;
use super::one_thread::{Walk, Work};

/// Bytes of guest memory.
const MEMORY: u64 = 16 << 20;
/// Pages of each ring, its control page included.
const RING_PAGES: u32 = 33;
/// Requests in flight.
pub(crate) const DEPTH: usize = 64;
/// Bytes of the largest packet that the host sends.
const LARGEST_PACKET: usize = 512;
/// Where SynIC interrupts arrive.
const VECTOR: u8 = 0xF3;

type GuestChannel = Channel<InprocRuntime, InprocProcessor>;

/// The guest's side, with the machine and the host behind it.
pub(crate) struct TwoThreads {
    channel: GuestChannel,
    bus: Bus<InprocRuntime, InprocProcessor>,
    runtime: Arc<InprocRuntime>,
    queue: RequestQueue<usize>,
    data: SharedPages,
    /// Numbers of data pages that no request uses.
    free: Vec<usize>,
    host: Host,
    partition: InprocPartition,
    _synic: [SharedPages; 3],
}

impl TwoThreads {
    /// Brings everything up. The calling thread becomes virtual processor 0.
    pub(crate) fn new(image: Arc<dyn DiskImage>) -> Self {
        let partition =
            InprocPartition::new(InprocConfig::threaded(MEMORY, 1)).expect("a partition");
        let options = HostOptions {
            storage: vec![(Place::lun(0), StorageDevice::disk(image))],
            ..HostOptions::default()
        };
        let host = Host::new(partition.hv(), partition.memory(), options).expect("a host");
        let (processor, runtime) = (partition.processor(0), partition.runtime(0));
        let pages = [(); 3].map(|()| runtime.allocate_shared(1).expect("memory"));
        let synic = enable_synic(&processor, &runtime, &pages);
        let bus_processor = BusProcessor {
            vp_index: 0,
            processor,
            synic: Arc::new(synic),
        };
        let connect = Bus::connect(runtime.clone(), bus_processor, BusOptions::default());
        let bus = block_on(&*runtime, connect, || {}).expect("a connection");
        let channel = open(&bus, &runtime);
        let data = runtime.allocate_shared(DEPTH).expect("memory");
        let mut this = Self {
            channel,
            bus,
            runtime,
            queue: RequestQueue::new(0, InitOptions::default().newest, 0).expect("memory"),
            data,
            free: (0..DEPTH).collect(),
            host,
            partition,
            _synic: pages,
        };
        let negotiated = this.initialise();
        let limit = negotiated.max_transfer_bytes;
        this.queue = RequestQueue::new(DEPTH, negotiated.version, limit).expect("memory");
        this.check();
        this
    }

    fn initialise(&mut self) -> Negotiated {
        let mut init = Initialisation::new(InitOptions::default());
        let mut buffer = [0; LARGEST_PACKET];
        loop {
            let signal = init.send(self.channel.rings().0).expect("room");
            self.channel.signal_host(signal);
            loop {
                let mut batch = self.channel.rings().1.batch().expect("a sound ring");
                let packet = batch.next(&mut buffer).expect("a sound ring");
                let progress = packet.map(|packet| init.receive(&packet));
                let signal = batch.commit();
                self.channel.signal_host(signal);
                match progress.map(|progress| progress.expect("a sound answer")) {
                    Some(Progress::Ready(negotiated)) => return negotiated,
                    Some(Progress::Send) => break,
                    _ => self.idle(),
                }
            }
        }
    }

    /// Reads the disk's first requests and looks at what came.
    fn check(&mut self) {
        // A fresh disk reports its power-on first.
        self.transfer(&mut Walk::new(Work::Read), 1, false);
        self.free = (0..DEPTH).rev().collect();
        self.run(&mut Walk::new(Work::Read), DEPTH);
        let first = self.runtime.page_frame(&self.data, 0) * PAGE_SIZE;
        for page in 0..DEPTH as u64 {
            let mut word = [0; 8];
            let at = first + page * PAGE_SIZE + PAGE_SIZE - 8;
            self.partition.memory().read(at, &mut word).expect("RAM");
            assert_eq!(u64::from_le_bytes(word), page, "content of request {page}");
        }
    }

    /// What has crossed between guest and host so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.host.traffic()
    }

    /// Transfers `count` requests of 4 KiB, up to [`DEPTH`] of them in flight. Each has to succeed.
    pub(crate) fn run(&mut self, walk: &mut Walk, count: usize) {
        self.transfer(walk, count, true);
    }

    fn transfer(&mut self, walk: &mut Walk, count: usize, succeed: bool) {
        let (mut unsent, mut unfinished) = (count, count);
        self.channel.rings().1.mask_interrupts();
        while unfinished != 0 {
            unsent -= self.submit(walk, unsent);
            let reaped = self.reap(succeed);
            unfinished -= reaped;
            if reaped == 0
                && !self
                    .channel
                    .rings()
                    .1
                    .unmask_interrupts()
                    .expect("a sound ring")
            {
                self.idle();
            }
        }
    }

    /// Submits as many requests as are free, at most `most`, with one commit.
    fn submit(&mut self, walk: &mut Walk, most: usize) -> usize {
        let count = most.min(self.free.len());
        if count == 0 {
            return 0;
        }
        let first = self.runtime.page_frame(&self.data, 0);
        let mut batch = self.channel.rings().0.batch().expect("a sound ring");
        for _ in 0..count {
            let (_, command) = walk.next();
            let page = self.free.pop().expect("a free page");
            let frames = [first + page as u64];
            let range = GpaRange {
                byte_count: REQUEST as u32,
                byte_offset: 0,
                page_frames: &frames,
            };
            let data = match walk.work() {
                Work::Read => Data::In(range),
                Work::Write => Data::Out(range),
            };
            let request = Request::new(Address::default(), command, data);
            self.queue
                .submit(&mut batch, &request, page)
                .expect("room for a request");
        }
        let signal = batch.commit();
        self.channel.signal_host(signal);
        count
    }

    /// Takes the completions that are there.
    fn reap(&mut self, succeed: bool) -> usize {
        let mut buffer = [0; LARGEST_PACKET];
        let mut reaped = 0;
        let mut batch = self.channel.rings().1.batch().expect("a sound ring");
        while let Some(packet) = batch.next(&mut buffer).expect("a sound packet") {
            let Received::Completed(completion) = self.queue.receive(&packet) else {
                panic!("a packet that completes nothing");
            };
            let good = completion.outcome.result.is_ok()
                && u64::from(completion.outcome.transferred) == REQUEST;
            assert!(good || !succeed, "{:?}", completion.outcome);
            self.free.push(completion.context);
            reaped += 1;
        }
        let signal = batch.commit();
        self.channel.signal_host(signal);
        reaped
    }

    fn idle(&self) {
        self.runtime.idle();
        self.bus.dispatch(0);
    }
}

fn enable_synic(
    processor: &InprocProcessor,
    runtime: &InprocRuntime,
    pages: &[SharedPages; 3],
) -> Synic {
    let discovery = Discovery::read(processor).expect("a hypervisor");
    let [hypercalls, messages, flags] = pages;
    let frame = runtime.page_frame(hypercalls, 0);
    // SAFETY: the page is ours and kept as long as the partition.
    unsafe { hypercall::page::install(processor, GuestOsId::DEFAULT, frame) }
        .expect("a hypercall page");
    let page = |pages: &SharedPages| SynicPage {
        base: pages.base(),
        page_frame: runtime.page_frame(pages, 0),
    };
    let given = SynicPages {
        messages: page(messages),
        event_flags: page(flags),
    };
    // SAFETY: both pages are ours and kept as long as the partition; interrupts only end the processor's idling.
    unsafe { Synic::enable(processor, given, Source::vmbus(VECTOR, &discovery)) }.expect("a SynIC")
}

fn open(bus: &Bus<InprocRuntime, InprocProcessor>, runtime: &Arc<InprocRuntime>) -> GuestChannel {
    let options = OpenOptions {
        outgoing_pages: RING_PAGES,
        incoming_pages: RING_PAGES,
        max_packet: LARGEST_PACKET,
        ..OpenOptions::default()
    };
    let opening = async {
        let offers = bus.enumerate().await.expect("offers");
        let offer = offers
            .iter()
            .find(|offer| offer.instance() == SCSI_INSTANCE)
            .expect("the controller's offer");
        bus.open(offer, options).await.expect("an open channel")
    };
    block_on(&**runtime, opening, || bus.dispatch(0))
}
