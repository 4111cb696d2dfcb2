//! Keys by the names that people and scripts use: `a`, `enter`, `ctrl+alt+delete`.

use thiserror::Error;

use super::scancode::{Scancode, us_layout};

/// A name that no key has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no key named {0:?}")]
pub struct UnknownKey(pub String);

const fn plain(code: u8) -> Scancode {
    Scancode::plain(code)
}

const fn extended(code: u8) -> Scancode {
    Scancode::extended(code)
}

/// Names of keys that have more than one character.
const NAMES: &[(&str, Scancode)] = &[
    ("escape", plain(0x01)),
    ("esc", plain(0x01)),
    ("backspace", plain(0x0E)),
    ("tab", plain(0x0F)),
    ("enter", Scancode::ENTER),
    ("return", Scancode::ENTER),
    ("space", plain(0x39)),
    ("plus", plain(0x0D)),
    ("minus", plain(0x0C)),
    ("ctrl", Scancode::LEFT_CONTROL),
    ("left-ctrl", Scancode::LEFT_CONTROL),
    ("right-ctrl", extended(0x1D)),
    ("shift", Scancode::LEFT_SHIFT),
    ("left-shift", Scancode::LEFT_SHIFT),
    ("right-shift", Scancode::RIGHT_SHIFT),
    ("alt", Scancode::LEFT_ALT),
    ("left-alt", Scancode::LEFT_ALT),
    ("right-alt", extended(0x38)),
    ("altgr", extended(0x38)),
    ("super", extended(0x5B)),
    ("left-super", extended(0x5B)),
    ("right-super", extended(0x5C)),
    ("menu", extended(0x5D)),
    ("caps-lock", Scancode::CAPS_LOCK),
    ("num-lock", plain(0x45)),
    ("scroll-lock", plain(0x46)),
    ("print", extended(0x37)),
    ("pause", Scancode::PAUSE),
    ("break", extended(0x46)),
    ("insert", extended(0x52)),
    ("delete", Scancode::DELETE),
    ("home", extended(0x47)),
    ("end", extended(0x4F)),
    ("page-up", extended(0x49)),
    ("page-down", extended(0x51)),
    ("up", extended(0x48)),
    ("down", extended(0x50)),
    ("left", extended(0x4B)),
    ("right", extended(0x4D)),
    ("f1", plain(0x3B)),
    ("f2", plain(0x3C)),
    ("f3", plain(0x3D)),
    ("f4", plain(0x3E)),
    ("f5", plain(0x3F)),
    ("f6", plain(0x40)),
    ("f7", plain(0x41)),
    ("f8", plain(0x42)),
    ("f9", plain(0x43)),
    ("f10", plain(0x44)),
    ("f11", plain(0x57)),
    ("f12", plain(0x58)),
    ("keypad-enter", extended(0x1C)),
    ("keypad-divide", extended(0x35)),
    ("keypad-multiply", plain(0x37)),
    ("keypad-minus", plain(0x4A)),
    ("keypad-plus", plain(0x4E)),
    ("keypad-dot", plain(0x53)),
    ("keypad-0", plain(0x52)),
    ("keypad-1", plain(0x4F)),
    ("keypad-2", plain(0x50)),
    ("keypad-3", plain(0x51)),
    ("keypad-4", plain(0x4B)),
    ("keypad-5", plain(0x4C)),
    ("keypad-6", plain(0x4D)),
    ("keypad-7", plain(0x47)),
    ("keypad-8", plain(0x48)),
    ("keypad-9", plain(0x49)),
];

/// The key with this name, in any case: a word of the table, or the character that a US key gives without
/// Shift.
///
/// # Errors
/// [`UnknownKey`].
pub fn key(name: &str) -> Result<Scancode, UnknownKey> {
    let lower = name.to_ascii_lowercase();
    let mut characters = lower.chars();
    let single = match (characters.next(), characters.next()) {
        (Some(character), None) => us_layout(character),
        _ => None,
    };
    if let Some((key, false)) = single {
        return Ok(key);
    }
    NAMES
        .iter()
        .find(|(known, _)| *known == lower)
        .map(|(_, key)| *key)
        .ok_or_else(|| UnknownKey(name.to_owned()))
}

/// Keys that are pressed together, their names joined by `+`: `ctrl+alt+delete`.
///
/// # Errors
/// [`UnknownKey`], for the first name that no key has.
pub fn chord(names: &str) -> Result<Vec<Scancode>, UnknownKey> {
    names.split('+').map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert_eq!(
            chord("Ctrl+Alt+Delete"),
            Ok(vec![
                Scancode::LEFT_CONTROL,
                Scancode::LEFT_ALT,
                Scancode::DELETE
            ])
        );
        assert_eq!(chord("A"), Ok(vec![plain(0x1E)]));
        assert_eq!(chord("ctrl+plus"), chord("ctrl+="));
        for (name, unknown) in [
            ("", ""),
            ("ctrl+", ""),
            ("hyper+a", "hyper"),
            ("!", "!"),
            ("ä", "ä"),
        ] {
            assert_eq!(chord(name), Err(UnknownKey(unknown.into())));
        }
    }

    #[test]
    fn no_name_stands_twice() {
        for (at, (name, _)) in NAMES.iter().enumerate() {
            assert!(NAMES[at + 1..].iter().all(|(other, _)| other != name));
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(!name.contains('+'));
        }
    }
}
