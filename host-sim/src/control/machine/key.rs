//! Keys by name.

use crate::display::keysym;
use crate::display::scancode::{Scancode, us_layout};

/// Names of keys that give no character, and their X11 keysyms.
const NAMES: &[(&str, u32)] = &[
    ("backspace", 0xFF08),
    ("tab", 0xFF09),
    ("enter", 0xFF0D),
    ("return", 0xFF0D),
    ("pause", 0xFF13),
    ("scroll-lock", 0xFF14),
    ("sysrq", 0xFF15),
    ("esc", 0xFF1B),
    ("escape", 0xFF1B),
    ("home", 0xFF50),
    ("left", 0xFF51),
    ("up", 0xFF52),
    ("right", 0xFF53),
    ("down", 0xFF54),
    ("page-up", 0xFF55),
    ("page-down", 0xFF56),
    ("end", 0xFF57),
    ("print", 0xFF61),
    ("insert", 0xFF63),
    ("menu", 0xFF67),
    ("num-lock", 0xFF7F),
    ("kp-enter", 0xFF8D),
    ("kp-multiply", 0xFFAA),
    ("kp-add", 0xFFAB),
    ("kp-subtract", 0xFFAD),
    ("kp-divide", 0xFFAF),
    ("shift", 0xFFE1),
    ("right-shift", 0xFFE2),
    ("ctrl", 0xFFE3),
    ("right-ctrl", 0xFFE4),
    ("caps-lock", 0xFFE5),
    ("alt", 0xFFE9),
    ("right-alt", 0xFFEA),
    ("super", 0xFFEB),
    ("right-super", 0xFFEC),
    ("delete", 0xFFFF),
];

/// First of the keysyms F1 to F12.
const F1: u32 = 0xFFBE;

/// The keys that are pressed together for a text such as `ctrl+alt+delete`, `f1`, `a` or `+`: names of keys, or
/// characters of a US keyboard that need no Shift. The error is the word that names no key.
pub(super) fn chord(text: &str) -> Result<Vec<Scancode>, String> {
    if text == "+" {
        return Ok(vec![Scancode::LEFT_SHIFT, us_layout('+').ok_or("+")?.0]);
    }
    text.split('+')
        .map(|word| named(word).ok_or_else(|| word.to_owned()))
        .collect()
}

fn named(word: &str) -> Option<Scancode> {
    let mut characters = word.chars();
    if let (Some(character), None) = (characters.next(), characters.next()) {
        return us_layout(character)
            .filter(|(_, shift)| !shift)
            .map(|(key, _)| key);
    }
    let function = word
        .strip_prefix('f')
        .and_then(|number| number.parse().ok());
    let keysym = match function {
        Some(number @ 1..=12) => F1 + number - 1,
        _ => NAMES.iter().find(|(name, _)| *name == word)?.1,
    };
    Some(keysym::key(keysym)?.scancode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_key() {
        for (name, _) in NAMES {
            assert!(named(name).is_some(), "{name}");
        }
        for number in 1..=12 {
            assert!(named(&format!("f{number}")).is_some());
        }
    }

    #[test]
    fn chords_are_read() {
        assert_eq!(
            chord("ctrl+alt+delete"),
            Ok(vec![
                Scancode::LEFT_CONTROL,
                Scancode::LEFT_ALT,
                Scancode::DELETE
            ])
        );
        assert_eq!(chord("a").unwrap().len(), 1);
        assert_eq!(chord("+").unwrap().len(), 2);
        assert_eq!(chord("f13"), Err("f13".to_owned()));
        assert_eq!(chord("A"), Err("A".to_owned()));
        assert_eq!(chord(""), Err(String::new()));
        assert_eq!(chord("ctrl+"), Err(String::new()));
    }
}
