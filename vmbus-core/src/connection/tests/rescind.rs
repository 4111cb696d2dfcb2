use super::*;

/// Statements 11, 12 and 35.
#[test]
fn fault_27_rescind_before_open() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    script
        .connection
        .open(channel, &open_with(gpadl), LATE)
        .unwrap();
    // OPEN has been asked for but not posted.
    script.send(rescind(channel)).unwrap();
    assert_eq!(script.types(), [], "no OPEN for a rescinded channel");
    assert_eq!(
        script.events(),
        [
            Event::Opened {
                channel,
                result: Err(RequestError::Rescinded)
            },
            gone(channel, Departure::Rescinded),
            Event::GpadlReleased(gpadl),
        ]
    );
    assert_eq!(
        script.connection.open(channel, &open_with(gpadl), LATE),
        Err(RequestError::Rescinded)
    );
    assert_eq!(
        script.connection.create_gpadl(channel, pages_list(1), LATE),
        Err(RequestError::Rescinded)
    );
    assert_eq!(script.types(), [13]);
    assert_eq!(script.types(), []);
}

#[test]
fn fault_27_rescind_during_open() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    let extra = script
        .connection
        .create_gpadl(channel, pages_list(1), LATE)
        .unwrap();
    script.posted();
    let open_id = script.open_request(channel, gpadl);
    script.send(rescind(channel)).unwrap();
    let events = script.events();
    for expected in [
        Event::Opened {
            channel,
            result: Err(RequestError::Rescinded),
        },
        Event::GpadlCreated {
            gpadl: extra,
            result: Err(RequestError::Rescinded),
        },
        gone(channel, Departure::Rescinded),
        Event::GpadlReleased(gpadl),
        Event::GpadlReleased(extra),
    ] {
        assert!(events.contains(&expected), "{expected:?} in {events:?}");
    }
    assert_eq!(events.len(), 5);
    // What the host says now is too late, though it may be honest: once each.
    for lie in [false, true] {
        let answers = [
            script.send(opened(channel, open_id, ReplyStatus::SUCCESS)),
            script.send(created(channel, extra, ReplyStatus::SUCCESS)),
        ];
        assert!(answers.into_iter().all(|answer| unexpected(answer) == lie));
        assert!(
            script
                .send(created(channel, gpadl, ReplyStatus::SUCCESS))
                .is_err()
        );
        assert_eq!(script.types(), if lie { vec![] } else { vec![13] });
    }
    assert_eq!(script.connection.counters().late, 2);
    assert_eq!(script.events(), []);
    assert_eq!(script.connection.next_deadline(), None);
}

#[test]
fn fault_27_rescind_during_io_and_twice() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.send(rescind(channel)).unwrap();
    assert!(unexpected(script.send(rescind(channel))));
    assert_eq!(script.events(), [gone(channel, Departure::Rescinded)]);
    assert_eq!(
        script.types(),
        [],
        "the id is not released while the owner uses the channel"
    );
    script.connection.close(channel, LATE);
    assert_eq!(script.events(), [Event::GpadlReleased(gpadl)]);
    assert!(unexpected(script.send(rescind(channel))));
    assert_eq!(script.types(), [13], "neither CLOSE nor GPADL_TEARDOWN");
    script.connection.close(channel, LATE);
    assert!(unexpected(script.send(rescind(channel))));
    assert_eq!(script.types(), [], "released exactly once");
}

/// Statement 11, while the release still waits for its turn.
#[test]
fn a_channel_that_is_let_go_twice_is_released_once() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    script.send(rescind(channel)).unwrap();
    script.events();
    script.connection.close(channel, LATE);
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), [13]);
}

#[test]
fn fault_27_rescind_during_close() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.close(channel, LATE);
    script.posted();
    script.send(rescind(channel)).unwrap();
    assert_eq!(
        script.events(),
        [
            gone(channel, Departure::Rescinded),
            Event::GpadlReleased(gpadl)
        ],
        "the host has stopped using the memory, though it will not say so"
    );
    // It may have been about to.
    assert_eq!(script.send(torndown(gpadl)), Ok(()));
    assert!(unexpected(script.send(torndown(gpadl))));
    assert_eq!(script.types(), [13]);
}

#[test]
fn fault_27_rescind_before_the_close_is_seen() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.send(rescind(channel)).unwrap();
    // The owner closes before it hears of the rescind.
    script.connection.close(channel, LATE);
    assert_eq!(script.types(), []);
    assert_eq!(
        script.events(),
        [
            gone(channel, Departure::Rescinded),
            Event::GpadlReleased(gpadl)
        ]
    );
    assert_eq!(script.types(), [13]);
}

#[test]
fn sub_channels_survive_their_primary_until_rescinded() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let primary = script.offer(scsi(1, 1));
    let child = script.offer(sub(2, 1, 1));
    script.open(primary);
    script.open(child);
    script.send(rescind(primary)).unwrap();
    assert_eq!(script.events(), [gone(primary, Departure::Rescinded)]);
    script.send(rescind(child)).unwrap();
    assert_eq!(script.events(), [gone(child, Departure::Rescinded)]);
    script.connection.close(primary, LATE);
    script.connection.close(child, LATE);
    assert_eq!(script.types(), [13, 13]);
}
