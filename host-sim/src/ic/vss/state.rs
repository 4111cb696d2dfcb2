//! The service at work: who is frozen, and for how long.

use ic_services::vss::wire::{Header, HotBackup, LEAST_BODY, Operation, WithFlags};
use ic_services::wire::{Status, Version};
use zerocopy::{FromBytes, IntoBytes};

use super::VssOptions;
use super::error::VssError;
use crate::ic::channel::HostService;
use crate::ic::pending::Promise;
use crate::ic::request::{Outcome, RequestError, Requests};
use crate::ic::session::SessionFault;
use crate::vmbus::vsp::PollWaker;

/// How often a guest that does not thaw is told to.
const THAW_ATTEMPTS: u32 = 3;

type Answer<T> = Promise<T, VssError>;

/// What a request is for.
pub(super) enum Job {
    /// Nothing but a status comes back.
    Status(Answer<()>),
    /// Whether a backup is possible.
    Check(Answer<HotBackup>),
    /// Flags.
    Flags(Answer<u32>),
    Freeze(Answer<()>),
    /// Somebody waits for it, or the host thaws by itself.
    Thaw(Option<Answer<()>>),
}

impl Outcome for Job {
    fn fail(self, error: RequestError) {
        match self {
            Self::Status(promise) | Self::Freeze(promise) => promise.resolve(Err(error.into())),
            Self::Check(promise) => promise.resolve(Err(error.into())),
            Self::Flags(promise) => promise.resolve(Err(error.into())),
            Self::Thaw(Some(promise)) => promise.resolve(Err(error.into())),
            Self::Thaw(None) => tracing::warn!(%error, "the guest was not thawed"),
        }
    }
}

/// How the guest's file systems stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not frozen.
    Thawed,
    /// The guest has been told to freeze.
    Freezing,
    /// Frozen.
    Frozen,
    /// The guest has been told to thaw.
    Thawing,
    /// The guest may be frozen and will be told to thaw as soon as it listens.
    ThawOwed,
}

pub(super) struct State {
    pub(super) requests: Requests<Job>,
    pub(super) options: VssOptions,
    pub(super) phase: Phase,
    /// Number of the last freeze.
    pub(super) freezes: u64,
    /// When the guest was frozen.
    frozen_at: u64,
    /// How long it may be; 0 if it is to be thawed at once.
    pub(super) thaw_after: u64,
    /// Why what somebody has frozen is not frozen any more, without that he knows.
    pub(super) broken: Option<VssError>,
    /// Times that the guest has been told to thaw in vain.
    attempts: u32,
    /// The guest's answer to the last check.
    pub(super) hot_backup: Option<HotBackup>,
}

impl State {
    pub(super) const fn new(options: VssOptions) -> Self {
        Self {
            requests: Requests::new(),
            options,
            phase: Phase::Thawed,
            freezes: 0,
            frozen_at: 0,
            thaw_after: 0,
            broken: None,
            attempts: 0,
            hot_backup: None,
        }
    }

    /// Begins to freeze; the freeze has the number [`freezes`](Self::freezes) then.
    pub(super) fn freeze(&mut self, body: Vec<u8>, timeout: Option<u64>, promise: Answer<()>) {
        self.phase = Phase::Freezing;
        self.freezes += 1;
        self.broken = None;
        self.attempts = 0;
        self.thaw_after = self.options.thaw_after;
        let timeout = timeout.unwrap_or(self.options.freeze_timeout);
        self.requests.submit(body, timeout, Job::Freeze(promise));
    }

    /// Begins to thaw, before anything else.
    pub(super) fn thaw(&mut self, promise: Option<Answer<()>>) {
        self.phase = Phase::Thawing;
        let body = WithFlags {
            header: Header::new(Operation::THAW),
            flags: 0.into(),
        };
        let body = body.as_bytes().to_vec();
        let timeout = self.options.timeout;
        self.requests
            .submit_first(body, timeout, Job::Thaw(promise));
    }

    const fn thaw_at(&self) -> u64 {
        self.frozen_at.saturating_add(self.thaw_after)
    }

