//! The synthetic mouse, host end: an absolute pointer.
//!
//! Input before the guest has understood what the device is is refused, not kept.

mod channel;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use vmbus_core::class;
use vsc_input::wire::hid::{MAX_COORDINATE, coordinate};

use self::channel::MouseEnd;
use self::queue::{Input, ReportQueue};
use super::message_channel::MessageChannel;
use crate::display::screen::{InputRefused, Pointing};
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, PollWaker, Vsp, VspChannel,
};

/// Buttons that the device has, as bits.
const ALL_BUTTONS: u8 = 0x1F;

/// A button of the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Button {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// The middle one, or the wheel.
    Middle,
    /// The fourth: "back".
    Fourth,
    /// The fifth: "forward".
    Fifth,
}

impl Button {
    /// All buttons.
    pub const ALL: [Self; 5] = [
        Self::Left,
        Self::Right,
        Self::Middle,
        Self::Fourth,
        Self::Fifth,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::Left => 1,
            Self::Right => 1 << 1,
            Self::Middle => 1 << 2,
            Self::Fourth => 1 << 3,
            Self::Fifth => 1 << 4,
        }
    }
}

/// The device on the bus.
pub struct Mouse {
    shared: Shared,
}

#[derive(Default)]
struct State {
    is_open: bool,
    is_ready: bool,
    queue: ReportQueue,
    waker: Option<PollWaker>,
    sent: u64,
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

impl Mouse {
    /// A mouse, and the handle that moves it.
    #[must_use]
    pub fn new() -> (Self, MouseHandle) {
        let shared = Shared::default();
        let handle = MouseHandle {
            shared: shared.clone(),
        };
        (Self { shared }, handle)
    }
}

impl Vsp for Mouse {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::MOUSE, class::instance::MOUSE)
    }

    fn open(
        &mut self,
        request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        if request.sub_channel_index != 0 {
            return Err(OpenRefused::new("a mouse has no sub-channels"));
        }
        let end = MouseEnd::new(self.shared.clone(), services.waker);
        Ok(Box::new(MessageChannel::new(end)))
    }
}

/// Moves the mouse; clones share it.
#[derive(Clone)]
pub struct MouseHandle {
    shared: Shared,
}

/// The mouse's state and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MouseStatus {
    /// Whether the guest has opened the channel.
    pub is_open: bool,
    /// Whether it takes reports.
    pub is_ready: bool,
    /// Column, 0 to 32767 over the whole screen.
    pub x: u16,
    /// Row, likewise.
    pub y: u16,
    /// Buttons that are down: 1 left, 2 right, 4 middle, 8 fourth, 16 fifth.
    pub buttons: u8,
    /// Reports sent since the start.
    pub sent: u64,
    /// Messages of the guest that were ignored.
    pub bad_messages: u64,
}

impl MouseHandle {
    fn change(&self, act: impl FnOnce(&mut Input)) -> Result<(), InputRefused> {
        let mut state = self.shared.lock();
        if !state.is_ready {
            return Err(InputRefused::NotReady);
        }
        let mut input = state.queue.current();
        act(&mut input);
        input.x = input.x.min(MAX_COORDINATE);
        input.y = input.y.min(MAX_COORDINATE);
        input.buttons &= ALL_BUTTONS;
        state.queue.push(input);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Moves the pointer. Coordinates are 0 to 32767 over the whole visible screen; larger ones mean the edge.
    /// Moves that the guest is too slow for, or more than 125 in a second, become one.
    ///
    /// # Errors
    /// [`InputRefused::NotReady`].
    pub fn move_to(&self, x: u16, y: u16) -> Result<(), InputRefused> {
        self.change(|input| (input.x, input.y) = (x, y))
    }

    /// Moves the pointer to a pixel of a screen of this width and height.
    ///
    /// # Errors
    /// [`InputRefused::NotReady`].
    pub fn move_to_pixel(&self, pixel: (u32, u32), size: (u32, u32)) -> Result<(), InputRefused> {
        self.move_to(coordinate(pixel.0, size.0), coordinate(pixel.1, size.1))
    }

    /// Presses or releases a button.
    ///
    /// # Errors
    /// [`InputRefused::NotReady`].
    pub fn button(&self, button: Button, pressed: bool) -> Result<(), InputRefused> {
        self.change(|input| {
            if pressed {
                input.buttons |= button.bit();
            } else {
                input.buttons &= !button.bit();
            }
        })
    }

    /// Turns the wheel by notches, away from the user if positive.
    ///
    /// # Errors
    /// [`InputRefused::NotReady`].
    pub fn wheel(&self, notches: i16) -> Result<(), InputRefused> {
        self.change(|input| input.wheel = notches)
    }

    /// State and counters.
    #[must_use]
    pub fn status(&self) -> MouseStatus {
        let state = self.shared.lock();
        let input = state.queue.current();
        MouseStatus {
            is_open: state.is_open,
            is_ready: state.is_ready,
            x: input.x,
            y: input.y,
            buttons: input.buttons,
            sent: state.sent,
            bad_messages: state.bad_messages,
        }
    }
}

impl Pointing for MouseHandle {
    fn point(&self, x: u16, y: u16, buttons: u8, wheel: i16) -> Result<(), InputRefused> {
        self.change(|input| {
            *input = Input {
                x,
                y,
                buttons,
                wheel,
            };
        })
    }
}
