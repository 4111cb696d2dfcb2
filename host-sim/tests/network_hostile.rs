//! Guests that break the rules: each hurts at most its own channel.

mod network_support;

use std::sync::atomic::Ordering;

use host_sim::memory::PAGE_SIZE;
use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame};
use host_sim::vmbus::vsp::ChannelFault;
use host_sim::vsp::network::testing::{Guest, Shape};
use network_support::{STRANGER, guest, options, own, pattern};
use proptest::prelude::*;
use vmbus_core::packet::{GpaRange, OutgoingKind, TransferRange};
use vsc_net::wire::ndis::Oid;
use vsc_net::wire::nvsp::{
    ChannelType, Message, MessageType, NO_SECTION, NdisConfig, Status, Version,
};
use vsc_net::wire::rndis::{self, PacketInfo, Request};

/// What was broken is told with its reason, and only this channel has ended.
fn assert_fault(result: Result<(), ChannelFault>, what: &str) {
    match result {
        Err(ChannelFault::Protocol { device, reason }) => {
            assert_eq!(device, "network adapter");
            assert!(reason.contains(what), "{reason:?} does not say {what:?}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn still_works(guest: &mut Guest, cable: &Pair) {
    while cable.collect().is_some() {}
    let frame = guest.frame(STRANGER, &[7; 60]);
    assert!(guest.transmit(0, &frame, &PacketInfo::default(), Shape::Section));
    assert_eq!(cable.collect().unwrap().bytes, frame);
    assert_eq!(guest.query_word(Oid::GEN_LINK_SPEED), 100_000_000);
}

// The host's end of case 55: pages that a guest says it has.
#[test]
fn fault_55_a_guest_has_no_transfer_pages() {
    let (mut guest, _cable) = guest(Version::V6_1);
    let ranges = [TransferRange {
        byte_count: 100,
        byte_offset: u32::MAX - 100,
    }];
    let kind = OutgoingKind::TransferPages {
        set_id: 0xCAFE,
        sender_owns_set: false,
        ranges: &ranges,
    };
    guest.channels[0]
        .send(1, true, kind, &[107, 0, 0, 0])
        .unwrap();
    assert_fault(guest.work(0), "transfer pages");
}

/// The host's end of case 56: a list of ranges that says more than it has, or has no room before the payload.
#[test]
fn fault_56_range_lists_that_lie_about_themselves() {
    use vmbus_core::ring::RingMemory;
    for (offset8, count) in [
        (3u16, 1u32),
        (3, 0xFFFF),
        (4, 2),
        (4, u32::MAX),
        (5, 0),
        (2, 1),
    ] {
        let mut guest = Guest::open(options(), Pair::new(Capabilities::default()));
        let mut body = vec![0; 48];
        body[4..8].copy_from_slice(&count.to_le_bytes());
        body[8..12].copy_from_slice(&100u32.to_le_bytes());
        guest.channels[0]
            .send(1, true, OutgoingKind::InBand, &body)
            .unwrap();
        // The first packet on the ring: made GPA-direct, its payload moved.
        let ring = guest.channels[0].to_host.memory();
        ring.write(0, &[9, 0]);
        ring.write(2, &offset8.to_le_bytes());
        let fault = guest.work(0).unwrap_err();
        assert!(
            matches!(fault, ChannelFault::Ring(_)),
            "{offset8} {count:#x}: {fault}"
        );
    }
}

#[test]
fn fault_57_packets_whose_parts_lie_outside_fail_alone() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(100));
    let good = Guest::packet(
        &frame,
        &PacketInfo {
            vlan: None,
            checksum: Some(0),
            ..PacketInfo::default()
        },
    );
    // Offset of each word in the header, and what it is changed to.
    for at in [0, 4, 8, 12, 20, 24, 28, 32] {
        for value in [
            1u32,
            7,
            35,
            43,
            100,
            0x7FFF_FFFF,
            0x8000_0000,
            u32::MAX - 7,
            u32::MAX,
        ] {
            let original = u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
            let is_harmless = (at, value) == (0, 1) || value == original;
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            for shape in [Shape::Section, Shape::Direct] {
                let taken = guest.transmit_bytes(0, &bad, 0, shape);
                let sent = cable.collect();
                assert!(
                    !taken || is_harmless || sent.is_some(),
                    "{value:#x} at {at}"
                );
            }
        }
    }
    assert!(guest.machine.handle.counters().malformed > 50);
    still_works(&mut guest, &cable);
}

#[test]
fn fault_58_element_chains_without_an_end_fail() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(100));
    let info = PacketInfo {
        checksum: Some(0),
        ..PacketInfo::default()
    };
    let good = Guest::packet(&frame, &info);
    for (at, value) in [
        (44, 0u32),
        (44, 11),
        (44, 13),
        (44, 17),
        (44, u32::MAX),
        (52, 0),
        (52, 11),
        (52, 16),
        (52, u32::MAX),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(
            !guest.transmit_bytes(0, &bad, 0, Shape::Section),
            "{value:#x} at {at}"
        );
    }
    // Unknown ones are skipped.
    for kind in [3u32, 77, 0x8000_0000, u32::MAX] {
        let mut other = good.clone();
        other[48..52].copy_from_slice(&kind.to_le_bytes());
        assert!(
            guest.transmit_bytes(0, &other, 0, Shape::Section),
            "{kind:#x}"
        );
        assert_eq!(cable.collect().unwrap().bytes, frame);
    }
    still_works(&mut guest, &cable);
}

