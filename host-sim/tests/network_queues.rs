//! Several channels, and what happens when a guest is slow. Numbers are those of the protocol's host checklist.

mod network_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sim::net::pair::Pair;
use host_sim::net::{Capabilities, Frame};
use host_sim::vsp::network::testing::{Guest, Machine, PacketKind, Shape};
use host_sim::vsp::network::toeplitz;
use network_support::{Packet, STRANGER, guest, options, own, pattern};
use vsc_net::wire::ndis::{Oid, RssFlags, RssParameters, hash_bits};
use vsc_net::wire::nvsp::{Message, MessageType, NdisVersion, Version};
use vsc_net::wire::rndis::{PacketInfo, Status};

const KEY: [u8; 40] = [0x6d; 40];

fn scaling(guest: &mut Guest, flags: u16, queues: &[u32]) -> Status {
    let table: Vec<u8> = queues
        .iter()
        .flat_map(|queue| queue.to_le_bytes())
        .collect();
    let parameters = RssParameters {
        flags: RssFlags::from_bits_retain(flags),
        hash_information: 0x1701,
        table: Some(&table),
        key: Some(&KEY),
    };
    let mut bytes = [0; 1024];
    let emitted = parameters.emit(&mut bytes).unwrap().to_vec();
    guest.set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, &emitted)
}

/// Frames of many flows.
fn flows(count: u16) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let packet = Packet::tcp(own(), STRANGER, &[1; 40]);
            Packet {
                ports: [5000 + number, 80],
                ..packet
            }
            .whole()
        })
        .collect()
}

// H35, H36
#[test]
fn sub_channels_are_offered_and_told_of() {
    let (mut guest, cable) = guest(Version::V5);
    assert_eq!(guest.add_channels(64), 0, "more than there are");
    assert_eq!(guest.add_channels(3), 3);
    assert_eq!(
        guest.machine.sub_channels_offered.load(Ordering::Relaxed),
        3
    );
    assert_eq!(guest.machine.handle.open_channels(), [0, 1, 2, 3]);
    let table = guest.in_band.pop_front().expect("a table");
    assert_eq!(table.message_type(), MessageType::SEND_INDIRECTION_TABLE);
    let queues = table.indirection_table(Version::V5).unwrap();
    assert_eq!(queues, std::array::from_fn(|place| place as u32 % 4));
    assert!(guest.in_band.is_empty(), "once");
    // Every channel sends.
    for channel in 0..4 {
        let frame = guest.frame(STRANGER, &pattern(100 + channel));
        assert!(guest.transmit(channel, &frame, &PacketInfo::default(), Shape::Section));
        assert_eq!(cable.collect().unwrap().bytes, frame);
    }
    // With the primary one, all end.
    guest.channels.remove(0);
    assert_eq!(guest.machine.handle.state(), None);
    guest.channels.clear();
    assert_eq!(guest.machine.handle.open_channels(), [0u16; 0]);
    assert!(guest.machine.open(1).is_err(), "without a primary channel");
}

// H37, H38
#[test]
fn flows_go_to_their_queues() {
    let (mut guest, cable) = guest(Version::V6_1);
    assert_eq!(guest.add_channels(3), 3);
    for queues in [vec![0, 1, 2, 4], vec![u32::MAX]] {
        assert_eq!(scaling(&mut guest, 0, &queues), Status::INVALID_DATA);
    }
    assert_eq!(scaling(&mut guest, 0x10, &[]), Status::SUCCESS);
    let table: Vec<u32> = (0..128).map(|place| place % 4).collect();
    assert_eq!(scaling(&mut guest, 0, &table), Status::SUCCESS);
    assert!(guest.machine.handle.snapshot().has_scaling);
    let frames = flows(200);
    for frame in &frames {
        assert!(cable.deliver(Frame::new(frame.clone())));
    }
    let mut total = 0;
    guest.work(0).unwrap();
    for channel in 0..4 {
        assert!(channel == 0 || guest.channels[channel].woken.load(Ordering::Relaxed));
        let received = guest.receive(channel);
        assert!(
            received.len() > 20,
            "{} on channel {channel}",
            received.len()
        );
        total += received.len();
        for frame in received {
            let (hash, kind) = toeplitz::flow(&KEY, 0x1700, &frame.bytes).unwrap();
            assert_eq!(hash as usize % 4, channel);
            assert_eq!(frame.info.hash_value, Some(hash));
            assert_eq!(frame.info.hash_info.unwrap().0, kind | hash_bits::TOEPLITZ);
        }
    }
    assert_eq!(total, 200);
    // Off again, everything comes to the primary one.
    assert_eq!(scaling(&mut guest, 0x10, &[]), Status::SUCCESS);
    for frame in &frames {
        cable.deliver(Frame::new(frame.clone()));
    }
    assert_eq!(guest.receive(0).len(), 200);
}

