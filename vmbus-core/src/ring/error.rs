//! What can be wrong with a ring, and why a packet was not written.

use core::fmt;

use crate::packet::{InvalidRange, PacketError};

/// Which index of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexField {
    /// The write index.
    Write,
    /// The read index.
    Read,
}

impl IndexField {
    const fn name(self) -> &'static str {
        match self {
            Self::Write => "write index",
            Self::Read => "read index",
        }
    }
}

/// The peer has broken the ring. Each variant names the field and carries its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingError {
    /// An index is not within the data area.
    IndexOutOfRange {
        /// Which index.
        field: IndexField,
        /// Its value.
        value: u32,
        /// Bytes in the data area.
        size: u32,
    },
    /// An index is not a multiple of 8.
    IndexUnaligned {
        /// Which index.
        field: IndexField,
        /// Its value.
        value: u32,
    },
    /// Fewer bytes are left than a packet descriptor has, but not none.
    AvailableTooShort {
        /// Bytes left.
        available: u32,
    },
    /// The packet claims to be longer than what has been written.
    LengthBeyondAvailable {
        /// Bytes of the packet with its trailer.
        length: u32,
        /// Bytes left.
        available: u32,
    },
    /// The packet is longer than the receiver agreed to: its extension and payload do not fit the
    /// receiver's buffer.
    BufferTooSmall {
        /// Bytes in extension and payload.
        length: u32,
        /// Bytes in the buffer.
        buffer: usize,
    },
    /// The packet itself is wrong.
    Packet(PacketError),
}

impl RingError {
    /// Name of the offending field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::IndexOutOfRange { field, .. } | Self::IndexUnaligned { field, .. } => {
                field.name()
            }
            Self::AvailableTooShort { .. } => "readable bytes",
            Self::LengthBeyondAvailable { .. } | Self::BufferTooSmall { .. } => "packet length",
            Self::Packet(error) => error.field(),
        }
    }

    /// Value of the offending field.
    #[must_use]
    pub fn value(&self) -> u64 {
        match *self {
            Self::IndexOutOfRange { value, .. } | Self::IndexUnaligned { value, .. } => {
                value.into()
            }
            Self::AvailableTooShort { available } => available.into(),
            Self::LengthBeyondAvailable { length, .. } | Self::BufferTooSmall { length, .. } => {
                length.into()
            }
            Self::Packet(error) => error.value(),
        }
    }
}

impl From<PacketError> for RingError {
    #[inline]
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IndexOutOfRange { field, value, size } => write!(
                f,
                "ring {} {value:#x} is not below the ring's size {size:#x}",
                field.name()
            ),
            Self::IndexUnaligned { field, value } => {
                write!(f, "ring {} {value:#x} is not a multiple of 8", field.name())
            }
            Self::AvailableTooShort { available } => {
                write!(f, "{available} readable bytes in the ring are no packet")
            }
            Self::LengthBeyondAvailable { length, available } => write!(
                f,
                "packet of {length} bytes exceeds the {available} readable bytes of the ring"
            ),
            Self::BufferTooSmall { length, buffer } => write!(
                f,
                "packet of {length} bytes exceeds the receiver's maximum of {buffer}"
            ),
            Self::Packet(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RingError {}

/// Why a packet was not written. Nothing of it has become visible to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// There is no room now.
    Full {
        /// Bytes of free space that the packet needs: what to announce.
        needed: u32,
    },
    /// The packet never fits this ring, or no ring.
    TooLarge {
        /// Bytes that it would take.
        cost: u32,
        /// The largest that fits.
        maximum: u32,
    },
    /// The caller's ranges are not valid.
    InvalidRange(InvalidRange),
    /// The peer has broken the ring.
    Ring(RingError),
}

impl From<RingError> for WriteError {
    #[inline]
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl From<InvalidRange> for WriteError {
    #[inline]
    fn from(error: InvalidRange) -> Self {
        Self::InvalidRange(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed } => write!(f, "no room in the ring for {needed} bytes now"),
            Self::TooLarge { cost, maximum } => write!(
                f,
                "packet takes {cost} bytes, more than the {maximum} that the ring can hold"
            ),
            Self::InvalidRange(error) => error.fmt(f),
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WriteError {}
