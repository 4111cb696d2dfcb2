//! IP information as text, before version 5.0.
//!
//! It begins right after the two bytes of the header. Lists are separated by semicolons.

use core::net::IpAddr;

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Header, IP_LENGTH, Operation, Pool};

/// Bytes of the longest address in text, without NUL.
pub const MAX_ADDRESS_TEXT: usize = 45;

/// Body of [`Operation::GET_IP_INFO`] and [`Operation::SET_IP_INFO`].
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TextInfo {
    /// The header.
    pub header: Header,
    /// In a query the adapter's MAC address, upper-case with colons; in an order its instance GUID in braces.
    pub adapter_id: [U16; 128],
    /// [`Families`](super::Families).
    pub families: u8,
    /// Whether IPv4 addresses come from DHCP.
    pub dhcp_enabled: u8,
    /// Addresses.
    pub addresses: [U16; 1024],
    /// Their subnets in the same order: an IPv4 mask, an IPv6 prefix length.
    pub subnets: [U16; 1024],
    /// Default gateways.
    pub gateways: [U16; 512],
    /// DNS servers.
    pub dns_servers: [U16; 1024],
}

const _: () = assert!(size_of::<TextInfo>() == IP_LENGTH);

impl TextInfo {
    /// A message that says nothing.
    #[must_use]
    pub const fn new(operation: Operation) -> Self {
        Self {
            header: Header {
                operation,
                pool: Pool::EXTERNAL,
            },
            adapter_id: [U16::ZERO; 128],
            families: 0,
            dhcp_enabled: 0,
            addresses: [U16::ZERO; 1024],
            subnets: [U16::ZERO; 1024],
            gateways: [U16::ZERO; 512],
            dns_servers: [U16::ZERO; 1024],
        }
    }
}

/// An address in a list; `None` if the entry is none. Nothing longer than [`MAX_ADDRESS_TEXT`] is one.
#[must_use]
pub fn parse_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    if entry.len() > MAX_ADDRESS_TEXT {
        return None;
    }
    entry.parse().ok()
}

/// The prefix length that a subnet's entry says for an address; `None` if it says none.
///
/// A prefix length is taken with or without a slash, a mask only if its ones come first.
#[must_use]
pub fn parse_prefix(entry: &str, address: IpAddr) -> Option<u8> {
    let entry = entry.trim();
    if entry.len() > MAX_ADDRESS_TEXT {
        return None;
    }
    let digits = entry.strip_prefix('/').unwrap_or(entry);
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(length) = digits.parse::<u8>() {
        return (length <= most).then_some(length);
    }
    let mask = match digits.parse().ok()? {
        IpAddr::V4(mask) if address.is_ipv4() => u128::from(mask.to_bits()) << 96,
        IpAddr::V6(mask) if address.is_ipv6() => mask.to_bits(),
        _ => return None,
    };
    let ones = mask.leading_ones();
    let rest = mask.checked_shl(ones).unwrap_or_default();
    (rest == 0).then(|| u8::try_from(ones).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use core::mem::offset_of;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    // KV5h
    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        assert_eq!(offset_of!(TextInfo, adapter_id), 2);
        assert_eq!(offset_of!(TextInfo, families), 2 + 256);
        assert_eq!(offset_of!(TextInfo, dhcp_enabled), 2 + 257);
        assert_eq!(offset_of!(TextInfo, addresses), 2 + 258);
        assert_eq!(offset_of!(TextInfo, subnets), 2 + 2306);
        assert_eq!(offset_of!(TextInfo, gateways), 2 + 4354);
        assert_eq!(offset_of!(TextInfo, dns_servers), 2 + 5378);
    }

    #[test]
    fn prefixes_are_read_in_every_form() {
        let (v4, v6) = (
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        );
        for (entry, address, prefix) in [
            ("255.255.240.0", v4, Some(20)),
            ("0.0.0.0", v4, Some(0)),
            ("255.255.255.255", v4, Some(32)),
            ("255.0.255.0", v4, None),
            ("/24", v4, Some(24)),
            ("33", v4, None),
            ("/64", v6, Some(64)),
            ("64", v6, Some(64)),
            ("ffff:ffff::", v6, Some(32)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", v6, Some(128)),
            ("129", v6, None),
            ("255.0.0.0", v6, None),
            ("ffff::", v4, None),
            ("", v4, None),
            ("-1", v4, None),
        ] {
            assert_eq!(parse_prefix(entry, address), prefix, "{entry}");
        }
    }

    // KV13d, as it concerns what either end believes
    #[test]
    fn fault_81_what_is_no_address_is_none() {
        for entry in [
            "1.2.3.4;$(id)",
            "1.2.3.4$(id)",
            "`id`",
            "1.2.3.4/24",
            "",
            "fe80::1%eth0",
        ] {
            assert_eq!(parse_address(entry), None, "{entry}");
        }
        assert_eq!(parse_address(&"1".repeat(2000)), None);
        let longest = "ABCD:ABCD:ABCD:ABCD:ABCD:ABCD:192.168.158.190";
        assert_eq!(longest.len(), MAX_ADDRESS_TEXT);
        assert!(parse_address(longest).is_some());
    }

    proptest! {
        #[test]
        fn addresses_go_round(bits: u128, prefix in 0u8..=32) {
            for address in [IpAddr::from(Ipv6Addr::from_bits(bits)), Ipv4Addr::from_bits(bits as u32).into()] {
                prop_assert_eq!(parse_address(&address.to_string()), Some(address));
            }
            let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
            prop_assert_eq!(parse_prefix(&mask.to_string(), Ipv4Addr::LOCALHOST.into()), Some(prefix));
        }

        #[test]
        fn any_text_is_survived(entry: alloc::string::String) {
            let _ = parse_address(&entry);
            let _ = parse_prefix(&entry, Ipv4Addr::LOCALHOST.into());
            let _ = parse_prefix(&entry, Ipv6Addr::LOCALHOST.into());
        }
    }
}