/// A queue that the guest does not empty stops the others, loses nothing, and goes on.
#[test]
fn fault_65_a_full_queue_waits_for_its_channel() {
    let (mut guest, cable) = guest(Version::V6_1);
    assert_eq!(guest.add_channels(1), 1);
    assert_eq!(scaling(&mut guest, 0, &[1]), Status::SUCCESS);
    let frame = flows(1).remove(0);
    let mut sent = 0;
    for _ in 0..3 {
        while cable.deliver(Frame::new(frame.clone())) {
            sent += 1;
        }
        guest.work(0).unwrap();
    }
    assert!(cable.waiting() > 0, "the rest waits in the back end");
    let mut received = 0;
    for _ in 0..100 {
        received += guest.receive(1).len();
        assert!(guest.channels[0].woken.load(Ordering::Relaxed) || received == sent);
        guest.work(0).unwrap();
        if received == sent {
            break;
        }
    }
    assert_eq!((received, cable.waiting()), (sent, 0));
}

// H32, H33, H30
#[test]
fn fault_65_without_sections_frames_wait_and_all_else_goes_on() {
    let (mut guest, cable) = guest(Version::V6_1);
    guest.completes = false;
    let frame = flows(1).remove(0);
    let mut sent = 0;
    for _ in 0..3 {
        while cable.deliver(Frame::new(frame.clone())) {
            sent += 1;
        }
        guest.work(0).unwrap();
    }
    let sections = guest.receive_sections.1 as usize;
    assert_eq!(guest.frames[0].len(), sections - 16);
    assert_eq!(
        guest.machine.handle.snapshot().receive_sections,
        Some((sections as u32, sections as u32 - 16))
    );
    // Control messages have sections of their own, and sending needs none.
    let out = guest.frame(STRANGER, &pattern(99));
    assert!(guest.transmit(0, &out, &PacketInfo::default(), Shape::Section));
    assert_eq!(cable.collect().unwrap().bytes, out);
    for _ in 0..10 {
        assert_eq!(guest.query_word(Oid::GEN_LINK_SPEED), 100_000_000);
    }
    assert!(guest.machine.handle.counters().sections_exhausted > 0);
    let mut received = 0;
    for _ in 0..100 {
        guest.complete_all();
        received += guest.receive(0).len();
        if received == sent {
            break;
        }
    }
    assert_eq!((received, cable.waiting()), (sent, 0));
}

// H29, H34
#[test]
fn packets_have_ids_of_their_own_and_bounded_ranges() {
    let (mut guest, cable) = guest(Version::V6_1);
    guest.completes = false;
    let frame = flows(1).remove(0);
    for _ in 0..500 {
        cable.deliver(Frame::new(frame.clone()));
    }
    guest.work(0).unwrap();
    let ids: std::collections::BTreeSet<_> = guest.uncompleted.iter().collect();
    assert_eq!(ids.len(), guest.uncompleted.len());
    assert!(ids.len() >= 2, "at most 375 in one packet");
    assert!(
        ids.iter()
            .all(|(_, id)| *id < u64::from(guest.receive_sections.1))
    );
}

/// A channel that found no section, because others had all, is told when they come back.
#[test]
fn fault_65_sections_of_one_channel_wake_another_one() {
    let (mut guest, cable) = guest(Version::V6_1);
    guest.completes = false;
    let frame = flows(1).remove(0);
    let data = guest.receive_sections.1 as usize - 16;
    for _ in 0..data {
        assert!(cable.deliver(Frame::new(frame.clone())));
    }
    guest.work(0).unwrap();
    assert_eq!(guest.frames[0].len(), data, "all are taken");
    assert_eq!(guest.add_channels(1), 1);
    assert_eq!(scaling(&mut guest, 0, &[1]), Status::SUCCESS);
    for _ in 0..10 {
        cable.deliver(Frame::new(frame.clone()));
    }
    guest.work(0).unwrap();
    assert!(guest.receive(1).is_empty(), "there is no section");
    guest.channels[1].woken.store(false, Ordering::Relaxed);
    guest.complete_all();
    guest.work(0).unwrap();
    assert!(guest.channels[1].woken.load(Ordering::Relaxed));
    assert_eq!(guest.receive(1).len(), 10);
    // Nobody waits any more.
    guest.channels[1].woken.store(false, Ordering::Relaxed);
    guest.complete_all();
    guest.work(1).unwrap();
    guest.work(0).unwrap();
    assert!(!guest.channels[1].woken.load(Ordering::Relaxed));
}

