//! Frames, their offloads and their tags, both ways. Numbers are those of the protocol's host checklist.

mod network_support;

use host_sim::net::checksum::{is_ipv4_header_good, is_transport_good};
use host_sim::net::headers::{Headers, vlan_tag};
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame, Offload, PartialChecksum, Segmentation};
use host_sim::vsp::network::testing::{Guest, Shape};
use host_sim::vsp::network::{NetworkOptions, VlanMode};
use network_support::{Packet, STRANGER, guest, guest_with, options, own, pattern};
use proptest::prelude::*;
use vsc_net::wire::ndis::{OffloadParameters, Oid, checksum_setting, switch_setting};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::{LargeSend, PacketInfo, ReceiveChecksum, TransmitChecksum, VlanTag};
use zerocopy::IntoBytes;

const ALL: Capabilities = Capabilities {
    checksum: true,
    segmentation_ipv4: true,
    segmentation_ipv6: true,
};

fn assert_good(frame: &[u8]) -> Headers {
    let headers = Headers::parse(frame).expect("an IP packet");
    assert!(is_ipv4_header_good(frame, &headers));
    assert_eq!(is_transport_good(frame, &headers), Some(true));
    headers
}

/// A frame as a guest hands it over that leaves the checksum to the host: the sum of the pseudo-header in its place.
fn seeded(packet: &Packet<'_>, with_length: bool) -> Vec<u8> {
    let mut frame = packet.bare();
    let headers = Headers::parse(&frame).unwrap();
    let length = if with_length {
        headers.end - headers.transport
    } else {
        0
    };
    let seed = host_sim::net::checksum::pseudo_header(&headers, &frame, length).unwrap();
    let at = headers.transport + usize::from(headers.checksum_offset().unwrap());
    frame[at..at + 2].copy_from_slice(&host_sim::net::checksum::fold(seed).to_be_bytes());
    if !packet.ipv6 {
        host_sim::net::checksum::fill_ipv4_header(&mut frame, &headers);
    }
    frame
}

fn checksum(value: TransmitChecksum) -> PacketInfo {
    PacketInfo {
        checksum: Some(value.0),
        ..PacketInfo::default()
    }
}

fn packets(payload: &[u8]) -> [Packet<'_>; 4] {
    let (tcp, udp) = (
        Packet::tcp(STRANGER, own(), payload),
        Packet::udp(STRANGER, own(), payload),
    );
    [tcp, udp, tcp.v6(), udp.v6()]
}

fn offload_of(packet: &Packet<'_>) -> TransmitChecksum {
    let transport = packet.transport() as u16;
    match packet.protocol {
        6 => TransmitChecksum::tcp(packet.ipv6, transport),
        _ => TransmitChecksum::udp(packet.ipv6, transport),
    }
}

// H19, H22, H23
#[test]
fn frames_of_every_shape_and_length_arrive() {
    let (mut guest, cable) = guest(Version::V6_1);
    for length in [0, 1, 45, 46, 47, 511, 1000, 1499, 1500] {
        let frame = guest.frame(STRANGER, &pattern(length));
        for shape in [
            Shape::Section,
            Shape::Direct,
            Shape::Partial,
            Shape::SplitHeader,
        ] {
            assert!(guest.transmit(0, &frame, &PacketInfo::default(), shape));
            assert_eq!(
                cable.collect().unwrap(),
                Frame::new(frame.clone()),
                "{length} {shape:?}"
            );
            assert!(cable.collect().is_none());
        }
    }
}

// H24
#[test]
fn several_packets_in_one_message() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frames: Vec<_> = (0..9)
        .map(|number| guest.frame(STRANGER, &pattern(100 + number * 13)))
        .collect();
    let message = |count: usize| {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (place, frame) in frames[..count].iter().enumerate() {
            let mut packet = Guest::packet(frame, &PacketInfo::default());
            if place + 1 != count {
                packet.resize(packet.len().next_multiple_of(8), 0xEE);
                let length = packet.len() as u32;
                packet[4..8].copy_from_slice(&length.to_le_bytes());
            }
            last = bytes.len() + packet.len() - frame.len();
            bytes.extend(packet);
        }
        (bytes, last)
    };
    let collect = || {
        std::iter::from_fn(|| cable.collect())
            .map(|frame| frame.bytes)
            .collect::<Vec<_>>()
    };
    for shape in [Shape::Section, Shape::Direct, Shape::Partial] {
        let (bytes, header) = message(8);
        assert!(guest.transmit_bytes(0, &bytes, header, shape));
        assert_eq!(collect(), frames[..8], "{shape:?}");
    }
    // Less than a header behind the last one is padding.
    let (mut bytes, _) = message(2);
    bytes.extend([0xFF; 7]);
    assert!(guest.transmit_bytes(0, &bytes, 0, Shape::Section));
    assert_eq!(collect().len(), 2);
    // The ninth is one too many; those before it have gone.
    let (bytes, _) = message(9);
    assert!(!guest.transmit_bytes(0, &bytes, 0, Shape::Section));
    assert_eq!(collect().len(), 8);
    assert_eq!(guest.machine.handle.counters().aggregated, 4);
}

