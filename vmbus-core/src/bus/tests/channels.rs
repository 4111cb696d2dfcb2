use super::*;
use crate::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use crate::protocol::{RescindChannelOffer, VP_NONE};

fn packet<'a>(payload: &'a [&'a [u8]]) -> OutgoingPacket<'a> {
    OutgoingPacket {
        transaction_id: 7,
        completion_requested: false,
        kind: OutgoingKind::InBand,
        payload,
    }
}

/// Data both ways at every version, and the signals that belong to it.
#[test]
fn every_version_moves_data() {
    for version in ProtocolVersion::ALL_NEWEST_FIRST {
        let machine = Machine::new();
        let (bus, mut channel) = open_first(&machine, version);
        let id = channel.id();
        let (mut from_guest, mut to_guest) = machine.host().rings(id);

        let (outgoing, _) = channel.rings();
        let signal = outgoing.send(&packet(&[b"question"])).unwrap();
        assert!(signal.is_needed());
        channel.signal_host(signal);
        // Statement 39: fast SignalEvent, flag 0, by the channel's own connection where there is one.
        let dedicated = version >= ProtocolVersion::V1_1;
        let connection = if dedicated { 0x2001 } else { 2 };
        assert_eq!(machine.host().signals, [(connection, 0)]);
        assert_eq!(channel.signals_sent(), 1);
        if !dedicated {
            assert!(machine.send_bit(id));
        }
        let mut buffer = [0; 64];
        let mut batch = from_guest.batch().unwrap();
        let received = batch.next(&mut buffer).unwrap().unwrap();
        assert_eq!(received.payload, b"question");
        assert!(matches!(received.kind, IncomingKind::InBand));
        let _ = batch.commit();

        let signal = to_guest.send(&packet(&[b"answer\0\0"])).unwrap();
        assert!(signal.is_needed());
        if version >= ProtocolVersion::V2_4 {
            machine.interrupt(id.0 as u16);
        } else {
            machine.interrupt_by_page(id);
        }
        let event = channel.event();
        assert_eq!(run(&bus, event.wait()), Ok(()));
        let parts = channel.parts();
        let mut batch = parts.incoming.batch().unwrap();
        let received = batch.next(parts.buffer).unwrap().unwrap();
        assert_eq!(received.payload, b"answer\0\0");
        let signal = batch.commit();
        channel.signal_host(signal);
        assert_eq!(machine.host().signals.len(), 1, "nobody waits for room");

        assert_eq!(run(&bus, channel.close()), Ok(()));
        assert_eq!(machine.allocated(), BUS_PAGES);
        assert!(machine.host().got.ends_with(&[7, 11]));
    }
}

#[test]
fn open_passes_its_options_on() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    let offers = run(&bus, bus.enumerate()).unwrap();
    let options = OpenOptions {
        outgoing_pages: 3,
        incoming_pages: 2,
        target_vp: VP_NONE,
        user_data: [9; 120],
        max_packet: 100,
        monitored: false,
    };
    let mut channel = run(&bus, bus.open(&offers[1], options)).unwrap();
    let open = machine.host().open_request(ChannelId(2));
    assert_eq!(open.downstream_page_offset, 3);
    assert_eq!(open.target_vp, VP_NONE);
    assert_eq!(open.user_data, [9; 120]);
    assert_eq!(channel.parts().buffer.len(), 100);
    assert_eq!(machine.allocated(), BUS_PAGES + 5);
    for (outgoing_pages, incoming_pages) in [(1, 2), (2, 1), (0, 0), (8000, 8000), (u32::MAX, 2)] {
        let options = OpenOptions {
            outgoing_pages,
            incoming_pages,
            ..OpenOptions::default()
        };
        assert_eq!(
            run(&bus, bus.open(&offers[0], options)).err(),
            Some(BusError::RingSize {
                outgoing_pages,
                incoming_pages
            })
        );
    }
    assert_eq!(machine.allocated(), BUS_PAGES + 5);
}

#[test]
fn a_channel_is_opened_once_at_a_time() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    let offer = *channel.offer();
    let second = run(&bus, bus.open(&offer, OpenOptions::default()));
    assert_eq!(
        second.err(),
        Some(BusError::Request(RequestError::WrongState))
    );
    assert!(!channel.is_gone());
    assert_eq!(machine.host().count(7), 0);
    machine.interrupt(1);
    assert_eq!(run(&bus, channel.event().wait()), Ok(()));
    run(&bus, channel.close()).unwrap();
    run(&bus, bus.open(&offer, OpenOptions::default())).unwrap();
}

