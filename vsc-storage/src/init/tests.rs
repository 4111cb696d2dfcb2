//! Initialisation against a scripted host.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::testing::{Link, Sent};
use crate::wire::ChannelProperties;

fn properties(max_transfer_bytes: u32, max_sub_channels: u16, flags: u32) -> ChannelProperties {
    ChannelProperties {
        max_sub_channels: max_sub_channels.into(),
        flags: flags.into(),
        max_transfer_bytes: max_transfer_bytes.into(),
        ..ChannelProperties::default()
    }
}

/// What a host that serves versions up to `newest` answers.
fn answer(sent: &Sent, newest: Version, offer: &ChannelProperties) -> Packet {
    let request = sent.packet();
    let mut reply = request.completion(NtStatus::SUCCESS);
    match request.operation() {
        Operation::QUERY_PROTOCOL_VERSION => {
            let payload = request.version().unwrap();
            reply.set_payload(&payload);
            if Version::try_from(payload.version.get()).is_ok_and(|version| version > newest) {
                reply.set_status(NtStatus::REVISION_MISMATCH);
            }
        }
        Operation::QUERY_PROPERTIES => reply.set_payload(offer),
        _ => {}
    }
    reply
}

/// Runs an initialisation; returns its result and the operations that the host saw.
fn run(
    options: InitOptions,
    mut host: impl FnMut(&Sent) -> Packet,
) -> (Result<Negotiated, InitError>, Vec<Sent>) {
    let mut link = Link::new(4096);
    let mut init = Initialisation::new(options);
    let mut seen = Vec::new();
    loop {
        let _ = init.send(&mut link.outgoing).unwrap();
        let sent = link.host.take();
        assert_eq!(sent.len(), 1, "one message outstanding at a time");
        let sent = sent.into_iter().next().unwrap();
        assert!(sent.completion_requested && sent.range.is_none());
        let reply = host(&sent);
        link.host.complete(sent.id, &reply);
        seen.push(sent);
        let mut result = None;
        link.deliver(|packet| result = Some(init.receive(packet)));
        match result.unwrap() {
            Ok(Progress::Send) => {}
            Ok(Progress::Ready(negotiated)) => return (Ok(negotiated), seen),
            Ok(Progress::Ignored) => panic!("an answer was ignored"),
            Err(error) => {
                assert_eq!(init.step(), None);
                return (Err(error), seen);
            }
        }
    }
}

fn operations(seen: &[Sent]) -> Vec<u32> {
    seen.iter().map(|sent| sent.operation().0).collect()
}

#[test]
fn g1_messages_go_out_in_order_64_bytes_each() {
    let offer = properties(0x4_0000, 3, 1);
    let options = InitOptions {
        sub_channels: 2,
        ..InitOptions::default()
    };
    let (result, seen) = run(options, |sent| answer(sent, Version::Win10, &offer));
    assert_eq!(operations(&seen), [7, 9, 10, 8, 13]);
    assert!(seen.iter().all(|sent| sent.payload.len() == 64));
    assert_eq!(seen[4].packet().sub_channels().unwrap().count, 2);
    assert_eq!(
        result.unwrap(),
        Negotiated {
            version: Version::Win10,
            max_transfer_bytes: 0x4_0000,
            offered_sub_channels: 3,
            sub_channels: 2,
            names: None,
        }
    );
}

#[test]
fn g2_every_version_is_reached_by_refusals() {
    for (newest, queries, size) in [
        (Version::Win10, 1, 64),
        (Version::Win8_1, 2, 64),
        (Version::Win8, 3, 64),
        (Version::Win7, 4, 48),
        (Version::Win6, 5, 48),
    ] {
        let offer = properties(0x4_0000, 0, 0);
        let (result, seen) = run(InitOptions::default(), |sent| answer(sent, newest, &offer));
        assert_eq!(result.unwrap().version, newest);
        let proposed: Vec<_> = seen
            .iter()
            .filter(|sent| sent.operation() == Operation::QUERY_PROTOCOL_VERSION)
            .map(|sent| sent.packet().version().unwrap().version.get())
            .collect();
        assert_eq!(
            proposed,
            [0x0602, 0x0600, 0x0501, 0x0402, 0x0200][..queries]
        );
        assert_eq!(seen.last().unwrap().payload.len(), size);
    }
}