// H27
#[test]
fn checksums_are_made_in_software_or_left_to_the_back_end() {
    let payload = pattern(333);
    for capabilities in [Capabilities::default(), ALL] {
        let (mut guest, cable) = guest_with(options(), capabilities, Version::V6_1);
        for packet in packets(&payload) {
            for (frame, value) in [
                (seeded(&packet, true), offload_of(&packet)),
                // Nobody trusts the seed, nor needs to be told the offset.
                (
                    packet.bare(),
                    TransmitChecksum(offload_of(&packet).0 & 0xFFFF | 0x10),
                ),
            ] {
                assert!(guest.transmit(0, &frame, &checksum(value), Shape::Section));
                let mut sent = cable.collect().unwrap();
                if capabilities.checksum {
                    let start = packet.transport() as u16;
                    let offset = if packet.protocol == 6 { 16 } else { 6 };
                    assert_eq!(
                        sent.offload.checksum,
                        Some(PartialChecksum { start, offset })
                    );
                    assert_eq!(sent.bytes, seeded(&packet, true), "{packet:?}");
                    host_sim::net::checksum::complete(&mut sent);
                }
                assert_eq!(sent, Frame::new(packet.whole()), "{packet:?}");
            }
        }
        assert_eq!(guest.machine.handle.counters().checksum_offloads, 8);
    }
}

#[test]
fn padding_is_not_summed() {
    let packet = Packet::udp(STRANGER, own(), &[9, 9, 9]);
    let mut padded = seeded(&packet, true);
    padded.resize(60, 0xAA);
    let (mut guest, cable) = guest(Version::V6_1);
    assert!(guest.transmit(0, &padded, &checksum(offload_of(&packet)), Shape::Section));
    assert_eq!(cable.collect().unwrap().bytes, packet.whole());
}

#[test]
fn a_zero_udp_checksum_becomes_all_ones() {
    let (mut guest, cable) = guest(Version::V6_1);
    let mut found = false;
    for word in 0..=u16::MAX {
        let payload = word.to_be_bytes();
        let packet = Packet::udp(STRANGER, own(), &payload);
        let whole = packet.whole();
        if whole[40..42] == [0xFF, 0xFF] {
            assert!(guest.transmit(
                0,
                &seeded(&packet, true),
                &checksum(offload_of(&packet)),
                Shape::Section
            ));
            assert_eq!(cable.collect().unwrap().bytes, whole);
            found = true;
            break;
        }
    }
    assert!(found, "one of all words sums to it");
}

/// What the per-packet information says of a frame has to be so.
#[test]
fn offloads_that_contradict_the_frame_lose_it() {
    let payload = pattern(100);
    let tcp = Packet::tcp(STRANGER, own(), &payload);
    let (mut guest, cable) = guest(Version::V6_1);
    let infos = [
        checksum(TransmitChecksum::tcp(true, 34)),
        checksum(TransmitChecksum::udp(false, 34)),
        checksum(TransmitChecksum::tcp(false, 38)),
        checksum(TransmitChecksum(0b1101 | 34 << 16)),
    ];
    for info in infos {
        assert!(
            guest.transmit(0, &tcp.bare(), &info, Shape::Section),
            "completed all the same"
        );
        assert!(cable.collect().is_none(), "{info:?}");
    }
    for send in [
        LargeSend::version_2(false, 0, 34),
        LargeSend::version_2(true, 50, 34),
        LargeSend::version_2(false, 50, 30),
        LargeSend::version_2(false, 0x1_0000, 34),
        LargeSend::version_1(50, 34),
    ] {
        let info = PacketInfo {
            large_send: Some(send),
            ..PacketInfo::default()
        };
        assert!(guest.transmit(0, &tcp.bare(), &info, Shape::Section));
        assert!(cable.collect().is_none(), "{send:?}");
    }
    // Not an IP packet at all.
    let other = guest.frame(STRANGER, &pattern(80));
    assert!(guest.transmit(0, &other, &infos[0], Shape::Section));
    assert!(cable.collect().is_none());
    assert_eq!(guest.machine.handle.counters().send_errors, 10);
    // Neither version is no offload.
    assert!(guest.transmit(0, &other, &checksum(TransmitChecksum(0xC)), Shape::Section));
    assert!(cable.collect().is_some());
}

