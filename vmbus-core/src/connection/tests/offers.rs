use super::*;
use crate::protocol::MessageType;

#[test]
fn offers_are_kept_and_named() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let first = script.offer(scsi(1, 1));
    let last = script.offer(scsi(2047, 2));
    assert_eq!(first.id(), ChannelId(1));
    assert_eq!(script.connection.offer(last), Some(&scsi(2047, 2)));
    assert_eq!(script.connection.channels().count(), 2);
    script.send(AllOffersDelivered {}).unwrap();
    assert_eq!(script.events(), [Event::AllOffersDelivered]);
    assert_eq!(script.types(), [], "an offer is not answered");
    assert!(unexpected(script.send(AllOffersDelivered {})));
}

/// Statement 9.
#[test]
fn fault_26_offer_after_all_offers_delivered() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    script.send(AllOffersDelivered {}).unwrap();
    script.events();
    let late = script.offer(scsi(9, 9));
    script.open(late);
}

#[test]
fn fault_24_duplicate_offer() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let channel = script.offer(scsi(1, 1));
    script.open(channel);
    let before = *script.connection.offer(channel).unwrap();
    assert_eq!(
        script.send(scsi(1, 7)),
        Err(MessageError::DuplicateChannel {
            channel_id: ChannelId(1)
        })
    );
    // The same device under another id.
    assert_eq!(
        script.send(scsi(2, 1)),
        Err(MessageError::DuplicateDevice {
            instance: Guid::from_bytes([1; 16])
        })
    );
    assert_eq!(script.connection.offer(channel), Some(&before));
    assert_eq!(script.connection.channels().count(), 1);
    assert_eq!(script.connection.counters().duplicate_offers, 2);
    assert_eq!(script.events(), []);
}

#[test]
fn fault_24_id_is_used_again_after_its_release_only() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let old = script.offer(scsi(1, 1));
    script.send(rescind(old)).unwrap();
    // The owner has not heard of the rescind.
    assert!(script.send(scsi(1, 1)).is_err());
    assert_eq!(script.events(), [gone(old, Departure::Rescinded)]);
    // The release has not been posted.
    assert!(script.send(scsi(1, 1)).is_err());
    assert_eq!(script.types(), [13]);
    let new = script.offer(scsi(1, 1));
    assert_ne!(old, new);
    assert_eq!(script.connection.offer(old), None);
    // A device that comes back under another id need not wait.
    script.send(rescind(new)).unwrap();
    script.send(scsi(2, 1)).unwrap();
}

#[test]
fn fault_25_channel_ids_out_of_range() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    for id in [0, 2048, 65535, 65536, u32::MAX] {
        let channel_id = ChannelId(id);
        let message_type = MessageType::OFFER_CHANNEL;
        assert_eq!(
            script.send(scsi(id, 1)),
            Err(MessageError::InvalidChannel {
                message_type,
                channel_id
            })
        );
        assert_eq!(
            script.send(RescindChannelOffer { channel_id }),
            Err(MessageError::InvalidChannel {
                message_type: MessageType::RESCIND_CHANNEL_OFFER,
                channel_id
            })
        );
        assert!(
            script
                .send(OpenChannelResult {
                    channel_id,
                    open_id: 1,
                    status: ReplyStatus::SUCCESS
                })
                .is_err()
        );
        assert!(
            script
                .send(GpadlCreated {
                    channel_id,
                    gpadl_id: GpadlId(1),
                    status: ReplyStatus::SUCCESS
                })
                .is_err()
        );
    }
    assert_eq!(script.connection.counters().unknown_channel, 20);
    assert_eq!(script.events(), []);
    assert_eq!(script.types(), []);
}

