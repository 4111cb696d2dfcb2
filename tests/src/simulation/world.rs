//! What the guest's tasks share with each other and with the simulation.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, Waker};

use host_sim::partition::inproc::InprocRuntime;
use vmbus_core::platform::Runtime;
use vsc_storage::front::{Disk, LaneStatistics};

use super::log::{Entry, Log};
use super::model::{Model, Moment};
use super::plan::Plan;
use super::tasks::TaskFuture;
use crate::random::Random;

/// A disk that the guest has found.
#[derive(Clone)]
pub struct Found {
    /// Different for each time that a disk is found.
    pub generation: u64,
    /// The controller that has it.
    pub controller: u64,
    /// The disk.
    pub disk: Disk,
}

/// What the guest's storage driver has counted, over all controllers that are closed.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Totals {
    /// Controllers that were brought up.
    pub controllers: u64,
    /// Operations that succeeded.
    pub succeeded: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Requests put into rings.
    pub submitted: u64,
    /// Requests completed.
    pub completed: u64,
    /// Requests cancelled.
    pub cancelled: u64,
    /// Times that a ring was full.
    pub ring_full: u64,
    /// Times that the host was signalled.
    pub signals: u64,
    /// Sub-channels that were opened.
    pub sub_channels: u64,
    /// Heartbeats answered.
    pub beats: u64,
}

impl Totals {
    /// Adds what a channel has counted in its life, and checks that it makes sense.
    ///
    /// # Panics
    /// It doesn't.
    pub fn add_lane(&mut self, lane: &LaneStatistics) {
        assert_eq!(lane.failure, None, "the host broke a ring");
        assert_eq!(lane.outstanding, 0, "requests outlived their channel");
        let queue = &lane.queue;
        assert_eq!(queue.dropped(), 0, "packets dropped: {queue:?}");
        assert_eq!(
            queue.clamped, 0,
            "completions with too much data: {queue:?}"
        );
        assert_eq!(
            queue.submitted,
            queue.completed + queue.cancelled,
            "each request ends once: {queue:?}"
        );
        self.submitted += queue.submitted;
        self.completed += queue.completed;
        self.cancelled += queue.cancelled;
        self.ring_full += queue.ring_full;
        self.signals += lane.signals;
    }
}

/// Shared by everything in a simulation. All on one thread.
pub struct World {
    /// What the seed has decided.
    pub plan: Plan,
    /// The transcript.
    pub log: RefCell<Log>,
    /// What the disks may hold.
    pub models: RefCell<Vec<Model>>,
    /// The guest's own random choices.
    pub random: RefCell<Random>,
    /// What was counted.
    pub totals: RefCell<Totals>,
    /// Tasks to be added.
    pub spawned: RefCell<Vec<(String, TaskFuture)>>,
    /// Workers that have not ended.
    pub workers: Cell<u16>,
    /// Controllers and services that have not ended.
    pub devices: Cell<u32>,
    /// Operations under way.
    pub under_way: Cell<u32>,
    /// The host is pleasant from here on.
    pub calm: Cell<bool>,
    /// Everything has been verified: devices are to be closed.
    pub stop: Cell<bool>,
    runtime: Arc<InprocRuntime>,
    moment: Cell<Moment>,
    operations: Cell<u32>,
    next_operation: Cell<u32>,
    generation: Cell<u64>,
    disks: RefCell<Vec<Option<Found>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl World {
    /// The world before anything has happened.
    #[must_use]
    pub fn new(plan: Plan, runtime: Arc<InprocRuntime>, log: Log, random: Random) -> Self {
        let model = |lun| Model::new(lun, plan.block_size, plan.blocks);
        Self {
            log: RefCell::new(log),
            models: RefCell::new((0..plan.luns).map(model).collect()),
            random: RefCell::new(random),
            totals: RefCell::default(),
            spawned: RefCell::default(),
            workers: Cell::new(plan.workers),
            devices: Cell::new(0),
            under_way: Cell::new(0),
            calm: Cell::new(false),
            stop: Cell::new(false),
            runtime,
            moment: Cell::new(1),
            operations: Cell::new(plan.operations),
            next_operation: Cell::new(1),
            generation: Cell::new(1),
            disks: RefCell::new((0..plan.luns).map(|_| None).collect()),
            waiting: RefCell::default(),
            plan,
        }
    }

    /// The runtime of the first virtual processor.
    #[must_use]
    pub fn runtime(&self) -> &Arc<InprocRuntime> {
        &self.runtime
    }

    /// Time, in units of 100 ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.runtime.now()
    }

    /// Adds to the transcript.
    pub fn note(&self, entry: Entry) {
        let now = self.now();
        self.log.borrow_mut().push(now, entry);
    }

    /// The next moment in the order of events.
    pub fn moment(&self) -> Moment {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// A number below `limit`, for the guest.
    pub fn below(&self, limit: u64) -> u64 {
        self.random.borrow_mut().below(limit)
    }

    /// Takes one of the operations that are left to do; returns its number.
    pub fn take_operation(&self) -> Option<u32> {
        self.operations.set(self.operations.get().checked_sub(1)?);
        Some(self.number_operation())
    }

    /// A number for an operation.
    pub fn number_operation(&self) -> u32 {
        let number = self.next_operation.get();
        self.next_operation.set(number + 1);
        number
    }

    /// Adds a task.
    pub fn spawn(&self, name: String, future: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push((name, Box::pin(future)));
    }

    /// Something of the world has changed: all who wait look at it.
    pub fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until the world is as wanted.
    pub async fn until<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look(self) {
                return Poll::Ready(found);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// A disk is there.
    pub fn publish(&self, controller: u64, disk: Disk) {
        let lun = usize::from(disk.info().address.lun);
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        self.disks.borrow_mut()[lun] = Some(Found {
            generation,
            controller,
            disk,
        });
        self.notify();
    }

    /// A controller's disk, or all of them, are gone.
    pub fn withdraw(&self, controller: u64, lun: Option<u8>) {
        for (index, place) in (0..).zip(self.disks.borrow_mut().iter_mut()) {
            let is_meant = lun.is_none_or(|lun| lun == index);
            if is_meant
                && place
                    .as_ref()
                    .is_some_and(|found| found.controller == controller)
            {
                *place = None;
            }
        }
        self.notify();
    }

    /// A disk, if the guest has found it.
    #[must_use]
    pub fn found(&self, lun: u8) -> Option<Found> {
        self.disks.borrow()[usize::from(lun)].clone()
    }

    /// Waits for a disk, other than the one with this generation.
    pub async fn disk(&self, lun: u8, other_than: u64) -> Found {
        self.until(|world| {
            world
                .found(lun)
                .filter(|found| found.generation != other_than)
        })
        .await
    }
}
