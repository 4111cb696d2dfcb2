//! A guest's memory and its adapter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vmbus_core::protocol::{ChannelId, GpadlId};
use vmbus_core::ring::{IncomingRing, OutgoingRing};
use vmbus_core::version::ProtocolVersion;

use super::channel::TestChannel;
use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::net::NetworkBackend;
use crate::vmbus::gpadl::{Gpadl, GpadlRange};
use crate::vmbus::vsp::{
    ChannelServices, GpadlLookup, GuestRing, LentMemory, OpenRefused, OpenRequest, PollWaker,
    SubChannelRequest, USER_DATA_SIZE, Vsp,
};
use crate::vsp::network::{NetworkAdapter, NetworkHandle, NetworkOptions};

/// Pages of guest memory: 64 MiB.
const MEMORY_PAGES: u64 = 16384;
/// Pages in each ring of a channel by default: a control page and 124 KiB of data.
const RING_PAGES: u64 = 32;

/// A guest with one adapter.
pub struct Machine {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The device.
    pub adapter: NetworkAdapter,
    /// Its handle.
    pub handle: NetworkHandle,
    /// Sub-channels that the device last asked the server to offer.
    pub sub_channels_offered: Arc<AtomicU16>,
    /// GPADLs that the device uses.
    pub lent: Arc<AtomicUsize>,
    /// Time that polls are told, in 100 ns units.
    pub now: Arc<AtomicU64>,
    /// The version of the bus that channels are opened with.
    pub vmbus_version: ProtocolVersion,
    gpadls: Arc<Mutex<BTreeMap<GpadlId, Arc<Gpadl>>>>,
    next_page: u64,
}

impl Machine {
    /// A guest with an adapter that is plugged into this.
    ///
    /// # Panics
    /// If the options are refused or memory is short.
    #[must_use]
    pub fn new(options: NetworkOptions, backend: Arc<dyn NetworkBackend>) -> Self {
        let adapter = NetworkAdapter::new(options, backend).expect("valid options");
        Self {
            memory: GuestMemory::new(MEMORY_PAGES * PAGE_SIZE).expect("guest memory"),
            handle: adapter.handle(),
            adapter,
            sub_channels_offered: Arc::default(),
            lent: Arc::default(),
            now: Arc::default(),
            vmbus_version: ProtocolVersion::V5_3,
            gpadls: Arc::default(),
            next_page: 16,
        }
    }

    /// Takes unused pages; returns the first one's frame.
    ///
    /// # Panics
    /// If none are left.
    pub fn allocate(&mut self, pages: u64) -> u64 {
        let first = self.next_page;
        self.next_page += pages;
        assert!(self.next_page <= MEMORY_PAGES, "guest memory");
        first
    }

    /// Lends pages: returns the GPADL's id and the first page's frame.
    ///
    /// # Panics
    /// If no pages are left.
    pub fn lend(&mut self, pages: u64) -> (u32, u64) {
        let first = self.allocate(pages);
        let frames = (first..first + pages).collect();
        let ranges = vec![GpadlRange {
            byte_count: (pages * PAGE_SIZE) as u32,
            byte_offset: 0,
            page_frames: frames,
        }];
        (self.lend_ranges(ranges), first)
    }

    /// Lends any ranges; returns the GPADL's id.
    pub fn lend_ranges(&mut self, ranges: Vec<GpadlRange>) -> u32 {
        let mut gpadls = self.gpadls.lock().unwrap_or_else(PoisonError::into_inner);
        let id = 0xE1E10 + gpadls.len() as u32;
        let gpadl = Gpadl {
            channel_id: ChannelId(1),
            ranges,
        };
        gpadls.insert(GpadlId(id), Arc::new(gpadl));
        id
    }

    /// Opens a channel: 0 for the primary one.
    ///
    /// # Errors
    /// The device refuses.
    pub fn open(&mut self, index: u16) -> Result<TestChannel, OpenRefused> {
        self.open_with_rings(index, RING_PAGES, RING_PAGES)
    }

    /// Opens a channel with rings of so many pages, their control pages included.
    ///
    /// # Errors
    /// The device refuses.
    ///
    /// # Panics
    /// If guest memory is used up or the pages cannot be rings.
    pub fn open_with_rings(
        &mut self,
        index: u16,
        to_host: u64,
        to_guest: u64,
    ) -> Result<TestChannel, OpenRefused> {
        let woken = Arc::new(AtomicBool::new(false));
        let services = self.services(&woken);
        let request = OpenRequest {
            sub_channel_index: index,
            user_data: [0; USER_DATA_SIZE],
            vmbus_version: self.vmbus_version,
            vp: 0,
        };
        let channel = self.adapter.open(request, services)?;
        let frames = |first: u64, count: u64| (first..first + count).collect::<Vec<_>>();
        let to_host = frames(self.allocate(to_host), to_host);
        let to_guest = frames(self.allocate(to_guest), to_guest);
        let ring = |frames: &[u64]| GuestRing::new(&self.memory, frames).expect("ring pages");
        Ok(TestChannel {
            to_host: OutgoingRing::initialise(ring(&to_host)),
            from_host: IncomingRing::initialise(ring(&to_guest)),
            host_incoming: IncomingRing::attach(ring(&to_host)).expect("fresh ring"),
            host_outgoing: OutgoingRing::attach(ring(&to_guest)).expect("fresh ring"),
            memory: self.memory.clone(),
            channel,
            woken,
            now: Arc::clone(&self.now),
            signals: 0,
        })
    }

    fn services(&self, woken: &Arc<AtomicBool>) -> ChannelServices {
        let wake = Arc::clone(woken);
        let offered = Arc::clone(&self.sub_channels_offered);
        let (memory, gpadls) = (self.memory.clone(), Arc::clone(&self.gpadls));
        let lent = Arc::clone(&self.lent);
        ChannelServices {
            waker: PollWaker::new(move || wake.store(true, Ordering::Release)),
            sub_channels: SubChannelRequest::new(move |count| {
                offered.store(count, Ordering::Release);
            }),
            gpadls: GpadlLookup::new(move |id| {
                let gpadls = gpadls.lock().unwrap_or_else(PoisonError::into_inner);
                let gpadl = Arc::clone(gpadls.get(&id)?);
                lent.fetch_add(1, Ordering::AcqRel);
                let ended = Arc::clone(&lent);
                Some(LentMemory::new(memory.clone(), gpadl, move || {
                    ended.fetch_sub(1, Ordering::AcqRel);
                }))
            }),
        }
    }
}
