//! A channel as disks see it, whatever carries it, and the future of one command on it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use alloc::boxed::Box;
use alloc::sync::Arc;

use vmbus_core::ring::RingError;

use super::buffer::DmaBuffer;
use crate::disk::DiskError;
use crate::queue::{Address, Counters, Data, Outcome, Request};
use crate::scsi::Cdb;

/// What one channel has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneStatistics {
    /// Of the request queue.
    pub queue: Counters,
    /// Requests in flight now.
    pub outstanding: usize,
    /// Times that the host was interrupted.
    pub signals: u64,
    /// Times that the ring was looked at because of an interrupt.
    pub interrupts: u64,
    /// How the host broke the channel, if it did.
    pub failure: Option<RingError>,
}

/// Which way a job's data moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    In,
    Out,
}

/// The data of a job: part of a buffer's window.
#[derive(Debug)]
pub(super) struct JobData {
    pub(super) buffer: DmaBuffer,
    pub(super) way: Way,
    /// Where the part starts in the window, in bytes.
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JobState {
    New,
    /// Among the jobs that wait for room; its ticket.
    Waiting(u64),
    /// In flight; its slot.
    InFlight(u32),
    Finished,
}

/// One command on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) address: Address,
    pub(super) command: Cdb,
    pub(super) data: Option<JobData>,
    pub(super) state: JobState,
}

impl Job {
    /// The request that the queue encodes; `None` if the data isn't within its buffer.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        let data = match &self.data {
            None => Data::None,
            Some(data) => {
                let range = data.buffer.range(data.offset, data.bytes)?;
                match data.way {
                    Way::In => Data::In(range),
                    Way::Out => Data::Out(range),
                }
            }
        };
        Some(Request::new(self.address, self.command, data))
    }
}

/// A channel as disks see it.
pub(super) trait Port: Send + Sync {
    /// Sends the job if it has not been sent, and takes its outcome if there is one.
    fn poll(&self, job: &mut Job, context: &mut Context<'_>) -> Poll<Result<Outcome, DiskError>>;
    /// Nobody waits for the job any more; a buffer in flight stays with the channel.
    fn abandon(&self, job: &mut Job);
    /// Ready when no request is in flight.
    fn poll_idle(&self, context: &mut Context<'_>) -> Poll<()>;
    /// Takes no new jobs.
    fn stop(&self);
    /// Closes the channel; jobs still in flight fail. Whether the host acknowledged it.
    fn close(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// Whether new jobs are taken.
    fn is_open(&self) -> bool;
    /// Whether the host announced changed devices since the last call.
    fn take_rescan(&self) -> bool;
    fn statistics(&self) -> LaneStatistics;
}

/// The future of one command. Gives its buffer back with the outcome.
pub(super) struct Execute {
    port: Arc<dyn Port>,
    job: Job,
}

impl Execute {
    pub(super) const fn new(
        port: Arc<dyn Port>,
        address: Address,
        command: Cdb,
        data: Option<JobData>,
    ) -> Self {
        Self {
            port,
            job: Job {
                address,
                command,
                data,
                state: JobState::New,
            },
        }
    }
}

impl Future for Execute {
    type Output = (Result<Outcome, DiskError>, Option<DmaBuffer>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = core::task::ready!(this.port.poll(&mut this.job, context));
        this.job.state = JobState::Finished;
        let buffer = this.job.data.take().map(|data| data.buffer);
        Poll::Ready((result, buffer))
    }
}

impl Drop for Execute {
    fn drop(&mut self) {
        if self.job.state != JobState::Finished {
            self.port.abandon(&mut self.job);
        }
    }
}