/// Statement 38: the monitor page only where it was offered.
#[test]
fn monitored_notification() {
    let machine = Machine::new();
    machine.host().offers[0].monitor_id = Some(70);
    let bus = connected(&machine, ProtocolVersion::V5_3);
    let offers = run(&bus, bus.enumerate()).unwrap();
    let options = OpenOptions {
        monitored: true,
        ..OpenOptions::default()
    };
    for (offer, monitored) in offers.iter().zip([true, false]) {
        let mut channel = run(&bus, bus.open(offer, options.clone())).unwrap();
        let signal = channel.rings().0.send(&packet(&[])).unwrap();
        channel.signal_host(signal);
        assert_eq!(machine.host().signals.is_empty(), monitored);
        assert_eq!(machine.monitor_pending(2), 1 << 6);
    }
}

/// Before 2.4: each bit of the interrupt page is taken once.
#[test]
fn bits_of_the_interrupt_page_are_cleared() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V1_1);
    let event = channel.event();
    let before = event.count();
    machine.interrupt_by_page(channel.id());
    bus.dispatch(0);
    assert_eq!(event.count(), before + 1);
    machine.interrupt(0);
    bus.dispatch(0);
    assert_eq!(event.count(), before + 1);
}

/// A connection id has 24 bits, whatever the host puts above them.
#[test]
fn connection_ids_are_cut_to_their_24_bits() {
    let machine = Machine::new();
    machine.host().offers[0].connection_id = 0xAB00_2001;
    let (_bus, mut channel) = open_first(&machine, ProtocolVersion::V5_3);
    let signal = channel.rings().0.send(&packet(&[])).unwrap();
    channel.signal_host(signal);
    assert_eq!(machine.host().signals, [(0x2001, 0)]);
}

#[test]
fn signals_that_are_not_needed_are_not_sent() {
    let machine = Machine::new();
    let (_bus, mut channel) = open_first(&machine, ProtocolVersion::V5_3);
    for _ in 0..5 {
        let signal = channel.rings().0.send(&packet(&[&[1; 8]])).unwrap();
        channel.signal_host(signal);
    }
    assert_eq!(machine.host().signals.len(), 1);
}

#[test]
fn dropping_a_channel_closes_it_in_the_background() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    drop(channel);
    assert_eq!(machine.allocated(), BUS_PAGES + RING_PAGES);
    settle(&bus);
    assert_eq!(machine.allocated(), BUS_PAGES);
    assert!(machine.host().got.ends_with(&[7, 11]));
}

#[test]
fn dropping_an_opening_undoes_it() {
    // At each message of the opening that the host may leave unanswered.
    for silent in [8, 5] {
        let machine = Machine::new();
        let bus = connected(&machine, ProtocolVersion::V5_3);
        let offers = run(&bus, bus.enumerate()).unwrap();
        machine.host().silent.insert(silent);
        {
            let options = OpenOptions::default();
            let mut opening = core::pin::pin!(bus.open(&offers[0], options));
            run(
                &bus,
                poll_fn(|context| {
                    if machine.host().count(silent) > 0 {
                        return Poll::Ready(());
                    }
                    assert!(opening.as_mut().poll(context).is_pending());
                    Poll::Pending
                }),
            );
        }
        settle(&bus);
        assert_eq!(
            machine.allocated(),
            BUS_PAGES + RING_PAGES,
            "the host may see the rings"
        );
        if silent == 8 {
            // The channel is free again.
            machine.host().silent.clear();
            run(&bus, bus.open(&offers[0], OpenOptions::default())).unwrap();
        }
    }
}

#[test]
fn refused_open_gives_the_rings_back() {
    let machine = Machine::new();
    machine.host().open_status = crate::protocol::ReplyStatus::FAILED;
    let bus = connected(&machine, ProtocolVersion::V5_3);
    let offers = run(&bus, bus.enumerate()).unwrap();
    let refused = run(&bus, bus.open(&offers[0], OpenOptions::default()));
    assert!(matches!(
        refused.err(),
        Some(BusError::Request(RequestError::Refused { .. }))
    ));
    machine.host().silent.insert(11);
    settle(&bus);
    assert_eq!(
        machine.host().count(7),
        0,
        "what was not opened is not closed"
    );
    assert_eq!(machine.host().count(11), 1);
}

