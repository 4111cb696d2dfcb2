//! What the program sees of its machine, be it bare metal or threads of a host process.

use core::fmt;

/// There is no processor with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchProcessor(
    /// The index, counting from 0.
    pub u32,
);

impl fmt::Display for NoSuchProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no processor {}", self.0)
    }
}

impl core::error::Error for NoSuchProcessor {}
