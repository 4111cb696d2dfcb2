//! Channels and the memory lent to them.

use super::*;

#[test]
fn shared_signals_before_version_1_1() {
    let mut bench = Bench::new();
    bench.contact(ProtocolVersion::V0_13);
    bench.post(RequestOffers {});
    for offer in offers(&bench.take()) {
        assert!(!offer.dedicated_interrupt);
    }
    bench.open(1);
    assert_eq!(bench.opens[0].connection_id, None);
    assert_eq!(bench.opens[0].vp, Some(0));
    assert_eq!(bench.server.interrupt_page(), Some(0x5000));
}

// 16
#[test]
fn open_is_refused_where_the_ring_is_wrong() {
    let good = open(1, 101);
    for (change, why) in [
        (
            Box::new(|open: &mut OpenChannel| open.ring_gpadl_id = GpadlId(5))
                as Box<dyn Fn(&mut OpenChannel)>,
            "GPADL",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 0),
            "no upstream ring",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 1),
            "no upstream data",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 7),
            "no downstream data",
        ),
        (
            Box::new(|open| open.downstream_page_offset = 8),
            "no downstream ring",
        ),
        (
            Box::new(|open| open.downstream_page_offset = u32::MAX),
            "offset beyond",
        ),
        (Box::new(|open| open.target_vp = 2), "no such processor"),
        (
            Box::new(|open| open.ring_gpadl_id = GpadlId(102)),
            "another channel's GPADL",
        ),
    ] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.gpadl(1, 101, 8);
        bench.gpadl(2, 102, 8);
        let mut bad = good;
        change(&mut bad);
        bench.post(bad);
        let [HostMessage::OpenChannelResult(result)] = bench.take()[..] else {
            panic!("{why}")
        };
        assert!(!result.status.is_success(), "{why}");
        assert_eq!((result.channel_id, result.open_id), (ChannelId(1), 77));
        assert_eq!(
            bench.server.channel_phase(ChannelId(1)),
            Some(ChannelPhase::Closed)
        );
        // The GPADL lives on until the guest tears it down, and a good open succeeds.
        bench.post(good);
        assert!(
            matches!(bench.take()[..], [HostMessage::OpenChannelResult(result)] if result.status.is_success())
        );
    }
}

/// A ring's memory is one range of whole pages.
#[test]
fn open_is_refused_where_the_memory_is_no_ring() {
    let pages = |count: u64| (0..count).flat_map(u64::to_le_bytes);
    let range =
        |bytes: u32, offset: u32| (u64::from(offset) << 32 | u64::from(bytes)).to_le_bytes();
    let lists: [(u16, Vec<u8>); 4] = [
        (1, range(7 * 4096, 8).into_iter().chain(pages(8)).collect()),
        (
            1,
            range(8 * 4096 - 8, 0).into_iter().chain(pages(8)).collect(),
        ),
        (
            1,
            range(8 * 4096, 4088).into_iter().chain(pages(9)).collect(),
        ),
        (
            2,
            range(8 * 4096, 0)
                .into_iter()
                .chain(pages(8))
                .chain(range(4096, 0))
                .chain(pages(1))
                .collect(),
        ),
    ];
    for (number, (range_count, data)) in lists.iter().enumerate() {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.post(GpadlHeader {
            channel_id: ChannelId(1),
            gpadl_id: GpadlId(101),
            range_bytes: data.len() as u16,
            range_count: *range_count,
            data,
        });
        assert!(
            matches!(bench.take()[..], [HostMessage::GpadlCreated(created)] if created.status.is_success())
        );
        bench.post(open(1, 101));
        assert!(
            matches!(bench.take()[..], [HostMessage::OpenChannelResult(result)] if !result.status.is_success()),
            "list {number}"
        );
    }
}

// 18, 38
#[test]
fn an_open_channel_is_not_opened_again() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.post(open(1, 101));
    assert!(bench.take().is_empty());
    bench.gpadl(2, 102, 8);
    bench.post(OpenChannel {
        target_vp: VP_NONE,
        ..open(2, 102)
    });
    assert_eq!(bench.opens[1].vp, None);
}

