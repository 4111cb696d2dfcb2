//! What can be wrong with a packet.

use core::fmt;

/// A packet that violates the protocol. Each variant names the field and carries its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// The packet type is none of those in use.
    UnknownType {
        /// Type code.
        packet_type: u16,
    },
    /// A flag other than "completion requested" is set.
    UnknownFlags {
        /// All flags.
        flags: u16,
    },
    /// The length does not even cover the descriptor.
    LengthTooShort {
        /// Length in units of 8 bytes.
        length8: u16,
    },
    /// The data offset lies inside the descriptor.
    OffsetTooShort {
        /// Data offset in units of 8 bytes.
        offset8: u16,
    },
    /// The data offset lies past the packet's end.
    OffsetBeyondLength {
        /// Data offset in units of 8 bytes.
        offset8: u16,
        /// Length in units of 8 bytes.
        length8: u16,
    },
    /// The extension is too short for the fixed fields of the type.
    ExtensionTooShort {
        /// Bytes between descriptor and data.
        length: u32,
    },
    /// The number of ranges is zero, or larger than the extension can hold.
    RangeCount {
        /// Number of ranges claimed.
        count: u32,
        /// Bytes of the extension that are left for ranges.
        available: u32,
    },
    /// A range covers no bytes.
    RangeEmpty {
        /// Position of the range in the packet.
        range: u32,
    },
    /// A range starts past its first page.
    RangeOffset {
        /// Position of the range in the packet.
        range: u32,
        /// Byte offset claimed.
        byte_offset: u32,
    },
    /// Offset and length of a range add up past 32 bits.
    RangeOverflow {
        /// Position of the range in the packet.
        range: u32,
        /// Byte offset claimed.
        byte_offset: u32,
        /// Byte count claimed.
        byte_count: u32,
    },
    /// A range needs more page frames than the extension holds.
    RangeTruncated {
        /// Position of the range in the packet.
        range: u32,
        /// Page frames that the range needs.
        pages: u32,
        /// Page frames that are left in the extension.
        available: u32,
    },
}

impl PacketError {
    /// Name of the offending field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::UnknownType { .. } => "packet type",
            Self::UnknownFlags { .. } => "packet flags",
            Self::LengthTooShort { .. } => "packet length",
            Self::OffsetTooShort { .. } | Self::OffsetBeyondLength { .. } => "data offset",
            Self::ExtensionTooShort { .. } => "extension length",
            Self::RangeCount { .. } => "range count",
            Self::RangeEmpty { .. } | Self::RangeOverflow { .. } => "range byte count",
            Self::RangeOffset { .. } => "range byte offset",
            Self::RangeTruncated { .. } => "range page frames",
        }
    }

    /// Value of the offending field, as it was on the wire.
    #[must_use]
    pub fn value(&self) -> u64 {
        match *self {
            Self::UnknownType { packet_type } => packet_type.into(),
            Self::UnknownFlags { flags } => flags.into(),
            Self::LengthTooShort { length8 } => length8.into(),
            Self::OffsetTooShort { offset8 } | Self::OffsetBeyondLength { offset8, .. } => {
                offset8.into()
            }
            Self::ExtensionTooShort { length } => length.into(),
            Self::RangeCount { count, .. } => count.into(),
            Self::RangeEmpty { .. } => 0,
            Self::RangeOffset { byte_offset, .. } => byte_offset.into(),
            Self::RangeOverflow { byte_count, .. } => byte_count.into(),
            Self::RangeTruncated { available, .. } => available.into(),
        }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownType { packet_type } => write!(f, "unknown packet type {packet_type:#x}"),
            Self::UnknownFlags { flags } => write!(f, "unknown packet flags {flags:#x}"),
            Self::LengthTooShort { length8 } => write!(
                f,
                "packet length of {length8} units of 8 bytes is below that of the descriptor"
            ),
            Self::OffsetTooShort { offset8 } => write!(
                f,
                "data offset of {offset8} units of 8 bytes lies inside the descriptor"
            ),
            Self::OffsetBeyondLength { offset8, length8 } => write!(
                f,
                "data offset {offset8} lies past the packet's length {length8} (units of 8 bytes)"
            ),
            Self::ExtensionTooShort { length } => {
                write!(f, "packet extension of {length} bytes is too short")
            }
            Self::RangeCount { count, available } => write!(
                f,
                "range count {count} is impossible in {available} bytes of ranges"
            ),
            Self::RangeEmpty { range } => write!(f, "byte count of range {range} is 0"),
            Self::RangeOffset { range, byte_offset } => write!(
                f,
                "byte offset {byte_offset:#x} of range {range} is not within a page"
            ),
            Self::RangeOverflow {
                range,
                byte_offset,
                byte_count,
            } => write!(
                f,
                "range {range} overflows: byte offset {byte_offset:#x}, byte count {byte_count:#x}"
            ),
            Self::RangeTruncated {
                range,
                pages,
                available,
            } => write!(
                f,
                "range {range} needs {pages} page frames but {available} are left"
            ),
        }
    }
}

impl core::error::Error for PacketError {}
