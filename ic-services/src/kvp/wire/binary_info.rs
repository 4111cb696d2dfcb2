//! IP information in binary, from version 5.0 on.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Header, IP_LENGTH, Operation, Pool};

/// Most addresses of a family.
pub const MAX_ADDRESSES: usize = 64;
/// Most gateways of a family.
pub const MAX_GATEWAYS: usize = 5;
/// Most DNS servers of a family.
pub const MAX_DNS_SERVERS: usize = 64;

/// An IPv4 address, in network order.
pub type V4 = [u8; 4];
/// An IPv6 address.
pub type V6 = [u8; 16];

/// Where an address comes from.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Origin(pub U16);

impl Origin {
    /// Nobody knows.
    pub const UNKNOWN: Self = Self(U16::ZERO);
    /// Not static: DHCP and the like.
    pub const OTHER: Self = Self(U16::new(1));
    /// Set by an administrator.
    pub const STATIC: Self = Self(U16::new(2));
}

/// What an adapter is or gets.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BinaryInfo {
    /// IPv4 addresses in the list.
    pub v4_address_count: U32,
    /// IPv6 addresses in the list.
    pub v6_address_count: U32,
    /// IPv4 gateways in the list.
    pub v4_gateway_count: U32,
    /// IPv6 gateways in the list.
    pub v6_gateway_count: U32,
    /// IPv4 DNS servers in the list.
    pub v4_dns_count: U32,
    /// IPv6 DNS servers in the list.
    pub v6_dns_count: U32,
    /// In a query the adapter's MAC address, upper-case with colons; in an order its instance GUID in braces.
    pub adapter_id: [U16; 128],
    /// [`Families`](super::Families).
    pub families: u8,
    /// Whether IPv4 addresses come from DHCP.
    pub dhcp_enabled: u8,
    /// Zero.
    pub padding: U16,
    /// IPv4 addresses.
    pub v4_addresses: [V4; MAX_ADDRESSES],
    /// IPv6 addresses.
    pub v6_addresses: [V6; MAX_ADDRESSES],
    /// IPv4 subnet masks, in the order of the addresses.
    pub v4_subnets: [V4; MAX_ADDRESSES],
    /// IPv6 prefix lengths, in the order of the addresses.
    pub v6_prefixes: [U32; MAX_ADDRESSES],
    /// IPv4 gateways.
    pub v4_gateways: [V4; MAX_GATEWAYS],
    /// IPv6 gateways.
    pub v6_gateways: [V6; MAX_GATEWAYS],
    /// IPv4 DNS servers.
    pub v4_dns: [V4; MAX_DNS_SERVERS],
    /// IPv6 DNS servers.
    pub v6_dns: [V6; MAX_DNS_SERVERS],
    /// Origins of the IPv4 addresses, then of the IPv6 addresses, without a gap.
    pub origins: [Origin; 2 * MAX_ADDRESSES],
}

const _: () = assert!(size_of::<BinaryInfo>() == 3712);

/// A count is larger than its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountError {
    /// Which list.
    pub list: &'static str,
    /// The count.
    pub count: u32,
    /// The list's room.
    pub most: usize,
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, count, most } = self;
        write!(f, "{count} {list}, not {most} at most")
    }
}

impl core::error::Error for CountError {}

/// The lists, as long as their counts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lists<'a> {
    /// IPv4 addresses.
    pub v4_addresses: &'a [V4],
    /// Their masks.
    pub v4_subnets: &'a [V4],
    /// IPv6 addresses.
    pub v6_addresses: &'a [V6],
    /// Their prefix lengths.
    pub v6_prefixes: &'a [U32],
    /// IPv4 gateways.
    pub v4_gateways: &'a [V4],
    /// IPv6 gateways.
    pub v6_gateways: &'a [V6],
    /// IPv4 DNS servers.
    pub v4_dns: &'a [V4],
    /// IPv6 DNS servers.
    pub v6_dns: &'a [V6],
    /// Origins of the IPv4 addresses, then of the IPv6 addresses.
    pub origins: &'a [Origin],
}

fn list<'a, T>(name: &'static str, items: &'a [T], count: U32) -> Result<&'a [T], CountError> {
    let error = CountError {
        list: name,
        count: count.get(),
        most: items.len(),
    };
    let count = usize::try_from(count.get()).map_err(|_| error)?;
    items.get(..count).ok_or(error)
}

impl BinaryInfo {
    /// Nothing at all.
    pub const EMPTY: Self = Self {
        v4_address_count: U32::ZERO,
        v6_address_count: U32::ZERO,
        v4_gateway_count: U32::ZERO,
        v6_gateway_count: U32::ZERO,
        v4_dns_count: U32::ZERO,
        v6_dns_count: U32::ZERO,
        adapter_id: [U16::ZERO; 128],
        families: 0,
        dhcp_enabled: 0,
        padding: U16::ZERO,
        v4_addresses: [[0; 4]; MAX_ADDRESSES],
        v6_addresses: [[0; 16]; MAX_ADDRESSES],
        v4_subnets: [[0; 4]; MAX_ADDRESSES],
        v6_prefixes: [U32::ZERO; MAX_ADDRESSES],
        v4_gateways: [[0; 4]; MAX_GATEWAYS],
        v6_gateways: [[0; 16]; MAX_GATEWAYS],
        v4_dns: [[0; 4]; MAX_DNS_SERVERS],
        v6_dns: [[0; 16]; MAX_DNS_SERVERS],
        origins: [Origin::UNKNOWN; 2 * MAX_ADDRESSES],
    };

