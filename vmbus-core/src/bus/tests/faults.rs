use super::*;
use crate::channel::ChannelGone;
use crate::protocol::{
    AllOffersDelivered, GpadlCreated, GpadlId, GpadlTorndown, OpenChannelResult, ReplyStatus,
    RescindChannelOffer, VersionResponse,
};

fn rescind(id: u32) -> RescindChannelOffer {
    RescindChannelOffer {
        channel_id: ChannelId(id),
    }
}

#[test]
fn fault_27_rescind_during_io_and_twice() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    let event = channel.event();
    machine.host().send(rescind(1));
    machine.host().send(rescind(1));
    assert_eq!(run(&bus, event.wait()), Err(ChannelGone));
    settle(&bus);
    assert_eq!(
        machine.host().count(13),
        0,
        "its driver has not stopped yet"
    );
    assert_eq!(machine.allocated(), BUS_PAGES + RING_PAGES);
    assert_eq!(run(&bus, channel.close()), Ok(()));
    settle(&bus);
    let host = machine.host();
    assert_eq!((host.count(13), host.count(7), host.count(11)), (1, 0, 0));
    drop(host);
    assert_eq!(machine.allocated(), BUS_PAGES);
    assert_eq!(bus.counters().unexpected, 1);
}

#[test]
fn fault_27_rescind_during_open() {
    // While the host owes an answer to the GPADL, and to OPEN.
    for silent in [8, 5] {
        let machine = Machine::new();
        let bus = connected(&machine, ProtocolVersion::V5_3);
        let offers = run(&bus, bus.enumerate()).unwrap();
        machine.host().silent.insert(silent);
        let options = OpenOptions::default();
        let mut opening = core::pin::pin!(bus.open(&offers[0], options));
        let mut rescinded = false;
        let outcome = run(
            &bus,
            poll_fn(|context| {
                if machine.host().count(silent) > 0 && !rescinded {
                    rescinded = true;
                    machine.host().send(rescind(1));
                }
                opening.as_mut().poll(context)
            }),
        );
        assert_eq!(
            outcome.err(),
            Some(BusError::Request(RequestError::Rescinded))
        );
        settle(&bus);
        assert_eq!(machine.host().count(13), 1);
        assert_eq!(machine.allocated(), BUS_PAGES);
    }
}

#[test]
fn fault_28_replies_for_strangers() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    {
        let mut host = machine.host();
        let status = ReplyStatus::FAILED;
        for id in [1, 2, 3, 2047] {
            let channel_id = ChannelId(id);
            host.send(OpenChannelResult {
                channel_id,
                open_id: 1,
                status,
            });
            host.send(GpadlCreated {
                channel_id,
                gpadl_id: GpadlId(0xE1E10),
                status,
            });
        }
        host.send(GpadlTorndown {
            gpadl_id: GpadlId(0xE1E10),
        });
        host.send(VersionResponse::UNSUPPORTED);
        host.send(AllOffersDelivered {});
    }
    settle(&bus);
    assert_eq!(bus.counters().dropped(), 11);
    assert!(!channel.is_gone());
    assert_eq!(machine.allocated(), BUS_PAGES + RING_PAGES);
}

#[test]
fn fault_29_torndown_never_arrives() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    machine.host().silent.insert(11);
    let gpadl_id = machine.host().open_request(ChannelId(1)).ring_gpadl_id;
    assert_eq!(run(&bus, channel.close()), Err(RequestError::TimedOut));
    assert_eq!(
        machine.allocated(),
        BUS_PAGES + RING_PAGES,
        "leaked, not used again"
    );
    // The host was only late.
    machine.host().send(GpadlTorndown { gpadl_id });
    settle(&bus);
    assert_eq!(machine.allocated(), BUS_PAGES);
}

/// The message slot is not cleared by anybody else, and a pending flag asks for EOM: every message of a
/// long queue arrives, in order.
#[test]
fn fault_32_full_message_slot() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    run(&bus, bus.enumerate()).unwrap();
    while !matches!(run(&bus, bus.next_event()), BusEvent::AllOffersDelivered) {}
    for id in 3..1000 {
        let mut offer = host::offer(id, 0, 0);
        offer.instance = crate::guid::Guid::from_fields(id, 0, 0, [0; 8]);
        machine.host().send(offer);
    }
    for id in 3..1000 {
        let BusEvent::Offered(offer) = run(&bus, bus.next_event()) else {
            panic!("no offer {id}");
        };
        assert_eq!(offer.channel_id(), ChannelId(id));
    }
}

#[test]
fn fault_33_offers_nobody_asks_for() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    run(&bus, bus.enumerate()).unwrap();
    for round in 0..4000u32 {
        let id = 10 + round % 100;
        let mut offer = host::offer(id, 0, 0);
        offer.instance = crate::guid::Guid::from_fields(round, 0, 0, [0; 8]);
        machine.host().send(offer);
        machine.host().send(rescind(id));
        if round % 50 == 0 {
            settle(&bus);
        }
    }
    settle(&bus);
    assert!(bus.shared.state.lock().bus_events.len() <= state::BUS_EVENTS_MAX + 1);
    let mut overflowed = false;
    while bus.shared.state.lock().bus_events.front().is_some() {
        overflowed |= run(&bus, bus.next_event()) == BusEvent::Overflowed;
    }
    assert!(overflowed);
    assert_eq!(bus.offers().len(), 2);
    assert_eq!(machine.host().count(13), 4000);
}

#[test]
fn fault_34_more_sub_channels_than_requested() {
    let machine = Machine::new();
    let (bus, primary) = open_first(&machine, ProtocolVersion::V5_3);
    for index in 1..=20 {
        machine
            .host()
            .send(host::offer(100 + u32::from(index), 1, index));
    }
    let offers = run(&bus, primary.wait_sub_channels(4)).unwrap();
    let indices: Vec<_> = offers.iter().map(Offer::sub_channel_index).collect();
    assert_eq!(indices, [1, 2, 3, 4]);
    settle(&bus);
    assert_eq!(
        machine.host().count(8),
        1,
        "nothing is opened for the others"
    );
    // Fewer than requested: the wait ends.
    assert_eq!(
        run(&bus, primary.wait_sub_channels(30)),
        Err(RequestError::TimedOut)
    );
    // And with the device.
    machine.host().send(rescind(1));
    assert_eq!(
        run(&bus, primary.wait_sub_channels(30)),
        Err(RequestError::Rescinded)
    );
}

/// Statement 32, and flags of channels that nobody has.
#[test]
fn spurious_interrupts_are_harmless() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    for flag in [0, 2, 3, 2047] {
        machine.interrupt(flag);
    }
    bus.dispatch(0);
    bus.dispatch(0);
    assert_eq!(channel.event().count(), 0);
    machine.interrupt(1);
    bus.dispatch(0);
    bus.dispatch(0);
    assert_eq!(channel.event().count(), 1);
}

#[test]
fn fault_22_and_23_nonsense_in_the_slot() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    let before = bus.counters().received;
    for length in 0..=240 {
        let mut bytes = vec![0xFF; length];
        machine.host().send_bytes(&bytes);
        if let Some(first) = bytes.first_chunk_mut::<4>() {
            *first = (length as u32 % 30).to_le_bytes();
        }
        machine.host().send_bytes(&bytes);
    }
    settle(&bus);
    assert_eq!(bus.counters().received, before + 482);
    assert!(!channel.is_gone());
}
