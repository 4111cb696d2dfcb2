//! What presses the keyboard's keys.

use serde::Serialize;
use thiserror::Error;
use vsc_input::wire::keyboard::{KeyEvent, KeyFlags, Leds};

use super::queue::{MAX_TEXT, strokes_of};
use super::{Shared, State};
use crate::display::scancode::{Scancode, us_layout};
use crate::display::screen::{InputRefused, Keys};

/// Presses keys and reads the lights; clones share the keyboard.
#[derive(Clone)]
pub struct KeyboardHandle {
    shared: Shared,
}

/// Why text cannot be typed; nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TypeError {
    /// The guest takes no input.
    #[error(transparent)]
    Refused(#[from] InputRefused),
    /// A US keyboard has no key for the character.
    #[error("a US keyboard has no key for {0:?}")]
    NoKey(char),
    /// The text has more strokes than the queue holds.
    #[error("the text has {strokes} key strokes, more than {MAX_TEXT}")]
    TooLong {
        /// Strokes, presses and releases.
        strokes: usize,
    },
}

/// The keyboard's state and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeyboardStatus {
    /// Whether the guest has opened the channel.
    pub is_open: bool,
    /// Whether it has negotiated and takes keys.
    pub is_ready: bool,
    /// Strokes that wait for the guest.
    pub waiting: usize,
    /// Keys that are down.
    pub held: usize,
    /// Strokes sent since the start.
    pub sent: u64,
    /// Presses dropped because the guest did not read.
    pub dropped: u64,
    /// Messages of the guest that were ignored.
    pub bad_messages: u64,
    /// The lights' bits: 1 Scroll Lock, 2 Num Lock, 4 Caps Lock.
    pub leds: u16,
}

impl KeyboardHandle {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// Runs `act` if the guest takes keys, and then makes the channel send.
    fn with_ready<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, InputRefused>,
    ) -> Result<T, InputRefused> {
        let mut state = self.shared.lock();
        if !state.is_ready {
            return Err(InputRefused::NotReady);
        }
        let result = act(&mut state);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Presses or releases a key. Pressing a key that is down repeats it; releasing one that is up does
    /// nothing.
    ///
    /// # Errors
    /// [`InputRefused`]. With 256 strokes waiting presses are refused, releases never.
    pub fn key(&self, key: Scancode, pressed: bool) -> Result<(), InputRefused> {
        self.with_ready(|state| {
            if state.queue.push(key, pressed) {
                Ok(())
            } else {
                state.dropped += 1;
                Err(InputRefused::Full)
            }
        })
    }

    /// Presses keys in order and releases them in the opposite order: Ctrl, Alt, Delete.
    ///
    /// # Errors
    /// [`InputRefused`], with all keys released.
    pub fn chord(&self, keys: &[Scancode]) -> Result<(), InputRefused> {
        let pressed = keys.iter().try_for_each(|key| self.key(*key, true));
        for key in keys.iter().rev() {
            self.key(*key, false)?;
        }
        pressed
    }

    /// Types a text as a US keyboard does: line feeds are Enter.
    ///
    /// # Errors
    /// [`TypeError`], with nothing typed.
    pub fn type_text(&self, text: &str) -> Result<(), TypeError> {
        let mut strokes = Vec::new();
        for character in text.chars() {
            let (key, shift) = us_layout(character).ok_or(TypeError::NoKey(character))?;
            let mut add = |key, pressed| strokes.extend(strokes_of(key, pressed));
            if shift {
                add(Scancode::LEFT_SHIFT, true);
            }
            add(key, true);
            add(key, false);
            if shift {
                add(Scancode::LEFT_SHIFT, false);
            }
        }
        self.push_text(strokes)
    }

    /// Sends a text as units of UTF-16 instead of keys. Only for guests known to understand that: others take
    /// the units for scancodes.
    ///
    /// # Errors
    /// [`TypeError`], with nothing typed.
    pub fn type_unicode(&self, text: &str) -> Result<(), TypeError> {
        let stroke = |make_code, flags| KeyEvent { make_code, flags };
        let strokes = text.encode_utf16().flat_map(|unit| {
            let flags = KeyFlags::UNICODE;
            [stroke(unit, flags), stroke(unit, flags | KeyFlags::BREAK)]
        });
        self.push_text(strokes.collect())
    }

    fn push_text(&self, strokes: Vec<KeyEvent>) -> Result<(), TypeError> {
        let count = strokes.len();
        if count > MAX_TEXT {
            return Err(TypeError::TooLong { strokes: count });
        }
        self.with_ready(|state| {
            if state.queue.push_text(strokes.into_iter()) {
                Ok(())
            } else {
                Err(InputRefused::Full)
            }
        })?;
        Ok(())
    }

    /// Releases every key that is down: whoever pressed them has gone.
    pub fn release_all(&self) {
        // A guest that takes no keys has none down.
        let _ = self.with_ready(|state| {
            state.queue.release_all();
            Ok(())
        });
    }

    /// Which lights the guest has switched on.
    #[must_use]
    pub fn leds(&self) -> Leds {
        self.shared.lock().leds
    }

    /// State and counters.
    #[must_use]
    pub fn status(&self) -> KeyboardStatus {
        let state = self.shared.lock();
        KeyboardStatus {
            is_open: state.is_open,
            is_ready: state.is_ready,
            waiting: state.queue.len(),
            held: state.queue.held(),
            sent: state.sent,
            dropped: state.dropped,
            bad_messages: state.bad_messages,
            leds: state.leds.bits(),
        }
    }
}

impl Keys for KeyboardHandle {
    fn key(&self, key: Scancode, pressed: bool) -> Result<(), InputRefused> {
        Self::key(self, key, pressed)
    }
}
