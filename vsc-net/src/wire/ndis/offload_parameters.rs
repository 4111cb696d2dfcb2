//! Turning offloads on and off.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ObjectHeader, ObjectType};
use crate::wire::{copy_prefix, read_prefix};

/// Values of the checksum fields.
pub mod checksum_setting {
    /// As it is.
    pub const NO_CHANGE: u8 = 0;
    /// Neither direction.
    pub const OFF: u8 = 1;
    /// What the guest sends.
    pub const TRANSMIT: u8 = 2;
    /// What the guest receives.
    pub const RECEIVE: u8 = 3;
    /// Both directions.
    pub const BOTH: u8 = 4;
}

/// Values of the fields of large sends and of coalescing.
pub mod switch_setting {
    /// As it is.
    pub const NO_CHANGE: u8 = 0;
    /// Off.
    pub const OFF: u8 = 1;
    /// On.
    pub const ON: u8 = 2;
}

/// [`Oid::TCP_OFFLOAD_PARAMETERS`](super::Oid::TCP_OFFLOAD_PARAMETERS), revision 3 with its padding.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct OffloadParameters {
    /// [`ObjectType::DEFAULT`].
    pub header: ObjectHeader,
    /// Checksum of the IPv4 header; see [`checksum_setting`].
    pub ipv4: u8,
    /// TCP over IPv4.
    pub tcp_ipv4: u8,
    /// UDP over IPv4.
    pub udp_ipv4: u8,
    /// TCP over IPv6.
    pub tcp_ipv6: u8,
    /// UDP over IPv6.
    pub udp_ipv6: u8,
    /// Large send, version 1; see [`switch_setting`].
    pub lso_v1: u8,
    /// IPsec, version 1.
    pub ipsec_v1: u8,
    /// Large send, version 2, IPv4.
    pub lso_v2_ipv4: u8,
    /// Large send, version 2, IPv6.
    pub lso_v2_ipv6: u8,
    /// 0.
    pub tcp_connection_ipv4: u8,
    /// 0.
    pub tcp_connection_ipv6: u8,
    /// 0.
    pub reserved: u8,
    /// 0. The end of revision 1, 20 bytes.
    pub flags: U32,
    /// IPsec, version 2.
    pub ipsec_v2: u8,
    /// IPsec, version 2, IPv4. The end of revision 2, 22 bytes.
    pub ipsec_v2_ipv4: u8,
    /// Coalescing, IPv4.
    pub rsc_ipv4: u8,
    /// Coalescing, IPv6.
    pub rsc_ipv6: u8,
    /// Offloads in encapsulated packets.
    pub encapsulated: u8,
    /// Which encapsulations. The end of revision 3, 26 bytes.
    pub encapsulation_types: u8,
    /// 0.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<OffloadParameters>() == OffloadParameters::SIZE as usize);

/// Why parameters are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParameterError {
    /// The structure is shorter than revision 1, or its header says more than there is.
    Length {
        /// Size in the header; 0 without a header.
        size: u16,
        /// Bytes present.
        available: usize,
    },
    /// The structure is another one.
    Header(ObjectHeader),
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { size, available } => {
                write!(f, "offload parameters of {size} bytes in {available}")
            }
            Self::Header(header) => write!(
                f,
                "object type {:#x} revision {} in the place of offload parameters",
                header.object_type, header.revision
            ),
        }
    }
}

impl core::error::Error for ParameterError {}

impl OffloadParameters {
    /// Bytes of the structure.
    pub const SIZE: u16 = 28;
    /// Bytes of revision 1.
    pub const LEAST_SIZE: u16 = 20;

    /// Parameters that change nothing.
    #[must_use]
    pub fn no_change() -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::DEFAULT, 3, Self::SIZE),
            ..Self::new_zeroed()
        }
    }

    /// Reads parameters of any revision. Fields beyond the size in the header change nothing.
    ///
    /// # Errors
    /// Too short, or another structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParameterError> {
        let available = bytes.len();
        let header: ObjectHeader =
            read_prefix(bytes).ok_or(ParameterError::Length { size: 0, available })?;
        if header.object_type != ObjectType::DEFAULT.0 || header.revision < 1 {
            return Err(ParameterError::Header(header));
        }
        let size = header.size.get();
        let valid = bytes
            .get(..size.into())
            .filter(|_| size >= Self::LEAST_SIZE)
            .ok_or(ParameterError::Length { size, available })?;
        let mut parameters = Self::new_zeroed();
        copy_prefix(parameters.as_mut_bytes(), valid);
        Ok(parameters)
    }
}
