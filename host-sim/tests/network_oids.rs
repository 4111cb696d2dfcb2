//! What OIDs tell and change. Numbers are those of the protocol's host checklist.

mod network_support;

use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame};
use host_sim::vsp::network::NetworkOptions;
use host_sim::vsp::network::testing::{Guest, Shape};
use network_support::{STRANGER, guest, options, own};
use vsc_net::wire::ndis::{
    ConfigParameter, LinkState, Offload, OffloadEncapsulation, OffloadParameters, Oid,
    RssCapabilities, Statistics, checksum_setting,
};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::{self};
use zerocopy::{FromBytes, IntoBytes};

// H11, H12, H13, H16, H17
#[test]
fn oids_are_answered() {
    let (mut guest, _cable) = guest(Version::V6_1);
    let list = guest.query(Oid::GEN_SUPPORTED_LIST, &[]).unwrap();
    let (words, rest) = list.as_chunks::<4>();
    assert!(rest.is_empty() && words.len() > 50);
    let settable = [
        Oid::GEN_PROTOCOL_OPTIONS,
        Oid::GEN_NETWORK_LAYER_ADDRESSES,
        Oid::GEN_RNDIS_CONFIG_PARAMETER,
        Oid::TCP_OFFLOAD_PARAMETERS,
        Oid::GEN_RECEIVE_SCALE_PARAMETERS,
    ];
    for word in words {
        let oid = Oid(u32::from_le_bytes(*word));
        let answer = guest.query(oid, &[]);
        assert_eq!(answer.is_err(), settable.contains(&oid), "{oid:?}");
    }
    for oid in [0, 1, 0x0001_0209, 0x0001_021C, 0xFFFF_FFFF] {
        assert_eq!(
            guest.query(Oid(oid), &[0; 8]),
            Err(rndis::Status::NOT_SUPPORTED)
        );
        assert_eq!(guest.set(Oid(oid), &[0; 8]), rndis::Status::NOT_SUPPORTED);
    }
    assert_eq!(
        guest
            .query(Oid::ETHERNET_PERMANENT_ADDRESS, &[0; 6])
            .unwrap(),
        own()
    );
    assert_eq!(
        guest.query(Oid::ETHERNET_CURRENT_ADDRESS, &[0; 6]).unwrap(),
        own()
    );
    assert_eq!(guest.query_word(Oid::GEN_LINK_SPEED), 100_000_000);
    assert_eq!(guest.query_word(Oid::GEN_CURRENT_PACKET_FILTER), 0x0D);
    assert_eq!(guest.query_word(Oid::GEN_MEDIA_CONNECT_STATUS), 0);
    let name = guest.query(Oid::GEN_FRIENDLY_NAME, &[]).unwrap();
    assert_eq!((name.len(), &name[..4]), (512, b"N\0e\0".as_slice()));
    let state = guest.query(Oid::GEN_LINK_STATE, &[]).unwrap();
    let state = LinkState::read_from_bytes(&state).unwrap();
    assert_eq!(
        (state.connect_state.get(), state.transmit_speed.get()),
        (1, 10_000_000_000)
    );
    let capabilities = guest
        .query(Oid::GEN_RECEIVE_SCALE_CAPABILITIES, &[0x88, 2, 18, 0])
        .unwrap();
    let capabilities = RssCapabilities::read_from_bytes(&capabilities).unwrap();
    assert_eq!(
        (capabilities.queues.get(), capabilities.table_entries.get()),
        (64, 128)
    );
    assert_eq!(guest.query(Oid::GEN_XMIT_OK, &[0; 8]).unwrap().len(), 8);
    assert_eq!(guest.query(Oid::GEN_XMIT_OK, &[0; 4]).unwrap().len(), 4);
    let encapsulation = guest.query(Oid::OFFLOAD_ENCAPSULATION, &[]).unwrap();
    assert_eq!(
        guest.set(Oid::OFFLOAD_ENCAPSULATION, &encapsulation),
        rndis::Status::SUCCESS
    );
    let mut other = OffloadEncapsulation::ethernet();
    other.ipv4.encapsulation = 4.into();
    assert_eq!(
        guest.set(Oid::OFFLOAD_ENCAPSULATION, other.as_bytes()),
        rndis::Status::NOT_SUPPORTED
    );
}

