//! Requests to the guest in a queue: one at a time, each with its time to be answered.
//!
//! Nothing on the wire says which request an answer belongs to. So a request that was not answered in time ends the
//! session: the host negotiates again, and whatever comes before the guest's answer to that is forgotten. A late
//! answer is thus never taken for the next one's.

use std::collections::VecDeque;

use ic_services::wire::{Status, Version};
use thiserror::Error;

use super::session::SessionFault;
use crate::vmbus::vsp::PollWaker;

/// 1 second in the protocol's time units.
pub(super) const SECOND: u64 = 10_000_000;
/// Time that a guest has for an answer, unless said otherwise: longer than the guests' own limit of 30 s.
pub const REQUEST_TIMEOUT: u64 = 40 * SECOND;
/// Longest that a request waits for its turn behind others, where that is limited: see [`Requests::expire_waiting`].
pub(super) const QUEUE_TIMEOUT: u64 = 300 * SECOND;
/// Most requests that wait.
const QUEUE_LENGTH: usize = 64;

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The guest has not opened the service or negotiated a version.
    #[error("the guest's service is not ready")]
    NotReady,
    /// Too many requests wait already, or one that excludes this one.
    #[error("the service is busy")]
    Busy,
    /// The guest has not answered in time.
    #[error("the guest has not answered in time")]
    TimedOut,
    /// The guest closed the service, or began anew, before it answered.
    #[error("the guest's service went away before it answered")]
    Abandoned,
    /// The guest broke the protocol.
    #[error("the guest broke the protocol: {0}")]
    GuestFault(SessionFault),
    /// The guest refused, with this HRESULT.
    #[error("the guest refused with {0:#010x}")]
    Refused(u32),
    /// The guest's ring is too small for the request.
    #[error("the request is too large for the guest's ring")]
    TooLarge,
    /// The answer is too short, in bytes.
    #[error("answer of {0} bytes is too short")]
    ShortAnswer(usize),
    /// The agreed version of the service does not have it.
    #[error("version {0} of the service has no such request")]
    NotInVersion(Version),
}

impl RequestError {
    /// The error that a status is, if it is one.
    pub(super) fn check(status: Status) -> Result<(), Self> {
        match status {
            Status::OK => Ok(()),
            Status(code) => Err(Self::Refused(code.get())),
        }
    }
}

/// How a service and its guest stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The guest has not opened the service.
    Closed,
    /// The host waits for the guest to choose a version. Guests without a daemon take their time.
    Negotiating,
    /// The guest chose this version.
    Ready(Version),
    /// The guest broke the protocol; it may open the service again.
    Failed(SessionFault),
}

/// What a request is for; told when it fails.
pub(super) trait Outcome {
    fn fail(self, error: RequestError);
}

struct Request<T> {
    body: Vec<u8>,
    timeout: u64,
    /// Set when it is first offered to the ring.
    deadline: Option<u64>,
    /// Set when it is first seen waiting.
    waits_until: Option<u64>,
    outcome: T,
}

/// The requests of one service.
pub(super) struct Requests<T> {
    queue: VecDeque<Request<T>>,
    /// The request that the guest is at; its body is empty.
    in_flight: Option<Request<T>>,
    link: Link,
    waker: Option<PollWaker>,
}

