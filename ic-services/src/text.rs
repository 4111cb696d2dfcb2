//! UTF-16 text in fields of a fixed size, as the services carry it.

use core::fmt::{self, Write as _};

use zerocopy::little_endian::U16;

/// Why a field's content is no text, or a text doesn't fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// The size is larger than the field, in bytes.
    TooLong {
        /// The size claimed or needed.
        size: usize,
        /// The field's.
        field: usize,
    },
    /// Half a unit.
    OddSize(u32),
    /// There is no NUL within the size.
    Unterminated,
    /// A surrogate without its other half.
    LoneSurrogate(u16),
    /// The text to write contains a NUL, which would end it early.
    EmbeddedNul,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { size, field } => {
                write!(f, "text of {size} bytes in a field of {field}")
            }
            Self::OddSize(size) => write!(f, "text of {size} bytes is not UTF-16"),
            Self::Unterminated => f.write_str("text without terminating NUL"),
            Self::LoneSurrogate(unit) => write!(f, "lone surrogate {unit:#06x} in text"),
            Self::EmbeddedNul => f.write_str("NUL inside text"),
        }
    }
}

impl core::error::Error for TextError {}

/// Sound UTF-16 without its NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [U16]);

impl<'a> Text<'a> {
    /// The text in the first `size` bytes of a field: it ends at the first NUL, which there must be. A size of 0 is
    /// the empty text.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn sized(field: &'a [U16], size: u32) -> Result<Self, TextError> {
        let too_long = TextError::TooLong {
            size: usize::try_from(size).unwrap_or(usize::MAX),
            field: size_of_val(field),
        };
        if !size.is_multiple_of(2) {
            return Err(TextError::OddSize(size));
        }
        let units = usize::try_from(size / 2).map_err(|_| too_long)?;
        let sized = field.get(..units).ok_or(too_long)?;
        if sized.is_empty() {
            return Ok(Self(sized));
        }
        Self::terminated(sized)
    }

    /// The text in a field that says no size: it ends at the first NUL, which there must be.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn terminated(field: &'a [U16]) -> Result<Self, TextError> {
        let mut parts = field.splitn(2, |unit| unit.get() == 0);
        let (Some(text), Some(_)) = (parts.next(), parts.next()) else {
            return Err(TextError::Unterminated);
        };
        match char::decode_utf16(text.iter().map(|unit| unit.get())).find_map(Result::err) {
            Some(error) => Err(TextError::LoneSurrogate(error.unpaired_surrogate())),
            None => Ok(Self(text)),
        }
    }

    /// Its characters.
    pub fn chars(self) -> impl Iterator<Item = char> + use<'a> {
        char::decode_utf16(self.0.iter().map(|unit| unit.get()))
            .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Whether it has no characters.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars()
            .try_for_each(|character| f.write_char(character))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.chars() {
            write!(f, "{}", character.escape_debug())?;
        }
        f.write_char('"')
    }
}

/// Bytes that a text takes with its NUL.
#[must_use]
pub fn size(text: &str) -> usize {
    2 * (text.encode_utf16().count() + 1)
}

/// Writes a text and its NUL into a field, zeros behind it, and returns the bytes with the NUL.
///
/// # Errors
/// [`TextError::TooLong`] or [`TextError::EmbeddedNul`]; the field is unchanged then.
pub fn write(text: &str, field: &mut [U16]) -> Result<u32, TextError> {
    if text.contains('\0') {
        return Err(TextError::EmbeddedNul);
    }
    let (size, room) = (size(text), size_of_val(field));
    let too_long = TextError::TooLong { size, field: room };
    if size > room {
        return Err(too_long);
    }
    let sized = u32::try_from(size).map_err(|_| too_long)?;
    let units = text.encode_utf16().chain(core::iter::repeat(0));
    for (to, from) in field.iter_mut().zip(units) {
        *to = from.into();
    }
    Ok(sized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn field(units: &[u16]) -> Vec<U16> {
        units.iter().copied().map(U16::new).collect()
    }

    #[test]
    fn sizes_and_terminators_are_checked() {
        let units = field(&[0x41, 0xD83E, 0xDD80, 0, 0x42]);
        assert_eq!(Text::sized(&units, 8).unwrap().to_string(), "A🦀");
        assert_eq!(Text::sized(&units, 10).unwrap().to_string(), "A🦀");
        assert!(Text::sized(&units, 0).unwrap().is_empty());
        assert_eq!(Text::sized(&units, 6), Err(TextError::Unterminated));
        assert_eq!(Text::sized(&units, 7), Err(TextError::OddSize(7)));
        for size in [12, u32::MAX - 1] {
            assert!(matches!(
                Text::sized(&units, size),
                Err(TextError::TooLong { field: 10, .. })
            ));
        }
        let lone = field(&[0xDD80, 0]);
        assert_eq!(
            Text::terminated(&lone),
            Err(TextError::LoneSurrogate(0xDD80))
        );
        assert_eq!(Text::terminated(&[]), Err(TextError::Unterminated));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut units = field(&[7; 4]);
        assert_eq!(
            write("abcd", &mut units),
            Err(TextError::TooLong { size: 10, field: 8 })
        );
        assert_eq!(write("a\0", &mut units), Err(TextError::EmbeddedNul));
        assert_eq!(units, field(&[7; 4]));
        assert_eq!(write("🦀", &mut units), Ok(6));
        assert_eq!(units, field(&[0xD83E, 0xDD80, 0, 0]));
    }

    proptest! {
        #[test]
        fn texts_go_round(text in "[^\0]{0,40}") {
            let mut units = vec![U16::new(9); 128];
            let size = write(&text, &mut units).unwrap();
            prop_assert_eq!(Text::sized(&units, size).unwrap().to_string(), text.clone());
            prop_assert_eq!(Text::terminated(&units).unwrap().to_string(), text);
        }

        #[test]
        fn fault_80_any_units_are_survived(
            units in proptest::collection::vec(any::<u16>(), 0..40),
            size: u32,
        ) {
            let units = field(&units);
            let texts = [
                Text::sized(&units, size % 100),
                Text::sized(&units, size),
                Text::terminated(&units),
            ];
            for text in texts.into_iter().flatten().map(|text| text.to_string()) {
                prop_assert!(!text.contains('\0'));
                // Sound text has nothing to replace.
                prop_assert!(
                    !text.contains(char::REPLACEMENT_CHARACTER)
                        || units.iter().any(|unit| unit.get() == 0xFFFD)
                );
            }
        }
    }
}