#[test]
fn g3_all_versions_refused_is_a_clean_failure() {
    let (result, seen) = run(InitOptions::default(), |sent| {
        let mut reply = sent.packet().completion(NtStatus::SUCCESS);
        if sent.operation() == Operation::QUERY_PROTOCOL_VERSION {
            reply.set_status(NtStatus::REVISION_MISMATCH);
        }
        reply
    });
    assert_eq!(
        result,
        Err(InitError::NoCommonVersion {
            status: NtStatus::REVISION_MISMATCH
        })
    );
    assert_eq!(operations(&seen), [7, 9, 9, 9, 9, 9]);
    let oldest_only = InitOptions {
        newest: Version::Win8,
        oldest: Version::Win8,
        ..InitOptions::default()
    };
    let (_, seen) = run(oldest_only, |sent| {
        let mut reply = sent.packet().completion(NtStatus::SUCCESS);
        if sent.operation() == Operation::QUERY_PROTOCOL_VERSION {
            reply.set_status(NtStatus::REVISION_MISMATCH);
        }
        reply
    });
    assert_eq!(operations(&seen), [7, 9]);
}

#[test]
fn g4_wrong_operation_status_and_length_fail_at_each_step() {
    let offer = properties(0x4_0000, 0, 0);
    for (index, step) in [
        InitStep::Begin,
        InitStep::Version(Version::Win10),
        InitStep::Properties,
        InitStep::End,
    ]
    .into_iter()
    .enumerate()
    {
        let mut count = 0;
        let mut at_step = |sent: &Sent, bad: Packet| {
            count += 1;
            if count == index + 1 {
                bad
            } else {
                answer(sent, Version::Win10, &offer)
            }
        };
        let wrong = Packet::new(
            Operation::EXECUTE_SRB,
            PacketFlags::empty(),
            NtStatus::SUCCESS,
            52,
        );
        let (result, _) = run(InitOptions::default(), |sent| at_step(sent, wrong));
        assert_eq!(
            result,
            Err(InitError::WrongOperation {
                step,
                operation: Operation::EXECUTE_SRB
            })
        );
        let mut count = 0;
        let (result, _) = run(InitOptions::default(), |sent| {
            count += 1;
            if count == index + 1 {
                Packet::new(
                    Operation::COMPLETE_IO,
                    PacketFlags::empty(),
                    NtStatus::SUCCESS,
                    36,
                )
            } else {
                answer(sent, Version::Win10, &offer)
            }
        });
        assert_eq!(
            result,
            Err(InitError::ShortReply {
                step,
                length: 48,
                needed: 64
            })
        );
        if matches!(step, InitStep::Version(_)) {
            continue;
        }
        let mut count = 0;
        let (result, _) = run(InitOptions::default(), |sent| {
            count += 1;
            let mut reply = answer(sent, Version::Win10, &offer);
            if count == index + 1 {
                reply.set_status(NtStatus::INVALID_DEVICE_STATE);
            }
            reply
        });
        assert_eq!(
            result,
            Err(InitError::Refused {
                step,
                status: NtStatus::INVALID_DEVICE_STATE
            })
        );
    }
}

#[test]
fn g4_a_missing_answer_fails_and_a_late_one_changes_nothing() {
    let mut link = Link::new(4096);
    let mut init = Initialisation::new(InitOptions::default());
    let _ = init.send(&mut link.outgoing).unwrap();
    let error = InitError::NoAnswer {
        step: InitStep::Begin,
    };
    assert_eq!(init.time_out(), Err(error));
    let sent = link.host.take().remove(0);
    link.host
        .complete(sent.id, &sent.packet().completion(NtStatus::SUCCESS));
    let mut late = None;
    link.deliver(|packet| late = Some(init.receive(packet)));
    assert_eq!(late, Some(Err(error)));
}

