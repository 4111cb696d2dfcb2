//! Offloads that are possible, or in force.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Encapsulation, ObjectHeader, ObjectType};
use crate::wire::copy_prefix;

/// Bits of [`ChecksumOffload::enabled`].
pub mod checksum_bits {
    /// Headers with IP options, or with extension headers.
    pub const IP_OPTIONS: u32 = 0x1;
    /// Headers with TCP options.
    pub const TCP_OPTIONS: u32 = 0x4;
    /// TCP.
    pub const TCP: u32 = 0x10;
    /// UDP.
    pub const UDP: u32 = 0x40;
    /// The IPv4 header.
    pub const IP_HEADER: u32 = 0x100;
}

/// Bits of [`LargeSendOffload::options`].
pub mod large_send_v6_bits {
    /// Frames with extension headers.
    pub const EXTENSION_HEADERS: u32 = 0x1;
    /// Frames with TCP options.
    pub const TCP_OPTIONS: u32 = 0x4;
}

/// Checksum offload of one IP version in one direction.
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
pub struct ChecksumOffload {
    /// See [`Encapsulation`]; 0 without offload.
    pub encapsulation: U32,
    /// See [`checksum_bits`].
    pub enabled: U32,
}

impl ChecksumOffload {
    /// Offload of these in Ethernet frames; nothing if there are none.
    #[must_use]
    pub const fn new(enabled: u32) -> Self {
        Self {
            encapsulation: U32::new(if enabled == 0 {
                0
            } else {
                Encapsulation::ETHERNET.0
            }),
            enabled: U32::new(enabled),
        }
    }
}

/// Large send offload of one IP version.
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
pub struct LargeSendOffload {
    /// See [`Encapsulation`]; 0 without offload.
    pub encapsulation: U32,
    /// Bytes of the longest segment.
    pub max_size: U32,
    /// Least segments that it is to be cut into.
    pub min_segments: U32,
    /// See [`large_send_v6_bits`]; not on the wire for IPv4 version 2.
    pub options: U32,
}

/// Offloads that are possible, or in force: revision 3, of which older guests read the front.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Offload {
    /// [`ObjectType::OFFLOAD`].
    pub header: ObjectHeader,
    /// Checksums of IPv4 frames that the guest sends.
    pub ipv4_transmit: ChecksumOffload,
    /// Checksums of IPv4 frames that the guest receives.
    pub ipv4_receive: ChecksumOffload,
    /// Checksums of IPv6 frames that the guest sends.
    pub ipv6_transmit: ChecksumOffload,
    /// Checksums of IPv6 frames that the guest receives.
    pub ipv6_receive: ChecksumOffload,
    /// Large send, version 1.
    pub lso_v1: LargeSendOffload,
    /// IPsec, version 1.
    pub ipsec_v1: [U32; 7],
    /// Large send, version 2, IPv4: encapsulation, longest segment, least segments.
    pub lso_v2_ipv4: [U32; 3],
    /// Large send, version 2, IPv6.
    pub lso_v2_ipv6: LargeSendOffload,
    /// 0. The end of revision 1.
    pub flags: U32,
    /// IPsec, version 2. The end of revision 2.
    pub ipsec_v2: [U32; 8],
    /// Whether IPv4 segments are coalesced.
    pub rsc_ipv4: u8,
    /// Whether IPv6 segments are coalesced.
    pub rsc_ipv6: u8,
    /// 0.
    pub reserved: [u8; 2],
    /// 0.
    pub encapsulated_flags: U32,
    /// 0. The end of revision 3.
    pub encapsulated_max_header: U32,
}

const _: () = assert!(size_of::<Offload>() == Offload::SIZE_3 as usize);

impl Offload {
    /// Bytes of revision 1.
    pub const SIZE_1: u16 = 112;
    /// Bytes of revision 2.
    pub const SIZE_2: u16 = 144;
    /// Bytes of revision 3.
    pub const SIZE_3: u16 = 156;

    /// No offloads.
    #[must_use]
    pub fn none() -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::OFFLOAD, 3, Self::SIZE_3),
            ipv4_transmit: ChecksumOffload::default(),
            ipv4_receive: ChecksumOffload::default(),
            ipv6_transmit: ChecksumOffload::default(),
            ipv6_receive: ChecksumOffload::default(),
            lso_v1: LargeSendOffload::default(),
            ipsec_v1: [U32::ZERO; 7],
            lso_v2_ipv4: [U32::ZERO; 3],
            lso_v2_ipv6: LargeSendOffload::default(),
            flags: U32::ZERO,
            ipsec_v2: [U32::ZERO; 8],
            rsc_ipv4: 0,
            rsc_ipv6: 0,
            reserved: [0; 2],
            encapsulated_flags: U32::ZERO,
            encapsulated_max_header: U32::ZERO,
        }
    }

    /// Bytes of a revision; of the newest known one for later ones.
    #[must_use]
    pub const fn size_of_revision(revision: u8) -> u16 {
        match revision {
            0 | 1 => Self::SIZE_1,
            2 => Self::SIZE_2,
            _ => Self::SIZE_3,
        }
    }

    /// The structure in an older revision: its first bytes, with a header that says so.
    #[must_use]
    pub fn in_revision(mut self, revision: u8) -> (Self, usize) {
        let size = Self::size_of_revision(revision);
        self.header = ObjectHeader::new(ObjectType::OFFLOAD, revision.clamp(1, 3), size);
        (self, size.into())
    }

    /// Reads a structure of any revision; fields of later ones than the peer's read as zero.
    ///
    /// `None`: it has another type, or is shorter than revision 1 or than its header says.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: ObjectHeader = crate::wire::read_prefix(bytes)?;
        let size = usize::from(header.size.get());
        let valid = header.object_type == ObjectType::OFFLOAD.0
            && header.revision >= 1
            && size >= usize::from(Self::SIZE_1);
        let bytes = bytes.get(..size).filter(|_| valid)?;
        let mut offload = Self::none();
        copy_prefix(offload.as_mut_bytes(), bytes);
        Some(offload)
    }
}
