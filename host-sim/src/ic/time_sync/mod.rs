//! Time synchronisation, host end: tells the guest what time it is.
//!
//! After the negotiation the guest gets one message that sets its clock, then samples. When the host's clock and the
//! partition's time part (somebody set the one, or the other stood still with the guest), the next message sets the
//! guest's clock again.

mod clock;

use std::sync::Arc;

use ic_services::time_sync::wire::{FIRST_WITH_REFERENCE_TIME, TimeFlags, TimeMessage};
use ic_services::wire::{MessageType, Status, Version};
use serde::Serialize;
use vmbus_core::class;
use zerocopy::IntoBytes;

pub use self::clock::{ManualWallClock, SystemWallClock, WallClock};
use super::channel::{HostService, ServiceChannel, Shared};
use super::heartbeat::Contact;
use super::request::SECOND;
use super::session::{Offered, SessionFault};
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, PollWaker, Vsp, VspChannel,
};

/// Time between an answer and the next sample, in 100 ns units: 5 s.
pub const SAMPLE_INTERVAL: u64 = 5 * SECOND;
/// How far the clocks may part before the guest's is set again, in 100 ns units: 5 s.
const TOLERANCE: u64 = 5 * SECOND;
/// Intervals without an answer until contact counts as lost.
const INTERVALS_UNTIL_LOST: u64 = 2;

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions = ServiceVersions::fixed(
    &[Version::new(1, 0), Version::new(3, 0)],
    &[Version::new(1, 0), Version::new(3, 0), Version::new(4, 0)],
);

/// How the service works.
#[derive(Clone)]
pub struct TimeSyncOptions {
    /// The versions offered.
    pub versions: ServiceVersions,
    /// Time between an answer and the next sample, in 100 ns units.
    pub interval: u64,
    /// The host's clock.
    pub clock: Arc<dyn WallClock>,
}

impl Default for TimeSyncOptions {
    /// All versions, the protocol's interval, the system's clock.
    fn default() -> Self {
        Self {
            versions: VERSIONS,
            interval: SAMPLE_INTERVAL,
            clock: Arc::new(SystemWallClock),
        }
    }
}

/// The service's state and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimeSyncStatus {
    /// Whether the guest answers.
    pub contact: Contact,
    /// Messages sent that set the guest's clock.
    pub syncs: u64,
    /// Samples sent.
    pub samples: u64,
    /// Messages answered well.
    pub answered: u64,
    /// Messages that the guest refused.
    pub refused: u64,
    /// The time in the last message, in 100 ns since 1601.
    pub last_time: u64,
}

/// What was sent and is not answered yet.
#[derive(Clone, Copy)]
struct Sent {
    at: u64,
    flags: TimeFlags,
}

struct State {
    options: TimeSyncOptions,
    status: TimeSyncStatus,
    version: Option<Version>,
    /// The next message sets the guest's clock.
    sync: bool,
    /// When the next message is due.
    next: u64,
    sent: Option<Sent>,
    /// The host's clock when it was last told, and the partition's time then.
    last: Option<(u64, u64)>,
    /// Added to the host's clock.
    offset: i64,
    waker: Option<PollWaker>,
}

impl State {
    fn time(&self) -> u64 {
        self.options.clock.now().wrapping_add_signed(self.offset)
    }