// 19, 20
#[test]
fn close_answers_nothing_and_teardown_waits_for_its_end() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    bench.post(CloseChannel {
        channel_id: ChannelId(1),
    });
    let teardown = GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: GpadlId(101),
    };
    bench.post(teardown);
    bench.post(teardown);
    assert!(bench.take().is_empty());
    bench.server.closed(ChannelId(1));
    bench.run();
    assert!(
        matches!(bench.take()[..], [HostMessage::GpadlTorndown(torn)] if torn.gpadl_id == GpadlId(101))
    );
}

/// A ring's memory that the guest takes back too early stays the device's until the channel is closed.
#[test]
fn fault_41_ring_memory_is_given_back_after_the_close_only() {
    let teardown = GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: GpadlId(101),
    };
    for phase in [ChannelPhase::Opening, ChannelPhase::Open] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.gpadl(1, 101, 8);
        bench.prompt = false;
        bench.post(open(1, 101));
        if phase == ChannelPhase::Open {
            bench.server.opened(ChannelId(1), true);
            bench.run();
        }
        bench.take();
        assert_eq!(bench.server.channel_phase(ChannelId(1)), Some(phase));
        bench.post(teardown);
        bench.server.opened(ChannelId(1), true);
        bench.run();
        bench.take();
        assert_eq!(bench.server.snapshot().gpadls, 1, "{phase:?}");
        bench.post(CloseChannel {
            channel_id: ChannelId(1),
        });
        assert_eq!(bench.take(), [], "{phase:?}: the device still has it");
        bench.server.closed(ChannelId(1));
        bench.run();
        assert!(
            matches!(bench.take()[..], [HostMessage::GpadlTorndown(torn)] if torn.gpadl_id == GpadlId(101)),
            "{phase:?}"
        );
    }
}

#[test]
fn an_open_during_the_close_follows_it() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    bench.post(CloseChannel {
        channel_id: ChannelId(1),
    });
    bench.gpadl(1, 500, 8);
    bench.post(open(1, 500));
    bench.post(open(1, 500));
    assert_eq!(bench.opens.len(), 1);
    bench.prompt = true;
    bench.server.closed(ChannelId(1));
    bench.run();
    assert_eq!(bench.opens.len(), 2);
    assert_eq!(
        bench.server.channel_phase(ChannelId(1)),
        Some(ChannelPhase::Open)
    );
}

// 21, 22
#[test]
fn fault_27_rescind_closed_opening_open_and_twice() {
    for phase in [
        ChannelPhase::Closed,
        ChannelPhase::Opening,
        ChannelPhase::Open,
        ChannelPhase::Closing,
    ] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        let device = DeviceId(0);
        let id = bench.server.channels_of(device).next().unwrap();
        bench.gpadl(id.0, 7, 8);
        bench.prompt = phase == ChannelPhase::Open;
        if phase != ChannelPhase::Closed {
            bench.post(open(id.0, 7));
        }
        if phase == ChannelPhase::Closing {
            bench.server.opened(id, true);
            bench.run();
            bench.post(CloseChannel { channel_id: id });
        }
        bench.take();
        assert_eq!(bench.server.channel_phase(id), Some(phase));
        bench.prompt = false;
        bench.server.remove_device(device);
        bench.server.remove_device(device);
        bench.run();
        if phase == ChannelPhase::Open {
            // The guest has not heard of it.
            bench.post(CloseChannel { channel_id: id });
            assert_eq!(bench.server.snapshot().counters.unexpected, 0);
        }
        if phase == ChannelPhase::Opening {
            assert!(bench.take().is_empty());
            bench.server.opened(id, true);
            bench.run();
        }
        if phase != ChannelPhase::Closed {
            assert!(
                bench.take().is_empty(),
                "{phase:?}: not rescinded before it is closed"
            );
            bench.server.closed(id);
            bench.run();
        }
        let rescinded =
            |message: &HostMessage| matches!(message, HostMessage::RescindChannelOffer(_));
        assert_eq!(
            bench
                .take()
                .iter()
                .filter(|message| rescinded(message))
                .count(),
            1,
            "{phase:?}"
        );
        assert_eq!(
            bench.server.channel_phase(id),
            Some(ChannelPhase::Rescinded)
        );
        // What the guest still says about it is tolerated.
        bench.post(open(id.0, 7));
        bench.post(CloseChannel { channel_id: id });
        assert!(bench.take().is_empty());
        assert!(
            matches!(bench.gpadl(id.0, 8, 2), HostMessage::GpadlCreated(created) if created.status.is_success())
        );
        bench.post(GpadlTeardown {
            channel_id: id,
            gpadl_id: GpadlId(8),
        });
        assert!(matches!(bench.take()[..], [HostMessage::GpadlTorndown(_)]));
        bench.post(RelIdReleased { channel_id: id });
        assert_eq!(bench.server.channel_phase(id), None);
        bench.post(RelIdReleased { channel_id: id });
        assert_eq!(bench.server.snapshot().gpadls, 0);
    }
}