// H13
#[test]
fn offload_capabilities_have_the_revision_of_the_version() {
    for (version, header, length) in [
        (Version::V6_1, [0xA7, 3, 156, 0], 156),
        (Version::V5, [0xA7, 3, 156, 0], 156),
        (Version::V4, [0xA7, 2, 144, 0], 144),
        (Version::V2, [0xA7, 1, 112, 0], 112),
        (Version::V1, [0xA7, 1, 112, 0], 112),
        // Room for less than the version's.
        (Version::V6_1, [0xA7, 1, 112, 0], 112),
    ] {
        let (mut guest, _cable) = guest(version);
        let mut question = vec![0; length];
        question[..4].copy_from_slice(&header);
        let answer = guest
            .query(Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES, &question)
            .unwrap();
        assert_eq!(
            (answer.len(), &answer[..4]),
            (length, header.as_slice()),
            "{version}"
        );
        let offload = Offload::parse(&answer).unwrap();
        assert_eq!(offload.ipv4_transmit.enabled.get(), 0x155);
        assert_eq!(offload.lso_v2_ipv4[1].get(), 0xF53C);
        assert_eq!(offload.lso_v2_ipv6.options.get(), 5);
    }
}

// H14
#[test]
fn a_change_of_offloads_is_indicated() {
    let (mut guest, _cable) = guest(Version::V6_1);
    let mut parameters = OffloadParameters::no_change();
    parameters.tcp_ipv4 = checksum_setting::OFF;
    assert_eq!(
        guest.set(Oid::TCP_OFFLOAD_PARAMETERS, parameters.as_bytes()),
        rndis::Status::SUCCESS
    );
    let (status, information) = guest.indications.pop_front().unwrap();
    assert_eq!(status, rndis::Status::TASK_OFFLOAD_CURRENT_CONFIG);
    let offload = Offload::parse(&information).unwrap();
    assert_eq!(
        (information.len(), offload.ipv4_transmit.enabled.get()),
        (156, 0x141)
    );
    assert!(!guest.machine.handle.snapshot().offloads.transmit_tcp_ipv4);
    let current = guest.query(Oid::TCP_OFFLOAD_CURRENT_CONFIG, &[]).unwrap();
    assert_eq!(
        Offload::parse(&current)
            .unwrap()
            .ipv4_transmit
            .enabled
            .get(),
        0x141
    );
    // By the names that Windows has.
    assert_eq!(
        guest.set(Oid::TCP_OFFLOAD_PARAMETERS, &[0x80, 3, 28, 0]),
        rndis::Status::INVALID_LENGTH
    );
}

// H18
#[test]
fn filters_and_lists_are_obeyed() {
    let (mut guest, cable) = guest(Version::V6_1);
    let group = [0x01, 0, 0x5E, 0, 0, 9];
    let count = |guest: &mut Guest| {
        for destination in [own(), STRANGER, group, [0xFF; 6]] {
            let mut frame = vec![0; 60];
            frame[..6].copy_from_slice(&destination);
            cable.deliver(Frame::new(frame));
        }
        guest.receive(0).len()
    };
    assert_eq!(count(&mut guest), 3);
    for (filter, expected) in [(0, 0), (1, 1), (2, 0), (4, 1), (8, 1), (0x0F, 3), (0x20, 4)] {
        guest.set_filter(filter);
        assert_eq!(count(&mut guest), expected, "{filter:#x}");
    }
    guest.set_filter(2);
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, &group),
        rndis::Status::SUCCESS
    );
    assert_eq!(count(&mut guest), 1);
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, &[1; 7]),
        rndis::Status::INVALID_LENGTH
    );
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, &[1; 33 * 6]),
        rndis::Status::MULTICAST_FULL
    );
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, &STRANGER),
        rndis::Status::INVALID_DATA
    );
    assert_eq!(
        guest.query(Oid::ETHERNET_MULTICAST_LIST, &[]).unwrap(),
        group
    );
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, &[]),
        rndis::Status::SUCCESS
    );
    assert_eq!(count(&mut guest), 0);
    assert_eq!(
        guest.set(Oid::GEN_CURRENT_PACKET_FILTER, &[1, 0, 0]),
        rndis::Status::INVALID_LENGTH
    );
}

