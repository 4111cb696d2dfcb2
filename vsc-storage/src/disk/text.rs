//! Short texts that a device says about itself.

use core::fmt;

/// Up to `N` bytes of ASCII text in place. Bytes that aren't printable ASCII show as `?`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        length: 0,
    };

    /// The text in a field padded with spaces or zeros; what exceeds `N` bytes is cut.
    #[must_use]
    pub fn from_padded(field: &[u8]) -> Self {
        let is_padding = |byte: &u8| *byte == b' ' || *byte == 0;
        let start = field
            .iter()
            .position(|byte| !is_padding(byte))
            .unwrap_or(field.len());
        let end = field
            .iter()
            .rposition(|byte| !is_padding(byte))
            .map_or(start, |last| last.saturating_add(1));
        let mut text = Self::EMPTY;
        let content = field.get(start..end).unwrap_or_default();
        for (to, from) in text.bytes.iter_mut().zip(content) {
            *to = *from;
            text.length = text.length.saturating_add(1);
        }
        text
    }

    /// The bytes as the device sent them, without padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for byte in self.as_bytes() {
            let printable = byte.is_ascii_graphic() || *byte == b' ';
            f.write_char(if printable { char::from(*byte) } else { '?' })?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
