//! Keys by the X11 keysyms that VNC clients send, on a US keyboard.

use super::scancode::{Scancode, us_layout};

/// A key, and how Shift has to be for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub scancode: Scancode,
    /// `Some` for a character: Shift has to be (or must not be) pressed; `None` for keys to which it doesn't
    /// matter.
    pub shift: Option<bool>,
    /// Whether it is a letter: Caps Lock then turns the meaning of Shift round.
    pub is_letter: bool,
}

/// Keysyms of keys that give no character, with the code and whether it has the prefix E0.
const NAMED: &[(u32, u8, bool)] = &[
    (0xFF08, 0x0E, false), // BackSpace
    (0xFF09, 0x0F, false), // Tab
    (0xFE20, 0x0F, false), // ISO_Left_Tab
    (0xFF0D, 0x1C, false), // Return
    (0xFF14, 0x46, false), // Scroll_Lock
    (0xFF15, 0x54, false), // Sys_Req
    (0xFF1B, 0x01, false), // Escape
    (0xFF50, 0x47, true),  // Home
    (0xFF51, 0x4B, true),  // Left
    (0xFF52, 0x48, true),  // Up
    (0xFF53, 0x4D, true),  // Right
    (0xFF54, 0x50, true),  // Down
    (0xFF55, 0x49, true),  // Page_Up
    (0xFF56, 0x51, true),  // Page_Down
    (0xFF57, 0x4F, true),  // End
    (0xFF61, 0x37, true),  // Print
    (0xFF63, 0x52, true),  // Insert
    (0xFF67, 0x5D, true),  // Menu
    (0xFF6B, 0x46, true),  // Break: Ctrl and Pause
    (0xFF7F, 0x45, false), // Num_Lock
    (0xFF8D, 0x1C, true),  // KP_Enter
    (0xFF95, 0x47, false), // KP_Home
    (0xFF96, 0x4B, false), // KP_Left
    (0xFF97, 0x48, false), // KP_Up
    (0xFF98, 0x4D, false), // KP_Right
    (0xFF99, 0x50, false), // KP_Down
    (0xFF9A, 0x49, false), // KP_Page_Up
    (0xFF9B, 0x51, false), // KP_Page_Down
    (0xFF9C, 0x4F, false), // KP_End
    (0xFF9D, 0x4C, false), // KP_Begin
    (0xFF9E, 0x52, false), // KP_Insert
    (0xFF9F, 0x53, false), // KP_Delete
    (0xFFAA, 0x37, false), // KP_Multiply
    (0xFFAB, 0x4E, false), // KP_Add
    (0xFFAC, 0x53, false), // KP_Separator
    (0xFFAD, 0x4A, false), // KP_Subtract
    (0xFFAE, 0x53, false), // KP_Decimal
    (0xFFAF, 0x35, true),  // KP_Divide
    (0xFFB0, 0x52, false), // KP_0
    (0xFFB1, 0x4F, false), // KP_1
    (0xFFB2, 0x50, false), // KP_2
    (0xFFB3, 0x51, false), // KP_3
    (0xFFB4, 0x4B, false), // KP_4
    (0xFFB5, 0x4C, false), // KP_5
    (0xFFB6, 0x4D, false), // KP_6
    (0xFFB7, 0x47, false), // KP_7
    (0xFFB8, 0x48, false), // KP_8
    (0xFFB9, 0x49, false), // KP_9
    (0xFFBE, 0x3B, false), // F1
    (0xFFBF, 0x3C, false), // F2
    (0xFFC0, 0x3D, false), // F3
    (0xFFC1, 0x3E, false), // F4
    (0xFFC2, 0x3F, false), // F5
    (0xFFC3, 0x40, false), // F6
    (0xFFC4, 0x41, false), // F7
    (0xFFC5, 0x42, false), // F8
    (0xFFC6, 0x43, false), // F9
    (0xFFC7, 0x44, false), // F10
    (0xFFC8, 0x57, false), // F11
    (0xFFC9, 0x58, false), // F12
    (0xFFE1, 0x2A, false), // Shift_L
    (0xFFE2, 0x36, false), // Shift_R
    (0xFFE3, 0x1D, false), // Control_L
    (0xFFE4, 0x1D, true),  // Control_R
    (0xFFE5, 0x3A, false), // Caps_Lock
    (0xFFE7, 0x38, false), // Meta_L
    (0xFFE8, 0x38, true),  // Meta_R
    (0xFFE9, 0x38, false), // Alt_L
    (0xFFEA, 0x38, true),  // Alt_R
    (0xFE03, 0x38, true),  // ISO_Level3_Shift
    (0xFFEB, 0x5B, true),  // Super_L
    (0xFFEC, 0x5C, true),  // Super_R
    (0xFFFF, 0x53, true),  // Delete
];

/// The key for a keysym; `None` if a US keyboard has none.
#[must_use]
pub fn key(keysym: u32) -> Option<Key> {
    let named = |scancode| Key {
        scancode,
        shift: None,
        is_letter: false,
    };
    match keysym {
        0x20..=0x7E => {
            let character = char::from_u32(keysym)?;
            let (scancode, shift) = us_layout(character)?;
            Some(Key {
                scancode,
                // The space is the same with and without.
                shift: (character != ' ').then_some(shift),
                is_letter: character.is_ascii_alphabetic(),
            })
        }
        0xFF13 => Some(named(Scancode::PAUSE)),
        _ => NAMED
            .iter()
            .find(|(name, ..)| *name == keysym)
            .map(|&(_, code, is_extended)| {
                named(if is_extended {
                    Scancode::extended(code)
                } else {
                    Scancode::plain(code)
                })
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scancode::Prefix;
    use super::*;

    #[test]
    fn keys_are_found() {
        let scancode = |keysym| key(keysym).map(|key| key.scancode);
        assert_eq!(scancode(0x61), Scancode::new(0x1E, Prefix::None));
        assert_eq!(scancode(0x41), Scancode::new(0x1E, Prefix::None));
        assert_eq!(scancode(0xFFE4), Scancode::new(0x1D, Prefix::E0));
        assert_eq!(scancode(0xFF13), Some(Scancode::PAUSE));
        assert_eq!(scancode(0xFFFF), Some(Scancode::DELETE));
        for keysym in [0, 0x1F, 0x7F, 0xE4, 0x0100_20AC, u32::MAX] {
            assert_eq!(scancode(keysym), None);
        }
        assert_eq!(key(0x21).unwrap().shift, Some(true));
        assert_eq!(key(0x20).unwrap().shift, None);
        assert!(key(0x5A).unwrap().is_letter && !key(0x31).unwrap().is_letter);
    }

    #[test]
    fn the_table_has_sound_codes_and_no_name_twice() {
        for (at, (name, code, _)) in NAMED.iter().enumerate() {
            assert!((1..0x80).contains(code));
            assert!(NAMED[at + 1..].iter().all(|(other, ..)| other != name));
        }
    }
}
