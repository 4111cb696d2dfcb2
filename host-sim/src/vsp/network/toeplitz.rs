//! The Toeplitz hash: which queue a received frame belongs to.

use vsc_net::wire::ndis::{HASH_KEY_SIZE, hash_bits};

use crate::net::headers::{Headers, IpVersion, PROTOCOL_TCP, PROTOCOL_UDP};

/// Hash of bytes in network order, at most 36 of them (more are not hashed).
#[must_use]
pub fn hash(key: &[u8; HASH_KEY_SIZE], input: impl Iterator<Item = u8>) -> u32 {
    let mut result = 0;
    // The 64 bits of the key from the current byte on; 32 of them at each bit.
    let mut window = key
        .iter()
        .take(8)
        .fold(0u64, |window, byte| window << 8 | u64::from(*byte));
    let mut rest = key.iter().skip(8);
    for byte in input.take(HASH_KEY_SIZE - 4) {
        for bit in 0..8 {
            if byte & (0x80 >> bit) != 0 {
                // Bits `bit` to `bit + 31` of the window.
                result ^= (window >> (32 - bit)) as u32;
            }
        }
        window = window << 8 | u64::from(rest.next().copied().unwrap_or(0));
    }
    result
}

/// Hash of a frame's flow and the kind of it (one of [`hash_bits`]), if `kinds` has one that fits the frame.
#[must_use]
pub fn flow(key: &[u8; HASH_KEY_SIZE], kinds: u32, frame: &[u8]) -> Option<(u32, u32)> {
    let headers = Headers::parse(frame)?;
    let addresses = headers.addresses(frame)?;
    let is_v4 = headers.version == IpVersion::V4;
    let with_ports = match headers.protocol {
        PROTOCOL_TCP if is_v4 => hash_bits::TCP_IPV4,
        PROTOCOL_TCP => hash_bits::TCP_IPV6,
        PROTOCOL_UDP if is_v4 => hash_bits::UDP_IPV4,
        PROTOCOL_UDP => hash_bits::UDP_IPV6,
        _ => 0,
    };
    if kinds & with_ports != 0
        && let Some(ports) = headers.ports(frame)
    {
        let input = addresses.iter().chain(ports).copied();
        return Some((hash(key, input), with_ports));
    }
    let addresses_only = if is_v4 {
        hash_bits::IPV4
    } else {
        hash_bits::IPV6
    };
    (kinds & addresses_only != 0).then(|| (hash(key, addresses.iter().copied()), addresses_only))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    pub(super) const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    // H38: the vectors of the specification's section 10.1.
    #[test]
    fn known_hashes() {
        for (source, destination, ports, two, four) in [
            (
                "66.9.149.187",
                "161.142.100.80",
                [2794u16, 1766],
                0x323e_8fc2,
                0x51cc_c178,
            ),
            (
                "199.92.111.2",
                "65.69.140.83",
                [14230, 4739],
                0xd718_262a,
                0xc626_b0ea,
            ),
            (
                "24.19.198.95",
                "12.22.207.184",
                [12898, 38024],
                0xd2d0_a5de,
                0x5c2b_394a,
            ),
        ] {
            let octets = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
            let mut input: Vec<u8> = [octets(source), octets(destination)].concat();
            assert_eq!(hash(&KEY, input.iter().copied()), two);
            input.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            assert_eq!(hash(&KEY, input.iter().copied()), four);
        }
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut input = [
            octets("3ffe:2501:200:1fff::7"),
            octets("3ffe:2501:200:3::1"),
        ]
        .concat();
        assert_eq!(hash(&KEY, input.iter().copied()), 0x2cc1_8cd5);
        input.extend([2794u16, 1766].iter().flat_map(|port| port.to_be_bytes()));
        assert_eq!(hash(&KEY, input.iter().copied()), 0x4020_7d3d);
    }
}
