//! What a controller's channels, its handles and itself have in common.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmbus_core::guid::Guid;
use vsc_storage::wire::Version;

use super::counters::{ChannelCounters, StorageCounters};
use super::protocol::{Limits, State};
use crate::vmbus::vsp::PollWaker;
use crate::vsp::scsi::{Address, Outcome, Unit, UnitTable};

/// A command that has been executed, for an [`Observer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// 0 for the primary channel, else the sub-channel's number.
    pub channel: u16,
    /// Transaction id of the request.
    pub transaction_id: u64,
    /// Whom it was for.
    pub address: Address,
    /// The command.
    pub cdb: [u8; 16],
    /// How it ended.
    pub outcome: Outcome,
    /// When its completion was written or, with a full ring, readied: 100 ns units.
    pub now: u64,
}

/// Is told of every command that has been executed: tracing, simulation, fault tests. Called from the
/// channel's poll; must not block.
pub type Observer = Arc<dyn Fn(&CommandRecord) + Send + Sync>;

/// What a controller's channels, its handles and itself have in common.
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// The controller's instance.
    pub(super) instance: Guid,
    /// Replaced as a whole at each change.
    units: Mutex<Arc<UnitTable>>,
    /// Counts the changes, so that channels notice one without taking the lock.
    generation: AtomicU64,
    /// The guest has to be told that the set of disks changed.
    bus_changed: AtomicBool,
    /// The initialisation is complete.
    ready: AtomicBool,
    /// Version word in force; 0 before one is.
    version: AtomicU16,
    channels: Mutex<Channels>,
    /// Commands that wait for space on the host, on all channels.
    pub(super) waiting: Gauge,
    /// Counts the times that commands which wait for space were to be tried again at once.
    resumes: AtomicU64,
}

/// A number that several threads change.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Channels {
    open: Vec<OpenChannel>,
    /// Counters of channels that are closed.
    closed: StorageCounters,
    next_id: u64,
    state: Option<State>,
}

struct OpenChannel {
    id: u64,
    index: u16,
    waker: PollWaker,
    counters: Arc<ChannelCounters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(limits: Limits, instance: Guid, units: UnitTable) -> Self {
        Self {
            limits,
            instance,
            units: Mutex::new(Arc::new(units)),
            generation: AtomicU64::new(0),
            bus_changed: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            version: AtomicU16::new(0),
            channels: Mutex::default(),
            waiting: Gauge::default(),
            resumes: AtomicU64::new(0),
        }
    }

    /// The disks as they are now, with the generation that they are at least of.
    pub(super) fn units(&self) -> (Arc<UnitTable>, u64) {
        let units = lock(&self.units);
        (Arc::clone(&units), self.generation.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes the set of disks, and has every open channel look at it. `announce`: tell the guest to look, too.
    pub(super) fn change_units<R>(
        &self,
        announce: bool,
        change: impl FnOnce(&mut UnitTable) -> R,
    ) -> R {
        let mut units = lock(&self.units);
        let mut changed = UnitTable::clone(&units);
        let result = change(&mut changed);
        *units = Arc::new(changed);
        self.generation.fetch_add(1, Ordering::Release);
        drop(units);
        // Commands that wait for space may belong to what is gone now.
        self.resumes.fetch_add(1, Ordering::Release);
        if announce {
            self.note_bus_change();
        }
        self.wake_all();
        result
    }

    /// Has commands that wait for space tried again at once.
    pub(super) fn resume(&self) {
        self.resumes.fetch_add(1, Ordering::Release);
        self.wake_all();
    }

    pub(super) fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Acquire)
    }

    /// Notes that the guest has to be told of a change.
    pub(super) fn note_bus_change(&self) {
        self.bus_changed.store(true, Ordering::Release);
    }

    /// Takes the note that the guest has to be told of a change.
    pub(super) fn take_bus_change(&self) -> bool {
        self.bus_changed.swap(false, Ordering::AcqRel)
    }

    #[inline]
    pub(super) fn has_bus_change(&self) -> bool {
        self.bus_changed.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The version in force, the newest before one is.
    #[inline]
    pub(super) fn version(&self) -> Version {
        self.agreed_version().unwrap_or(Version::Win10)
    }

    #[inline]
    pub(super) fn agreed_version(&self) -> Option<Version> {
        match self.version.load(Ordering::Relaxed) {
            0 => None,
            word => Version::try_from(word).ok(),
        }
    }

    /// Publishes how far the primary channel's initialisation has come; `None` when it is closed.
    pub(super) fn set_state(&self, state: Option<State>, version: Option<Version>) {
        self.version
            .store(version.map_or(0, Version::wire), Ordering::Relaxed);
        self.ready
            .store(state == Some(State::Ready), Ordering::Release);
        lock(&self.channels).state = state;
    }

    pub(super) fn state(&self) -> Option<State> {
        lock(&self.channels).state
    }

    /// The primary channel is closed: what the guest wrote survives whatever happens to the host from now on, and
    /// drives that it had locked are free.
    pub(super) fn guest_left(&self) {
        for (lun, unit) in self.units().0.iter() {
            let disk = match unit {
                Unit::Disk(disk) => disk,
                Unit::Optical(drive) => {
                    drive.release();
                    continue;
                }
            };
            let info = disk.image().info();
            if info.volatile_cache
                && !info.read_only
                && let Err(error) = disk.image().flush()
            {
                tracing::warn!(lun, %error, "flush at close failed");
            }
        }
    }

    /// Notes a channel that has been opened; the number is for [`closed`](Self::closed).
    pub(super) fn opened(
        &self,
        index: u16,
        waker: PollWaker,
        counters: Arc<ChannelCounters>,
    ) -> u64 {
        let mut channels = lock(&self.channels);
        let id = channels.next_id;
        channels.next_id += 1;
        channels.open.push(OpenChannel {
            id,
            index,
            waker,
            counters,
        });
        id
    }

    pub(super) fn closed(&self, id: u64) {
        let mut channels = lock(&self.channels);
        let Some(place) = channels.open.iter().position(|channel| channel.id == id) else {
            return;
        };
        let channel = channels.open.swap_remove(place);
        channels.closed.add(&channel.counters.read());
    }

    /// Has every open channel polled.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<_> = lock(&self.channels)
            .open
            .iter()
            .map(|channel| channel.waker.clone())
            .collect();
        // Without the lock: a waker may poll at once.
        for waker in wakers {
            waker.wake();
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

    pub(super) fn counters(&self) -> StorageCounters {
        let channels = lock(&self.channels);
        let mut sum = channels.closed;
        for channel in &channels.open {
            sum.add(&channel.counters.read());
        }
        sum
    }
}
