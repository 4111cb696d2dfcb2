//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

/// The text is no address of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidMac {
    /// Not six pairs of hexadecimal digits with `:` or `-` between them.
    #[error("{0:?} is no Ethernet address like 00:15:5d:01:02:03")]
    Text(String),
    /// A multicast address, or all zeros.
    #[error("{0} cannot be an adapter's address")]
    NotUnicast(MacAddress),
}

impl MacAddress {
    /// The address of everybody.
    pub const BROADCAST: Self = Self([0xFF; 6]);
    /// First three bytes of the addresses that Hyper-V generates.
    pub const PREFIX: [u8; 3] = [0x00, 0x15, 0x5D];

    /// The address that an adapter without a configured one has: it follows from the machine's name and the
    /// adapter's slot, so it is the same at every start.
    #[must_use]
    pub fn generated(machine: &str, slot: u8) -> Self {
        let [a, b, c] = Self::PREFIX;
        let hash = Sha256::new()
            .chain_update(b"network adapter's address\0")
            .chain_update(machine)
            .chain_update([0, slot])
            .finalize();
        Self([a, b, c, hash[0], hash[1], hash[2]])
    }

    /// Whether it is the address of a group, everybody included.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether an adapter may have it: it is no group's, and not zero.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }

    /// The same, or why no adapter may have it.
    ///
    /// # Errors
    /// It is a group's, or zero.
    pub fn check(self) -> Result<Self, InvalidMac> {
        if self.is_unicast() {
            Ok(self)
        } else {
            Err(InvalidMac::NotUnicast(self))
        }
    }

    /// The address at the front of a frame, whom it is for; `None` if it is too short.
    #[must_use]
    pub fn destination(frame: &[u8]) -> Option<Self> {
        frame.first_chunk().map(|address| Self(*address))
    }

    /// The second address of a frame, who sent it; `None` if it is too short.
    #[must_use]
    pub fn source(frame: &[u8]) -> Option<Self> {
        frame
            .get(6..)
            .and_then(<[u8]>::first_chunk)
            .map(|address| Self(*address))
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac::Text(text.chars().take(40).collect());
        let mut address = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut address {
            let pair = pairs.next().filter(|pair| {
                pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
            *byte = pair
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(invalid)?;
        }
        if pairs.next().is_some() {
            return Err(invalid());
        }
        Self(address).check()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_shown() {
        for text in ["00:15:5d:0a:0B:0c", "00-15-5D-0A-0B-0C"] {
            let address: MacAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), "00:15:5d:0a:0b:0c");
        }
        for text in [
            "",
            "00:15:5d:0a:0b",
            "00:15:5d:0a:0b:0c:0d",
            "0:15:5d:0a:0b:0c",
            "00:15:5d:0a:0b:+c",
            "00155d0a0b0c",
        ] {
            assert!(
                matches!(text.parse::<MacAddress>(), Err(InvalidMac::Text(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn fault_63_groups_and_zero_are_no_adapters() {
        for text in [
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
        ] {
            assert!(matches!(
                text.parse::<MacAddress>(),
                Err(InvalidMac::NotUnicast(_))
            ));
        }
    }

    #[test]
    fn generated_addresses_are_stable_and_different() {
        let all: std::collections::BTreeSet<_> = (0..8)
            .flat_map(|slot| ["a", "b"].map(|name| MacAddress::generated(name, slot)))
            .collect();
        assert_eq!(all.len(), 16);
        assert!(
            all.iter()
                .all(|address| address.0[..3] == MacAddress::PREFIX && address.is_unicast())
        );
        assert_eq!(
            MacAddress::generated("vm", 3),
            MacAddress::generated("vm", 3)
        );
    }
}
