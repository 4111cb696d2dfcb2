//! Frames, their offloads and their tags, both ways. Numbers are those of the protocol's host checklist.

mod network_support;

use host_sim::net::headers::vlan_tag;
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame, PartialChecksum};
use host_sim::vsp::network::testing::{Guest, Shape};
use host_sim::vsp::network::{NetworkOptions, VlanMode};
use network_support::offload::{
    ALL, assert_good, checksum, large, offload_of, packets, seeded, send_large,
};
use network_support::{Packet, STRANGER, guest, guest_with, options, own, pattern};
use vsc_net::wire::ndis::{OffloadParameters, Oid, checksum_setting, switch_setting};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::{LargeSend, PacketInfo, ReceiveChecksum, TransmitChecksum, VlanTag};
use zerocopy::IntoBytes;

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

/// A frame whose tag has nothing behind it is shorter than a header once the tag is beside it.
#[test]
fn a_tag_without_a_frame_is_none() {
    let (mut guest, cable) = guest(Version::V6_1);
    let tagged = |to: [u8; 6], from: [u8; 6], length: usize| {
        let mut frame = [to, from].concat();
        frame.extend([0x81, 0, 0x20, 7, 0x88, 0xB5]);
        frame.truncate(length);
        frame
    };
    for length in [16, 17] {
        let before = guest.machine.handle.counters();
        cable.deliver(Frame::new(tagged(own(), STRANGER, length)));
        assert_eq!(guest.receive(0), [], "{length}");
        let frame = tagged(STRANGER, own(), length);
        assert!(guest.transmit(0, &frame, &PacketInfo::default(), Shape::Section));
        assert_eq!(cable.collect(), None, "{length}");
        let counters = guest.machine.handle.counters();
        assert_eq!(counters.receive_errors, before.receive_errors + 1);
        assert_eq!(counters.send_errors, before.send_errors + 1);
    }
    cable.deliver(Frame::new(tagged(own(), STRANGER, 18)));
    let received = guest.receive(0);
    assert_eq!(received[0].bytes.len(), 14);
    assert_eq!(received[0].info.vlan, Some(VlanTag::from_tci(0x2007)));
    let frame = tagged(STRANGER, own(), 18);
    assert!(guest.transmit(0, &frame, &PacketInfo::default(), Shape::Section));
    assert_eq!(cable.collect().unwrap().bytes, frame);
}

/// A guest that puts the tag into the frame counts it where it says where the transport header begins.
#[test]
fn offloads_of_frames_with_a_tag_in_them() {
    let payload = pattern(3000);
    let short = Packet::tcp(STRANGER, own(), &payload[..500]);
    let long = Packet::tcp(STRANGER, own(), &payload);
    let tagged = |packet: &Packet<'_>| {
        let mut frame = seeded(packet, true);
        frame.splice(12..12, [0x81, 0, 0x20, 7]);
        frame
    };
    for capabilities in [Capabilities::default(), ALL] {
        let (mut guest, cable) = guest_with(options(), capabilities, Version::V6_1);
        for (value, is_sent) in [
            (TransmitChecksum::tcp(false, 38), true),
            (TransmitChecksum::tcp(false, 34), false),
        ] {
            assert!(guest.transmit(0, &tagged(&short), &checksum(value), Shape::Section));
            let sent = cable.collect();
            assert_eq!(sent.is_some(), is_sent, "{value:?}");
            if let Some(mut frame) = sent {
                assert_eq!(vlan_tag(&frame.bytes), Some(0x2007));
                host_sim::net::checksum::complete(&mut frame);
                assert_good(&frame.bytes);
            }
        }
        let info = PacketInfo {
            large_send: Some(LargeSend::version_2(false, 1000, 38)),
            ..PacketInfo::default()
        };
        assert!(guest.transmit(0, &tagged(&long), &info, Shape::Direct));
        let sent: Vec<_> = std::iter::from_fn(|| cable.collect()).collect();
        assert_eq!(
            sent.len(),
            if capabilities.segmentation_ipv4 { 1 } else { 3 }
        );
        assert!(
            sent.iter()
                .all(|frame| vlan_tag(&frame.bytes) == Some(0x2007))
        );
    }
}