/// A device like the bench's first one, of this instance.
fn disk(instance: u32) -> OfferDescription {
    OfferDescription::new(class::SCSI, Guid::from_fields(instance, 0, 0, [0; 8]))
}

// 6
#[test]
fn fault_24_an_id_is_not_reused_before_its_release() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    let id = bench.server.channels_of(DeviceId(0)).next().unwrap();
    bench.server.remove_device(DeviceId(0));
    bench.server.add_device(disk(0xA));
    bench.run();
    assert_ne!(offers(&bench.take())[0].channel_id, id);
    bench.post(RelIdReleased { channel_id: id });
    bench.server.add_device(disk(0xB));
    bench.run();
    assert_eq!(offers(&bench.take())[0].channel_id, id);
}

/// A device that takes the place of another one is offered when the guest has given the other one's channel back, not
/// before: until then the instance is still the old device's.
#[test]
fn fault_24_an_instance_is_not_offered_again_before_its_release() {
    for is_open in [false, true] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        let channel_id = bench.server.channels_of(DeviceId(0)).next().unwrap();
        if is_open {
            bench.open(channel_id.0);
        }
        bench.prompt = false;
        bench.server.remove_device(DeviceId(0));
        bench.server.add_device(disk(2));
        bench.run();
        if is_open {
            assert_eq!(bench.take(), [], "it is not closed yet");
            bench.server.closed(channel_id);
            bench.run();
        }
        assert!(matches!(
            bench.take()[..],
            [HostMessage::RescindChannelOffer(_)]
        ));
        bench.post(RelIdReleased { channel_id });
        let offered = offers(&bench.take());
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].instance, disk(2).instance);
        // Another release is of the new channel, and nothing waits for it.
        bench.post(RelIdReleased { channel_id });
        assert_eq!(offers(&bench.take()), []);
    }
}

/// What waits for a release is removed, forgotten with its connection, and offered by the next one, once each.
#[test]
fn fault_24_a_waiting_device_is_neither_lost_nor_offered_twice() {
    let waiting = || {
        let mut bench = Bench::connected(ProtocolVersion::V6_0);
        let old = bench.server.channels_of(DeviceId(0)).next().unwrap();
        bench.server.remove_device(DeviceId(0));
        let new = bench.server.add_device(disk(2));
        bench.run();
        assert_eq!(offers(&bench.take()), []);
        (bench, old, new)
    };
    // Removed while it waits, also with one more behind it.
    let (mut bench, channel_id, new) = waiting();
    bench.server.remove_device(new);
    bench.run();
    assert_eq!(bench.take(), [], "the guest has never heard of it");
    bench.post(RelIdReleased { channel_id });
    assert_eq!(offers(&bench.take()), []);
    let (mut bench, channel_id, new) = waiting();
    bench.server.remove_device(new);
    bench.server.add_device(disk(2));
    bench.post(RelIdReleased { channel_id });
    assert_eq!(offers(&bench.take()).len(), 1);

    // A new connection knows of no old channel.
    let (mut bench, channel_id, _) = waiting();
    assert!(bench.contact(ProtocolVersion::V5_3).supported);
    assert_eq!(offers(&bench.take()), [], "it has not asked yet");
    bench.post(RequestOffers {});
    assert_eq!(offers(&bench.take()).len(), 2);
    bench.post(RelIdReleased { channel_id });
    assert_eq!(offers(&bench.take()), []);

    // Nor does the next one after a goodbye or a reset.
    for is_reset in [false, true] {
        let (mut bench, _, _) = waiting();
        if is_reset {
            bench.server.reset();
            bench.run();
        } else {
            bench.post(Unload {});
        }
        assert_eq!(offers(&bench.take()), []);
        assert!(bench.contact(ProtocolVersion::V5_3).supported);
        bench.post(RequestOffers {});
        assert_eq!(offers(&bench.take()).len(), 2);
    }
}