// H21, H22
#[test]
fn fault_60_sections_that_do_not_exist_fail() {
    let (mut guest, cable) = guest(Version::V6_1);
    let sections = (64 * 4096) / guest.send_section_size;
    for (index, size) in [
        (NO_SECTION, 0),
        (NO_SECTION, 100),
        (sections, 100),
        (NO_SECTION - 1, 100),
        (0, guest.send_section_size + 1),
        (sections - 1, u32::MAX),
        (0, 0),
        (0, 7),
    ] {
        let status = guest
            .send_rndis(0, ChannelType::DATA, index, size, &[])
            .unwrap();
        assert_eq!(status, Status::FAIL, "{index:#x} {size:#x}");
    }
    still_works(&mut guest, &cable);
}

#[test]
fn fault_37_pages_outside_of_memory_fail() {
    let (mut guest, cable) = guest(Version::V6_1);
    for frame in [16384, 16385, 1 << 40, u64::MAX >> 12, u64::MAX] {
        let frames = [guest.message_pages, frame];
        let range = GpaRange {
            byte_count: 5000,
            byte_offset: 0,
            page_frames: &frames,
        };
        for channel_type in [ChannelType::DATA, ChannelType::CONTROL] {
            let status = guest
                .send_rndis(0, channel_type, NO_SECTION, 0, &[range])
                .unwrap();
            assert_eq!(status, Status::FAIL, "{frame:#x}");
        }
    }
    still_works(&mut guest, &cable);
}

#[test]
fn messages_of_any_length_are_bounded() {
    let (mut guest, cable) = guest(Version::V6_1);
    // 30 ranges of 64 KiB, all over the same page.
    let frames = [guest.message_pages; 16];
    let ranges = [GpaRange {
        byte_count: 65536,
        byte_offset: 0,
        page_frames: &frames,
    }; 30];
    let status = guest
        .send_rndis(0, ChannelType::DATA, NO_SECTION, 0, &ranges)
        .unwrap();
    assert_eq!(status, Status::FAIL);
    still_works(&mut guest, &cable);
}

// H25
#[test]
fn control_mixed_with_packets_fails() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(52));
    let packet = Guest::packet(&frame, &PacketInfo::default());
    assert_eq!(packet.len() % 8, 6);
    let mut bytes = packet.clone();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let length = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    let mut request = [0; 64];
    let request = Request::Keepalive { request_id: 4 }
        .emit(&mut request)
        .unwrap();
    let mixed = [bytes.as_slice(), request].concat();
    assert!(!guest.transmit_bytes(0, &mixed, 0, Shape::Section));
    assert_eq!(guest.take_reply(), None);
    still_works(&mut guest, &cable);
}

// H31
#[test]
fn fault_65_completions_of_nothing_end_the_channel() {
    for id in [0, 5, 16, 572, 573, u64::MAX] {
        let (mut guest, _cable) = guest(Version::V6_1);
        assert_eq!(guest.add_channels(1), 1);
        let message = [108, 0, 0, 0, 1, 0, 0, 0];
        guest.channels[1]
            .send(id, false, OutgoingKind::Completion, &message)
            .unwrap();
        assert_fault(guest.work(1), "not outstanding");
        // The primary channel goes on.
        assert_eq!(guest.query_word(Oid::GEN_LINK_SPEED), 100_000_000);
    }
    let (mut twice, cable) = guest(Version::V6_1);
    twice.completes = false;
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&own());
    cable.deliver(Frame::new(frame));
    twice.work(0).unwrap();
    let (channel, id) = twice.uncompleted[0];
    twice.complete(channel, id);
    twice.work(0).unwrap();
    twice.complete(channel, id);
    assert_fault(twice.work(0), "not outstanding");
}

