//! The guest's request queue and the host's storage device on one channel, driven in turns by one thread.
//!
//! Nothing is left out but the hypervisor: the guest's ends of both rings, the host's ends over guest memory, the
//! device's validation of packets, ranges and commands, and the guest's of completions. Both ends mask and unmask
//! interrupts as they do when a hypervisor carries their signals.

use std::sync::Arc;

use host_sim::disk::DiskImage;
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vmbus::vsp::{
    ChannelIo, ChannelServices, GuestRing, NextPoll, OpenRequest, USER_DATA_SIZE, Vsp, VspChannel,
    drive,
};
use host_sim::vsp::storage::{StorageController, StorageHandle, StorageOptions};
use vmbus_core::guid::Guid;
use vmbus_core::packet::GpaRange;
use vmbus_core::ring::{IncomingRing, OutgoingRing};
use vmbus_core::version::ProtocolVersion;
use vsc_storage::init::{InitOptions, Initialisation, Negotiated, Progress};
use vsc_storage::queue::{Address, Data, Received, Request, RequestQueue};
use vsc_storage::scsi::{Cdb, Command, Transfer};

use super::images::{BLOCK, REQUEST, SIZE};

/// Pages of guest memory.
const MEMORY_PAGES: u64 = 256;
/// Pages of each ring, its control page included.
const RING_PAGES: u64 = 17;
/// First page of the guest's data.
const DATA_FRAME: u64 = 128;
/// Requests that can be in flight.
pub(crate) const MOST_IN_FLIGHT: usize = 64;
/// Bytes of the largest packet that the host sends.
const LARGEST_PACKET: usize = 512;

/// What every request of a round does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Reads 4 KiB.
    Read,
    /// Writes 4 KiB.
    Write,
}

/// Commands that cover a disk, one after the other.
pub(crate) struct Walk {
    next: u64,
    work: Work,
}

impl Walk {
    /// From the disk's beginning, over and over.
    pub(crate) fn new(work: Work) -> Self {
        Self { next: 0, work }
    }

    /// What the requests do.
    pub(crate) const fn work(&self) -> Work {
        self.work
    }

    /// The number of the next request's place, and its command.
    pub(crate) fn next(&mut self) -> (u64, Cdb) {
        let number = self.next;
        self.next = (number + 1) % (SIZE / REQUEST);
        let transfer = Transfer::new(number * REQUEST / BLOCK, (REQUEST / BLOCK) as u32);
        let command = match self.work {
            Work::Read => Command::Read(transfer),
            Work::Write => Command::Write(transfer),
        };
        (number, command.encode().expect("a small address"))
    }
}

/// Both ends of one channel.
pub(crate) struct OneThread {
    memory: GuestMemory,
    to_host: OutgoingRing<GuestRing>,
    from_host: IncomingRing<GuestRing>,
    queue: RequestQueue<usize>,
    /// Numbers of data pages that no request uses.
    free: Vec<usize>,
    host_incoming: IncomingRing<GuestRing>,
    host_outgoing: OutgoingRing<GuestRing>,
    device: Box<dyn VspChannel>,
    _handle: StorageHandle,
}

