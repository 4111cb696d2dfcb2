//! The keyboard's end of its channel.

use vsc_input::wire::keyboard::{GuestMessage, HostMessage, VERSION};

use super::Shared;
use crate::vmbus::vsp::PollWaker;
use crate::vsp::message_channel::{MessageDevice, Turn, Verdict};

pub(super) struct KeyboardEnd {
    shared: Shared,
}

impl KeyboardEnd {
    pub(super) fn new(shared: Shared, waker: PollWaker) -> Self {
        {
            let mut state = shared.lock();
            state.is_open = true;
            state.is_ready = false;
            state.queue.clear();
            state.waker = Some(waker);
        }
        Self { shared }
    }
}

impl MessageDevice for KeyboardEnd {
    const IS_PIPE: bool = false;

    fn receive(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Verdict {
        let mut state = self.shared.lock();
        match GuestMessage::parse(message) {
            Ok(GuestMessage::ProtocolRequest(version)) => {
                // Also restarts: the guest has forgotten which keys are down.
                let accepted = version == VERSION;
                state.is_ready = accepted;
                state.queue.clear();
                let mut answer = Vec::new();
                HostMessage::ProtocolResponse { accepted }.emit(&mut answer);
                turn.answers.push(answer);
                tracing::debug!(version, accepted, "keyboard: version asked for");
                Verdict::Good
            }
            Ok(GuestMessage::SetLeds(leds)) if state.is_ready => {
                state.leds = leds;
                Verdict::Good
            }
            Ok(GuestMessage::SetLeds(_)) => {
                state.bad_messages += 1;
                Verdict::Bad
            }
            Err(error) => {
                state.bad_messages += 1;
                tracing::debug!(%error, "keyboard: message dropped");
                Verdict::Bad
            }
        }
    }

    fn malformed(&mut self) {
        self.shared.lock().bad_messages += 1;
    }

    fn unsolicited(&mut self, _now: u64) -> Option<Vec<u8>> {
        let mut state = self.shared.lock();
        let event = state.queue.pop()?;
        state.sent += 1;
        let mut message = Vec::new();
        HostMessage::Event(event).emit(&mut message);
        Some(message)
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        // More than one poll's worth waits.
        (self.shared.lock().queue.len() != 0).then_some(0)
    }
}

impl Drop for KeyboardEnd {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_open = false;
        state.is_ready = false;
        state.queue.clear();
        state.waker = None;
    }
}