// Case 64 from the guest's side is that ids come back as they were; here they are any.
#[test]
fn fault_64_request_ids_are_echoed() {
    let (mut guest, _cable) = guest(Version::V6_1);
    for id in [0, 1, 0xFFFF_0000, u32::MAX] {
        let answer = guest.request(&Request::Query {
            request_id: id,
            oid: Oid::GEN_LINK_SPEED,
            information: &[],
        });
        assert_eq!(answer[8..12], id.to_le_bytes());
    }
}

#[test]
fn fault_57_control_messages_whose_parts_lie_outside() {
    let (mut guest, cable) = guest(Version::V6_1);
    let mut bytes = [0; 128];
    let query = Request::Query {
        request_id: 3,
        oid: Oid::GEN_LINK_SPEED,
        information: &[0; 4],
    };
    let good = query.emit(&mut bytes).unwrap().to_vec();
    for at in [4, 16, 20] {
        for value in [7u32, 19, 33, 0x7FFF_FFFF, u32::MAX - 8, u32::MAX] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(
                guest.send_control(&bad).unwrap(),
                Status::FAIL,
                "{value:#x} at {at}"
            );
        }
    }
    for kind in [0u32, 7, 9, 0x8000_0002, 0x8000_0004, u32::MAX] {
        let mut bad = good.clone();
        bad[..4].copy_from_slice(&kind.to_le_bytes());
        assert_eq!(guest.send_control(&bad).unwrap(), Status::FAIL, "{kind:#x}");
    }
    for length in 1..8 {
        assert_eq!(guest.send_control(&good[..length]).unwrap(), Status::FAIL);
    }
    assert_eq!(guest.take_reply(), None);
    still_works(&mut guest, &cable);
}

#[test]
fn a_guest_that_asks_without_reading_ends_its_channel() {
    let (mut guest, _cable) = guest(Version::V6_1);
    guest.completes = false;
    let mut bytes = [0; 64];
    let request = Request::Keepalive { request_id: 9 }
        .emit(&mut bytes)
        .unwrap()
        .to_vec();
    let fault = (0..500).find_map(|_| guest.send_control(&request).err());
    assert_fault(Err(fault.expect("an end")), "control messages wait");
}

#[test]
fn fault_63_a_guest_may_say_any_mtu_and_any_offload() {
    for mtu in [0, 13, 14, 1513, 1514, 9217, u32::MAX] {
        let cable = Pair::new(Capabilities::default());
        let mut guest = Guest::open(options(), cable.clone());
        assert!(guest.negotiate(Version::V6_1));
        guest.configure(mtu, u64::MAX);
        guest.lend_buffers(64, 16);
        guest.initialize();
        guest.set_filter(u32::MAX);
        let maximum = guest.query_word(Oid::GEN_MAXIMUM_FRAME_SIZE);
        assert_eq!(maximum, 1500);
        still_works(&mut guest, &cable);
    }
}

// Case 62 is about what the guest is told; from it, the host hears of a function that it does not have.
#[test]
fn fault_62_there_is_no_function_to_switch_to() {
    let (mut guest, cable) = guest(Version::V6_1);
    for active in [0, 1, 2, u32::MAX] {
        let message = Message::full(&vsc_net::wire::nvsp::SwitchDataPath {
            active: active.into(),
        });
        assert!(guest.call(&message).unwrap().is_empty());
    }
    still_works(&mut guest, &cable);
    let host_message = Message::full(&vsc_net::wire::nvsp::VfAssociation {
        allocated: 1.into(),
        serial: 1.into(),
    });
    assert_fault(guest.tell(&host_message), "SEND_VF_ASSOCIATION");
}

#[test]
fn sub_channels_take_only_packets() {
    for message in [
        MessageType::INIT,
        MessageType::SEND_NDIS_CONFIG,
        MessageType::SUB_CHANNEL,
        MessageType(999),
    ] {
        let (mut guest, cable) = guest(Version::V6_1);
        assert_eq!(guest.add_channels(1), 1);
        let config = NdisConfig {
            mtu: 1514.into(),
            reserved: 0.into(),
            capabilities: 0.into(),
        };
        let bytes = Message::full_as(message, &config);
        guest.channels[1]
            .send(5, true, OutgoingKind::InBand, bytes.as_bytes())
            .unwrap();
        assert_fault(guest.work(1), "sub-channel 1");
        assert_eq!(guest.completion(5), Some(vec![]), "answered before the end");
        still_works(&mut guest, &cable);
    }
    let (mut guest, _cable) = guest(Version::V6_1);
    assert_eq!(guest.add_channels(1), 1);
    let mut bytes = [0; 64];
    let request = Request::Keepalive { request_id: 9 }
        .emit(&mut bytes)
        .unwrap();
    guest
        .machine
        .memory
        .write(guest.message_pages * PAGE_SIZE, request)
        .unwrap();
    let frames = [guest.message_pages];
    let range = GpaRange {
        byte_count: 12,
        byte_offset: 0,
        page_frames: &frames,
    };
    let status = guest
        .send_rndis(1, ChannelType::CONTROL, NO_SECTION, 0, &[range])
        .unwrap();
    assert_eq!(status, Status::FAIL);
}

