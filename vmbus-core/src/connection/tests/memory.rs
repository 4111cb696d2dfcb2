use super::*;
use crate::gpadl::PAGES_MAX;

/// Statements 13 and 14: fresh ids; 26 page frames in the header, 28 in each body.
#[test]
fn lists_are_split_and_ids_are_fresh() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let mut ids = Vec::new();
    for (pages, messages) in [(26, 1), (27, 2), (54, 2), (55, 3), (PAGES_MAX as u64, 293)] {
        let gpadl = script
            .connection
            .create_gpadl(channel, pages_list(pages), LATE)
            .unwrap();
        assert!(!ids.contains(&gpadl) && gpadl != GpadlId(0));
        ids.push(gpadl);
        let posted = script.posted();
        assert_eq!(posted.len(), messages);
        assert!(matches!(posted[0], GuestMessage::GpadlHeader(header)
            if header.gpadl_id == gpadl && header.channel_id == channel.id()));
        assert!(posted[1..].iter().all(|message| matches!(message,
            GuestMessage::GpadlBody(body) if body.gpadl_id == gpadl)));
    }
    // Ids of live GPADLs are passed over when the counter comes round.
    script.connection.next_gpadl_id = ids[0].0;
    let next = script
        .connection
        .create_gpadl(channel, pages_list(1), LATE)
        .unwrap();
    assert!(!ids.contains(&next));
    script.connection.next_gpadl_id = 0;
    let next = script
        .connection
        .create_gpadl(channel, pages_list(1), LATE)
        .unwrap();
    assert_eq!(next, GpadlId(1), "0 is never used");
    assert_eq!(
        script
            .connection
            .create_gpadl(channel, GpadlList::new(), LATE),
        Err(RequestError::InvalidArgument {
            argument: "GPADL list"
        })
    );
}

#[test]
fn refused_gpadl_is_the_guests_again() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script
        .connection
        .create_gpadl(channel, pages_list(200), LATE)
        .unwrap();
    // After the header only: a host may refuse at once, but cannot have accepted.
    let _ = script.connection.poll_outgoing().unwrap();
    assert!(unexpected(script.send(created(
        channel,
        gpadl,
        ReplyStatus::SUCCESS
    ))));
    script
        .send(created(channel, gpadl, ReplyStatus::FAILED))
        .unwrap();
    assert_eq!(
        script.events(),
        [
            Event::GpadlCreated {
                gpadl,
                result: Err(RequestError::Refused {
                    status: ReplyStatus::FAILED
                })
            },
            Event::GpadlReleased(gpadl)
        ]
    );
    assert_eq!(script.types(), [], "the bodies are not posted any more");
    // Any non-negative status is success.
    let gpadl = script
        .connection
        .create_gpadl(channel, pages_list(1), LATE)
        .unwrap();
    script.posted();
    script
        .send(created(channel, gpadl, ReplyStatus(5)))
        .unwrap();
    assert_eq!(
        script.events(),
        [Event::GpadlCreated {
            gpadl,
            result: Ok(())
        }]
    );
}

#[test]
fn teardown_at_any_time() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let other = script.offer(scsi(2, 2));
    let gpadl = script.gpadl(channel, 3);
    assert_eq!(
        script.connection.teardown_gpadl(other, gpadl, LATE),
        Err(RequestError::UnknownGpadl)
    );
    script
        .connection
        .teardown_gpadl(channel, gpadl, LATE)
        .unwrap();
    assert_eq!(
        script.connection.teardown_gpadl(channel, gpadl, LATE),
        Err(RequestError::UnknownGpadl)
    );
    assert!(
        unexpected(script.send(torndown(gpadl))),
        "before the request is posted there is nothing to answer"
    );
    assert_eq!(script.types(), [11]);
    script.send(torndown(gpadl)).unwrap();
    assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
}

