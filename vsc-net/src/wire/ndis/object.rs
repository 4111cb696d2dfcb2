//! The header of NDIS structures.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

vmbus_core::open_enum! {
    /// What an NDIS structure is.
    ObjectType: u8 {
        /// One that its OID says enough of.
        DEFAULT = 0x80,
        /// Capabilities of receive-side scaling.
        RSS_CAPABILITIES = 0x88,
        /// Parameters of receive-side scaling.
        RSS_PARAMETERS = 0x89,
        /// An OID request.
        OID_REQUEST = 0x96,
        /// Offloads.
        OFFLOAD = 0xA7,
        /// Encapsulation of offloads.
        OFFLOAD_ENCAPSULATION = 0xA8,
    }
}

/// Front of an NDIS structure.
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
pub struct ObjectHeader {
    /// See [`ObjectType`].
    pub object_type: u8,
    /// Which fields there are.
    pub revision: u8,
    /// Bytes of the structure, header included.
    pub size: U16,
}

const _: () = assert!(size_of::<ObjectHeader>() == 4);

impl ObjectHeader {
    /// A header.
    #[must_use]
    pub const fn new(object_type: ObjectType, revision: u8, size: u16) -> Self {
        Self {
            object_type: object_type.0,
            revision,
            size: U16::new(size),
        }
    }
}
