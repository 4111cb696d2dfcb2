//! What an adapter's channels, its handles and itself have in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::PacketInfo;

use super::buffers::Buffers;
use super::counters::{ChannelCounters, NetworkCounters};
use super::protocol::{Limits, State};
use super::settings::Settings;
use super::vlan::VlanMode;
use crate::net::{MacAddress, NetworkBackend};
use crate::vmbus::vsp::PollWaker;

/// Frames that wait for one channel.
const QUEUE_FRAMES: usize = 512;

/// A frame on its way to the guest.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) info: PacketInfo,
}

/// Frames that wait for one channel.
#[derive(Debug, Default)]
pub(super) struct ReceiveQueue(Mutex<VecDeque<Received>>);

impl ReceiveQueue {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in, or gives it back if there is no room. Tells whether it is the only one.
    pub(super) fn push(&self, received: Received) -> Result<bool, Received> {
        let mut queue = self.lock();
        if queue.len() >= QUEUE_FRAMES {
            return Err(received);
        }
        queue.push_back(received);
        Ok(queue.len() == 1)
    }
}

/// What an adapter is configured to be; constant.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) limits: Limits,
    pub(super) permanent_address: MacAddress,
    pub(super) allows_spoofing: bool,
    pub(super) large_send_v1: bool,
    pub(super) vlan: VlanMode,
    pub(super) friendly_name: String,
}

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) backend: Arc<dyn NetworkBackend>,
    buffers: RwLock<Buffers>,
    /// Replaced as a whole at each change.
    settings: Mutex<Arc<Settings>>,
    /// Counts the changes, so that channels notice one without taking the lock.
    generation: AtomicU64,
    channels: Mutex<Channels>,
    /// The operator has the cable plugged in.
    cable: AtomicBool,
    /// The guest is to be told that its network may be another one.
    network_changed: AtomicBool,
    /// The primary channel waits for room in another one's queue.
    primary_waits: AtomicBool,
    /// The guest's choice of an address outlives its channel.
    address: Mutex<MacAddress>,
}

#[derive(Default)]
struct Channels {
    open: Vec<OpenChannel>,
    /// Counters of channels that are closed.
    closed: NetworkCounters,
    next_id: u64,
    state: Option<State>,
    version: Option<Version>,
}

struct OpenChannel {
    id: u64,
    index: u16,
    waker: PollWaker,
    counters: Arc<ChannelCounters>,
    queue: Arc<ReceiveQueue>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(policy: Policy, backend: Arc<dyn NetworkBackend>) -> Self {
        let address = policy.permanent_address;
        Self {
            settings: Mutex::new(Arc::new(Settings::initial(address, policy.large_send_v1))),
            policy,
            backend,
            buffers: RwLock::default(),
            generation: AtomicU64::new(0),
            channels: Mutex::default(),
            cable: AtomicBool::new(true),
            network_changed: AtomicBool::new(false),
            primary_waits: AtomicBool::new(false),
            address: Mutex::new(address),
        }
    }