    /// The lists.
    ///
    /// # Errors
    /// [`CountError`] if a count is larger than its list.
    // KV6h
    pub fn lists(&self) -> Result<Lists<'_>, CountError> {
        let v4_addresses = list("IPv4 addresses", &self.v4_addresses, self.v4_address_count)?;
        let v6_addresses = list("IPv6 addresses", &self.v6_addresses, self.v6_address_count)?;
        let origins = self.v4_address_count.get() + self.v6_address_count.get();
        Ok(Lists {
            v4_addresses,
            v4_subnets: list("IPv4 subnets", &self.v4_subnets, self.v4_address_count)?,
            v6_addresses,
            v6_prefixes: list("IPv6 prefixes", &self.v6_prefixes, self.v6_address_count)?,
            v4_gateways: list("IPv4 gateways", &self.v4_gateways, self.v4_gateway_count)?,
            v6_gateways: list("IPv6 gateways", &self.v6_gateways, self.v6_gateway_count)?,
            v4_dns: list("IPv4 DNS servers", &self.v4_dns, self.v4_dns_count)?,
            v6_dns: list("IPv6 DNS servers", &self.v6_dns, self.v6_dns_count)?,
            origins: list("origins", &self.origins, origins.into())?,
        })
    }
}

/// Body of [`Operation::GET_IP_INFO`] and [`Operation::SET_IP_INFO`]; hosts send [`IP_LENGTH`] bytes, zeros last.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BinaryInfoBody {
    /// The header.
    pub header: Header,
    /// Zero.
    pub reserved: U16,
    /// What the adapter is or gets.
    pub info: BinaryInfo,
}

const _: () = assert!(size_of::<BinaryInfoBody>() == 3716);
const _: () = assert!(size_of::<BinaryInfoBody>() < IP_LENGTH);

impl BinaryInfoBody {
    /// A message.
    #[must_use]
    pub const fn new(operation: Operation, info: BinaryInfo) -> Self {
        Self {
            header: Header {
                operation,
                pool: Pool::EXTERNAL,
            },
            reserved: U16::ZERO,
            info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use proptest::prelude::*;

    // KV5h
    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        assert_eq!(offset_of!(BinaryInfoBody, info), 4);
        for (offset, expected) in [
            (offset_of!(BinaryInfo, v6_address_count), 4),
            (offset_of!(BinaryInfo, v4_gateway_count), 8),
            (offset_of!(BinaryInfo, v4_dns_count), 16),
            (offset_of!(BinaryInfo, adapter_id), 24),
            (offset_of!(BinaryInfo, families), 280),
            (offset_of!(BinaryInfo, dhcp_enabled), 281),
            (offset_of!(BinaryInfo, v4_addresses), 284),
            (offset_of!(BinaryInfo, v6_addresses), 540),
            (offset_of!(BinaryInfo, v4_subnets), 1564),
            (offset_of!(BinaryInfo, v6_prefixes), 1820),
            (offset_of!(BinaryInfo, v4_gateways), 2076),
            (offset_of!(BinaryInfo, v6_gateways), 2096),
            (offset_of!(BinaryInfo, v4_dns), 2176),
            (offset_of!(BinaryInfo, v6_dns), 2432),
            (offset_of!(BinaryInfo, origins), 3456),
        ] {
            assert_eq!(offset, expected);
        }
    }

    // KV6h
    #[test]
    fn counts_beyond_the_lists_are_refused() {
        let most = BinaryInfo {
            v4_address_count: 64.into(),
            v6_address_count: 64.into(),
            v4_gateway_count: 5.into(),
            v6_gateway_count: 5.into(),
            v4_dns_count: 64.into(),
            v6_dns_count: 64.into(),
            ..BinaryInfo::EMPTY
        };
        assert_eq!(most.lists().unwrap().origins.len(), 128);
        let lies: [fn(&mut BinaryInfo, u32); 6] = [
            |info, by| info.v4_address_count += by,
            |info, by| info.v6_address_count += by,
            |info, by| info.v4_gateway_count += by,
            |info, by| info.v6_gateway_count += by,
            |info, by| info.v4_dns_count += by,
            |info, by| info.v6_dns_count += by,
        ];
        for lie in lies {
            for by in [1, u32::MAX - 64] {
                let mut info = most;
                lie(&mut info, by);
                assert!(info.lists().is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 3716),
            counts: [u8; 6],
        ) {
            let mut body = BinaryInfoBody::read_from_bytes(&bytes).unwrap();
            let _ = body.info.lists();
            let [a, b, c, d, e, f] = counts;
            body.info.v4_address_count = u32::from(a % 80).into();
            body.info.v6_address_count = u32::from(b % 80).into();
            body.info.v4_gateway_count = u32::from(c % 7).into();
            body.info.v6_gateway_count = u32::from(d % 7).into();
            body.info.v4_dns_count = u32::from(e % 80).into();
            body.info.v6_dns_count = u32::from(f % 80).into();
            let sound = a % 80 <= 64 && b % 80 <= 64 && c % 7 <= 5 && d % 7 <= 5 && e % 80 <= 64 && f % 80 <= 64;
            prop_assert_eq!(body.info.lists().is_ok(), sound);
        }
    }
}