/// Sends a long segment as a guest does; returns what arrives.
fn send_large(
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

fn large(packet: &Packet<'_>, mss: u32) -> LargeSend {
    LargeSend::version_2(packet.ipv6, mss, packet.transport() as u16)
}

/// Puts segments together again, checking each.
fn reassemble(segments: &[Frame], packet: &Packet<'_>, mss: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        let headers = assert_good(&segment.bytes);
        assert_eq!(segment.offload, Offload::default());
        let (start, tcp) = (packet.header_length(), headers.transport);
        let word = |at: usize| u32::from_be_bytes(segment.bytes[at..at + 4].try_into().unwrap());
        assert_eq!(
            word(tcp + 4),
            0xFFFF_FF00u32.wrapping_add(payload.len() as u32)
        );
        let is_last = place + 1 == segments.len();
        let flags = packet.flags
            & if is_last { 0xFF } else { !0x09 }
            & if place == 0 { 0xFF } else { 0x7F };
        assert_eq!(segment.bytes[tcp + 13], flags, "segment {place}");
        if !packet.ipv6 {
            let id = u16::from_be_bytes([segment.bytes[18], segment.bytes[19]]);
            assert_eq!(id, 0x1234 + place as u16);
        }
        let length = segment.bytes.len() - start;
        assert!(length == mss || is_last && length <= mss && length != 0);
        payload.extend(&segment.bytes[start..]);
    }
    payload
}

// H26
#[test]
fn long_segments_are_cut_in_software() {
    for length in [1461usize, 2920, 20_000, 62_000] {
        let payload = pattern(length);
        for packet in [
            Packet::tcp(STRANGER, own(), &payload),
            Packet::tcp(STRANGER, own(), &payload).v6(),
        ] {
            let packet = Packet {
                flags: 0x99,
                ..packet
            };
            for zero_length in [false, true] {
                let (mut guest, cable) = guest(Version::V6_1);
                let segments = send_large(
                    &mut guest,
                    &cable,
                    &packet,
                    1448,
                    zero_length,
                    large(&packet, 1448),
                );
                assert_eq!(segments.len(), length.div_ceil(1448));
                assert_eq!(reassemble(&segments, &packet, 1448), payload);
                let counters = guest.machine.handle.counters();
                assert_eq!(
                    (counters.large_sends, counters.segments_made),
                    (1, segments.len() as u64)
                );
            }
        }
    }
}

// H26, with the vector of the specification's section 13.2 in spirit: the sum covers the length.
#[test]
fn long_segments_are_left_to_a_capable_back_end() {
    let payload = pattern(4000);
    for packet in [
        Packet::tcp(STRANGER, own(), &payload),
        Packet::tcp(STRANGER, own(), &payload).v6(),
    ] {
        let (mut guest, cable) = guest_with(options(), ALL, Version::V6_1);
        let sent = send_large(
            &mut guest,
            &cable,
            &packet,
            1448,
            true,
            large(&packet, 1448),
        );
        let [frame] = sent.as_slice() else {
            panic!("{}", sent.len())
        };
        let header_length = packet.header_length() as u16;
        assert_eq!(
            frame.offload.segmentation,
            Some(Segmentation {
                is_ipv6: packet.ipv6,
                segment_size: 1448,
                header_length
            })
        );
        assert_eq!(
            frame.bytes,
            seeded(&packet, true),
            "lengths and seed are those of the whole"
        );
        // Nothing to cut is a checksum only.
        let short = pattern(1400);
        let packet = Packet {
            payload: &short,
            ..packet
        };
        let sent = send_large(
            &mut guest,
            &cable,
            &packet,
            1448,
            true,
            large(&packet, 1448),
        );
        assert_eq!(sent[0].offload.segmentation, None);
        assert!(sent[0].offload.checksum.is_some());
    }
}