#[test]
fn g5_sub_channels_are_asked_for_only_when_offered_and_are_optional() {
    let wants = InitOptions {
        sub_channels: 4,
        ..InitOptions::default()
    };
    for (offer, newest) in [
        (properties(0x4_0000, 4, 0), Version::Win10),
        (properties(0x4_0000, 0, 1), Version::Win10),
        (properties(0x4_0000, 4, 1), Version::Win7),
    ] {
        let (result, seen) = run(wants, |sent| answer(sent, newest, &offer));
        assert_eq!(result.unwrap().sub_channels, 0);
        assert!(!operations(&seen).contains(&13));
    }
    let offer = properties(0x4_0000, 8, 1);
    for bad in [
        Packet::new(
            Operation::COMPLETE_IO,
            PacketFlags::empty(),
            NtStatus::INVALID_PARAMETER,
            52,
        ),
        Packet::new(
            Operation::REMOVE_DEVICE,
            PacketFlags::empty(),
            NtStatus::SUCCESS,
            52,
        ),
    ] {
        let (result, seen) = run(wants, |sent| {
            if sent.operation() == Operation::CREATE_SUB_CHANNELS {
                bad
            } else {
                answer(sent, Version::Win10, &offer)
            }
        });
        assert_eq!(result.unwrap().sub_channels, 0);
        assert_eq!(operations(&seen), [7, 9, 10, 8, 13]);
    }
}

#[test]
fn g11_transfer_limits_are_rounded_clamped_or_refused() {
    for (stated, used) in [
        (4096, 4096),
        (5000, 4096),
        (0x4_0000, 0x4_0000),
        (16 << 20, 16 << 20),
        (u32::MAX, 16 << 20),
    ] {
        let offer = properties(stated, 0, 0);
        let (result, _) = run(InitOptions::default(), |sent| {
            answer(sent, Version::Win10, &offer)
        });
        assert_eq!(result.unwrap().max_transfer_bytes, used, "{stated}");
    }
    for stated in [0, 1, 4095] {
        let offer = properties(stated, 0, 0);
        let (result, _) = run(InitOptions::default(), |sent| {
            answer(sent, Version::Win10, &offer)
        });
        assert_eq!(
            result,
            Err(InitError::MaxTransferTooSmall { bytes: stated })
        );
    }
}

#[test]
fn fibre_channel_asks_for_names() {
    let offer = properties(16 << 20, 0, 0);
    let options = InitOptions {
        fibre_channel: true,
        ..InitOptions::default()
    };
    let (result, seen) = run(options, |sent| {
        let mut reply = answer(sent, Version::Win10, &offer);
        if sent.operation() == Operation::FCHBA_DATA {
            reply.set_payload(&crate::wire::FibreChannelNames {
                primary_active: 0,
                reserved: [0; 3],
                primary_port: 1.into(),
                primary_node: 2.into(),
                secondary_port: 3.into(),
                secondary_node: 4.into(),
            });
        }
        reply
    });
    assert_eq!(operations(&seen), [7, 9, 10, 12, 8]);
    let negotiated = result.unwrap();
    assert_eq!(negotiated.names, Some(WorldWideNames { node: 4, port: 3 }));
    assert_eq!(negotiated.max_transfer_bytes, 512 << 10);
}

#[test]
fn the_version_query_has_its_known_bytes() {
    let mut link = Link::new(4096);
    let mut init = Initialisation::new(InitOptions::default());
    let (id, _) = init.request();
    let _ = init.send(&mut link.outgoing).unwrap();
    let sent = link.host.take().remove(0);
    assert_eq!(sent.id, id);
    link.host
        .complete(id, &sent.packet().completion(NtStatus::SUCCESS));
    link.deliver(|packet| assert_eq!(init.receive(packet), Ok(Progress::Send)));
    let mut expected = vec![0; 64];
    expected[..16].copy_from_slice(&[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 6, 0, 0]);
    assert_eq!(init.request().1.as_bytes(), expected);
}

#[test]
fn fault_18_repeated_and_unsolicited_packets_do_not_move_it_on() {
    let mut link = Link::new(4096);
    let mut init = Initialisation::new(InitOptions::default());
    let (id, packet) = init.request();
    let reply = packet.completion(NtStatus::SUCCESS);
    link.host.announce(Operation::ENUMERATE_BUS);
    link.host.complete(0, &reply);
    link.host.complete(id ^ 1, &reply);
    let _ = link.host.send(
        id,
        vmbus_core::packet::OutgoingKind::InBand,
        reply.as_bytes(),
    );
    link.deliver(|packet| assert_eq!(init.receive(packet), Ok(Progress::Ignored)));
    assert_eq!(init.ignored(), 4);
    link.host.complete(id, &reply);
    link.deliver(|packet| assert_eq!(init.receive(packet), Ok(Progress::Send)));
    link.host.complete(id, &reply);
    link.deliver(|packet| assert_eq!(init.receive(packet), Ok(Progress::Ignored)));
    assert_eq!(init.step(), Some(InitStep::Version(Version::Win10)));
}
