use super::*;
use crate::protocol::{ModifyChannelResponse, OpenSignal, VP_NONE};

#[test]
fn open_names_rings_and_target() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    let [GuestMessage::OpenChannel(open)] = script.posted()[..] else {
        panic!("no OPEN_CHANNEL");
    };
    assert_eq!(open.channel_id, channel.id());
    assert_eq!(open.ring_gpadl_id, gpadl);
    assert_eq!(open.downstream_page_offset, 2);
    assert_eq!(open.target_vp, 1);
    assert_eq!(open.user_data, [0xA5; 120]);
    assert_eq!(open.signal, None);
    assert_eq!(script.log.last().unwrap().0, 0x4321);
    assert_eq!(
        script.connection.open(channel, &open_with(gpadl), LATE),
        Err(RequestError::WrongState)
    );
}

#[test]
fn signal_parameters_are_sent_where_agreed_on() {
    let mut script = Script::new(ConnectionOptions::default());
    script.connection.connect(LATE);
    script.posted();
    script
        .send(VersionResponse {
            features: Some(FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS),
            ..accept(ProtocolVersion::V6_0)
        })
        .unwrap();
    script.events();
    script.posted();
    let channel = script.offer(scsi(6, 1));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    let [GuestMessage::OpenChannel(open)] = script.posted()[..] else {
        panic!("no OPEN_CHANNEL");
    };
    assert!(matches!(
        open.signal,
        Some(OpenSignal {
            connection_id: 0x2006,
            event_flag: 6,
            ..
        })
    ));
}

#[test]
fn old_versions_interrupt_the_first_processor() {
    for (version, asked, sent) in [
        (ProtocolVersion::V0_13, 1, 0),
        (ProtocolVersion::V1_1, 5, 0),
        (ProtocolVersion::V1_1, VP_NONE, VP_NONE),
        (ProtocolVersion::V2_4, 5, 5),
    ] {
        let mut script = Script::connected(version);
        let channel = script.offer(scsi(1, 1));
        let gpadl = script.gpadl(channel, 4);
        let mut request = open_with(gpadl);
        request.target_vp = asked;
        script.connection.open(channel, &request, LATE).unwrap();
        assert!(
            matches!(script.posted()[..], [GuestMessage::OpenChannel(open)]
            if open.target_vp == sent)
        );
    }
}

/// Statement 15, and that the GPADL must be the channel's own.
#[test]
fn rings_must_be_one_range_of_whole_pages() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let other = script.offer(scsi(2, 2));
    let invalid = Err(RequestError::InvalidArgument {
        argument: "ring layout",
    });
    let gpadl = script.gpadl(channel, 4);
    for (offset, expected) in [(0, invalid), (4, invalid), (u32::MAX, invalid)] {
        let mut request = open_with(gpadl);
        request.downstream_page_offset = offset;
        assert_eq!(script.connection.open(channel, &request, LATE), expected);
    }
    let mut list = GpadlList::new();
    list.push(4096 * 3, 8, [1, 2, 3, 4].into_iter()).unwrap();
    let crooked = script.connection.create_gpadl(channel, list, LATE).unwrap();
    assert_eq!(
        script.connection.open(channel, &open_with(crooked), LATE),
        Err(RequestError::Busy),
        "not established"
    );
    script.posted();
    script
        .send(created(channel, crooked, ReplyStatus::SUCCESS))
        .unwrap();
    script.events();
    assert_eq!(
        script.connection.open(channel, &open_with(crooked), LATE),
        invalid
    );
    assert_eq!(
        script.connection.open(other, &open_with(gpadl), LATE),
        Err(RequestError::UnknownGpadl)
    );
    assert_eq!(script.types(), []);
}

#[test]
fn refused_open_leaves_the_channel_closed() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    let open_id = script.open_request(channel, gpadl);
    script
        .send(opened(channel, open_id, ReplyStatus::FAILED))
        .unwrap();
    assert_eq!(
        script.events(),
        [Event::Opened {
            channel,
            result: Err(RequestError::Refused {
                status: ReplyStatus::FAILED
            })
        }]
    );
    // The guest tears the GPADL down, without CLOSE.
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), [11]);
    script.send(torndown(gpadl)).unwrap();
    assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
    script.open(channel);
}

/// Statements 27 and 13: CLOSE, then the teardown of each GPADL, and memory back only after the answer.
#[test]
fn close_takes_memory_back_in_order() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let rings = script.open(channel);
    let extra = script.gpadl(channel, 1);
    assert_ne!(rings, extra);
    script.connection.close(channel, LATE);
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), [7, 11, 11]);
    assert_eq!(script.events(), []);
    assert!(script.connection.is_taking_back(rings));
    script.send(torndown(extra)).unwrap();
    script.send(torndown(rings)).unwrap();
    assert!(unexpected(script.send(torndown(rings))));
    assert_eq!(
        script.events(),
        [Event::GpadlReleased(extra), Event::GpadlReleased(rings)]
    );
    // It can be opened again.
    assert_ne!(script.open(channel), rings);
}

