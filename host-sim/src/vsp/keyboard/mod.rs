//! The synthetic keyboard, host end.
//!
//! Keys pressed before the guest has negotiated are refused, not kept: a press is not replayed into an
//! operating system that has just booted.

mod channel;
mod handle;
mod queue;

pub use handle::{KeyboardHandle, KeyboardStatus, TypeError};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmbus_core::class;
use vsc_input::wire::keyboard::Leds;

use self::channel::KeyboardEnd;
use self::queue::KeyQueue;
use super::message_channel::MessageChannel;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, PollWaker, Vsp, VspChannel,
};

/// The device on the bus.
pub struct Keyboard {
    shared: Shared,
}

#[derive(Default)]
struct State {
    is_open: bool,
    is_ready: bool,
    queue: KeyQueue,
    leds: Leds,
    waker: Option<PollWaker>,
    sent: u64,
    dropped: u64,
    bad_messages: u64,
}

/// The device's state, shared by its channel and its handles.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// The state. A thread that panicked with the lock left nothing half-done that would matter here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyboard {
    /// A keyboard, and the handle that presses its keys.
    #[must_use]
    pub fn new() -> (Self, KeyboardHandle) {
        let shared = Shared::default();
        let handle = KeyboardHandle::new(shared.clone());
        (Self { shared }, handle)
    }
}

impl Vsp for Keyboard {
    fn offer(&self) -> OfferDescription {
        // Not a pipe: the payload is the message.
        OfferDescription::new(class::KEYBOARD, class::instance::KEYBOARD)
    }

    fn open(
        &mut self,
        request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        if request.sub_channel_index != 0 {
            return Err(OpenRefused::new("a keyboard has no sub-channels"));
        }
        let end = KeyboardEnd::new(self.shared.clone(), services.waker);
        Ok(Box::new(MessageChannel::new(end)))
    }
}
