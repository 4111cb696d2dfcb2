//! Negotiation, link and life cycle of network adapters. Numbers are those of the protocol's host checklist.

mod network_support;

use std::sync::atomic::Ordering;

use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame};
use host_sim::vmbus::gpadl::GpadlRange;
use host_sim::vsp::network::protocol::State;
use host_sim::vsp::network::testing::{Guest, Machine, Shape};
use host_sim::vsp::network::{MAX_MTU, NetworkOptions};
use network_support::{STRANGER, guest, options, own};
use vmbus_core::version::ProtocolVersion;
use vsc_net::wire::ndis::Oid;
use vsc_net::wire::nvsp::{
    Message, MessageType, OidQueryEx, RevokeBuffer, Status, SwitchDataPath, Version,
};
use vsc_net::wire::rndis::{self, Reply, Request};

// H2, H6, H10, H24
#[test]
fn every_version_moves_frames_both_ways() {
    for version in Version::ALL_NEWEST_FIRST {
        let (mut guest, cable) = guest(version);
        assert_eq!(guest.machine.handle.version(), Some(version));
        assert_eq!(guest.machine.handle.state(), Some(State::Running));
        let sent = guest.frame(STRANGER, &[1; 50]);
        assert!(
            guest.transmit(0, &sent, &Default::default(), Shape::Section),
            "{version}"
        );
        assert_eq!(cable.collect(), Some(Frame::new(sent)));
        let mut received = vec![0; 60];
        received[..6].copy_from_slice(&own());
        assert!(cable.deliver(Frame::new(received.clone())));
        assert_eq!(guest.receive(0)[0].bytes, received, "{version}");
        let snapshot = guest.machine.handle.snapshot();
        assert_eq!(
            (snapshot.counters.sent(), snapshot.counters.received()),
            (1, 1)
        );
        assert_eq!(snapshot.version, Some(version.to_string()));
    }
}

// H1
#[test]
fn the_highest_version_is_an_option() {
    for highest in Version::ALL_NEWEST_FIRST {
        let options = NetworkOptions {
            highest_version: highest,
            ..options()
        };
        let mut guest = Guest::open(options, Pair::new(Capabilities::default()));
        for version in Version::ALL_NEWEST_FIRST {
            let accepted = guest.negotiate(version);
            assert_eq!(accepted, version <= highest);
            if accepted {
                break;
            }
        }
    }
}

// H7
#[test]
fn a_guest_needs_no_send_buffer() {
    let cable = Pair::new(Capabilities::default());
    let mut guest = Guest::open(options(), cable.clone());
    assert!(guest.negotiate(Version::V6_1));
    guest.configure(1514, 0);
    guest.lend_buffers(64, 0);
    guest.initialize();
    let frame = guest.frame(STRANGER, &[3; 1000]);
    for shape in [Shape::Direct, Shape::SplitHeader] {
        assert!(guest.transmit(0, &frame, &Default::default(), shape));
        assert_eq!(cable.collect().unwrap().bytes, frame);
    }
}

// H12
#[test]
fn mtus_size_sections_and_answers() {
    for (mtu, section) in [(1514, 1824), (9014, 9312), (MAX_MTU, 9536)] {
        let cable = Pair::new(Capabilities::default());
        let mut guest = Guest::open(options(), cable.clone());
        assert!(guest.negotiate(Version::V5));
        guest.configure(mtu, 8);
        guest.lend_buffers(256, 64);
        assert_eq!(guest.receive_sections.0, section);
        guest.initialize();
        guest.set_filter(0x0D);
        assert_eq!(guest.query_word(Oid::GEN_MAXIMUM_FRAME_SIZE), mtu - 14);
        assert_eq!(guest.query_word(Oid::GEN_MAXIMUM_TOTAL_SIZE), mtu);
        let longest = guest.frame(STRANGER, &vec![5; mtu as usize - 14]);
        assert!(guest.transmit(0, &longest, &Default::default(), Shape::Direct));
        assert_eq!(cable.collect().unwrap().bytes, longest);
        let mut back = longest.clone();
        back[..6].copy_from_slice(&own());
        cable.deliver(Frame::new(back.clone()));
        back.push(0);
        cable.deliver(Frame::new(back.clone()));
        assert_eq!(guest.receive(0).len(), 1, "one byte more is too long");
        // Sent, it is lost without a word, and counted.
        let longer = guest.frame(STRANGER, &vec![5; mtu as usize - 14 + 5]);
        assert!(guest.transmit(0, &longer, &Default::default(), Shape::Direct));
        assert!(cable.collect().is_none());
        let counters = guest.machine.handle.counters();
        assert_eq!((counters.send_errors, counters.receive_errors), (1, 1));
    }
}