// H34
#[test]
fn guests_of_old_ndis_get_fewer_frames_at_once() {
    let cable = Pair::new(Capabilities::default());
    let mut guest = Guest::open(options(), cable.clone());
    assert!(guest.negotiate(Version::V1));
    let version = NdisVersion {
        major: 5.into(),
        minor: 1.into(),
    };
    guest.tell(&Message::full(&version)).unwrap();
    guest.lend_buffers(256, 16);
    guest.initialize();
    guest.set_filter(0x0D);
    let frame = flows(1).remove(0);
    for _ in 0..200 {
        cable.deliver(Frame::new(frame.clone()));
    }
    guest.channels[0].poll_once().unwrap();
    let mut frames = 0;
    for packet in guest.channels[0].receive().unwrap() {
        if let PacketKind::TransferPages(_, ranges) = packet.kind {
            assert!(ranges.len() <= 64, "{}", ranges.len());
            frames += ranges.len();
        }
    }
    assert_eq!(frames, 200);
}

/// Small rings: everything passes, though little at a time, and each signal is asked for.
#[test]
fn the_smallest_rings_carry_everything() {
    let cable = Pair::new(Capabilities::default());
    let mut machine = Machine::new(options(), cable.clone());
    let primary = machine.open_with_rings(0, 2, 2).unwrap();
    let mut guest = Guest::with(machine, primary);
    assert!(guest.negotiate(Version::V6_1));
    guest.configure(1514, 8);
    guest.lend_buffers(256, 16);
    guest.initialize();
    guest.set_filter(0x20);
    let frame = flows(1).remove(0);
    for _ in 0..900 {
        assert!(cable.deliver(Frame::new(frame.clone())));
    }
    let mut received = 0;
    for _ in 0..100 {
        received += guest.receive(0).len();
    }
    assert_eq!(received, 900);
}

// H47
#[test]
fn a_guest_that_reads_nothing_stops_itself_and_nothing_is_lost() {
    let (mut guest, cable) = guest(Version::V6_1);
    let frame = guest.frame(STRANGER, &pattern(60));
    let packet = Guest::packet(&frame, &PacketInfo::default());
    let memory = guest.machine.memory.clone();
    memory.write(guest.send_buffer * 4096, &packet).unwrap();
    let body = vsc_net::wire::nvsp::RndisPacket {
        channel_type: 0.into(),
        section_index: 0.into(),
        section_size: (packet.len() as u32).into(),
    };
    let message = vsc_net::wire::nvsp::Message::full(&body);
    let mut sent = 0u64;
    let taken = |guest: &Guest| {
        while cable.collect().is_some() {}
        let counters = guest.machine.handle.counters();
        // What finds no room at the other end is lost, as on a wire.
        counters.sent() + counters.send_discards
    };
    // Until neither ring has room.
    for _ in 0..20 {
        while guest.channels[0]
            .send(
                sent,
                true,
                vmbus_core::packet::OutgoingKind::InBand,
                message.as_bytes(),
            )
            .is_ok()
        {
            sent += 1;
        }
        guest.channels[0].poll().unwrap();
    }
    assert!(taken(&guest) < sent, "some wait to be read");
    assert!(guest.machine.handle.counters().ring_full > 0);
    let signals = guest.channels[0].signals;
    let mut completed = 0u64;
    for _ in 0..50 {
        completed += guest.channels[0].receive().unwrap().len() as u64;
        guest.channels[0].poll().unwrap();
    }
    assert_eq!((taken(&guest), completed), (sent, sent));
    assert!(guest.channels[0].signals > signals);
}

#[test]
fn a_closed_sub_channel_gives_its_frames_to_the_primary_one() {
    let (mut guest, cable) = guest(Version::V6_1);
    assert_eq!(guest.add_channels(2), 2);
    assert_eq!(scaling(&mut guest, 0, &[1]), Status::SUCCESS);
    guest.channels.pop();
    guest.channels.pop();
    let frame = flows(1).remove(0);
    cable.deliver(Frame::new(frame.clone()));
    assert_eq!(guest.receive(0)[0].bytes, frame);
}

/// Both ends at work at once on threads of their own: nothing is lost or damaged under load.
#[test]
fn channels_work_at_the_same_time() {
    const FRAMES: usize = 3000;
    let (mut guest, cable) = guest(Version::V6_1);
    assert_eq!(guest.add_channels(3), 3);
    let table: Vec<u32> = (0..128).map(|place| place % 4).collect();
    assert_eq!(scaling(&mut guest, 0, &table), Status::SUCCESS);
    let sender = Arc::clone(&cable);
    let feeder = std::thread::spawn(move || {
        let frames = flows(64);
        let mut sent = 0;
        while sent < FRAMES {
            if sender.deliver(Frame::new(frames[sent % 64].clone())) {
                sent += 1;
            } else {
                std::thread::yield_now();
            }
        }
    });
    let mut received = 0;
    // Bounded by what is sent; each turn moves something or lets the feeder work.
    while received < FRAMES {
        for channel in 0..4 {
            received += guest.receive(channel).len();
        }
        std::thread::yield_now();
    }
    feeder.join().unwrap();
    assert_eq!(received, FRAMES);
}
