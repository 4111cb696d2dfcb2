//! The service at work: which file, and how far.

use ic_services::file_copy::wire::{DATA_OFFSET, Header, MAX_DATA, Operation, Start, WriteHeader};
use ic_services::wire::{Status, Version};
use serde::Serialize;
use vmbus_core::guid::Guid;
use zerocopy::IntoBytes;

use super::error::FileCopyError;
use crate::ic::channel::HostService;
use crate::ic::pending::Promise;
use crate::ic::request::{Outcome, RequestError, Requests};
use crate::ic::session::SessionFault;
use crate::vmbus::vsp::PollWaker;

type Answer = Promise<(), FileCopyError>;

/// What a request is for.
pub(super) enum Job {
    Start(Answer),
    /// A piece of so many bytes.
    Write(Answer, u64),
    Complete(Answer),
    /// Nobody waits for it.
    Cancel,
}

impl Outcome for Job {
    fn fail(self, error: RequestError) {
        match self {
            Self::Start(promise) | Self::Write(promise, _) | Self::Complete(promise) => {
                promise.resolve(Err(error.into()))
            }
            Self::Cancel => tracing::debug!(%error, "file copy not cancelled"),
        }
    }
}

/// How far a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Its name.
    pub file_name: String,
    /// Bytes that the guest has taken.
    pub copied: u64,
    /// Bytes of the whole.
    pub size: u64,
}

/// What the guest knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// It has been asked to begin one.
    Starting,
    /// It has one, and waits for the next piece.
    Open,
    /// It is at a piece, or at the end.
    Working,
    /// It has been told to give it up.
    Cancelling,
    /// It may have one, and will be told to give it up as soon as it listens.
    CancelOwed,
}

pub(super) struct State {
    pub(super) requests: Requests<Job>,
    pub(super) timeout: u64,
    pub(super) phase: Phase,
    pub(super) progress: Option<Progress>,
    /// Somebody wanted to stop the file of this session.
    pub(super) stopped: bool,
    /// Names the file, also in its messages.
    pub(super) session: u32,
}

impl State {
    pub(super) const fn new(timeout: u64) -> Self {
        Self {
            requests: Requests::new(),
            timeout,
            phase: Phase::Idle,
            progress: None,
            stopped: false,
            session: 0,
        }
    }

    fn header(&self, operation: Operation) -> Header {
        Header {
            session: Guid::from_fields(self.session, 0, 0, [0; 8]),
            ..Header::new(operation)
        }
    }

    pub(super) fn start(&mut self, mut message: Start, progress: Progress, promise: Answer) {
        self.session = self.session.wrapping_add(1);
        message.header = self.header(Operation::START);
        self.phase = Phase::Starting;
        self.progress = Some(progress);
        self.stopped = false;
        let body = message.as_bytes().to_vec();
        self.requests
            .submit(body, self.timeout, Job::Start(promise));
    }

    /// Sends a piece, which fits.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], promise: Answer) {
        let size = data.len().min(MAX_DATA) as u32;
        let header = WriteHeader {
            header: self.header(Operation::WRITE),
            padding: 0.into(),
            offset: offset.into(),
            size: size.into(),
        };
        let mut body = header.as_bytes().to_vec();
        body.extend_from_slice(data);
        // Guests take nothing shorter, whatever the size.
        body.resize(DATA_OFFSET + MAX_DATA, 0);
        self.phase = Phase::Working;
        let job = Job::Write(promise, size.into());
        self.requests.submit(body, self.timeout, job);
    }

    pub(super) fn complete(&mut self, promise: Answer) {
        self.phase = Phase::Working;
        let body = self.header(Operation::COMPLETE).as_bytes().to_vec();
        let job = Job::Complete(promise);
        self.requests.submit(body, self.timeout, job);
    }

    fn cancel(&mut self) {
        self.phase = Phase::Cancelling;
        let body = self.header(Operation::CANCEL).as_bytes().to_vec();
        let job = Job::Cancel;
        self.requests.submit_first(body, self.timeout, job);
    }

    /// Stops the file: at once, or when the guest has answered what it is at.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        if self.phase == Phase::Open {
            self.cancel();
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Idle;
        self.progress = None;
    }

    /// The answer to something that leaves the file open if it went well.
    fn went_on(&mut self, result: Result<(), FileCopyError>, promise: Answer, bytes: u64) {
        match &result {
            Ok(()) if !self.stopped => {
                self.phase = Phase::Open;
                if let Some(progress) = &mut self.progress {
                    progress.copied += bytes;
                }
            }
            // FC10h
            _ => self.cancel(),
        }
        promise.resolve(result);
    }
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.requests.opened(waker);
    }

    fn negotiated(&mut self, version: Version, _now: u64) {
        self.requests.negotiated(version);
        if self.phase == Phase::CancelOwed {
            self.cancel();
        }
    }

    fn request(&mut self, now: u64) -> Option<Vec<u8>> {
        self.requests.next(now)
    }

    fn unsent(&mut self, body: Vec<u8>) {
        self.requests.unsent(body);
    }

    fn too_large(&mut self) {
        match self.requests.in_flight() {
            Some(Job::Write(..)) => {
                self.requests.too_large();
                self.cancel();
            }
            // A request to begin that was never sent; all others are shorter than any negotiation.
            _ => {
                self.requests.too_large();
                self.end();
            }
        }
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        self.requests.expiry()
    }

    fn expiry(&self) -> Option<u64> {
        self.requests.expiry()
    }

    fn give_up(&mut self, now: u64) -> bool {
        let cancelled = matches!(self.requests.in_flight(), Some(Job::Cancel));
        if !self.requests.give_up(now) {
            return false;
        }
        let idle = self.phase == Phase::Idle;
        self.end();
        // Once is enough for a guest that does not answer even that.
        if !idle && !cancelled {
            self.phase = Phase::CancelOwed;
        }
        true
    }

    fn answer(&mut self, status: Status, _body: &[u8], _now: u64) {
        let result = FileCopyError::check(status);
        match self.requests.answered() {
            None => {}
            Some(Job::Start(promise)) => {
                // A file that was not begun needs no cancelling.
                if result.is_err() {
                    self.end();
                    return promise.resolve(result);
                }
                self.went_on(result, promise, 0);
            }
            Some(Job::Write(promise, bytes)) => self.went_on(result, promise, bytes),
            Some(Job::Complete(promise)) => {
                if result.is_ok() {
                    self.end();
                    promise.resolve(result);
                } else {
                    self.went_on(result, promise, 0);
                }
            }
            // What the guest says about it changes nothing.
            Some(Job::Cancel) => self.end(),
        }
    }

    fn failed(&mut self, fault: SessionFault) {
        self.requests.failed(fault);
        self.end();
    }

    fn closed(&mut self) {
        // Guests give a file up with the channel.
        self.requests.closed();
        self.end();
    }
}