#[test]
fn messages_without_a_body_end_the_channel() {
    for message in [100u32, 101, 104, 107, 125, 133] {
        let (mut guest, _cable) = guest(Version::V6_1);
        guest.channels[0]
            .send(5, true, OutgoingKind::InBand, &message.to_le_bytes())
            .unwrap();
        // With the padding to 8 bytes, which is all that there is.
        assert_fault(guest.work(0), "has 8 bytes and needs");
    }
    let (mut guest, _cable) = guest(Version::V6_1);
    guest.channels[0]
        .send(5, true, OutgoingKind::InBand, &[])
        .unwrap();
    assert_fault(guest.work(0), "NVSP message of 0 bytes");
}

/// The guest changes what it sends while the host reads it: what is sent is one or the other, never outside.
#[test]
fn fault_07_memory_that_changes_meanwhile() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(600));
    let packet = Guest::packet(
        &frame,
        &PacketInfo {
            checksum: Some(0),
            ..PacketInfo::default()
        },
    );
    let address = guest.message_pages * PAGE_SIZE;
    guest.machine.memory.write(address, &packet).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (memory, stopped) = (guest.machine.memory.clone(), std::sync::Arc::clone(&stop));
    let writer = std::thread::spawn(move || {
        let mut word = 1u32;
        while !stopped.load(Ordering::Relaxed) {
            word = word.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F);
            let at = u64::from(word >> 8) % 16 * 4;
            let value = if word & 1 == 0 { word } else { word & 0xFF };
            // A message that has become a halt ends all traffic, and rightly so.
            if (at, value) == (0, rndis::MessageType::HALT.0) {
                continue;
            }
            memory.write(address + at, &value.to_le_bytes()).unwrap();
        }
    });
    let frames = [guest.message_pages];
    let range = GpaRange {
        byte_count: packet.len() as u32,
        byte_offset: 0,
        page_frames: &frames,
    };
    for _ in 0..3000 {
        guest.machine.memory.write(address, &packet).unwrap();
        guest
            .send_rndis(0, ChannelType::DATA, NO_SECTION, 0, &[range])
            .unwrap();
        while let Some(frame) = cable.collect() {
            assert!((14..=1518).contains(&frame.bytes.len()));
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    // Control messages that were made of it have been answered, or not.
    while guest.take_reply().is_some() {}
    still_works(&mut guest, &cable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any bytes as messages of RNDIS.
    #[test]
    fn any_bytes_are_survived(
        // All but a halt, after which nothing would be answered.
        kind in prop_oneof![Just(1u32), Just(4), Just(5), 4u32..10],
        words in proptest::collection::vec(prop_oneof![0u32..200, any::<u32>()], 0..60),
        section: bool,
    ) {
        let (mut guest, cable) = guest(Version::V6_1);
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(((words.len() as u32 + 2) * 4).to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let shape = if section { Shape::Section } else { Shape::SplitHeader };
        let _ = guest.transmit_bytes(0, &bytes, 0, shape);
        let _ = guest.send_control(&bytes);
        while guest.take_reply().is_some() {}
        guest.set_filter(1);
        still_works(&mut guest, &cable);
    }

    /// Any messages of NVSP, in order: the channel ends or goes on.
    #[test]
    fn any_messages_are_survived(
        messages in proptest::collection::vec(
            (0u32..140, proptest::collection::vec(prop_oneof![0u32..4, Just(0xE1E10u32), any::<u32>()], 0..10)),
            1..20,
        ),
    ) {
        let (mut guest, _cable) = guest(Version::V6_1);
        for (number, words) in messages {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            let id = guest.fresh_id();
            guest.channels[0].send(id, true, OutgoingKind::InBand, &bytes).unwrap();
            let ended = guest.work(0).is_err();
            prop_assert!(guest.completion(id).is_some() || ended);
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_body_says_where_and_not_what() {
    // The type of what is sent is in the message itself; the channel's type is not believed.
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(60));
    let packet = Guest::packet(&frame, &PacketInfo::default());
    guest
        .machine
        .memory
        .write(guest.send_buffer * PAGE_SIZE, &packet)
        .unwrap();
    for channel_type in [0u32, 1, 2, u32::MAX] {
        let status = guest
            .send_rndis(0, ChannelType(channel_type), 0, packet.len() as u32, &[])
            .unwrap();
        assert_eq!(status, Status::SUCCESS);
        assert_eq!(cable.collect().unwrap().bytes, frame);
    }
}
