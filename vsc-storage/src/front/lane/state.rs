//! What a lane's lock protects.

use core::mem;
use core::task::{Context, Poll, Waker};

use alloc::collections::{TryReserveError, VecDeque};
use alloc::vec::Vec;

use vmbus_core::ring::{RingError, Signal};

use super::super::buffer::DmaBuffer;
use super::super::port::{Job, JobState, LaneStatistics};
use super::super::transport::Transport;
use super::Notify;
use super::slots::{Released, Slots};
use crate::disk::DiskError;
use crate::init::Negotiated;
use crate::queue::{Outcome, Received, RequestQueue, SubmitReason};

/// Bytes of the largest packet that a host may send; anything longer breaks the channel.
const LARGEST_PACKET: usize = 512;
/// Packets taken while the lock is held once.
const PACKETS_AT_ONCE: usize = 32;

/// What is left to do when the lock is released.
#[derive(Default)]
pub(super) struct After {
    completed: [Option<Waker>; PACKETS_AT_ONCE],
    count: usize,
    wakers: Vec<Waker>,
    discarded: Vec<Waker>,
    buffers: Vec<DmaBuffer>,
    news: bool,
    cut_short: bool,
}

impl After {
    pub(super) fn run(self, notify: &Notify) {
        for waker in self.completed.into_iter().flatten().chain(self.wakers) {
            waker.wake();
        }
        if self.news {
            notify();
        }
        // Dropping wakers may drop tasks; dropping buffers frees them.
        drop(self.discarded);
        drop(self.buffers);
    }

    /// Whether packets were left in the ring.
    pub(super) const fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    fn wake(&mut self, waker: Waker) {
        match self.completed.get_mut(self.count) {
            Some(place) => {
                *place = Some(waker);
                self.count = self.count.saturating_add(1);
            }
            None => self.wakers.push(waker),
        }
    }

    fn release(&mut self, released: Released) {
        if let Some(waker) = released.waker {
            self.wake(waker);
        }
        self.buffers.extend(released.buffer);
    }
}

pub(super) struct State<T: Transport> {
    /// `None` once it is being closed.
    transport: Option<T>,
    queue: RequestQueue<u32>,
    slots: Slots,
    /// Jobs that wait for room, in the order of their coming: tickets and tasks.
    waiting: VecDeque<(u64, Waker)>,
    last_ticket: u64,
    /// Tasks that wait until nothing is in flight.
    waiting_for_idle: Vec<Waker>,
    /// How the host broke the ring: nothing is read from it any more.
    failure: Option<RingError>,
    /// No new jobs are taken.
    stopped: bool,
    /// The host has been asked for an interrupt when there is room.
    announced: bool,
    signals: u64,
    interrupts: u64,
}

impl<T: Transport> State<T> {
    pub(super) fn new(
        transport: T,
        negotiated: &Negotiated,
        capacity: usize,
    ) -> Result<Self, TryReserveError> {
        Ok(Self {
            transport: Some(transport),
            queue: RequestQueue::new(capacity, negotiated.version, negotiated.max_transfer_bytes)?,
            slots: Slots::new(capacity)?,
            waiting: VecDeque::new(),
            last_ticket: 0,
            waiting_for_idle: Vec::new(),
            failure: None,
            stopped: false,
            announced: false,
            signals: 0,
            interrupts: 0,
        })
    }

