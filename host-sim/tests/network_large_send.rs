//! Long segments: cut by the host, or left to a back end that cuts. Numbers are those of the protocol's host checklist.

mod network_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_sim::net::{
    BackendWaker, Capabilities, Frame, Link, NetworkBackend, Offload, PartialChecksum,
    QUEUE_FRAMES, Segmentation, SendError,
};
use host_sim::vmbus::vsp::NextPoll;
use host_sim::vsp::network::NetworkOptions;
use host_sim::vsp::network::testing::Guest;
use network_support::offload::{ALL, assert_good, large, seeded, send_large};
use network_support::{Packet, STRANGER, guest, guest_with, options, own, pattern};
use proptest::prelude::*;
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_net::wire::ndis::{OffloadParameters, Oid, switch_setting};
use vsc_net::wire::nvsp::{Message, NO_SECTION, RndisPacket, Version};
use vsc_net::wire::rndis::{LargeSend, PacketInfo};
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

/// A network that takes everything.
#[derive(Default)]
struct Sink(AtomicUsize);

impl NetworkBackend for Sink {
    fn describe(&self) -> String {
        "sink".into()
    }

    fn send(&self, _: &Frame) -> Result<(), SendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&self, _: &mut Frame) -> bool {
        false
    }

    fn set_waker(&self, _: Option<BackendWaker>) {}

    fn link(&self) -> Link {
        Link::new(true)
    }
}

/// Puts so many messages into the ring that are each to be cut into one segment for every byte.
fn send_finest(guest: &mut Guest, count: u64, length: usize) {
    let payload = pattern(length);
    let packet = Packet::tcp(STRANGER, own(), &payload);
    let info = PacketInfo {
        large_send: Some(large(&packet, 1)),
        ..PacketInfo::default()
    };
    let bytes = Guest::packet(&seeded(&packet, true), &info);
    let first = guest.message_pages;
    guest.machine.memory.write(first * 4096, &bytes).unwrap();
    let frames: Vec<_> = (first..first + (bytes.len() as u64).div_ceil(4096)).collect();
    let range = GpaRange {
        byte_count: bytes.len() as u32,
        byte_offset: 0,
        page_frames: &frames,
    };
    let body = RndisPacket {
        channel_type: 0.into(),
        section_index: NO_SECTION.into(),
        section_size: 0.into(),
    };
    let message = Message::full(&body);
    for id in 0..count {
        guest.channels[0]
            .send(
                id,
                true,
                OutgoingKind::GpaDirect(&[range]),
                message.as_bytes(),
            )
            .unwrap();
    }
}

/// Cutting takes time: a poll ends after as much of it as others can wait for.
#[test]
fn a_poll_cuts_a_bounded_number_of_segments() {
    const LENGTH: usize = 3000;
    const MESSAGES: u64 = 40;
    let sink = Arc::new(Sink::default());
    let mut guest = Guest::ready(options(), sink.clone(), Version::V6_1);
    send_finest(&mut guest, MESSAGES, LENGTH);
    let made = |guest: &Guest| guest.machine.handle.counters().segments_made;
    let mut polls = 0;
    loop {
        let before = made(&guest);
        let next = guest.channels[0].poll_once().unwrap();
        let count = made(&guest) - before;
        // No message is left half cut.
        assert!(count <= 4096 + LENGTH as u64, "{count} in one poll");
        if count == 0 {
            break;
        }
        polls += 1;
        if made(&guest) < MESSAGES * LENGTH as u64 {
            assert_eq!(next, NextPoll::Now);
        }
    }
    assert_eq!(made(&guest), MESSAGES * LENGTH as u64);
    assert_eq!(sink.0.load(Ordering::Relaxed) as u64, made(&guest));
    assert!(polls >= 10, "{polls}");
    let completions = guest.channels[0].receive().unwrap().len() as u64;
    assert_eq!(completions, MESSAGES);
}

/// Once one segment is lost its receiver asks for all from there on, so that cutting the others is in vain.
#[test]
fn what_is_lost_is_not_cut_any_further() {
    let (mut guest, _cable) = guest(Version::V6_1);
    send_finest(&mut guest, 64, 60_000);
    guest.channels[0].poll().unwrap();
    let counters = guest.machine.handle.counters();
    assert_eq!(counters.send_discards, 64);
    // As many as the cable takes, and one of each message that is lost.
    assert_eq!(counters.segments_made, QUEUE_FRAMES as u64 + 64);
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
