//! Packets with something left to do, as guests hand them over.

use host_sim::net::checksum as sums;
use host_sim::net::checksum::{is_ipv4_header_good, is_transport_good};
use host_sim::net::headers::Headers;
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame};
use host_sim::vsp::network::testing::{Guest, Shape};
use vsc_net::wire::rndis::{LargeSend, PacketInfo, TransmitChecksum};

use super::{Packet, STRANGER, own};

/// A back end that does everything.
pub(crate) const ALL: Capabilities = Capabilities {
    checksum: true,
    segmentation_ipv4: true,
    segmentation_ipv6: true,
};

pub(crate) fn assert_good(frame: &[u8]) -> Headers {
    let headers = Headers::parse(frame).expect("an IP packet");
    assert!(is_ipv4_header_good(frame, &headers));
    assert_eq!(is_transport_good(frame, &headers), Some(true));
    headers
}

/// A frame as a guest hands it over that leaves the checksum to the host: the sum of the pseudo-header in its place.
pub(crate) fn seeded(packet: &Packet<'_>, with_length: bool) -> Vec<u8> {
    let mut frame = packet.bare();
    let headers = Headers::parse(&frame).unwrap();
    let length = if with_length {
        headers.end - headers.transport
    } else {
        0
    };
    let seed = sums::pseudo_header(&headers, &frame, length).unwrap();
    let at = headers.transport + usize::from(headers.checksum_offset().unwrap());
    frame[at..at + 2].copy_from_slice(&sums::fold(seed).to_be_bytes());
    if !packet.ipv6 {
        sums::fill_ipv4_header(&mut frame, &headers);
    }
    frame
}

pub(crate) fn checksum(value: TransmitChecksum) -> PacketInfo {
    PacketInfo {
        checksum: Some(value.0),
        ..PacketInfo::default()
    }
}

pub(crate) fn packets(payload: &[u8]) -> [Packet<'_>; 4] {
    let (tcp, udp) = (
        Packet::tcp(STRANGER, own(), payload),
        Packet::udp(STRANGER, own(), payload),
    );
    [tcp, udp, tcp.v6(), udp.v6()]
}

pub(crate) fn offload_of(packet: &Packet<'_>) -> TransmitChecksum {
    let transport = packet.transport() as u16;
    match packet.protocol {
        6 => TransmitChecksum::tcp(packet.ipv6, transport),
        _ => TransmitChecksum::udp(packet.ipv6, transport),
    }
}

/// Sends a long segment as a guest does; returns what arrives.
pub(crate) fn send_large(
    guest: &mut Guest,
    cable: &Pair,
    packet: &Packet<'_>,
    mss: u32,
    zero_length: bool,
    send: LargeSend,
) -> Vec<Frame> {
    let mut frame = seeded(packet, !zero_length);
    if !packet.ipv6 {
        frame[24..26].fill(0);
    }
    if zero_length {
        let at = if packet.ipv6 { 18 } else { 16 };
        frame[at..at + 2].fill(0);
    }
    let info = PacketInfo {
        large_send: Some(send),
        ..PacketInfo::default()
    };
    assert!(guest.transmit(0, &frame, &info, Shape::Direct), "{mss}");
    std::iter::from_fn(|| cable.collect()).collect()
}

pub(crate) fn large(packet: &Packet<'_>, mss: u32) -> LargeSend {
    LargeSend::version_2(packet.ipv6, mss, packet.transport() as u16)
}
