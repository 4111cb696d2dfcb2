//! The heartbeat service, host end: is the guest still answering?

use ic_services::wire::{ApplicationState, HeartbeatBody, MessageType, Status, Version};
use serde::Serialize;
use vmbus_core::class;
use zerocopy::{FromBytes, IntoBytes};

use super::channel::{HostService, ServiceChannel, Shared};
use super::session::{Offered, SessionFault};
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, PollWaker, Vsp, VspChannel,
};

/// Time between two beats, in 100 ns units: 2 s.
pub const BEAT_INTERVAL: u64 = 20_000_000;
/// Beats without an answer until contact counts as lost.
const BEATS_UNTIL_LOST: u64 = 2;

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions = ServiceVersions::fixed(
    &[Version::new(1, 0), Version::new(3, 0)],
    &[Version::new(1, 0), Version::new(3, 0)],
);

/// What the heartbeat tells about the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// The guest has not answered yet, or has closed the service.
    None,
    /// The last beat was answered in time.
    Ok,
    /// The guest has stopped answering.
    Lost,
    /// The guest broke the protocol.
    Failed,
}

/// The service's state and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeartbeatStatus {
    /// Whether the guest answers.
    pub contact: Contact,
    /// Beats sent since the start.
    pub sent: u64,
    /// Beats answered since the start.
    pub answered: u64,
    /// Answers whose sequence number was not the one expected.
    pub wrong_sequence: u64,
    /// How the guest says it is: 0 unknown, 1 healthy, 2 critical, 3 stopped.
    pub application_state: u32,
}

struct State {
    status: HeartbeatStatus,
    interval: u64,
    sequence: u64,
    /// When the next beat is due or, with one outstanding, when it was sent.
    next: u64,
    sent_at: Option<u64>,
    waker: Option<PollWaker>,
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.waker = Some(waker);
    }

    fn negotiated(&mut self, _version: Version, now: u64) {
        self.sent_at = None;
        self.next = now;
    }

    fn request(&mut self, now: u64) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        let body = HeartbeatBody {
            sequence: self.sequence.into(),
            application_state: ApplicationState::UNKNOWN.0.into(),
            reserved: 0.into(),
        };
        self.status.sent += 1;
        self.sent_at = Some(now);
        self.next = now.saturating_add(self.interval);
        Some(body.as_bytes().to_vec())
    }

    fn unsent(&mut self, _body: Vec<u8>) {
        self.status.sent -= 1;
        self.sent_at = None;
        self.next = 0;
    }

    fn deadline(&mut self, now: u64) -> Option<u64> {
        let Some(sent_at) = self.sent_at else {
            return (self.status.contact != Contact::Failed).then_some(self.next);
        };
        let lost_at = sent_at.saturating_add(BEATS_UNTIL_LOST.saturating_mul(self.interval));
        if now < lost_at {
            return Some(lost_at);
        }
        if self.status.contact != Contact::Failed {
            self.status.contact = Contact::Lost;
        }
        None
    }

    fn answer(&mut self, status: Status, body: &[u8], _now: u64) {
        self.sent_at = None;
        let Ok((sequence, rest)) = u64::read_from_prefix(body) else {
            self.status.wrong_sequence += 1;
            return;
        };
        if sequence == self.sequence.wrapping_add(1) {
            self.status.answered += 1;
        } else {
            tracing::debug!(
                sequence,
                expected = self.sequence.wrapping_add(1),
                "heartbeat out of sequence"
            );
            self.status.wrong_sequence += 1;
        }
        self.sequence = sequence.wrapping_add(1);
        if status == Status::OK {
            self.status.contact = Contact::Ok;
            self.status.application_state =
                u32::read_from_prefix(rest).map_or(0, |(state, _)| state);
        }
    }

    fn failed(&mut self, _fault: SessionFault) {
        self.status.contact = Contact::Failed;
    }

    fn closed(&mut self) {
        self.waker = None;
        self.sent_at = None;
        self.status.contact = Contact::None;
    }
}

/// The service's device on the bus.
pub struct Heartbeat {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Reads the service's state; clones share it.
#[derive(Clone)]
pub struct HeartbeatHandle {
    state: Shared<State>,
}

impl Heartbeat {
    /// A service that beats every `interval` units of 100 ns; [`BEAT_INTERVAL`] is the protocol's.
    #[must_use]
    pub fn new(interval: u64) -> (Self, HeartbeatHandle) {
        Self::with_versions(interval, VERSIONS)
    }

    /// As [`new`](Self::new), with the versions that another host offers.
    #[must_use]
    pub fn with_versions(interval: u64, versions: ServiceVersions) -> (Self, HeartbeatHandle) {
        let status = HeartbeatStatus {
            contact: Contact::None,
            sent: 0,
            answered: 0,
            wrong_sequence: 0,
            application_state: 0,
        };
        let state = Shared::new(State {
            status,
            interval,
            sequence: 0,
            next: 0,
            sent_at: None,
            waker: None,
        });
        (
            Self {
                versions,
                state: state.clone(),
            },
            HeartbeatHandle { state },
        )
    }
}

impl HeartbeatHandle {
    /// What is known now.
    #[must_use]
    pub fn status(&self) -> HeartbeatStatus {
        self.state.lock().status
    }

    /// Sets the sequence number of the next beat, to test guests.
    pub fn set_sequence(&self, sequence: u64) {
        self.state.lock().sequence = sequence;
    }
}

impl Vsp for Heartbeat {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::HEARTBEAT, class::instance::HEARTBEAT)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        Ok(Box::new(ServiceChannel::new(
            Offered {
                message_type: MessageType::HEARTBEAT,
                versions: self.versions.clone(),
            },
            self.state.clone(),
            &services,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(state: &mut State, sequence: u64) {
        let body = HeartbeatBody {
            sequence: sequence.into(),
            application_state: 1.into(),
            reserved: 0.into(),
        };
        state.answer(Status::OK, body.as_bytes(), 0);
    }

    // HB3h
    #[test]
    fn two_unanswered_beats_are_lost_contact() {
        let (_, handle) = Heartbeat::new(10);
        let mut state = handle.state.lock();
        state.negotiated(Version::new(3, 0), 100);
        assert!(state.request(100).is_some());
        assert_eq!(state.deadline(100), Some(120));
        answer(&mut state, 1);
        assert_eq!(state.status.contact, Contact::Ok);
        assert!(state.request(105).is_none(), "not due yet");
        assert_eq!(state.deadline(105), Some(110));
        assert!(state.request(110).is_some());
        assert_eq!(state.deadline(129), Some(130));
        assert_eq!(state.status.contact, Contact::Ok);
        assert_eq!(state.deadline(130), None);
        assert_eq!(state.status.contact, Contact::Lost);
        answer(&mut state, 3);
        assert_eq!(state.status.contact, Contact::Ok);
    }

    // HB4h
    #[test]
    fn fault_77_guest_sequences_are_resynchronised() {
        let (_, handle) = Heartbeat::new(10);
        handle.set_sequence(u64::MAX);
        let mut state = handle.state.lock();
        answer(&mut state, 0);
        assert_eq!(
            (
                state.status.answered,
                state.status.wrong_sequence,
                state.sequence
            ),
            (1, 0, 1)
        );
        answer(&mut state, 77);
        assert_eq!(
            (
                state.status.answered,
                state.status.wrong_sequence,
                state.sequence
            ),
            (1, 1, 78)
        );
        state.answer(Status::OK, &[1, 2, 3], 0);
        assert_eq!(state.status.wrong_sequence, 2);
    }
}