// H5, H6
#[test]
fn fault_59_buffers_that_cannot_be_are_refused() {
    let mut guest = Guest::open(options(), Pair::new(Capabilities::default()));
    assert!(guest.negotiate(Version::V6_1));
    guest.configure(1514, 0);
    let range = |byte_count: u32, byte_offset: u32, first: u64| GpadlRange {
        byte_count,
        byte_offset,
        page_frames: (first..first + 8).collect(),
    };
    let first = guest.machine.allocate(16);
    let two = vec![range(8 * 4096, 0, first), range(8 * 4096, 0, first + 8)];
    let huge = vec![GpadlRange {
        byte_count: (64 << 20) + 4096,
        byte_offset: 0,
        page_frames: vec![first; (64 << 20) / 4096 + 1].into(),
    }];
    let tiny = vec![GpadlRange {
        byte_count: 0,
        byte_offset: 0,
        page_frames: vec![].into(),
    }];
    for ranges in [
        two,
        vec![range(7 * 4096, 8, first)],
        vec![range(7 * 4096 + 8, 0, first)],
        huge,
        tiny,
    ] {
        let gpadl = guest.machine.lend_ranges(ranges);
        let complete = guest.offer_receive_buffer(gpadl);
        assert_eq!(
            (complete.status.get(), complete.section_count.get()),
            (2, 0)
        );
        assert_eq!(guest.offer_send_buffer(gpadl).status.get(), 2);
        assert_eq!(guest.machine.lent.load(Ordering::Relaxed), 0);
    }
    assert_eq!(
        guest.offer_receive_buffer(0x9999).status.get(),
        2,
        "no such GPADL"
    );
    guest.lend_buffers(16, 8);
    assert_eq!(guest.machine.lent.load(Ordering::Relaxed), 2);
}

// H42, H9
#[test]
fn a_halt_is_not_answered_and_ends_the_traffic() {
    let (mut guest, cable) = guest(Version::V6_1);
    let mut bytes = [0; 64];
    let halt = Request::Halt { request_id: 5 }
        .emit(&mut bytes)
        .unwrap()
        .to_vec();
    assert_eq!(guest.send_control(&halt).unwrap(), Status::SUCCESS);
    guest.work(0).unwrap();
    assert_eq!(guest.take_reply(), None);
    let frame = guest.frame(STRANGER, &[0; 50]);
    assert!(!guest.transmit(0, &frame, &Default::default(), Shape::Direct));
    let mut own_frame = frame.clone();
    own_frame[..6].copy_from_slice(&own());
    cable.deliver(Frame::new(own_frame));
    guest.machine.handle.set_link(false);
    guest.machine.now.store(100_000_000, Ordering::Relaxed);
    assert!(guest.receive(0).is_empty() && guest.indications.is_empty());
    // It may begin anew.
    guest.initialize();
    guest.set_filter(1);
}

#[test]
fn resets_and_keepalives_are_answered() {
    let (mut guest, _cable) = guest(Version::V6_1);
    let answer = guest.request(&Request::Keepalive { request_id: 77 });
    let status = rndis::Status::SUCCESS;
    assert_eq!(
        Reply::parse(&answer),
        Ok(Reply::KeepaliveComplete {
            request_id: 77,
            status
        })
    );
    let answer = guest.request(&Request::Reset);
    assert_eq!(
        Reply::parse(&answer),
        Ok(Reply::ResetComplete {
            status,
            addressing_reset: true
        })
    );
    assert_eq!(guest.query_word(Oid::GEN_CURRENT_PACKET_FILTER), 0);
}

// H43
#[test]
fn fault_61_the_guest_is_told_of_its_link() {
    let (mut guest, cable) = guest(Version::V6_1);
    let second = 10_000_000;
    let tell = |guest: &mut Guest, now: u64| {
        guest.machine.now.store(now, Ordering::Relaxed);
        guest.work(0).unwrap();
        guest.work(0).unwrap();
        guest
            .indications
            .drain(..)
            .map(|(status, _)| status)
            .collect::<Vec<_>>()
    };
    assert!(tell(&mut guest, second).is_empty());
    guest.machine.handle.set_link(false);
    assert!(guest.channels[0].woken.load(Ordering::Relaxed));
    assert_eq!(tell(&mut guest, second), [rndis::Status::MEDIA_DISCONNECT]);
    // Nothing passes meanwhile.
    let frame = guest.frame(STRANGER, &[0; 50]);
    assert!(guest.transmit(0, &frame, &Default::default(), Shape::Section));
    assert!(cable.collect().is_none());
    let mut back = frame.clone();
    back[..6].copy_from_slice(&own());
    cable.deliver(Frame::new(back.clone()));
    assert!(guest.receive(0).is_empty());
    // Flaps collapse; the last state wins.
    for _ in 0..10 {
        guest.machine.handle.set_link(true);
        guest.machine.handle.set_link(false);
        assert!(tell(&mut guest, second + 5).is_empty());
    }
    guest.machine.handle.set_link(true);
    assert!(tell(&mut guest, second + 6).is_empty());
    assert_eq!(tell(&mut guest, 2 * second), [rndis::Status::MEDIA_CONNECT]);
    // The back end's own.
    cable.set_up(false);
    assert!(!guest.machine.handle.is_link_up());
    assert_eq!(
        tell(&mut guest, 4 * second),
        [rndis::Status::MEDIA_DISCONNECT]
    );
    assert_eq!(guest.query_word(Oid::GEN_MEDIA_CONNECT_STATUS), 1);
    cable.set_up(true);
    assert_eq!(tell(&mut guest, 6 * second), [rndis::Status::MEDIA_CONNECT]);
    guest.machine.handle.announce_network_change();
    assert_eq!(
        tell(&mut guest, 8 * second),
        [rndis::Status::NETWORK_CHANGE]
    );
    cable.deliver(Frame::new(back));
    assert_eq!(guest.receive(0).len(), 1);
    assert_eq!(guest.machine.handle.counters().link_indications, 5);
}