#[test]
fn offers_that_contradict_the_protocol() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let mut offer = scsi(1, 1);
    offer.monitor_id = Some(128);
    assert_eq!(
        script.send(offer),
        Err(MessageError::InvalidOffer {
            field: "monitor id",
            value: 128
        })
    );
    offer.monitor_id = Some(127);
    offer.connection_id = 0xFF00_0000;
    assert_eq!(
        script.send(offer),
        Err(MessageError::InvalidOffer {
            field: "connection id",
            value: 0xFF00_0000
        })
    );
    offer.dedicated_interrupt = false;
    script.offer(offer);
    assert_eq!(script.connection.counters().invalid_offers, 2);
}

#[test]
fn fault_34_sub_channel_index_lies() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let orphan = Err(MessageError::InvalidOffer {
        field: "sub-channel index",
        value: 1,
    });
    assert_eq!(script.send(sub(7, 1, 1)), orphan, "no primary channel");
    let primary = script.offer(scsi(1, 1));
    let other = script.offer(scsi(2, 2));
    let second = script.offer(sub(3, 1, 2));
    let first = script.offer(sub(4, 1, 1));
    assert_eq!(script.send(sub(5, 1, 1)), orphan, "index is in use");
    let view = |key| script.connection.channel(key).unwrap();
    assert_eq!(view(first).primary, Some(primary));
    assert_eq!(view(second).primary, Some(primary));
    assert_eq!(view(primary).primary, None);
    assert_eq!(view(other).primary, None);
    // More than anybody has asked for stay closed, but are bounded by the ids that there are.
    for index in 3..=2043 {
        script.offer(sub(u32::from(index) + 4, 1, index));
    }
    assert_eq!(script.connection.channels().count(), 2045);
    // Before 2.4 there are no sub-channels.
    let mut script = Script::connected(ProtocolVersion::V1_1);
    script.offer(scsi(1, 1));
    assert_eq!(script.send(sub(3, 1, 1)), orphan);
}

#[test]
fn fault_33_offer_flood() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let mut accepted = 0;
    for round in 0..100_000u32 {
        let mut offer = scsi(round % 3000, 0);
        offer.instance = Guid::from_fields(round, 0, 0, [0; 8]);
        if script.send(offer).is_ok() {
            accepted += 1;
        }
    }
    assert_eq!(accepted, 2047);
    assert_eq!(script.connection.channels.len(), 2047);
    assert_eq!(script.connection.events.len(), 2047);
    assert_eq!(script.connection.counters().received, 100_001);
    assert_eq!(script.connection.counters().dropped(), 100_000 - 2047);
}

/// The same with rescinds between, against an owner who polls neither, only messages, or everything.
#[test]
fn fault_33_flood_of_offers_and_rescinds() {
    for owner in 0..3 {
        let mut script = Script::connected(ProtocolVersion::V5_3);
        for round in 0..100_000u32 {
            let id = round % 3000;
            let mut offer = scsi(id, 0);
            offer.instance = Guid::from_fields(round, 0, 0, [0; 8]);
            let _ = script.send(offer);
            let _ = script.send(RescindChannelOffer {
                channel_id: ChannelId(id),
            });
            if owner > 0 {
                while script.connection.poll_outgoing().is_some() {}
            }
            if owner > 1 {
                while script.connection.poll_event().is_some() {}
            }
            assert!(script.connection.channels.len() <= 2047);
            assert!(script.connection.events.len() <= 2 * 2047);
            assert!(script.connection.queue.len() <= 2047);
        }
    }
}

/// Statement 36.
#[test]
fn bytes_behind_an_offer_are_ignored() {
    let mut script = Script::connected(ProtocolVersion::V5_3);
    let mut buffer = MessageBuffer::new();
    HostMessage::from(scsi(1, 1)).emit(&mut buffer);
    assert_eq!(buffer.as_bytes().len(), 196);
    let mut long = vec![0xFF; 240];
    long[..196].copy_from_slice(buffer.as_bytes());
    script.connection.handle_message(&long).unwrap();
    assert!(matches!(script.events()[..], [Event::Offered(key)]
        if script.connection.offer(key) == Some(&scsi(1, 1))));
}