    /// The guest's buffers, for use.
    pub(super) fn buffers(&self) -> RwLockReadGuard<'_, Buffers> {
        self.buffers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest's buffers, to be changed: nobody uses them meanwhile.
    pub(super) fn buffers_mut(&self) -> RwLockWriteGuard<'_, Buffers> {
        self.buffers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings as they are now, with the generation that they are at least of.
    pub(super) fn settings(&self) -> (Arc<Settings>, u64) {
        let settings = lock(&self.settings);
        let generation = self.generation.load(Ordering::Acquire);
        (Arc::clone(&settings), generation)
    }

    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Publishes other settings.
    pub(super) fn publish(&self, settings: Settings) {
        *lock(&self.settings) = Arc::new(settings);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Whether frames can pass between the guest and its network.
    pub(super) fn is_link_up(&self) -> bool {
        self.is_cable_in() && self.backend.link().is_up
    }

    pub(super) fn is_cable_in(&self) -> bool {
        self.cable.load(Ordering::Acquire)
    }

    pub(super) fn set_cable(&self, is_in: bool) {
        self.cable.store(is_in, Ordering::Release);
        self.wake(0);
    }

    pub(super) fn note_network_change(&self) {
        self.network_changed.store(true, Ordering::Release);
        self.wake(0);
    }

    pub(super) fn take_network_change(&self) -> bool {
        self.network_changed.load(Ordering::Relaxed)
            && self.network_changed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn address(&self) -> MacAddress {
        *lock(&self.address)
    }

    pub(super) fn set_address(&self, address: MacAddress) {
        *lock(&self.address) = address;
    }

    /// Publishes how far the primary channel has come; `None` when it is closed.
    pub(super) fn set_state(&self, state: Option<State>, version: Option<Version>) {
        let mut channels = lock(&self.channels);
        channels.state = state;
        channels.version = version;
    }

    pub(super) fn state(&self) -> Option<State> {
        lock(&self.channels).state
    }

    pub(super) fn version(&self) -> Option<Version> {
        lock(&self.channels).version
    }

    /// Notes a channel that has been opened; the number is for [`closed`](Self::closed).
    pub(super) fn opened(
        &self,
        index: u16,
        waker: PollWaker,
        counters: Arc<ChannelCounters>,
        queue: Arc<ReceiveQueue>,
    ) -> u64 {
        let mut channels = lock(&self.channels);
        let id = channels.next_id;
        channels.next_id += 1;
        channels.open.push(OpenChannel {
            id,
            index,
            waker,
            counters,
            queue,
        });
        drop(channels);
        // It looks whether all sub-channels are open.
        self.wake(0);
        id
    }

    pub(super) fn closed(&self, id: u64) {
        let mut channels = lock(&self.channels);
        let Some(place) = channels.open.iter().position(|channel| channel.id == id) else {
            return;
        };
        let channel = channels.open.swap_remove(place);
        // Nobody finds the queue any more.
        let left = channel.queue.lock().drain(..).count();
        channel.counters.receive_discards.add(left as u64);
        channels.closed.add(&channel.counters.read());
        drop(channels);
        self.wake_waiting_primary();
    }

    /// The queue of a channel, if that is open.
    pub(super) fn queue(&self, index: u16) -> Option<(Arc<ReceiveQueue>, PollWaker)> {
        let channels = lock(&self.channels);
        let channel = channels
            .open
            .iter()
            .find(|channel| channel.index == index)?;
        Some((Arc::clone(&channel.queue), channel.waker.clone()))
    }

    /// Has a channel polled, if it is open.
    pub(super) fn wake(&self, index: u16) {
        if let Some((_, waker)) = self.queue(index) {
            waker.wake();
        }
    }

    /// Has these channels polled, as far as they are open.
    pub(super) fn wake_all(&self, indices: &[u16]) {
        for index in indices {
            self.wake(*index);
        }
    }

    /// Notes that the primary channel waits for room in a queue. It has to look once more afterwards.
    pub(super) fn set_primary_waits(&self) {
        self.primary_waits.store(true, Ordering::SeqCst);
    }

    /// Has the primary channel polled if it waits for room in a queue.
    pub(super) fn wake_waiting_primary(&self) {
        if self.primary_waits.load(Ordering::SeqCst)
            && self.primary_waits.swap(false, Ordering::SeqCst)
        {
            self.wake(0);
        }
    }

    /// Indices of the open channels, ascending.
    pub(super) fn open_channels(&self) -> Vec<u16> {
        let mut open: Vec<_> = lock(&self.channels)
            .open
            .iter()
            .map(|channel| channel.index)
            .collect();
        open.sort_unstable();
        open
    }

    pub(super) fn counters(&self) -> NetworkCounters {
        let channels = lock(&self.channels);
        let mut sum = channels.closed;
        for channel in &channels.open {
            sum.add(&channel.counters.read());
        }
        sum
    }
}
