//! The mouse's end of its channel.

use vsc_input::wire::mouse::{DeviceInfo, GuestMessage, HostMessage, VERSION};
use zerocopy::IntoBytes;

use super::Shared;
use crate::vmbus::vsp::PollWaker;
use crate::vsp::message_channel::{MessageDevice, Turn, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A version is to be asked for.
    Version,
    /// The device's information has been sent.
    Acknowledgement,
    /// Reports may follow.
    Active,
}

pub(super) struct MouseEnd {
    shared: Shared,
    state: State,
}

impl MouseEnd {
    pub(super) fn new(shared: Shared, waker: PollWaker) -> Self {
        {
            let mut state = shared.lock();
            state.is_open = true;
            state.is_ready = false;
            state.queue.clear();
            state.waker = Some(waker);
        }
        Self {
            shared,
            state: State::Version,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        let mut shared = self.shared.lock();
        shared.is_ready = state == State::Active;
        shared.queue.clear();
    }

    fn bad(&mut self) -> Verdict {
        self.shared.lock().bad_messages += 1;
        Verdict::Bad
    }
}

fn emitted(message: &HostMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

impl MessageDevice for MouseEnd {
    const IS_PIPE: bool = true;

    fn receive(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Verdict {
        match GuestMessage::parse(message) {
            Ok(GuestMessage::ProtocolRequest(version)) => {
                // Also restarts.
                let approved = version == VERSION;
                tracing::debug!(version, approved, "mouse: version asked for");
                let response = HostMessage::ProtocolResponse { version, approved };
                turn.answers.push(emitted(&response));
                if approved {
                    let info = HostMessage::DeviceInfo(DeviceInfo::HYPER_V);
                    turn.answers.push(emitted(&info));
                    self.enter(State::Acknowledgement);
                } else {
                    self.enter(State::Version);
                }
                Verdict::Good
            }
            Ok(GuestMessage::DeviceInfoAck) if self.state == State::Acknowledgement => {
                self.enter(State::Active);
                Verdict::Good
            }
            Ok(GuestMessage::DeviceInfoAck) => self.bad(),
            Err(error) => {
                tracing::debug!(%error, "mouse: message dropped");
                self.bad()
            }
        }
    }

    fn malformed(&mut self) {
        self.bad();
    }

    fn unsolicited(&mut self, now: u64) -> Option<Vec<u8>> {
        let mut state = self.shared.lock();
        let report = state.queue.pop(now)?;
        state.sent += 1;
        Some(emitted(&HostMessage::InputReport(report.as_bytes())))
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        self.shared.lock().queue.due()
    }
}

impl Drop for MouseEnd {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_open = false;
        state.is_ready = false;
        state.queue.clear();
        state.waker = None;
    }
}
