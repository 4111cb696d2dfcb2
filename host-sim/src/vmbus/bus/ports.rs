//! Where the guest's messages and signals arrive, and the ends of workers.

use super::*;

pub(super) struct ServerPort {
    pub(super) bus: Weak<Inner>,
    pub(super) connection: u32,
}

impl MessagePort for ServerPort {
    fn post(&self, message_type: u32, payload: &[u8]) -> Status {
        let Some(bus) = self.bus.upgrade() else {
            return Status::INVALID_CONNECTION_ID;
        };
        if message_type != VMBUS_MESSAGE {
            tracing::debug!(message_type, "message of a type that VMBus doesn't have");
            return Status::SUCCESS;
        }
        bus.post(Input::Message {
            connection: self.connection,
            payload: payload.into(),
        })
    }
}

/// Tells the bus, when dropped, that a worker is at its end: the device's end has been dropped before, so nothing
/// touches the guest's memory any more.
pub(super) struct WorkerEnd {
    pub(super) bus: Weak<Inner>,
    pub(super) channel: ChannelId,
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.post(Input::Closed(self.channel));
        }
    }
}

/// The port for signals of channels without one of their own: the guest marks them in the interrupt page.
pub(super) struct SharedPort(pub(super) Weak<Inner>);

impl EventPort for SharedPort {
    fn signal(&self, _flag: u16) -> Status {
        if let Some(bus) = self.0.upgrade() {
            bus.scan_interrupt_page();
        }
        Status::SUCCESS
    }
}