impl<T: Outcome> Requests<T> {
    pub(super) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: None,
            link: Link::Closed,
            waker: None,
        }
    }

    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// The agreed version.
    pub(super) const fn version(&self) -> Result<Version, RequestError> {
        match self.link {
            Link::Ready(version) => Ok(version),
            Link::Failed(fault) => Err(RequestError::GuestFault(fault)),
            Link::Closed | Link::Negotiating => Err(RequestError::NotReady),
        }
    }

    /// Whether a request may be queued now.
    pub(super) fn check_room(&self) -> Result<(), RequestError> {
        self.version()?;
        if self.queue.len() >= QUEUE_LENGTH {
            return Err(RequestError::Busy);
        }
        Ok(())
    }

    /// Queues a request last. The caller [wakes](Self::waker) the channel afterwards.
    pub(super) fn submit(&mut self, body: Vec<u8>, timeout: u64, outcome: T) {
        self.queue.push_back(Request {
            body,
            timeout,
            deadline: None,
            waits_until: None,
            outcome,
        });
    }

    /// Queues a request first: what follows from an answer.
    pub(super) fn submit_first(&mut self, body: Vec<u8>, timeout: u64, outcome: T) {
        self.queue.push_front(Request {
            body,
            timeout,
            deadline: None,
            waits_until: None,
            outcome,
        });
    }

    /// Wakes the channel; to be called without the service's lock, which the channel takes.
    pub(super) fn waker(&self) -> Option<PollWaker> {
        self.waker.clone()
    }

    pub(super) fn opened(&mut self, waker: PollWaker) {
        self.fail_all(RequestError::Abandoned);
        self.waker = Some(waker);
        self.link = Link::Negotiating;
    }

    pub(super) fn negotiated(&mut self, version: Version) {
        self.link = Link::Ready(version);
    }

    /// What the request that would be sent next is for.
    pub(super) fn front(&self) -> Option<&T> {
        self.queue.front().map(|request| &request.outcome)
    }

    /// What the request that the guest is at is for.
    pub(super) fn in_flight(&self) -> Option<&T> {
        let request = self.in_flight.as_ref();
        request.map(|request| &request.outcome)
    }

    /// The next request; the guest is at it then.
    pub(super) fn next(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut request = self.queue.pop_front()?;
        let body = std::mem::take(&mut request.body);
        let deadline = now.saturating_add(request.timeout);
        request.deadline.get_or_insert(deadline);
        self.in_flight = Some(request);
        Some(body)
    }

    /// The request did not fit into the ring.
    pub(super) fn unsent(&mut self, body: Vec<u8>) {
        if let Some(request) = self.in_flight.take() {
            self.queue.push_front(Request { body, ..request });
        }
    }

    /// The request will never fit into the ring.
    pub(super) fn too_large(&mut self) {
        if let Some(request) = self.in_flight.take() {
            request.outcome.fail(RequestError::TooLarge);
        }
    }

    /// The guest has answered: what for?
    pub(super) fn answered(&mut self) -> Option<T> {
        self.in_flight.take().map(|request| request.outcome)
    }

    /// When the guest has had time enough.
    pub(super) fn expiry(&self) -> Option<u64> {
        let request = self.in_flight.as_ref().or(self.queue.front())?;
        request.deadline
    }

    /// Gives up on the guest if it had time enough: `true` if the session is to begin anew.
    pub(super) fn give_up(&mut self, now: u64) -> bool {
        if self.expiry().is_none_or(|deadline| now < deadline) {
            return false;
        }
        let late = self.in_flight.take().or_else(|| self.queue.pop_front());
        if let Some(request) = late {
            request.outcome.fail(RequestError::TimedOut);
        }
        self.fail_all(RequestError::NotReady);
        self.link = Link::Negotiating;
        true
    }

    /// Fails requests that have waited for their turn for [`QUEUE_TIMEOUT`]. To be called with every poll, where
    /// requests may be queued without end.
    pub(super) fn expire_waiting(&mut self, now: u64) {
        let until = now.saturating_add(QUEUE_TIMEOUT);
        for mut request in std::mem::take(&mut self.queue) {
            if *request.waits_until.get_or_insert(until) <= now {
                request.outcome.fail(RequestError::TimedOut);
            } else {
                self.queue.push_back(request);
            }
        }
    }

    /// When [`expire_waiting`](Self::expire_waiting) next has something to fail.
    pub(super) fn waits_until(&self) -> Option<u64> {
        let times = self.queue.iter().map(|request| request.waits_until);
        times.flatten().min()
    }

    pub(super) fn failed(&mut self, fault: SessionFault) {
        self.link = Link::Failed(fault);
        self.fail_all(RequestError::GuestFault(fault));
    }

    pub(super) fn closed(&mut self) {
        self.link = Link::Closed;
        self.waker = None;
        self.fail_all(RequestError::Abandoned);
    }

    fn fail_all(&mut self, error: RequestError) {
        for request in self
            .in_flight
            .take()
            .into_iter()
            .chain(self.queue.drain(..))
        {
            request.outcome.fail(error);
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