impl OneThread {
    /// A controller with this disk, initialised at its newest version.
    pub(crate) fn new(image: Arc<dyn DiskImage>) -> Self {
        let memory = GuestMemory::new(MEMORY_PAGES * PAGE_SIZE).expect("guest memory");
        let mut controller =
            StorageController::new(StorageOptions::scsi(Guid::ZERO)).expect("valid options");
        let handle = controller.handle();
        handle.add_lun(0, image).expect("a suitable image");
        let request = OpenRequest {
            sub_channel_index: 0,
            user_data: [0; USER_DATA_SIZE],
            vmbus_version: ProtocolVersion::NEWEST,
            vp: 0,
        };
        let device = controller
            .open(request, ChannelServices::inert())
            .expect("a fresh controller");
        let ring = |first: u64| {
            let frames: Vec<u64> = (first..first + RING_PAGES).collect();
            GuestRing::new(&memory, &frames).expect("RAM")
        };
        let (out, back) = (1, 1 + RING_PAGES);
        let mut this = Self {
            to_host: OutgoingRing::initialise(ring(out)),
            from_host: IncomingRing::initialise(ring(back)),
            host_incoming: IncomingRing::attach(ring(out)).expect("a fresh ring"),
            host_outgoing: OutgoingRing::attach(ring(back)).expect("a fresh ring"),
            memory,
            queue: RequestQueue::new(0, InitOptions::default().newest, 0).expect("memory"),
            free: (0..MOST_IN_FLIGHT).collect(),
            device,
            _handle: handle,
        };
        let negotiated = this.initialise();
        let limit = negotiated.max_transfer_bytes;
        this.queue = RequestQueue::new(MOST_IN_FLIGHT, negotiated.version, limit).expect("memory");
        this.check();
        this
    }

    fn initialise(&mut self) -> Negotiated {
        let mut init = Initialisation::new(InitOptions::default());
        let mut buffer = [0; LARGEST_PACKET];
        loop {
            let _ = init.send(&mut self.to_host).expect("room");
            self.drive();
            let mut batch = self.from_host.batch().expect("a sound ring");
            let packet = batch.next(&mut buffer).expect("a sound ring");
            let progress = init.receive(&packet.expect("an answer"));
            let _ = batch.commit();
            if let Progress::Ready(negotiated) = progress.expect("a sound answer") {
                return negotiated;
            }
        }
    }

    /// Reads the first requests of the disk and looks at what came.
    fn check(&mut self) {
        // A fresh disk reports its power-on first.
        self.round(&mut Walk::new(Work::Read), 1, false);
        self.free = (0..MOST_IN_FLIGHT).rev().collect();
        self.round(&mut Walk::new(Work::Read), MOST_IN_FLIGHT, true);
        for page in 0..MOST_IN_FLIGHT as u64 {
            let mut word = [0; 8];
            let at = (DATA_FRAME + page) * PAGE_SIZE + PAGE_SIZE - 8;
            self.memory.read(at, &mut word).expect("RAM");
            assert_eq!(u64::from_le_bytes(word), page, "content of request {page}");
        }
        self.free.sort_unstable();
    }

    /// Submits `depth` requests with one commit, has the host serve them, and takes the completions. Each has to be
    /// a success of 4096 bytes.
    #[inline]
    pub(crate) fn run(&mut self, walk: &mut Walk, depth: usize) {
        self.round(walk, depth, true);
    }

    #[inline]
    fn round(&mut self, walk: &mut Walk, depth: usize, succeed: bool) {
        let mut batch = self.to_host.batch().expect("a sound ring");
        for _ in 0..depth {
            let (_, command) = walk.next();
            let page = self.free.pop().expect("a free page");
            let frames = [DATA_FRAME + page as u64];
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
        let _ = batch.commit();
        self.drive();
        self.reap(depth, succeed);
    }

    /// The host's turns, until its device sleeps.
    #[inline]
    fn drive(&mut self) {
        loop {
            let mut io = ChannelIo::new(
                &mut self.host_incoming,
                &mut self.host_outgoing,
                &self.memory,
                0,
            );
            match drive(&mut *self.device, &mut io).expect("a sound guest") {
                NextPoll::Now => {}
                NextPoll::OnSignal => return,
                NextPoll::At(time) => panic!("the device waits for the time {time}"),
            }
        }
    }

    /// Takes `count` completions.
    #[inline]
    fn reap(&mut self, count: usize, succeed: bool) {
        let mut buffer = [0; LARGEST_PACKET];
        let mut reaped = 0;
        self.from_host.mask_interrupts();
        let mut batch = self.from_host.batch().expect("a sound ring");
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
        let _ = batch.commit();
        let more = self.from_host.unmask_interrupts().expect("a sound ring");
        assert!(reaped == count && !more, "{reaped} completions of {count}");
    }
}