    /// The link is gone: whatever was begun may have come to the guest.
    fn lost(&mut self) {
        self.hot_backup = None;
        if self.phase != Phase::Thawed {
            self.phase = Phase::ThawOwed;
            self.broken.get_or_insert(RequestError::Abandoned.into());
        }
    }

    fn frozen(&mut self, result: Result<(), RequestError>, promise: Answer<()>, now: u64) {
        if result.is_ok() {
            self.phase = Phase::Frozen;
            self.frozen_at = now;
        } else {
            // Some file systems may be frozen.
            self.thaw(None);
        }
        promise.resolve(result.map_err(VssError::from));
    }

    fn thawed(&mut self, result: Result<(), RequestError>, promise: Option<Answer<()>>, now: u64) {
        self.attempts += 1;
        if result.is_ok() || self.attempts >= THAW_ATTEMPTS {
            self.phase = Phase::Thawed;
        } else {
            self.phase = Phase::Frozen;
            self.frozen_at = now;
            self.thaw_after = self.options.thaw_after;
        }
        match promise {
            Some(promise) => promise.resolve(result.map_err(VssError::from)),
            None => match result {
                Ok(()) => tracing::info!("the guest is thawed"),
                Err(error) => tracing::warn!(%error, "the guest was not thawed"),
            },
        }
    }
}

/// The flags in an answer.
fn flags(result: Result<(), RequestError>, body: &[u8]) -> Result<u32, RequestError> {
    result?;
    let short = RequestError::ShortAnswer(body.len());
    const { assert!(size_of::<WithFlags>() == LEAST_BODY) };
    let (answer, _) = WithFlags::ref_from_prefix(body).map_err(|_| short)?;
    Ok(answer.flags.get())
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.requests.opened(waker);
    }

    fn negotiated(&mut self, version: Version, _now: u64) {
        self.requests.negotiated(version);
        if self.phase == Phase::ThawOwed {
            self.thaw(None);
        }
    }

    fn request(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.phase == Phase::Frozen && now >= self.thaw_at() {
            tracing::warn!("the guest has been frozen for too long");
            self.broken = Some(VssError::FrozenTooLong);
            self.thaw(None);
        }
        self.requests.next(now)
    }

    fn unsent(&mut self, body: Vec<u8>) {
        self.requests.unsent(body);
    }

    fn too_large(&mut self) {
        // It was never sent, so nothing is frozen. A request to thaw is shorter than any negotiation.
        if matches!(self.requests.in_flight(), Some(Job::Freeze(_))) {
            self.phase = Phase::Thawed;
        }
        self.requests.too_large();
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        // With a request in flight nothing can be sent before its answer.
        let thaw = (self.phase == Phase::Frozen).then(|| self.thaw_at());
        self.requests.expiry().or(thaw)
    }

    fn expiry(&self) -> Option<u64> {
        self.requests.expiry()
    }

    fn give_up(&mut self, now: u64) -> bool {
        if !self.requests.give_up(now) {
            return false;
        }
        if self.phase == Phase::Thawing {
            self.attempts += 1;
        }
        self.lost();
        if self.attempts >= THAW_ATTEMPTS {
            self.phase = Phase::Thawed;
        }
        true
    }

    fn answer(&mut self, status: Status, body: &[u8], now: u64) {
        let result = RequestError::check(status);
        match self.requests.answered() {
            None => {}
            Some(Job::Status(promise)) => promise.resolve(result.map_err(VssError::from)),
            Some(Job::Check(promise)) => {
                let answer = flags(result, body).map(HotBackup);
                self.hot_backup = answer.ok();
                promise.resolve(answer.map_err(VssError::from));
            }
            Some(Job::Flags(promise)) => {
                promise.resolve(flags(result, body).map_err(VssError::from));
            }
            Some(Job::Freeze(promise)) => self.frozen(result, promise, now),
            Some(Job::Thaw(promise)) => self.thawed(result, promise, now),
        }
    }

    fn failed(&mut self, fault: SessionFault) {
        self.requests.failed(fault);
        self.lost();
    }

    fn closed(&mut self) {
        self.requests.closed();
        self.lost();
    }
}
