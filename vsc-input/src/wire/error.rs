//! What can be wrong with a message.

use core::fmt;

/// Why bytes from the peer are not a message that this end may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// The message is shorter than its type needs.
    Short {
        /// Its type; 0 if even that is missing.
        message_type: u32,
        /// Bytes present.
        length: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A type that is unknown, or that this end sends itself.
    UnknownType(u32),
    /// A field has a value that is not allowed.
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Value found.
        value: u32,
        /// Smallest value allowed.
        minimum: u32,
        /// Largest value allowed.
        maximum: u32,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short {
                message_type,
                length,
                needed,
            } => write!(
                f,
                "input message of type {message_type} has {length} bytes and needs {needed}"
            ),
            Self::UnknownType(message_type) => {
                write!(f, "input message of unexpected type {message_type}")
            }
            Self::OutOfRange {
                field,
                value,
                minimum,
                maximum,
            } => write!(f, "{field} is {value}, not {minimum} to {maximum}"),
        }
    }
}

impl core::error::Error for MessageError {}