// H3, H39, H40
#[test]
fn messages_without_an_answer_are_completed_empty_if_asked() {
    let cable = Pair::new(Capabilities::default());
    let mut guest = Guest::open(options(), cable);
    assert!(guest.negotiate(Version::V6_1));
    for (message, is_empty) in [
        (
            Message::full(&vsc_net::wire::nvsp::NdisConfig {
                mtu: 1514.into(),
                reserved: 0.into(),
                capabilities: 0.into(),
            }),
            true,
        ),
        (
            Message::full(&vsc_net::wire::nvsp::NdisVersion {
                major: 6.into(),
                minor: 30.into(),
            }),
            true,
        ),
        (Message::full(&SwitchDataPath { active: 1.into() }), true),
        (
            Message::full(&OidQueryEx {
                header: 0.into(),
                oid: 5.into(),
            }),
            false,
        ),
    ] {
        assert_eq!(
            guest.call(&message).unwrap().is_empty(),
            is_empty,
            "{message:?}"
        );
    }
    guest
        .tell(&Message::full(&SwitchDataPath { active: 0.into() }))
        .unwrap();
}

// H36, H41, H44
#[test]
fn fault_41_buffers_are_returned_by_revocation_and_by_close() {
    let (mut guest, _cable) = guest(Version::V6_1);
    assert_eq!(guest.machine.lent.load(Ordering::Relaxed), 2);
    let revoke = RevokeBuffer { id: 0xCAFE.into() };
    guest.tell(&Message::full(&revoke)).unwrap();
    assert_eq!(guest.machine.lent.load(Ordering::Relaxed), 1);
    guest
        .tell(&Message::full_as(MessageType::REVOKE_SEND_BUFFER, &revoke))
        .unwrap();
    assert_eq!(guest.machine.lent.load(Ordering::Relaxed), 0);
    let frame = guest.frame(STRANGER, &[0; 50]);
    assert!(!guest.transmit(0, &frame, &Default::default(), Shape::Direct));
    guest.channels.clear();
    assert_eq!(guest.machine.handle.state(), None);

    // Opened again it begins at the beginning.
    let Guest { mut machine, .. } = guest;
    let primary = machine.open(0).unwrap();
    assert!(machine.open(0).is_err(), "open already");
    let mut again = Guest::with(machine, primary);
    assert!(again.negotiate(Version::V2));
    again.configure(1514, 8);
    again.lend_buffers(64, 16);
    again.initialize();
    assert_eq!(again.query_word(Oid::GEN_CURRENT_PACKET_FILTER), 0);
    assert_eq!(again.machine.lent.load(Ordering::Relaxed), 2);
    again.channels.clear();
    assert_eq!(again.machine.lent.load(Ordering::Relaxed), 0);
    let statistics = again.machine.handle.counters();
    assert_eq!(statistics.channels_opened, 2);
}

#[test]
fn old_buses_have_no_sub_channels() {
    let mut machine = Machine::new(options(), Pair::new(Capabilities::default()));
    machine.vmbus_version = ProtocolVersion::V1_1;
    let primary = machine.open(0).unwrap();
    let mut guest = Guest::with(machine, primary);
    assert!(guest.negotiate(Version::V5));
    guest.configure(1514, 8);
    guest.lend_buffers(64, 16);
    guest.initialize();
    assert_eq!(guest.add_channels(1), 0);
}

#[test]
fn adapters_that_cannot_be_are_refused() {
    use host_sim::vsp::network::{ConfigError, NetworkAdapter, VlanMode};
    let new =
        |options| NetworkAdapter::new(options, Pair::new(Capabilities::default())).unwrap_err();
    assert!(matches!(
        NetworkOptions::for_slot("vm", 8),
        Err(ConfigError::Slot(8))
    ));
    let group = NetworkOptions {
        address: network_support::address([1; 6]),
        ..options()
    };
    assert!(matches!(new(group), ConfigError::Address(_)));
    let many = NetworkOptions {
        max_sub_channels: 64,
        ..options()
    };
    assert!(matches!(new(many), ConfigError::SubChannels(64)));
    let vlan = NetworkOptions {
        vlan: VlanMode::Access(4095),
        ..options()
    };
    assert!(matches!(new(vlan), ConfigError::Vlan(_)));
}
