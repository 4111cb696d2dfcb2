use hypercall::call::Status;

use super::*;
use crate::connection::ConnectError;
use crate::platform::{Platform, Runtime};
use crate::protocol::UnloadResponse;

#[test]
fn every_version_connects_and_enumerates() {
    for version in ProtocolVersion::ALL_NEWEST_FIRST {
        let machine = Machine::new();
        let bus = connected(&machine, version);
        assert_eq!(bus.version(), Some(version));
        let offers = run(&bus, bus.enumerate()).unwrap();
        let ids: Vec<_> = offers.iter().map(|offer| offer.channel_id().0).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(run(&bus, bus.next_event()), BusEvent::Offered(offers[0]));
        assert_eq!(run(&bus, bus.next_event()), BusEvent::Offered(offers[1]));
        assert_eq!(run(&bus, bus.next_event()), BusEvent::AllOffersDelivered);
        let ended = run(&bus, bus.disconnect());
        // The oldest version does not confirm.
        let confirms = version >= ProtocolVersion::V1_1;
        assert_eq!(
            ended,
            if confirms {
                Ok(())
            } else {
                Err(BusError::NotConfirmed)
            }
        );
        assert_eq!(bus.version(), None);
        drop(offers);
        drop(bus);
        assert_eq!(machine.allocated(), if confirms { 0 } else { 3 });
    }
}

#[test]
fn one_call_makes_and_connects() {
    let machine = Machine::new();
    let connecting = Bus::connect(machine.clone(), machine.processor(0), BusOptions::default());
    let bus = block_on(&*machine, connecting, || {}).unwrap();
    assert_eq!(bus.version(), Some(ProtocolVersion::V6_0));
}

#[test]
fn fault_31_negotiation_refused_at_every_version() {
    let machine = Machine::new();
    machine.host().newest = ProtocolVersion::V1_1;
    let options = BusOptions {
        oldest: ProtocolVersion::V2_4,
        ..BusOptions::default()
    };
    let bus = bus_with(&machine, options);
    assert_eq!(
        run(&bus, bus.reconnect()),
        Err(BusError::Connect(ConnectError::Refused {
            oldest: ProtocolVersion::V2_4
        }))
    );
    assert_eq!(machine.host().count(14), 9);
    drop(bus);
    assert_eq!(machine.allocated(), 0);
}

/// Statement 37 of the protocol's conformance list for guests.
#[test]
fn posts_are_repeated_for_a_while() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    let transient = [
        Status::INSUFFICIENT_BUFFERS,
        Status::INSUFFICIENT_MEMORY,
        Status::INVALID_CONNECTION_ID,
    ];
    machine.host().refuse_posts.extend(transient.repeat(8));
    let offers = run(&bus, bus.enumerate()).unwrap();
    let channel = run(&bus, bus.open(&offers[0], OpenOptions::default())).unwrap();
    assert_eq!(machine.host().refuse_posts.len(), 0);
    // Order is kept.
    assert_eq!(machine.host().got[1..], [14, 3, 8, 5]);
    drop(channel);

    // Not for ever, and not for what will not change.
    for (statuses, posts) in [
        (vec![Status::INSUFFICIENT_BUFFERS; 200], 101),
        (vec![Status::ACCESS_DENIED; 200], 1),
    ] {
        let machine = Machine::new();
        let options = BusOptions {
            request_timeout: 1_000 * SECOND,
            ..BusOptions::default()
        };
        let bus = bus_with(&machine, options);
        run(&bus, bus.reconnect()).unwrap();
        let offers = run(&bus, bus.enumerate()).unwrap();
        machine.host().refuse_posts.extend(statuses);
        let opening = bus.open(&offers[0], OpenOptions::default());
        assert_eq!(
            run(&bus, opening).err(),
            Some(BusError::Request(RequestError::NotPosted))
        );
        assert_eq!(machine.host().refuse_posts.len(), 200 - posts);
        assert_eq!(
            machine.allocated(),
            BUS_PAGES,
            "the host has not seen the rings"
        );
    }
}

#[test]
fn a_host_without_the_new_connection_gets_an_old_version() {
    let machine = Machine::new();
    machine.host().newest = ProtocolVersion::V4_1;
    machine
        .host()
        .refuse_posts
        .extend([Status::INVALID_CONNECTION_ID; 5]);
    let bus = bus_with(&machine, BusOptions::default());
    let agreement = run(&bus, bus.reconnect()).unwrap();
    assert_eq!(agreement.version, ProtocolVersion::V4_1);
    assert_eq!(machine.host().count(14), 1);
}

#[test]
fn a_silent_host_ends_the_waits() {
    let machine = Machine::new();
    machine.host().silent.insert(14);
    let bus = bus_with(&machine, BusOptions::default());
    assert_eq!(
        run(&bus, bus.reconnect()),
        Err(BusError::Connect(ConnectError::TimedOut))
    );
    machine.host().silent = [3].into();
    run(&bus, bus.reconnect()).unwrap();
    assert_eq!(run(&bus, bus.enumerate()), Err(RequestError::TimedOut));
    assert_eq!(bus.next_deadline(), None);
}

