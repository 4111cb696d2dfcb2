//! The heartbeat service, guest end: the host sends a number, the guest answers with the next.

use zerocopy::FromBytes;

use crate::service::Service;
use crate::session::{Definition, Dropped, Received, Session};
use crate::wire::{ApplicationState, HeartbeatBody, MessageType, Status, Version};

const DEFINITION: Definition = Definition {
    message_type: MessageType::HEARTBEAT,
    frameworks: &[Version::new(3, 0), Version::new(1, 0)],
    versions: &[Version::new(3, 1), Version::new(3, 0), Version::new(1, 0)],
    // The sequence number alone: hosts differ in what follows it.
    least_body: 8,
};

/// Answers heartbeats on one channel.
#[derive(Debug)]
pub struct Heartbeat {
    session: Session,
    state: ApplicationState,
    beats: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeat {
    /// A healthy guest that has not answered yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            session: Session::new(DEFINITION),
            state: ApplicationState::HEALTHY,
            beats: 0,
        }
    }

    /// What the next answers say about the guest.
    pub const fn set_application_state(&mut self, state: ApplicationState) {
        self.state = state;
    }

    /// Beats answered so far.
    #[must_use]
    pub const fn beats(&self) -> u64 {
        self.beats
    }
}

impl Service for Heartbeat {
    type Order = ();

    fn session(&self) -> &Session {
        &self.session
    }

    fn handle(&mut self, payload: &mut [u8]) -> Result<Option<()>, Dropped> {
        match self.session.receive(payload)? {
            Received::Answered => {}
            Received::Request(mut request) => {
                if let Ok((body, _)) = HeartbeatBody::mut_from_prefix(request.body()) {
                    body.sequence = body.sequence.get().wrapping_add(1).into();
                    body.application_state = self.state.0.into();
                } else if let Some(sequence) = request.body().first_chunk_mut::<8>() {
                    *sequence = u64::from_le_bytes(*sequence).wrapping_add(1).to_le_bytes();
                }
                self.beats = self.beats.wrapping_add(1);
                request.answer(Status::OK);
            }
        }
        Ok(None)
    }
}
