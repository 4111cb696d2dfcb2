//! Long segments: cut by the host, or left to a back end that cuts. Numbers are those of the protocol's host checklist.

mod network_support;

use host_sim::net::{Capabilities, Frame, Offload, PartialChecksum, Segmentation};
use host_sim::vsp::network::NetworkOptions;
use network_support::offload::{ALL, assert_good, large, seeded, send_large};
use network_support::{Packet, STRANGER, guest, guest_with, options, own, pattern};
use proptest::prelude::*;
use vsc_net::wire::ndis::{OffloadParameters, Oid, switch_setting};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::LargeSend;
use zerocopy::IntoBytes;

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
