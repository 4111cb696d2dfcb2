//! Which encapsulation offloads are made in.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ObjectHeader, ObjectType};
use crate::wire::read_prefix;

vmbus_core::open_enum! {
    /// How frames are encapsulated.
    Encapsulation: u32 {
        /// Nothing.
        NONE = 0,
        /// No header.
        NULL = 1,
        /// Ethernet.
        ETHERNET = 2,
        /// Ethernet with a priority and VLAN tag.
        ETHERNET_TAGGED = 4,
        /// Ethernet with the tag in per-packet information.
        ETHERNET_TAGGED_OUT_OF_BAND = 8,
        /// LLC.
        RFC_1483 = 0x10,
    }
}

/// Encapsulation of one IP version.
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
pub struct FamilyEncapsulation {
    /// 1 on, 2 off.
    pub enabled: U32,
    /// See [`Encapsulation`].
    pub encapsulation: U32,
    /// Bytes of the header.
    pub header_size: U32,
}

impl FamilyEncapsulation {
    /// Value of [`enabled`](Self::enabled): on.
    pub const ON: u32 = 1;
    /// Value of [`enabled`](Self::enabled): off.
    pub const OFF: u32 = 2;

    /// On, in plain Ethernet frames.
    #[must_use]
    pub const fn ethernet() -> Self {
        Self {
            enabled: U32::new(Self::ON),
            encapsulation: U32::new(Encapsulation::ETHERNET.0),
            header_size: U32::new(14),
        }
    }
}

/// [`Oid::OFFLOAD_ENCAPSULATION`](super::Oid::OFFLOAD_ENCAPSULATION).
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct OffloadEncapsulation {
    /// [`ObjectType::OFFLOAD_ENCAPSULATION`].
    pub header: ObjectHeader,
    /// IPv4.
    pub ipv4: FamilyEncapsulation,
    /// IPv6.
    pub ipv6: FamilyEncapsulation,
}

const _: () = assert!(size_of::<OffloadEncapsulation>() == 28);

impl OffloadEncapsulation {
    /// Both versions in plain Ethernet frames.
    #[must_use]
    pub const fn ethernet() -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::OFFLOAD_ENCAPSULATION, 1, 28),
            ipv4: FamilyEncapsulation::ethernet(),
            ipv6: FamilyEncapsulation::ethernet(),
        }
    }

    /// Reads the structure; `None` if it has another type or is too short.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        read_prefix(bytes).filter(|structure: &Self| {
            structure.header.object_type == ObjectType::OFFLOAD_ENCAPSULATION.0
        })
    }
}