#[test]
fn fault_35_unload_never_answered() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    machine.host().silent.insert(16);
    assert_eq!(run(&bus, bus.disconnect()), Err(BusError::NotConfirmed));
    assert!(channel.is_gone());
    assert_eq!(
        run(&bus, channel.close()),
        Err(RequestError::Disconnected),
        "the rings are lost"
    );
    // A late answer is of no use to anybody.
    machine.host().send(UnloadResponse {});
    settle(&bus);
    drop(bus);
    assert_eq!(
        machine.allocated(),
        RING_PAGES + 3,
        "but for the parameter page"
    );
}

#[test]
fn fault_36_reconnect_after_host_restart() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    // The device comes back under another id.
    machine.host().offers = vec![host::offer(9, 1, 0)];
    let agreement = run(&bus, bus.reconnect_with(ProtocolVersion::V5_3)).unwrap();
    assert_eq!(agreement.version, ProtocolVersion::V5_3);
    assert!(channel.is_gone());
    let offers = run(&bus, bus.enumerate()).unwrap();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].instance(), channel.offer().instance());
    assert_eq!(run(&bus, channel.close()), Ok(()));
    assert_eq!(machine.allocated(), BUS_PAGES);
    let again = run(&bus, bus.open(&offers[0], OpenOptions::default())).unwrap();
    assert_eq!(again.id(), ChannelId(9));
}

#[test]
fn disconnect_gives_everything_back() {
    let machine = Machine::new();
    let (bus, channel) = open_first(&machine, ProtocolVersion::V5_3);
    assert_eq!(run(&bus, bus.disconnect()), Ok(()));
    assert!(channel.is_gone());
    assert_eq!(run(&bus, channel.close()), Ok(()));
    assert!(matches!(
        run(&bus, bus.disconnect()),
        Err(BusError::Request(RequestError::Disconnected))
    ));
    assert_eq!(machine.host().count(7), 0, "UNLOAD closes");
    drop(bus);
    assert_eq!(machine.allocated(), 0);
}

/// Statement 30: the slots are polled without the bus, which the crash may have stopped at any point.
#[test]
fn a_crashed_system_unloads() {
    for (answers, expected) in [(true, true), (false, false)] {
        let machine = Machine::new();
        let (bus, _channel) = open_first(&machine, ProtocolVersion::V5_3);
        let connection = bus.agreement().unwrap().message_connection;
        let first = bus.shared.processors.get(0).unwrap();
        let second = machine.idle_synic();
        let state = bus.shared.state.lock();
        if !answers {
            machine.host().silent.insert(16);
        }
        // Other messages are in the way.
        for id in 10..14 {
            machine.host().send(host::offer(id, id as u8, 0));
        }
        let page = machine.allocate_shared(1).unwrap();
        let address = machine.page_frame(&page, 0) * 4096;
        // SAFETY: a fresh page and its address.
        let mut parameters =
            unsafe { hypercall::invoke::ParameterPage::new(page.base(), address) }.unwrap();
        machine
            .host()
            .refuse_posts
            .extend([Status::INSUFFICIENT_BUFFERS; 3]);
        let mut rounds = 0;
        let unloaded = unload_after_crash(
            &first.processor,
            &mut parameters,
            connection,
            // The answer comes to the last that is looked at.
            [&second, &*first.synic].into_iter(),
            100,
            || {
                rounds += 1;
                machine.idle();
            },
        );
        assert_eq!(unloaded, expected);
        assert_eq!(rounds < 100, expected);
        assert_eq!(machine.host().count(16), 1);
        drop(state);
    }
}

#[test]
fn many_guests_in_one_process() {
    let machines: Vec<_> = (0..3).map(|_| Machine::new()).collect();
    let guests: Vec<_> = machines
        .iter()
        .zip([
            ProtocolVersion::V5_3,
            ProtocolVersion::V2_4,
            ProtocolVersion::V0_13,
        ])
        .map(|(machine, version)| open_first(machine, version))
        .collect();
    machines[1].interrupt(1);
    for ((bus, channel), signals) in guests.iter().zip([0, 1, 0]) {
        bus.dispatch(0);
        assert_eq!(channel.event().count(), signals);
    }
}

#[test]
fn unknown_processors_are_ignored() {
    let machine = Machine::new();
    let bus = connected(&machine, ProtocolVersion::V5_3);
    bus.dispatch(7);
    assert!(bus.remove_processor(0).is_none());
    bus.add_processor(machine.processor(7));
    bus.dispatch(7);
    assert_eq!(bus.remove_processor(7).unwrap().vp_index, 7);
}