#[test]
fn large_sends_of_version_1_where_they_are_offered() {
    let payload = pattern(5000);
    let packet = Packet::tcp(STRANGER, own(), &payload);
    let version_1 = LargeSend::version_1(1000, 34);
    let options = NetworkOptions {
        large_send_v1: true,
        ..options()
    };
    let (mut guest, cable) = guest_with(options, Capabilities::default(), Version::V6_1);
    let segments = send_large(&mut guest, &cable, &packet, 1000, false, version_1);
    assert_eq!(reassemble(&segments, &packet, 1000), payload);
    let mut parameters = OffloadParameters::no_change();
    parameters.lso_v1 = switch_setting::OFF;
    guest.set(Oid::TCP_OFFLOAD_PARAMETERS, parameters.as_bytes());
    assert!(send_large(&mut guest, &cable, &packet, 1000, false, version_1).is_empty());
}

#[test]
fn offloads_that_are_off_are_not_done() {
    let payload = pattern(2000);
    let packet = Packet::tcp(STRANGER, own(), &payload);
    let (mut guest, cable) = guest(Version::V6_1);
    let mut parameters = OffloadParameters::no_change();
    parameters.lso_v2_ipv4 = switch_setting::OFF;
    parameters.tcp_ipv4 = checksum_setting::OFF;
    guest.set(Oid::TCP_OFFLOAD_PARAMETERS, parameters.as_bytes());
    assert!(
        send_large(
            &mut guest,
            &cable,
            &packet,
            1000,
            true,
            large(&packet, 1000)
        )
        .is_empty()
    );
    let short = Packet {
        payload: &payload[..100],
        ..packet
    };
    assert!(guest.transmit(
        0,
        &short.bare(),
        &checksum(offload_of(&short)),
        Shape::Section
    ));
    assert!(cable.collect().is_none());
    // Received, nothing is reported of the checksum.
    cable.deliver(Frame::new(
        Packet::tcp(own(), STRANGER, &payload[..100]).whole(),
    ));
    let received = guest.receive(0);
    assert_eq!(
        received[0].info.checksum,
        Some(ReceiveChecksum::IP_HEADER_SUCCEEDED)
    );
}

#[test]
fn checksums_of_received_frames_are_reported() {
    let (mut guest, cable) = guest(Version::V6_1);
    let payload = pattern(200);
    for packet in packets(&payload) {
        let packet = Packet {
            to: own(),
            from: STRANGER,
            ..packet
        };
        let transport = match packet.protocol {
            6 => ReceiveChecksum::TCP_SUCCEEDED,
            _ => ReceiveChecksum::UDP_SUCCEEDED,
        };
        let header = if packet.ipv6 {
            0
        } else {
            ReceiveChecksum::IP_HEADER_SUCCEEDED
        };
        // Right on the wire.
        cable.deliver(Frame::new(packet.whole()));
        // Left to be made by another guest of the host.
        let mut partial = Frame::new(seeded(&packet, true));
        partial.offload.checksum = Some(PartialChecksum {
            start: packet.transport() as u16,
            offset: 16,
        });
        cable.deliver(partial);
        // Wrong on the wire.
        let mut wrong = packet.whole();
        *wrong.last_mut().unwrap() ^= 1;
        cable.deliver(Frame::new(wrong.clone()));
        let received = guest.receive(0);
        assert_eq!(received[0].bytes, packet.whole());
        assert_eq!(
            received[0].info.checksum,
            Some(header | transport),
            "{packet:?}"
        );
        assert_eq!(received[1], received[0], "made before it is delivered");
        assert_eq!(received[2].bytes, wrong);
        assert_eq!(received[2].info.checksum, (header != 0).then_some(header));
    }
}

#[test]
fn a_long_segment_received_is_cut() {
    let (mut guest, cable) = guest(Version::V6_1);
    let payload = pattern(10_000);
    let packet = Packet::tcp(own(), STRANGER, &payload);
    let mut frame = Frame::new(seeded(&packet, true));
    frame.offload.checksum = Some(PartialChecksum {
        start: 34,
        offset: 16,
    });
    frame.offload.segmentation = Some(Segmentation {
        is_ipv6: false,
        segment_size: 1400,
        header_length: 66,
    });
    cable.deliver(frame);
    let received: Vec<_> = guest
        .receive(0)
        .into_iter()
        .map(|frame| Frame::new(frame.bytes))
        .collect();
    assert_eq!(reassemble(&received, &packet, 1400), payload);
}