    /// Has interrupts wake `waker` again.
    pub(super) fn listen(&mut self, waker: &Waker) {
        self.interrupts = self.interrupts.saturating_add(1);
        if let Some(transport) = &self.transport {
            transport.register(waker);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.stopped && !self.queue.is_closed()
    }

    pub(super) fn take_rescan(&mut self) -> bool {
        self.queue.take_rescan()
    }

    pub(super) const fn statistics(&self) -> LaneStatistics {
        LaneStatistics {
            queue: *self.queue.counters(),
            outstanding: self.queue.outstanding(),
            signals: self.signals,
            interrupts: self.interrupts,
            failure: self.failure,
        }
    }

    /// Takes packets out of the ring; `true` if there are more than are taken at once.
    ///
    /// `interrupted`: the look is due to an interrupt, not to a task's own interest.
    pub(super) fn drain(&mut self, interrupted: bool, after: &mut After) -> bool {
        let Some(transport) = &mut self.transport else {
            return false;
        };
        if self.queue.is_closed() {
            return false;
        }
        // Looked at before the ring, so that completions from before the rescind still count.
        let rescinded = transport.is_rescinded();
        let (_, incoming) = transport.rings();
        incoming.mask_interrupts();
        let mut count = 0;
        let mut completed = 0usize;
        let mut signal = Signal::NotNeeded;
        let result = incoming.batch().and_then(|mut batch| {
            let mut buffer = [0; LARGEST_PACKET];
            let result = loop {
                if count == PACKETS_AT_ONCE {
                    break Ok(true);
                }
                match batch.next(&mut buffer) {
                    Ok(Some(packet)) => {
                        count += 1;
                        match self.queue.receive(&packet) {
                            Received::Completed(completion) => {
                                completed = completed.saturating_add(1);
                                let (slot, outcome) = (completion.context, completion.outcome);
                                after.release(self.slots.complete(slot, outcome, false));
                            }
                            Received::DevicesChanged => after.news = true,
                            Received::ResetDone { .. } | Received::Dropped(_) => {}
                        }
                    }
                    Ok(None) => break Ok(false),
                    Err(error) => break Err(error),
                }
            };
            signal = batch.commit();
            result
        });
        let result = result.and_then(|more| Ok(more || incoming.unmask_interrupts()?));
        if signal.is_needed() {
            self.signals = self.signals.saturating_add(1);
        }
        transport.signal_host(signal);
        match result {
            Ok(true) => {
                after.cut_short = true;
                self.wake_waiting(completed, interrupted, after);
                true
            }
            Ok(false) => {
                if rescinded {
                    self.fail_all(false, after);
                } else {
                    self.wake_waiting(completed, interrupted, after);
                }
                false
            }
            Err(error) => {
                log::error!("storage channel broken by the host: {error}");
                self.failure = Some(error);
                self.fail_all(true, after);
                false
            }
        }
    }

    /// Wakes tasks that wait: for room one for each completion, and one because an interrupt may mean
    /// room alone. With nothing in flight no further completion would wake the others, so all are
    /// woken. Without completion or interrupt nobody is: a task that looks would wake itself.
    fn wake_waiting(&mut self, completed: usize, interrupted: bool, after: &mut After) {
        if completed == 0 && !interrupted {
            return;
        }
        let mut count = completed.max(1).min(self.waiting.len());
        if self.queue.outstanding() == 0 {
            count = self.waiting.len();
            for waker in self.waiting_for_idle.drain(..) {
                after.wake(waker);
            }
        }
        for (_, waker) in self.waiting.drain(..count) {
            after.wake(waker);
        }
    }

    /// Fails everything in flight, each request once.
    fn fail_all(&mut self, exposed: bool, after: &mut After) {
        self.queue.close();
        while let Some(slot) = self.queue.cancel_next() {
            let outcome = Outcome::cancelled(0);
            after.release(self.slots.complete(slot, outcome, exposed));
        }
        let waiting = self.waiting.drain(..).map(|(_, waker)| waker);
        for waker in waiting.chain(self.waiting_for_idle.drain(..)) {
            after.wake(waker);
        }
        after.news = true;
    }

    pub(super) fn poll(
        &mut self,
        job: &mut Job,
        context: &mut Context<'_>,
        after: &mut After,
    ) -> Poll<Result<Outcome, DiskError>> {
        match job.state {
            JobState::Finished => return Poll::Ready(Err(DiskError::Closed)),
            JobState::InFlight(slot) => {
                if let Some(ready) = self.take_outcome(job, slot, after) {
                    return ready;
                }
            }
            JobState::New | JobState::Waiting(_) => {
                if let Some(ready) = self.submit(job, context, after) {
                    self.pass_turn(job, after);
                    return ready;
                }
            }
        }
        // The host may be done already; looking costs less than an interrupt.
        self.drain(false, after);
        let JobState::InFlight(slot) = job.state else {
            return Poll::Pending;
        };
        if let Some(ready) = self.take_outcome(job, slot, after) {
            return ready;
        }
        after
            .discarded
            .extend(self.slots.wait(slot, context.waker()));
        Poll::Pending
    }

    fn take_outcome(
        &mut self,
        job: &mut Job,
        slot: u32,
        after: &mut After,
    ) -> Option<Poll<Result<Outcome, DiskError>>> {
        let (outcome, exposed) = self.slots.outcome(slot)?;
        job.state = JobState::Finished;
        if exposed && let Some(data) = &mut job.data {
            data.buffer.leak();
        }
        // A slot came free.
        if let Some((_, waker)) = self.waiting.pop_front() {
            after.wake(waker);
        }
        Some(Poll::Ready(Ok(outcome)))
    }

    /// Sends a job; `None` if it is in flight or waits for room now.
    fn submit(
        &mut self,
        job: &mut Job,
        context: &Context<'_>,
        after: &mut After,
    ) -> Option<Poll<Result<Outcome, DiskError>>> {
        loop {
            let transport = self.transport.as_mut().filter(|_| !self.stopped);
            let Some(transport) = transport else {
                return Some(Poll::Ready(Err(DiskError::Closed)));
            };
            let Some(slot) = self.slots.take() else {
                self.wait_for_room(job, context, after);
                return None;
            };
            let Some(request) = job.request() else {
                self.slots.give_back(slot);
                return Some(Poll::Ready(Err(DiskError::OutOfMemory)));
            };
            let (outgoing, _) = transport.rings();
            let error = match self.queue.send(outgoing, &request, slot) {
                Ok((_, signal)) => {
                    if signal.is_needed() {
                        self.signals = self.signals.saturating_add(1);
                    }
                    transport.signal_host(signal);
                    after.discarded.extend(leave(&mut self.waiting, job));
                    job.state = JobState::InFlight(slot);
                    if self.announced && self.waiting.is_empty() {
                        self.announced = false;
                        transport.rings().0.withdraw_blocked();
                    }
                    // Room for one may be room for two.
                    if let Some((_, waker)) = self.waiting.pop_front() {
                        after.wake(waker);
                    }
                    return None;
                }
                Err(error) => error,
            };
            self.slots.give_back(slot);
            match error.reason {
                SubmitReason::RingFull { needed } => match outgoing.announce_blocked(needed) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.announced = true;
                        self.wait_for_room(job, context, after);
                        return None;
                    }
                    Err(error) => return Some(self.broken(error, after)),
                },
                SubmitReason::QueueFull => {
                    self.wait_for_room(job, context, after);
                    return None;
                }
                SubmitReason::Ring(error) => return Some(self.broken(error, after)),
                SubmitReason::Closed => return Some(Poll::Ready(Err(DiskError::Closed))),
                SubmitReason::TransferTooLong { .. } | SubmitReason::InvalidPacket(_) => {
                    return Some(Poll::Ready(Err(DiskError::Unsupported)));
                }
            }
        }
    }

    fn broken(&mut self, error: RingError, after: &mut After) -> Poll<Result<Outcome, DiskError>> {
        log::error!("storage channel broken by the host: {error}");
        self.failure = Some(error);
        self.fail_all(true, after);
        Poll::Ready(Err(DiskError::Closed))
    }

    /// Puts a job at the end of those that wait, or leaves it where it is.
    fn wait_for_room(&mut self, job: &mut Job, context: &Context<'_>, after: &mut After) {
        let waker = context.waker();
        if let JobState::Waiting(ticket) = job.state
            && let Some((_, known)) = self.waiting.iter_mut().find(|(known, _)| *known == ticket)
        {
            if !known.will_wake(waker) {
                after.discarded.push(mem::replace(known, waker.clone()));
            }
            return;
        }
        self.last_ticket = self.last_ticket.wrapping_add(1);
        self.waiting.push_back((self.last_ticket, waker.clone()));
        job.state = JobState::Waiting(self.last_ticket);
    }

    pub(super) fn abandon(&mut self, job: &mut Job, after: &mut After) {
        let buffer = job.data.take().map(|data| data.buffer);
        self.pass_turn(job, after);
        match job.state {
            JobState::InFlight(slot) => {
                let released = self.slots.abandon(slot, buffer);
                after.discarded.extend(released.waker);
                after.buffers.extend(released.buffer);
            }
            _ => after.buffers.extend(buffer),
        }
        job.state = JobState::Finished;
    }

    /// A job comes to its end without using room. If it has been woken because of room, that is the next one's.
    fn pass_turn(&mut self, job: &Job, after: &mut After) {
        match leave(&mut self.waiting, job) {
            Some(waker) => after.discarded.push(waker),
            None => {
                if let Some((_, waker)) = self.waiting.pop_front() {
                    after.wake(waker);
                }
            }
        }
    }

    pub(super) fn poll_idle(&mut self, context: &Context<'_>, after: &mut After) -> Poll<()> {
        self.drain(false, after);
        if self.queue.outstanding() == 0 {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !self
            .waiting_for_idle
            .iter()
            .any(|other| other.will_wake(waker))
        {
            self.waiting_for_idle.push(waker.clone());
        }
        Poll::Pending
    }

    pub(super) fn stop(&mut self, after: &mut After) {
        self.stopped = true;
        for (_, waker) in self.waiting.drain(..) {
            after.wake(waker);
        }
    }

    pub(super) fn take_transport(&mut self) -> Option<T> {
        self.stopped = true;
        self.transport.take()
    }

    /// The transport is closed: what is still in flight fails.
    pub(super) fn closed(&mut self, acknowledged: bool, after: &mut After) {
        self.fail_all(!acknowledged, after);
    }
}

/// A job waits no longer; returns its waker if its turn had not come. Left behind, it would take the turn of another
/// job and not use it.
#[must_use]
fn leave(waiting: &mut VecDeque<(u64, Waker)>, job: &Job) -> Option<Waker> {
    let JobState::Waiting(ticket) = job.state else {
        return None;
    };
    let place = waiting.iter().position(|(known, _)| *known == ticket)?;
    waiting.remove(place).map(|(_, waker)| waker)
}
