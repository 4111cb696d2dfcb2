//! The service at work: what requests are for, and what their answers mean.

use std::collections::BTreeMap;

use ic_services::kvp::wire::FIRST_WITH_BINARY_INFO;
use ic_services::kvp::wire::exchange::{Exchange, RecordError};
use ic_services::wire::{Status, Version};
use zerocopy::FromBytes;

use super::HostItem;
use super::error::KvpError;
use super::ip::{self, IpInfo};
use super::item::{Pool, Value};
use super::walk::{End, Listing, Step, Walk};
use crate::ic::channel::HostService;
use crate::ic::pending::Promise;
use crate::ic::request::{Outcome, RequestError, Requests};
use crate::ic::session::SessionFault;
use crate::vmbus::vsp::PollWaker;

type Answer<T> = Promise<T, KvpError>;

/// What a request is for.
pub(super) enum Job {
    /// Nothing but a status comes back.
    Status(Answer<()>),
    /// An item of the host's; nobody waits.
    HostItem(String),
    /// The value of a key.
    Get(Answer<Value>),
    /// The items of a pool.
    List(Walk, Answer<Listing>),
    /// One of the items of a pool.
    Find(Walk, Answer<Value>),
    /// What an adapter has.
    IpInfo(Answer<IpInfo>),
}

impl Job {
    const fn is_walk(&self) -> bool {
        matches!(self, Self::List(..) | Self::Find(..))
    }
}

impl Outcome for Job {
    fn fail(self, error: RequestError) {
        match self {
            Self::Status(promise) => promise.resolve(Err(error.into())),
            Self::HostItem(key) => tracing::warn!(key, %error, "item of the host not written"),
            Self::Get(promise) | Self::Find(_, promise) => promise.resolve(Err(error.into())),
            Self::List(_, promise) => promise.resolve(Err(error.into())),
            Self::IpInfo(promise) => promise.resolve(Err(error.into())),
        }
    }
}

pub(super) struct State {
    pub(super) requests: Requests<Job>,
    pub(super) host_items: Vec<HostItem>,
    pub(super) timeout: u64,
    /// Time between two requests of a walk.
    pub(super) walk_interval: u64,
    /// When a walk may go on.
    pub(super) next_walk: u64,
    /// What was read last of each pool.
    pub(super) listings: BTreeMap<Pool, Listing>,
}

impl State {
    fn list(
        &mut self,
        mut walk: Walk,
        promise: Answer<Listing>,
        status: Status,
        body: &[u8],
        now: u64,
    ) {
        let end = match status {
            Status::NO_MORE_ITEMS => End::Complete,
            Status::OK => match walk.answer(body) {
                Some(Step::Next) => {
                    let Some(left) = walk.time_left(now) else {
                        return promise.resolve(Err(RequestError::TimedOut.into()));
                    };
                    let body = walk.request();
                    let job = Job::List(walk, promise);
                    return self
                        .requests
                        .submit_first(body, self.timeout.min(left), job);
                }
                Some(Step::End(end)) => end,
                // A walk that looks for nothing finds nothing.
                Some(Step::Found(_)) => End::Complete,
                None => End::Malformed,
            },
            Status(code) => {
                return promise.resolve(Err(RequestError::Refused(code.get()).into()));
            }
        };
        let pool = walk.pool;
        let listing = walk.into_listing(end);
        self.listings.insert(pool, listing.clone());
        promise.resolve(Ok(listing));
    }

    fn find(
        &mut self,
        mut walk: Walk,
        promise: Answer<Value>,
        status: Status,
        body: &[u8],
        now: u64,
    ) {
        if let Err(error) = KvpError::check(status) {
            return promise.resolve(Err(error));
        }
        match walk.answer(body) {
            Some(Step::Next) => {
                let Some(left) = walk.time_left(now) else {
                    return promise.resolve(Err(RequestError::TimedOut.into()));
                };
                let body = walk.request();
                let job = Job::Find(walk, promise);
                self.requests
                    .submit_first(body, self.timeout.min(left), job);
            }
            Some(Step::Found(value)) => promise.resolve(Ok(value)),
            Some(Step::End(_)) => promise.resolve(Err(KvpError::NoSuchKey)),
            None => promise.resolve(Err(RequestError::ShortAnswer(body.len()).into())),
        }
    }
}

/// The value in the answer to a request for one key.
fn value(status: Status, body: &[u8]) -> Result<Value, KvpError> {
    KvpError::check(status)?;
    let short = RequestError::ShortAnswer(body.len());
    let (answer, _) = Exchange::ref_from_prefix(body).map_err(|_| short)?;
    let value = answer.record.value().map_err(KvpError::Answer)?;
    Ok(value.into())
}

fn ip_info(version: Version, status: Status, body: &[u8]) -> Result<IpInfo, KvpError> {
    KvpError::check(status)?;
    Ok(ip::decode(body, version >= FIRST_WITH_BINARY_INFO)?)
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.requests.opened(waker);
    }

    fn negotiated(&mut self, version: Version, _now: u64) {
        self.requests.negotiated(version);
        for item in &self.host_items {
            let job = Job::HostItem(item.key.clone());
            self.requests.submit(item.body.clone(), self.timeout, job);
        }
    }

    fn request(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.requests.front().is_some_and(Job::is_walk) {
            if now < self.next_walk {
                return None;
            }
            self.next_walk = now.saturating_add(self.walk_interval);
        }
        self.requests.next(now)
    }

    fn unsent(&mut self, body: Vec<u8>) {
        self.next_walk = 0;
        self.requests.unsent(body);
    }

    fn too_large(&mut self) {
        self.requests.too_large();
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        // Both: one waits for its turn only while the other is not in flight.
        let turn = self.requests.expiry().or_else(|| {
            let waits = self.requests.front().is_some_and(Job::is_walk);
            waits.then_some(self.next_walk)
        });
        turn.into_iter().chain(self.requests.waits_until()).min()
    }

    fn expiry(&self) -> Option<u64> {
        self.requests.expiry()
    }

    fn give_up(&mut self, now: u64) -> bool {
        self.requests.expire_waiting(now);
        self.requests.give_up(now)
    }

    fn answer(&mut self, status: Status, body: &[u8], now: u64) {
        let Ok(version) = self.requests.version() else {
            return;
        };
        match self.requests.answered() {
            None => {}
            Some(Job::Status(promise)) => promise.resolve(KvpError::check(status)),
            Some(Job::HostItem(key)) => {
                if let Err(error) = KvpError::check(status) {
                    tracing::debug!(key, %error, "item of the host not written");
                }
            }
            Some(Job::Get(promise)) => promise.resolve(value(status, body)),
            Some(Job::List(walk, promise)) => self.list(walk, promise, status, body, now),
            Some(Job::Find(walk, promise)) => self.find(walk, promise, status, body, now),
            Some(Job::IpInfo(promise)) => promise.resolve(ip_info(version, status, body)),
        }
    }

    fn failed(&mut self, fault: SessionFault) {
        self.requests.failed(fault);
    }

    fn closed(&mut self) {
        self.requests.closed();
        self.listings.clear();
    }
}

/// The error of a key or value of the host's.
pub(super) const fn own(error: RecordError) -> KvpError {
    KvpError::Item(error)
}