#[test]
fn fault_29_torndown_never_arrives() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.close(channel, 100);
    script.posted();
    assert_eq!(script.connection.next_deadline(), Some(100));
    script.connection.expire(100);
    assert_eq!(
        script.events(),
        [Event::GpadlLeaked {
            gpadl,
            reason: RequestError::TimedOut
        }]
    );
    assert_eq!(script.connection.next_deadline(), None);
    script.connection.expire(101);
    assert_eq!(script.events(), [], "said once");
    // Its id is not used again, and the channel can be.
    script.connection.next_gpadl_id = gpadl.0;
    assert_ne!(script.open(channel), gpadl);
    // The host was only late.
    script.send(torndown(gpadl)).unwrap();
    assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
}

#[test]
fn late_creation_is_torn_down() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    for status in [ReplyStatus::SUCCESS, ReplyStatus::FAILED] {
        let gpadl = script
            .connection
            .create_gpadl(channel, pages_list(1), 50)
            .unwrap();
        script.posted();
        script.connection.expire(50);
        assert_eq!(
            script.events(),
            [Event::GpadlCreated {
                gpadl,
                result: Err(RequestError::TimedOut)
            }],
            "the memory is not the guest's yet"
        );
        script.send(created(channel, gpadl, status)).unwrap();
        if status.is_success() {
            assert_eq!(script.types(), [11]);
            assert_eq!(script.events(), []);
            script.send(torndown(gpadl)).unwrap();
        }
        assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
    }
}

#[test]
fn list_that_cannot_be_posted() {
    for messages in [1, 2] {
        let mut script = Script::connected(ProtocolVersion::V5_3);
        let channel = script.offer(scsi(1, 1));
        let gpadl = script
            .connection
            .create_gpadl(channel, pages_list(100), LATE)
            .unwrap();
        let mut last = None;
        for _ in 0..messages {
            last = script.connection.poll_outgoing();
        }
        script.connection.post_failed(&last.unwrap());
        let events = script.events();
        assert_eq!(
            events[0],
            Event::GpadlCreated {
                gpadl,
                result: Err(RequestError::NotPosted)
            }
        );
        // The host has seen nothing, or it has seen page frames.
        assert_eq!(
            events[1],
            if messages == 1 {
                Event::GpadlReleased(gpadl)
            } else {
                Event::GpadlLeaked {
                    gpadl,
                    reason: RequestError::NotPosted,
                }
            }
        );
        assert_eq!(script.types(), []);
        assert!(unexpected(script.send(torndown(gpadl))));
    }
}

#[test]
fn close_that_cannot_be_posted_leaks_the_rings() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.close(channel, LATE);
    let close = script.connection.poll_outgoing().unwrap();
    script.connection.post_failed(&close);
    assert_eq!(
        script.types(),
        [],
        "no teardown while the host may use the rings"
    );
    assert_eq!(
        script.events(),
        [Event::GpadlLeaked {
            gpadl,
            reason: RequestError::NotPosted
        }]
    );
}

#[test]
fn memory_of_a_list_that_was_not_posted_survives_a_reconnect() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let posted = script.gpadl(channel, 2);
    let queued = script
        .connection
        .create_gpadl(channel, pages_list(2), LATE)
        .unwrap();
    script.connection.connect(LATE);
    let events = script.events();
    assert!(events.contains(&Event::GpadlReleased(queued)));
    assert!(!events.contains(&Event::GpadlReleased(posted)));
    script.posted();
    script.send(accept(ProtocolVersion::V5_3)).unwrap();
    assert!(script.events().contains(&Event::GpadlReleased(posted)));
}

/// A message that was given out before its channel went away is to be dropped, not posted.
#[test]
fn messages_become_obsolete() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    let open = script.connection.poll_outgoing().unwrap();
    assert!(!script.connection.is_obsolete(&open));
    script.send(rescind(channel)).unwrap();
    assert!(script.connection.is_obsolete(&open));
    script.events();
    let release = script.connection.poll_outgoing().unwrap();
    assert!(!script.connection.is_obsolete(&release));
    script.connection.connect(LATE);
    assert!(script.connection.is_obsolete(&release));
}