// 23, 24
#[test]
fn interrupts_are_moved_before_the_answer() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    for (target_vp, good) in [(0, true), (2, false), (VP_NONE, false)] {
        bench.post(ModifyChannel {
            channel_id: ChannelId(1),
            target_vp,
        });
        let [HostMessage::ModifyChannelResponse(response)] = bench.take()[..] else {
            panic!()
        };
        assert_eq!(response.status.is_success(), good);
    }
    assert_eq!(bench.retargets, [(ChannelId(1), 0)]);
    // A guest that polls has no interrupts to move.
    let mut polling = Bench::connected(ProtocolVersion::V5_3);
    polling.gpadl(1, 101, 8);
    polling.post(OpenChannel {
        target_vp: VP_NONE,
        ..open(1, 101)
    });
    polling.take();
    polling.post(ModifyChannel {
        channel_id: ChannelId(1),
        target_vp: 0,
    });
    assert!(
        matches!(polling.take()[..], [HostMessage::ModifyChannelResponse(r)] if !r.status.is_success())
    );
    assert_eq!(polling.retargets, []);
    bench.post(ModifyChannel {
        channel_id: ChannelId(2),
        target_vp: 0,
    });
    assert!(
        matches!(bench.take()[..], [HostMessage::ModifyChannelResponse(r)] if !r.status.is_success())
    );
    let mut old = Bench::connected(ProtocolVersion::V4_1);
    old.open(1);
    old.post(ModifyChannel {
        channel_id: ChannelId(1),
        target_vp: 0,
    });
    assert!(old.take().is_empty(), "no answer before 5.3");
    assert_eq!(old.retargets.len(), 1);
}

#[test]
fn there_are_no_sub_channels_before_version_2_4() {
    let mut bench = Bench::connected(ProtocolVersion::V1_1);
    let primary = bench.server.channels_of(DeviceId(0)).next().unwrap();
    bench.open(primary.0);
    bench.server.request_sub_channels(DeviceId(0), 1);
    bench.run();
    assert_eq!(bench.take(), []);
}

#[test]
fn fault_34_sub_channels_are_bounded_by_their_device() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    let device = DeviceId(0);
    bench.server.request_sub_channels(device, 1);
    bench.run();
    assert!(bench.take().is_empty(), "the primary is not open");
    let primary = bench.server.channels_of(device).next().unwrap();
    bench.open(primary.0);
    for _ in 0..2 {
        bench.server.request_sub_channels(device, u16::MAX);
        bench.run();
    }
    let offers = offers(&bench.take());
    assert_eq!(
        offers
            .iter()
            .map(|offer| offer.sub_channel_index)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    bench.open(offers[0].channel_id.0);
    bench.post(CloseChannel {
        channel_id: primary,
    });
    let messages = bench.take();
    assert_eq!(
        messages.len(),
        2,
        "both sub-channels are rescinded: {messages:?}"
    );
    assert_eq!(
        bench.server.channel_phase(primary),
        Some(ChannelPhase::Closed)
    );
}

#[test]
fn fault_28_messages_about_strangers() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    for id in [0, 3, 2047, 2048, u32::MAX] {
        bench.post(open(id, 1));
        bench.post(CloseChannel {
            channel_id: ChannelId(id),
        });
        bench.post(RelIdReleased {
            channel_id: ChannelId(id),
        });
        bench.post(GpadlTeardown {
            channel_id: ChannelId(id),
            gpadl_id: GpadlId(1),
        });
        bench.post(GpadlBody {
            message_number: 0,
            gpadl_id: GpadlId(id),
            data: &[0; 8],
        });
        assert!(bench.take().is_empty());
        assert!(
            matches!(bench.gpadl(id, 1, 1), HostMessage::GpadlCreated(c) if !c.status.is_success())
        );
    }
}