#[test]
fn sub_channels_belong_to_their_device() {
    let machine = Machine::new();
    let (bus, primary) = open_first(&machine, ProtocolVersion::V5_3);
    assert_eq!(primary.sub_channels(), []);
    {
        let mut host = machine.host();
        host.send(host::offer(4, 1, 2));
        host.send(host::offer(6, 1, 1));
        host.send(host::offer(5, 2, 1));
    }
    let offers = run(&bus, primary.wait_sub_channels(2)).unwrap();
    let ids: Vec<_> = offers.iter().map(|offer| offer.channel_id().0).collect();
    assert_eq!(ids, [6, 4]);
    assert!(offers.iter().all(|offer| !offer.is_primary()));
    let first = run(&bus, bus.open(&offers[0], OpenOptions::default())).unwrap();
    // With the primary channel its sub-channels are closed, first.
    run(&bus, primary.close()).unwrap();
    assert!(first.is_gone());
    assert_eq!(run(&bus, first.close()), Ok(()));
    assert_eq!(machine.allocated(), BUS_PAGES);
    assert_eq!(machine.host().count(7), 2);
}

#[test]
fn interrupts_move_to_another_processor() {
    for (version, expected) in [
        (ProtocolVersion::V5_3, Ok(())),
        (ProtocolVersion::V4_1, Ok(())),
        (
            ProtocolVersion::V4_0,
            Err(RequestError::NotSupported {
                version: ProtocolVersion::V4_0,
            }),
        ),
    ] {
        let machine = Machine::new();
        let (bus, channel) = open_first(&machine, version);
        assert_eq!(run(&bus, channel.set_target_vp(1)), expected);
        assert_eq!(machine.host().count(22), usize::from(expected.is_ok()));
    }
}

#[test]
fn lent_memory_comes_back() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    let lent = run(&bus, channel.lend(100)).unwrap();
    assert_eq!(lent.page_count(), 100);
    assert_eq!(machine.host().count(9), 3);
    run(&bus, lent.take_back()).unwrap();
    assert_eq!(machine.allocated(), BUS_PAGES + RING_PAGES);
    // Closing takes back what is still lent; the pages stay as long as they are used.
    let lent = run(&bus, channel.lend(7)).unwrap();
    run(&bus, channel.close()).unwrap();
    settle(&bus);
    assert_eq!(machine.allocated(), BUS_PAGES + 7);
    // SAFETY: the page is the test's.
    unsafe { crate::shared::copy_to_shared(lent.base().as_ptr(), &[1; 8]) };
    assert_eq!(run(&bus, lent.take_back()), Ok(()));
    assert_eq!(machine.allocated(), BUS_PAGES);
    assert!(matches!(
        run(&bus, bus.open(&bus.offers()[0], OpenOptions::default()))
            .and_then(|channel| run(&bus, channel.lend(20_000))),
        Err(BusError::OutOfMemory)
    ));
}

#[test]
fn rings_keep_their_memory() {
    let machine = Machine::new();
    let (bus, mut channel) = open_first(&machine, ProtocolVersion::V5_3);
    let offers = bus.offers();
    let mut other = run(&bus, bus.open(&offers[1], OpenOptions::default())).unwrap();
    // Nonsense, but safe code can do it.
    core::mem::swap(channel.rings().0, other.rings().0);
    run(&bus, channel.close()).unwrap();
    let _ = other.rings().0.send(&packet(&[&[1; 8]]));
    run(&bus, other.close()).unwrap();
    assert_eq!(machine.allocated(), BUS_PAGES);
}

#[test]
fn a_rescinded_offer_cannot_be_opened() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    let offers = run(&bus, bus.enumerate()).unwrap();
    machine.host().send(RescindChannelOffer {
        channel_id: ChannelId(1),
    });
    settle(&bus);
    assert_eq!(machine.host().count(13), 1);
    let opening = bus.open(&offers[0], OpenOptions::default());
    assert_eq!(
        run(&bus, opening).err(),
        Some(BusError::Request(RequestError::UnknownChannel))
    );
    assert_eq!(bus.offers().len(), 1);
}
