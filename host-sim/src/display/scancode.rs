//! Keys as scancodes of set 1, and the keys of a US keyboard by character.

/// What comes in front of a scancode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefix {
    /// Nothing: the keys of the original keyboard.
    None,
    /// E0: the keys that were added later.
    E0,
    /// E1: Pause.
    E1,
}

/// A key: a scancode of set 1 without its release bit, 1 to 0x7F.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scancode {
    code: u8,
    prefix: Prefix,
}

impl Scancode {
    /// Left Shift.
    pub const LEFT_SHIFT: Self = Self::plain(0x2A);
    /// Right Shift.
    pub const RIGHT_SHIFT: Self = Self::plain(0x36);
    /// Caps Lock.
    pub const CAPS_LOCK: Self = Self::plain(0x3A);
    /// Left Ctrl.
    pub const LEFT_CONTROL: Self = Self::plain(0x1D);
    /// Left Alt.
    pub const LEFT_ALT: Self = Self::plain(0x38);
    /// Delete, of the block between main and numeric keys.
    pub const DELETE: Self = Self::extended(0x53);
    /// Enter.
    pub const ENTER: Self = Self::plain(0x1C);
    /// Pause. The guest gets it as two codes, E1 1D and 45.
    pub const PAUSE: Self = Self {
        code: 0x1D,
        prefix: Prefix::E1,
    };

    /// A key of the original keyboard. Only for constants that are in range.
    pub(super) const fn plain(code: u8) -> Self {
        Self {
            code,
            prefix: Prefix::None,
        }
    }

    /// A key with the prefix E0. Only for constants that are in range.
    pub(super) const fn extended(code: u8) -> Self {
        Self {
            code,
            prefix: Prefix::E0,
        }
    }

    /// A key by its code; `None` unless it is 1 to 0x7F and, with prefix E1, [`PAUSE`](Self::PAUSE).
    #[must_use]
    pub const fn new(code: u8, prefix: Prefix) -> Option<Self> {
        match (code, prefix) {
            (0 | 0x80.., _) => None,
            (0x1D, Prefix::E1) => Some(Self::PAUSE),
            (_, Prefix::E1) => None,
            _ => Some(Self { code, prefix }),
        }
    }

    /// The code, 1 to 0x7F.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.code
    }

    /// What comes in front of it.
    #[must_use]
    pub const fn prefix(self) -> Prefix {
        self.prefix
    }
}

/// Rows of a US keyboard: the first key's scancode, what the keys give, and what they give with Shift.
const ROWS: [(u8, &str, &str); 6] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", " "),
    (0x0F, "\t", "\t"),
];

/// The key that gives a character on a US keyboard, and whether Shift is needed. A line feed or carriage
/// return is Enter, U+0008 is Backspace, U+001B is Escape. `None` if there is no such key.
#[must_use]
pub fn us_layout(character: char) -> Option<(Scancode, bool)> {
    let key = match character {
        '\n' | '\r' => Scancode::ENTER,
        '\u{8}' => Scancode::plain(0x0E),
        '\u{1b}' => Scancode::plain(0x01),
        _ => {
            return ROWS.iter().find_map(|(first, without, with)| {
                let at = |row: &str| row.chars().position(|held| held == character);
                let (at, shift) = at(without)
                    .map(|at| (at, false))
                    .or_else(|| at(with).map(|at| (at, true)))?;
                Some((Scancode::plain(first + at as u8), shift))
            });
        }
    };
    Some((key, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_key_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for character in ' '..='~' {
            let (key, shift) = us_layout(character).unwrap();
            assert!(seen.insert((key, shift)), "{character}");
            let lower = us_layout(character.to_ascii_lowercase()).unwrap().0;
            assert_eq!(key, lower);
        }
        assert_eq!(us_layout('ä'), None);
        assert_eq!(us_layout('\0'), None);
    }

    #[test]
    fn known_keys() {
        for (character, code, shift) in [
            ('a', 0x1E, false),
            ('Z', 0x2C, true),
            ('=', 0x0D, false),
            ('~', 0x29, true),
            ('|', 0x2B, true),
            ('/', 0x35, false),
            (']', 0x1B, false),
            ('"', 0x28, true),
            ('\n', 0x1C, false),
        ] {
            let (key, shifted) = us_layout(character).unwrap();
            assert_eq!((key.code(), shifted), (code, shift), "{character:?}");
            assert_eq!(key.prefix(), Prefix::None);
        }
    }

    #[test]
    fn codes_are_checked() {
        assert_eq!(Scancode::new(0, Prefix::None), None);
        assert_eq!(Scancode::new(0x80, Prefix::E0), None);
        assert_eq!(Scancode::new(0x45, Prefix::E1), None);
        assert_eq!(Scancode::new(0x1D, Prefix::E1), Some(Scancode::PAUSE));
        assert_eq!(Scancode::new(0x53, Prefix::E0), Some(Scancode::DELETE));
    }
}