    /// Whether the host's clock and the partition's time have parted since the last message.
    fn has_parted(&self, time: u64, now: u64) -> bool {
        self.last.is_some_and(|(last_time, last_now)| {
            let by_clock = i128::from(time) - i128::from(last_time);
            let by_partition = i128::from(now) - i128::from(last_now);
            (by_clock - by_partition).unsigned_abs() > u128::from(TOLERANCE)
        })
    }
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.waker = Some(waker);
    }

    fn negotiated(&mut self, version: Version, now: u64) {
        self.version = Some(version);
        self.sync = true;
        self.sent = None;
        self.last = None;
        self.next = now;
    }

    fn request(&mut self, now: u64) -> Option<Vec<u8>> {
        let version = self.version?;
        if now < self.next {
            return None;
        }
        // Taken now and not earlier: what finds no room in the ring is made anew.
        let time = self.time();
        self.sync |= self.has_parted(time, now);
        let flags = if self.sync {
            TimeFlags::SYNC
        } else {
            TimeFlags::SAMPLE
        };
        let message = TimeMessage {
            parent_time: time,
            reference_time: Some(now),
            flags,
        };
        self.sent = Some(Sent { at: now, flags });
        self.last = Some((time, now));
        self.status.last_time = time;
        if self.sync {
            self.status.syncs += 1;
        } else {
            self.status.samples += 1;
        }
        self.sync = false;
        self.next = u64::MAX;
        Some(if version >= FIRST_WITH_REFERENCE_TIME {
            message.to_reference_time_body().as_bytes().to_vec()
        } else {
            message.to_time_body().as_bytes().to_vec()
        })
    }

    fn unsent(&mut self, _body: Vec<u8>) {
        match self.sent.take() {
            Some(Sent { flags, .. }) if flags == TimeFlags::SYNC => {
                self.status.syncs -= 1;
                self.sync = true;
            }
            Some(_) => self.status.samples -= 1,
            None => {}
        }
        self.next = 0;
    }

    fn deadline(&mut self, now: u64) -> Option<u64> {
        let Some(sent) = self.sent else {
            return (self.version.is_some()).then_some(self.next);
        };
        let patience = INTERVALS_UNTIL_LOST.saturating_mul(self.options.interval);
        let lost_at = sent.at.saturating_add(patience);
        if now < lost_at {
            return Some(lost_at);
        }
        if self.status.contact != Contact::Failed {
            self.status.contact = Contact::Lost;
        }
        None
    }

    fn answer(&mut self, status: Status, _body: &[u8], now: u64) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        self.next = now.saturating_add(self.options.interval);
        if self.sync {
            // Somebody asked meanwhile.
            self.next = now;
        }
        if status == Status::OK {
            self.status.answered += 1;
        } else {
            self.status.refused += 1;
            // A guest that loads its driver late may not have set its clock.
            self.sync |= sent.flags == TimeFlags::SYNC;
        }
        self.status.contact = Contact::Ok;
    }

    fn failed(&mut self, fault: SessionFault) {
        tracing::debug!(%fault, "time synchronisation");
        self.version = None;
        self.sent = None;
        self.status.contact = Contact::Failed;
    }

    fn closed(&mut self) {
        self.waker = None;
        self.version = None;
        self.sent = None;
        self.status.contact = Contact::None;
    }
}

/// The service's device on the bus.
pub struct TimeSync {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Reads the service's state and sets the guest's clock; clones share it.
#[derive(Clone)]
pub struct TimeSyncHandle {
    state: Shared<State>,
}

impl TimeSync {
    /// A service that has told nothing yet.
    #[must_use]
    pub fn new(options: TimeSyncOptions) -> (Self, TimeSyncHandle) {
        let versions = options.versions.clone();
        let state = Shared::new(State {
            options,
            status: TimeSyncStatus {
                contact: Contact::None,
                syncs: 0,
                samples: 0,
                answered: 0,
                refused: 0,
                last_time: 0,
            },
            version: None,
            sync: false,
            next: 0,
            sent: None,
            last: None,
            offset: 0,
            waker: None,
        });
        let handle = TimeSyncHandle {
            state: state.clone(),
        };
        (Self { versions, state }, handle)
    }
}

impl TimeSyncHandle {
    /// What is known now.
    #[must_use]
    pub fn status(&self) -> TimeSyncStatus {
        self.state.lock().status
    }

    /// The agreed version, if the guest has chosen one.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.state.lock().version
    }

    /// Makes the next message set the guest's clock, and sends it as soon as the guest has answered the last.
    /// Without a guest nothing is to be done: its first message does so anyway.
    pub fn force_sync(&self) {
        let mut state = self.state.lock();
        state.sync = true;
        if state.sent.is_none() {
            state.next = 0;
        }
        let waker = state.waker.clone();
        // The channel takes the lock when it is woken.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Adds so many units of 100 ns to the host's clock from now on, beyond all bounds of time too, to test guests.
    pub fn set_offset(&self, offset: i64) {
        self.state.lock().offset = offset;
    }
}

impl Vsp for TimeSync {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::TIME_SYNC, class::instance::TIME_SYNC)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        let offered = Offered {
            message_type: MessageType::TIME_SYNC,
            versions: self.versions.clone(),
        };
        let channel = ServiceChannel::new(offered, self.state.clone(), &services);
        Ok(Box::new(channel))
    }
}

#[cfg(test)]
mod tests;
