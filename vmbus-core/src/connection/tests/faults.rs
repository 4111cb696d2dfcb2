use super::*;
use crate::protocol::MessageType;

/// Statement 10.
#[test]
fn fault_22_unknown_message_type() {
    let mut script = Script::connected(ProtocolVersion::V6_0);
    let channel = script.offer(scsi(1, 1));
    for number in [0, 30, 99, u32::MAX] {
        let mut bytes = [0; 240];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        assert!(matches!(
            script.connection.handle_message(&bytes),
            Err(MessageError::UnknownType { message_type: MessageType(n) }) if n == number
        ));
    }
    assert_eq!(script.connection.counters().unknown_type, 4);
    script.open(channel);
}

/// Statement 10: short and misdirected messages of every type, in every phase, change nothing.
#[test]
fn fault_23_short_message_of_every_type() {
    let mut script = Script::connected(ProtocolVersion::V6_0);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.gpadl(channel, 4);
    let open_id = script.open_request(channel, gpadl);
    let mut dropped = 0;
    for message_type in MessageType::ALL {
        for length in 0..9 {
            let mut bytes = [0; 240];
            bytes[..4].copy_from_slice(&message_type.0.to_le_bytes());
            // Messages without a body are complete with eight bytes.
            if length == 8
                && [
                    MessageType::ALL_OFFERS_DELIVERED,
                    MessageType::UNLOAD_RESPONSE,
                    MessageType::PAUSE_RESPONSE,
                ]
                .contains(message_type)
            {
                continue;
            }
            assert!(script.connection.handle_message(&bytes[..length]).is_err());
            dropped += 1;
        }
    }
    assert_eq!(script.connection.counters().malformed, dropped);
    assert_eq!(script.events(), []);
    assert_eq!(script.types(), []);
    script
        .send(opened(channel, open_id, ReplyStatus::SUCCESS))
        .unwrap();
}

#[test]
fn fault_28_replies_for_strangers() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let other = script.offer(scsi(2, 2));
    let stranger = ChannelKey {
        id: ChannelId(77),
        generation: 0,
    };
    let ok = ReplyStatus::SUCCESS;
    let unknown = GpadlId(0x1234);
    // Nothing has been asked for.
    assert!(unexpected(script.send(opened(channel, 1, ok))));
    assert!(unexpected(script.send(opened(stranger, 1, ok))));
    assert!(unexpected(script.send(created(channel, unknown, ok))));
    assert!(unexpected(script.send(torndown(unknown))));
    // Something has, but not this.
    let gpadl = script
        .connection
        .create_gpadl(channel, pages_list(4), LATE)
        .unwrap();
    script.posted();
    assert!(unexpected(script.send(created(other, gpadl, ok))));
    assert!(unexpected(script.send(created(channel, unknown, ok))));
    assert!(unexpected(script.send(torndown(gpadl))));
    script.send(created(channel, gpadl, ok)).unwrap();
    assert!(unexpected(script.send(created(channel, gpadl, ok))));
    assert!(unexpected(script.send(torndown(gpadl))));
    let open_id = script.open_request(channel, gpadl);
    assert!(unexpected(script.send(opened(channel, open_id + 1, ok))));
    assert!(unexpected(script.send(opened(other, open_id, ok))));
    script.send(opened(channel, open_id, ok)).unwrap();
    assert!(unexpected(script.send(opened(channel, open_id, ok))));
    assert!(unexpected(script.send(opened(
        channel,
        open_id,
        ReplyStatus::FAILED
    ))));
    assert!(unexpected(script.send(accept(ProtocolVersion::V5_3))));
    assert!(unexpected(script.send(VersionResponse::UNSUPPORTED)));
    let counters = *script.connection.counters();
    assert_eq!(counters.unexpected + counters.unknown_channel, 15);
    assert_eq!(counters.dropped(), 15);
    assert_eq!(
        script.events(),
        [
            Event::GpadlCreated {
                gpadl,
                result: Ok(())
            },
            Event::Opened {
                channel,
                result: Ok(())
            }
        ]
    );
    assert_eq!(
        script.connection.channel(channel).unwrap().phase,
        ChannelPhase::Open
    );
}

#[test]
fn fault_21_replies_after_the_end() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    let gpadl = script.open(channel);
    script.connection.close(channel, LATE);
    script.posted();
    script.send(torndown(gpadl)).unwrap();
    assert!(unexpected(script.send(opened(
        channel,
        1,
        ReplyStatus::SUCCESS
    ))));
    assert!(unexpected(script.send(created(
        channel,
        gpadl,
        ReplyStatus::SUCCESS
    ))));
    script.send(rescind(channel)).unwrap();
    script.events();
    assert_eq!(script.types(), [13]);
    assert!(unexpected(script.send(opened(
        channel,
        1,
        ReplyStatus::SUCCESS
    ))));
    assert!(unexpected(script.send(torndown(gpadl))));
    assert_eq!(script.events(), []);
}

/// Nothing is handled before there is a connection.
#[test]
fn messages_without_a_connection() {
    let mut script = Script::new(ConnectionOptions::default());
    assert!(unexpected(script.send(scsi(1, 1))));
    assert!(unexpected(script.send(AllOffersDelivered {})));
    script.connection.connect(LATE);
    assert!(unexpected(script.send(scsi(1, 1))));
    assert_eq!(script.connection.channels().count(), 0);
    assert_eq!(
        script.connection.unload(LATE),
        Err(RequestError::Disconnected)
    );
}
