//! What the control plane has decided, for the channels.

use serde::Serialize;
use vsc_net::wire::nvsp::{Capabilities, Version};
use vsc_net::wire::rndis::PacketFilter;

use super::scaling::Scaling;
use crate::net::MacAddress;

/// Most frames in one packet.
const MAX_RANGES: usize = 375;
/// The same for guests that follow a version of NDIS before 6.0.
const MAX_RANGES_OLD: usize = 64;

/// Which offloads a guest has turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OffloadSettings {
    /// Checksum of the IPv4 header of frames sent.
    pub transmit_ipv4: bool,
    /// TCP over IPv4, frames sent.
    pub transmit_tcp_ipv4: bool,
    /// UDP over IPv4, frames sent.
    pub transmit_udp_ipv4: bool,
    /// TCP over IPv6, frames sent.
    pub transmit_tcp_ipv6: bool,
    /// UDP over IPv6, frames sent.
    pub transmit_udp_ipv6: bool,
    /// Checksum of the IPv4 header of frames received.
    pub receive_ipv4: bool,
    /// TCP over IPv4, frames received.
    pub receive_tcp_ipv4: bool,
    /// UDP over IPv4, frames received.
    pub receive_udp_ipv4: bool,
    /// TCP over IPv6, frames received.
    pub receive_tcp_ipv6: bool,
    /// UDP over IPv6, frames received.
    pub receive_udp_ipv6: bool,
    /// Large sends of version 1.
    pub large_send_v1: bool,
    /// Large sends of version 2 over IPv4.
    pub large_send_ipv4: bool,
    /// Large sends of version 2 over IPv6.
    pub large_send_ipv6: bool,
}

impl OffloadSettings {
    /// All on, large sends of version 1 only where they are offered.
    #[must_use]
    pub const fn all(large_send_v1: bool) -> Self {
        Self {
            transmit_ipv4: true,
            transmit_tcp_ipv4: true,
            transmit_udp_ipv4: true,
            transmit_tcp_ipv6: true,
            transmit_udp_ipv6: true,
            receive_ipv4: true,
            receive_tcp_ipv4: true,
            receive_udp_ipv4: true,
            receive_tcp_ipv6: true,
            receive_udp_ipv6: true,
            large_send_v1,
            large_send_ipv4: true,
            large_send_ipv6: true,
        }
    }
}

/// What the control plane has decided.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The version agreed on; the newest before one is.
    pub(super) version: Version,
    /// RNDIS is initialised: frames pass.
    pub(super) is_operational: bool,
    /// Bytes of the longest frame, without a VLAN tag.
    pub(super) mtu: u32,
    pub(super) capabilities: Capabilities,
    pub(super) filter: PacketFilter,
    pub(super) multicast: Vec<MacAddress>,
    pub(super) address: MacAddress,
    pub(super) offloads: OffloadSettings,
    pub(super) scaling: Option<Scaling>,
    /// Most frames in one packet to the guest.
    pub(super) max_ranges: usize,
}

impl Settings {
    /// Those of an adapter whose channel has just been opened.
    pub(super) fn initial(address: MacAddress, large_send_v1: bool) -> Self {
        Self {
            version: Version::V6_1,
            is_operational: false,
            mtu: super::DEFAULT_MTU,
            capabilities: Capabilities::empty(),
            filter: PacketFilter::empty(),
            multicast: Vec::new(),
            address,
            offloads: OffloadSettings::all(large_send_v1),
            scaling: None,
            max_ranges: MAX_RANGES,
        }
    }

    /// Takes up what follows from the major version of NDIS that the guest follows.
    pub(super) fn set_ndis(&mut self, major: u32) {
        self.max_ranges = if major < 6 {
            MAX_RANGES_OLD
        } else {
            MAX_RANGES
        };
    }

    /// Whether the guest wants a frame for this address.
    pub(super) fn wants(&self, destination: MacAddress) -> bool {
        let has = |bit| self.filter.contains(bit);
        if has(PacketFilter::PROMISCUOUS) {
            return true;
        }
        if destination == MacAddress::BROADCAST {
            return has(PacketFilter::BROADCAST);
        }
        if destination.is_multicast() {
            return has(PacketFilter::ALL_MULTICAST)
                || has(PacketFilter::MULTICAST) && self.multicast.contains(&destination);
        }
        has(PacketFilter::DIRECTED) && destination == self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H18
    #[test]
    fn filters_choose_frames() {
        let own = MacAddress([0, 0x15, 0x5D, 1, 2, 3]);
        let other = MacAddress([0, 0x15, 0x5D, 1, 2, 4]);
        let (group, stranger) = (
            MacAddress([1, 0, 0x5E, 0, 0, 1]),
            MacAddress([1, 0, 0x5E, 0, 0, 2]),
        );
        let wanted = |bits: u32| {
            let settings = Settings {
                filter: PacketFilter::from_bits_retain(bits),
                multicast: vec![group],
                ..Settings::initial(own, false)
            };
            [own, other, group, stranger, MacAddress::BROADCAST]
                .map(|address| settings.wants(address))
        };
        assert_eq!(wanted(0), [false; 5]);
        assert_eq!(wanted(1), [true, false, false, false, false]);
        assert_eq!(wanted(2), [false, false, true, false, false]);
        assert_eq!(wanted(4), [false, false, true, true, false]);
        assert_eq!(wanted(8), [false, false, false, false, true]);
        assert_eq!(wanted(0x0D), [true, false, true, true, true]);
        assert_eq!(wanted(0x20), [true; 5]);
        assert_eq!(wanted(0x8000_1010), [false; 5]);
    }
}
