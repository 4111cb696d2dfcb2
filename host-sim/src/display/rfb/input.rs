//! Keys and buttons of one client.

use std::collections::BTreeSet;

use vsc_input::wire::hid::coordinate;

use crate::display::keysym;
use crate::display::scancode::Scancode;

/// What a client holds down.
///
/// Clients send what a key means on their keyboard; the guest gets the keys of a US one. Where both differ in
/// whether Shift is needed, Shift is pressed or released around the key.
#[derive(Debug, Default)]
pub(super) struct ClientInput {
    held: BTreeSet<Scancode>,
    caps_lock: bool,
    buttons: u8,
    position: (u16, u16),
}

/// A state of the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) buttons: u8,
    pub(super) wheel: i16,
}

/// A key, and whether it is pressed.
pub(super) type Stroke = (Scancode, bool);

impl ClientInput {
    /// What the guest gets for a key of the client's.
    pub(super) fn key(&mut self, name: u32, pressed: bool) -> Vec<Stroke> {
        let Some(key) = keysym::key(name) else {
            return Vec::new();
        };
        let scancode = key.scancode;
        if !pressed {
            // By place, not by name: Shift may have changed since it was pressed.
            return match self.held.remove(&scancode) {
                true => vec![(scancode, false)],
                false => Vec::new(),
            };
        }
        if scancode == Scancode::CAPS_LOCK && !self.held.contains(&scancode) {
            self.caps_lock = !self.caps_lock;
        }
        self.held.insert(scancode);
        let shifts: Vec<_> = [Scancode::LEFT_SHIFT, Scancode::RIGHT_SHIFT]
            .into_iter()
            .filter(|shift| self.held.contains(shift))
            .collect();
        let needed = key
            .shift
            .map(|shift| shift ^ (key.is_letter && self.caps_lock));
        let stroke = (scancode, true);
        match needed {
            Some(true) if shifts.is_empty() => vec![
                (Scancode::LEFT_SHIFT, true),
                stroke,
                (Scancode::LEFT_SHIFT, false),
            ],
            Some(false) if !shifts.is_empty() => {
                let all = |pressed| shifts.iter().map(move |shift| (*shift, pressed));
                all(false).chain([stroke]).chain(all(true)).collect()
            }
            _ => vec![stroke],
        }
    }

    /// What the guest gets for the client's pointer on a screen of this size.
    pub(super) fn pointer(&mut self, mask: u8, x: u16, y: u16, size: (u32, u32)) -> Pointer {
        let pressed = mask & !self.buttons;
        self.buttons = mask;
        self.position = (
            coordinate(u32::from(x), size.0),
            coordinate(u32::from(y), size.1),
        );
        // The wheel is two buttons to the client, one for each direction.
        let wheel = i16::from(pressed & 0x08 != 0) - i16::from(pressed & 0x10 != 0);
        Pointer {
            x: self.position.0,
            y: self.position.1,
            // Middle and right change places.
            buttons: mask & 1 | (mask & 2) << 1 | (mask & 4) >> 1,
            wheel,
        }
    }

    /// Lets everything go: the client has gone. The pointer's state if a button was down.
    pub(super) fn release(&mut self) -> (Vec<Stroke>, Option<Pointer>) {
        let held = std::mem::take(&mut self.held);
        let keys = held.into_iter().map(|key| (key, false)).collect();
        let pointer = (std::mem::take(&mut self.buttons) & 7 != 0).then_some(Pointer {
            x: self.position.0,
            y: self.position.1,
            buttons: 0,
            wheel: 0,
        });
        (keys, pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::scancode::Prefix;

    const SHIFT: u32 = 0xFFE1;

    fn code(code: u8) -> Scancode {
        Scancode::new(code, Prefix::None).unwrap()
    }

    #[test]
    fn shift_is_added_and_taken_away() {
        let mut input = ClientInput::default();
        let shift = Scancode::LEFT_SHIFT;
        let one = code(2);
        // A client that types without pressing Shift.
        assert_eq!(
            input.key(0x21, true),
            [(shift, true), (one, true), (shift, false)]
        );
        assert_eq!(input.key(0x21, false), [(one, false)]);
        // One that does.
        assert_eq!(input.key(SHIFT, true), [(shift, true)]);
        assert_eq!(input.key(0x21, true), [(one, true)]);
        assert_eq!(input.key(SHIFT, false), [(shift, false)]);
        assert_eq!(
            input.key(0x31, false),
            [(one, false)],
            "the key's other name"
        );
        // A layout where Shift gives what needs none here.
        input.key(SHIFT, true);
        assert_eq!(
            input.key(0x31, true),
            [(shift, false), (one, true), (shift, true)]
        );
        assert_eq!(input.key(0x20, true), [(code(0x39), true)]);
    }

    #[test]
    fn caps_lock_turns_letters_round() {
        let mut input = ClientInput::default();
        let (caps, a) = (Scancode::CAPS_LOCK, code(0x1E));
        assert_eq!(input.key(0xFFE5, true), [(caps, true)]);
        assert_eq!(input.key(0xFFE5, false), [(caps, false)]);
        assert_eq!(input.key(0x41, true), [(a, true)]);
        assert_eq!(input.key(0x61, true).len(), 3);
        assert_eq!(input.key(0x31, true), [(code(2), true)]);
    }

    #[test]
    fn buttons_are_mapped_and_the_wheel_turns_once() {
        let mut input = ClientInput::default();
        let size = (101, 101);
        let pointer = input.pointer(0b110, 100, 50, size);
        assert_eq!(
            pointer,
            Pointer {
                x: 32767,
                y: 16384,
                buttons: 0b110,
                wheel: 0
            }
        );
        assert_eq!(input.pointer(0b010, 0, 0, size).buttons, 0b100);
        assert_eq!(input.pointer(0x08, 0, 0, size).wheel, 1);
        assert_eq!(input.pointer(0x08, 1, 0, size).wheel, 0);
        assert_eq!(input.pointer(0x10, 1, 0, size).wheel, -1);
    }

    // KH2
    #[test]
    fn nothing_stays_down_when_the_client_goes() {
        let mut input = ClientInput::default();
        input.key(SHIFT, true);
        input.key(0x61, true);
        input.key(0x0123_4567, true);
        input.pointer(1, 3, 3, (640, 480));
        let (keys, pointer) = input.release();
        assert_eq!(keys, [(code(0x1E), false), (Scancode::LEFT_SHIFT, false)]);
        assert_eq!(pointer.unwrap().buttons, 0);
        assert_eq!(input.release(), (vec![], None));
    }
}