/// Statement 28.
#[test]
fn sub_channels_are_closed_first() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let primary = script.offer(scsi(1, 1));
    let first = script.offer(sub(2, 1, 1));
    let second = script.offer(sub(3, 1, 2));
    let stranger = script.offer(scsi(4, 2));
    let gpadls = [primary, first, stranger].map(|key| script.open(key));
    script.connection.close(primary, LATE);
    let closed: Vec<_> = script
        .posted()
        .iter()
        .filter_map(|message| match message {
            GuestMessage::CloseChannel(close) => Some(close.channel_id),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [first.id(), primary.id()]);
    assert_eq!(script.events(), [Event::ClosedWithPrimary(first)]);
    for gpadl in &gpadls[..2] {
        script.send(torndown(*gpadl)).unwrap();
    }
    assert!(unexpected(script.send(torndown(gpadls[2]))));
    assert_eq!(
        script.connection.channel(stranger).unwrap().phase,
        ChannelPhase::Open
    );
    let _ = second;
}

#[test]
fn open_that_is_given_up_is_undone_when_answered() {
    for (status, expected) in [
        (ReplyStatus::SUCCESS, vec![7, 11]),
        (ReplyStatus::FAILED, vec![11]),
    ] {
        let mut script = Script::connected(ProtocolVersion::V5_3);
        let channel = script.offer(scsi(1, 1));
        let gpadl = script.gpadl(channel, 4);
        let open_id = script.open_request(channel, gpadl);
        script.connection.expire(LATE);
        assert_eq!(
            script.events(),
            [Event::Opened {
                channel,
                result: Err(RequestError::TimedOut)
            }]
        );
        script.connection.close(channel, LATE + 1);
        assert_eq!(script.types(), [], "the host may yet open it");
        assert_eq!(
            script.connection.open(channel, &open_with(gpadl), LATE),
            Err(RequestError::Busy)
        );
        script.send(opened(channel, open_id, status)).unwrap();
        assert_eq!(script.types(), expected);
        script.send(torndown(gpadl)).unwrap();
        assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
        script.open(channel);
    }
}

#[test]
fn open_that_was_never_posted_is_undone_at_once() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), [11]);
    assert_eq!(
        script.events(),
        [Event::Opened {
            channel,
            result: Err(RequestError::Cancelled)
        }]
    );
    // The hypervisor does not take it.
    let channel = script.offer(scsi(2, 2));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    script.events();
    let outgoing = script.connection.poll_outgoing().unwrap();
    script.connection.post_failed(&outgoing);
    assert_eq!(
        script.events(),
        [Event::Opened {
            channel,
            result: Err(RequestError::NotPosted)
        }]
    );
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), [11]);
}

/// Statement 33.
#[test]
fn modify_waits_for_its_answer_where_there_is_one() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    assert_eq!(
        script.connection.modify(channel, 2, LATE),
        Err(RequestError::WrongState)
    );
    script.open(channel);
    assert!(script.connection.modify(channel, VP_NONE, LATE).is_err());
    script.connection.modify(channel, 2, LATE).unwrap();
    assert_eq!(script.types(), [22]);
    assert_eq!(
        script.connection.modify(channel, 3, LATE),
        Err(RequestError::Busy)
    );
    let answer = |status| ModifyChannelResponse {
        channel_id: channel.id(),
        status,
    };
    script.send(answer(ReplyStatus::SUCCESS)).unwrap();
    assert!(unexpected(script.send(answer(ReplyStatus::SUCCESS))));
    script.connection.modify(channel, 3, LATE).unwrap();
    script.posted();
    script.connection.expire(LATE);
    assert_eq!(
        script.connection.modify(channel, 2, LATE),
        Err(RequestError::Busy),
        "no second request before the answer to the first"
    );
    script.send(answer(ReplyStatus::FAILED)).unwrap();
    let outcomes: Vec<_> = script
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Modified { result, .. } => result,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes, [Ok(()), Err(RequestError::TimedOut)]);
    script.connection.modify(channel, 2, LATE).unwrap();
    script.posted();
    script.send(rescind(channel)).unwrap();
    assert_eq!(
        script.events()[0],
        Event::Modified {
            channel,
            result: Err(RequestError::Rescinded)
        }
    );

    let mut script = Script::connected(ProtocolVersion::V4_1);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    script.connection.modify(channel, 2, LATE).unwrap();
    script.connection.modify(channel, 3, LATE).unwrap();
    assert_eq!(script.types(), [22, 22]);
    assert_eq!(script.events().len(), 2);

    let mut script = Script::connected(ProtocolVersion::V4_0);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    assert_eq!(
        script.connection.modify(channel, 2, LATE),
        Err(RequestError::NotSupported {
            version: ProtocolVersion::V4_0
        })
    );
}