// H28
#[test]
fn tags_travel_beside_the_frame() {
    for version in [Version::V2, Version::V6_1] {
        for capabilities in [Capabilities::default(), ALL] {
            let (mut guest, cable) = guest_with(options(), capabilities, version);
            let payload = pattern(500);
            let packet = Packet::tcp(STRANGER, own(), &payload);
            let tag = VlanTag(0x645);
            let info = PacketInfo {
                vlan: Some(tag),
                ..checksum(offload_of(&packet))
            };
            assert!(guest.transmit(0, &seeded(&packet, true), &info, Shape::Section));
            let mut sent = cable.collect().unwrap();
            assert_eq!(vlan_tag(&sent.bytes), Some(0xA064));
            if capabilities.checksum {
                assert_eq!(sent.offload.checksum.unwrap().start, 38);
            }
            host_sim::net::checksum::complete(&mut sent);
            assert_good(&sent.bytes);
            // The same way back.
            sent.bytes[..6].copy_from_slice(&own());
            cable.deliver(sent);
            let received = guest.receive(0);
            assert_eq!(received[0].info.vlan, Some(tag));
            assert_eq!(received[0].bytes[6..], packet.whole()[6..]);
            // A tag in the frame is sent as it is.
            let mut tagged = guest.frame(STRANGER, &pattern(60));
            tagged.splice(12..12, [0x81, 0, 0x20, 7]);
            assert!(guest.transmit(0, &tagged, &PacketInfo::default(), Shape::Section));
            assert_eq!(cable.collect().unwrap().bytes, tagged);
        }
    }
}

#[test]
fn tags_stay_in_frames_for_guests_that_do_not_know_better() {
    let cable = Pair::new(Capabilities::default());
    let mut guest = Guest::open(options(), cable.clone());
    assert!(guest.negotiate(Version::V6_1));
    guest.configure(1514, 0);
    guest.lend_buffers(64, 16);
    guest.initialize();
    guest.set_filter(1);
    let mut tagged = vec![0; 80];
    tagged[..6].copy_from_slice(&own());
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 9]);
    cable.deliver(Frame::new(tagged.clone()));
    let received = guest.receive(0);
    assert_eq!((received[0].info.vlan, &received[0].bytes), (None, &tagged));
}

#[test]
fn a_port_in_a_vlan_hides_it() {
    let options = NetworkOptions {
        vlan: VlanMode::Access(100),
        ..options()
    };
    let (mut guest, cable) = guest_with(options, Capabilities::default(), Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(60));
    assert!(guest.transmit(0, &frame, &PacketInfo::default(), Shape::Section));
    let mut sent = cable.collect().unwrap();
    assert_eq!(vlan_tag(&sent.bytes), Some(100));
    let tagged = PacketInfo {
        vlan: Some(VlanTag::from_tci(7)),
        ..PacketInfo::default()
    };
    assert!(guest.transmit(0, &frame, &tagged, Shape::Section));
    assert!(cable.collect().is_none());
    sent.bytes[..6].copy_from_slice(&own());
    cable.deliver(sent.clone());
    sent.bytes[15] = 101;
    cable.deliver(sent);
    let received = guest.receive(0);
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].info.vlan, &received[0].bytes[12..]),
        (None, &frame[12..])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever a guest leaves to the host, what arrives is what a sender without offloads would have sent.
    #[test]
    fn software_offloads_are_equal_to_none(
        length in 1usize..6000,
        mss in 200u32..1448,
        ipv6: bool,
        flags in 0u8..0xFF,
        zero_length: bool,
    ) {
        let payload = pattern(length);
        let packet = Packet { ipv6, flags, ..Packet::tcp(STRANGER, own(), &payload) };
        let (mut guest, cable) = guest(Version::V6_1);
        let segments = send_large(&mut guest, &cable, &packet, mss, zero_length, large(&packet, mss));
        if length > mss as usize {
            prop_assert_eq!(reassemble(&segments, &packet, mss as usize), payload);
        } else {
            prop_assert_eq!(&segments[0].bytes, &packet.whole());
        }
    }
}
