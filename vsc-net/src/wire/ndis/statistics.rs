//! All counters at once.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ObjectHeader, ObjectType};

/// Bits of [`Statistics::supported`].
pub mod statistics_bits {
    /// All the fields of [`Statistics`](super::Statistics).
    pub const ALL: u32 = 0x7 // frames received
        | 0x8 // bytes received
        | 0x10 | 0x20 // receive discards and errors
        | 0x1C0 // frames sent
        | 0x200 | 0x400 // bytes sent, send errors
        | 0x8000 // send discards
        | 0x7_0000 // bytes received by kind
        | 0x38_0000; // bytes sent by kind
}

/// [`Oid::GEN_STATISTICS`](super::Oid::GEN_STATISTICS). "In" is towards the guest.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Statistics {
    /// [`ObjectType::DEFAULT`].
    pub header: ObjectHeader,
    /// Which fields are kept; see [`statistics_bits`].
    pub supported: U32,
    /// Frames.
    pub in_discards: U64,
    /// Frames.
    pub in_errors: U64,
    /// Bytes.
    pub in_octets: U64,
    /// Frames.
    pub in_unicast_packets: U64,
    /// Frames.
    pub in_multicast_packets: U64,
    /// Frames.
    pub in_broadcast_packets: U64,
    /// Bytes.
    pub out_octets: U64,
    /// Frames.
    pub out_unicast_packets: U64,
    /// Frames.
    pub out_multicast_packets: U64,
    /// Frames.
    pub out_broadcast_packets: U64,
    /// Frames.
    pub out_errors: U64,
    /// Frames.
    pub out_discards: U64,
    /// Bytes.
    pub in_unicast_octets: U64,
    /// Bytes.
    pub in_multicast_octets: U64,
    /// Bytes.
    pub in_broadcast_octets: U64,
    /// Bytes.
    pub out_unicast_octets: U64,
    /// Bytes.
    pub out_multicast_octets: U64,
    /// Bytes.
    pub out_broadcast_octets: U64,
}

const _: () = assert!(size_of::<Statistics>() == 152);

impl Statistics {
    /// All fields kept, all zero.
    #[must_use]
    pub fn zero() -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::DEFAULT, 1, 152),
            supported: statistics_bits::ALL.into(),
            ..Self::default()
        }
    }
}
