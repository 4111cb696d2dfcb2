//! Frames and guests for the tests of network adapters.
#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod offload;

use std::sync::Arc;

use host_sim::net::checksum::{fill_ipv4_header, fill_transport};
use host_sim::net::headers::Headers;
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, MacAddress};
use host_sim::vsp::network::NetworkOptions;
use host_sim::vsp::network::testing::Guest;
use vsc_net::wire::nvsp::Version;

/// Somebody else in the network.
pub(crate) const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];

pub(crate) fn options() -> NetworkOptions {
    NetworkOptions::for_slot("test", 0).unwrap()
}

pub(crate) fn own() -> [u8; 6] {
    options().address.0
}

pub(crate) fn guest(version: Version) -> (Guest, Arc<Pair>) {
    guest_with(options(), Capabilities::default(), version)
}

pub(crate) fn guest_with(
    options: NetworkOptions,
    capabilities: Capabilities,
    version: Version,
) -> (Guest, Arc<Pair>) {
    let cable = Pair::new(capabilities);
    (Guest::ready(options, cable.clone(), version), cable)
}

/// What a packet is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    pub(crate) ipv6: bool,
    pub(crate) protocol: u8,
    pub(crate) ports: [u16; 2],
    /// Last byte of the sender's address.
    pub(crate) host: u8,
    /// TCP's flags.
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(crate) fn tcp(to: [u8; 6], from: [u8; 6], payload: &'a [u8]) -> Self {
        Self {
            to,
            from,
            ipv6: false,
            protocol: 6,
            ports: [4000, 80],
            host: 2,
            flags: 0x18,
            payload,
        }
    }

    pub(crate) fn udp(to: [u8; 6], from: [u8; 6], payload: &'a [u8]) -> Self {
        Self {
            protocol: 17,
            ..Self::tcp(to, from, payload)
        }
    }

    pub(crate) fn v6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// Bytes of the headers.
    pub(crate) fn header_length(&self) -> usize {
        self.transport() + if self.protocol == 6 { 32 } else { 8 }
    }

    /// First byte of the transport header.
    pub(crate) fn transport(&self) -> usize {
        14 + if self.ipv6 { 40 } else { 20 }
    }

    /// The frame, without checksums.
    pub(crate) fn bare(&self) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        let mut transport = Vec::new();
        transport.extend(self.ports[0].to_be_bytes());
        transport.extend(self.ports[1].to_be_bytes());
        if self.protocol == 6 {
            transport.extend(0xFFFF_FF00u32.to_be_bytes());
            transport.extend(7u32.to_be_bytes());
            // 32 bytes of header: 12 of options.
            transport.extend([0x80, self.flags, 0x20, 0, 0, 0, 0, 0]);
            transport.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        } else {
            let length = (8 + self.payload.len()) as u16;
            transport.extend(length.to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(self.payload);
        if self.ipv6 {
            frame.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
            frame.extend((transport.len() as u16).to_be_bytes());
            frame.extend([self.protocol, 64]);
            for last in [self.host, 1] {
                frame.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
        } else {
            frame.extend([0x08, 0, 0x45, 0]);
            frame.extend((20 + transport.len() as u16).to_be_bytes());
            frame.extend([0x12, 0x34, 0x40, 0, 64, self.protocol, 0, 0]);
            frame.extend([10, 0, 0, self.host, 10, 0, 0, 1]);
        }
        frame.extend(transport);
        frame
    }

    /// The frame with right checksums.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut frame = self.bare();
        let headers = Headers::parse(&frame).unwrap();
        fill_ipv4_header(&mut frame, &headers);
        fill_transport(&mut frame, &headers).unwrap();
        frame
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

pub(crate) fn address(bytes: [u8; 6]) -> MacAddress {
    MacAddress(bytes)
}