// H45
#[test]
fn addresses_are_changed_by_permission() {
    let other = [0, 0x15, 0x5D, 9, 9, 9];
    let change = ConfigParameter::emit_address(other);
    let (mut honest, cable) = guest(Version::V6_1);
    assert_eq!(
        honest.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &change),
        rndis::Status::FAILURE
    );
    let mut foreign = honest.frame(STRANGER, &[0; 50]);
    foreign[6..12].copy_from_slice(&other);
    assert!(honest.transmit(0, &foreign, &Default::default(), Shape::Section));
    assert!(cable.collect().is_none());
    assert_eq!(honest.machine.handle.counters().send_discards, 1);

    let cable = Pair::new(Capabilities::default());
    let options = NetworkOptions {
        allow_address_spoofing: true,
        ..options()
    };
    let mut free = Guest::ready(options, cable.clone(), Version::V6_1);
    assert!(free.transmit(0, &foreign, &Default::default(), Shape::Section));
    assert_eq!(cable.collect().unwrap().bytes, foreign);
    assert_eq!(
        free.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &change),
        rndis::Status::SUCCESS
    );
    assert_eq!(
        free.query(Oid::ETHERNET_CURRENT_ADDRESS, &[]).unwrap(),
        other
    );
    assert_eq!(
        free.query(Oid::ETHERNET_PERMANENT_ADDRESS, &[]).unwrap(),
        own()
    );
    let mut group = change;
    group[50] = b'1';
    assert_eq!(
        free.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &group),
        rndis::Status::INVALID_DATA
    );
    // It outlives the channel, but not the machine's reset.
    free.channels.clear();
    assert_eq!(free.machine.handle.address().0, other);
    free.machine.handle.reset_address();
    assert_eq!(free.machine.handle.address().0, own());
}

#[test]
fn statistics_count_by_kind() {
    let (mut guest, cable) = guest(Version::V6_1);
    for destination in [STRANGER, [0xFF; 6], [1, 0, 0x5E, 0, 0, 1]] {
        let frame = guest.frame(destination, &[0; 86]);
        assert!(guest.transmit(0, &frame, &Default::default(), Shape::Section));
        let mut back = frame;
        if destination == STRANGER {
            back[..6].copy_from_slice(&own());
        }
        cable.deliver(Frame::new(back));
    }
    assert_eq!(guest.receive(0).len(), 3);
    let bytes = guest.query(Oid::GEN_STATISTICS, &[]).unwrap();
    let statistics = Statistics::read_from_bytes(&bytes).unwrap();
    for field in [
        statistics.in_unicast_packets,
        statistics.in_multicast_packets,
        statistics.in_broadcast_packets,
        statistics.out_unicast_packets,
        statistics.out_multicast_packets,
        statistics.out_broadcast_packets,
    ] {
        assert_eq!(field.get(), 1);
    }
    assert_eq!(
        (statistics.in_octets.get(), statistics.out_octets.get()),
        (300, 300)
    );
    assert_eq!(guest.query_word(Oid::GEN_XMIT_OK), 3);
    assert_eq!(guest.query_word(Oid::GEN_BYTES_RCV), 300);
}

/// What a guest is too slow for is lost before its adapter sees it, and counted all the same.
#[test]
fn frames_that_found_no_room_are_counted() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = Frame::new([own(), STRANGER].concat());
    while cable.deliver(frame.clone()) {}
    for _ in 0..2 {
        assert!(!cable.deliver(frame.clone()));
    }
    assert_eq!(guest.query_word(Oid::GEN_RCV_NO_BUFFER), 3);
    // Those that were taken are errors, having no type.
    assert_eq!(guest.query_word(Oid::GEN_RCV_DISCARDS), 3);
    let bytes = guest.query(Oid::GEN_STATISTICS, &[]).unwrap();
    let statistics = Statistics::read_from_bytes(&bytes).unwrap();
    assert_eq!(statistics.in_discards.get(), 3);
    assert_eq!(guest.machine.handle.snapshot().backend_dropped, 3);
}
