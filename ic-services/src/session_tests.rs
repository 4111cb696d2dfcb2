//! The services' common framing and the two services, as a host sees them.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::heartbeat::Heartbeat;
use crate::service::Service;
use crate::shutdown::{Action, OperatingSystem, Order, Shutdown};
use crate::wire::HEADER_LENGTH;
use crate::wire::{ApplicationState, SHUTDOWN_TEXT_LENGTH};

/// Builds a packet's payload as a host does.
pub(crate) fn payload(
    message_type: MessageType,
    flags: u8,
    transaction_id: u8,
    body: &[u8],
) -> Vec<u8> {
    let header = Header {
        framework: Version::default(),
        message_type,
        version: Version::default(),
        size: (body.len() as u16).into(),
        status: Status::OK,
        transaction_id,
        flags,
        reserved: 0.into(),
    };
    let size = HEADER_LENGTH + body.len();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&pipe::emit(size).unwrap());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn negotiation(frameworks: &[Version], versions: &[Version]) -> Vec<u8> {
    let mut body = Vec::new();
    let counts = Negotiate {
        framework_count: (frameworks.len() as u16).into(),
        version_count: (versions.len() as u16).into(),
        reserved: 0.into(),
    };
    body.extend_from_slice(counts.as_bytes());
    body.extend_from_slice(frameworks.as_bytes());
    body.extend_from_slice(versions.as_bytes());
    payload(MessageType::NEGOTIATE, 3, 7, &body)
}

fn header(payload: &[u8]) -> Header {
    Header::read_from_prefix(&payload[PIPE_HEADER_LENGTH..])
        .unwrap()
        .0
}

fn counts(payload: &[u8]) -> (u16, u16) {
    let (counts, _) = Negotiate::read_from_prefix(&payload[28..]).unwrap();
    (counts.framework_count.get(), counts.version_count.get())
}

fn v(major: u16, minor: u16) -> Version {
    Version::new(major, minor)
}

struct System {
    hibernates: bool,
}

impl OperatingSystem for System {
    fn can(&self, action: Action) -> bool {
        self.hibernates || action != Action::Hibernate
    }
}

fn shutdown() -> Shutdown<System> {
    let mut service = Shutdown::new(System { hibernates: true });
    service
        .handle(&mut negotiation(&[v(1, 0), v(3, 0)], &[v(3, 0), v(3, 2)]))
        .unwrap();
    service
}

pub(crate) fn heartbeat() -> Heartbeat {
    let mut service = Heartbeat::new();
    service
        .handle(&mut negotiation(&[v(1, 0), v(3, 0)], &[v(1, 0), v(3, 0)]))
        .unwrap();
    service
}

fn order(service: &mut Shutdown<System>, flags: u32) -> (Status, Option<Order>) {
    let mut body = vec![0; 12 + SHUTDOWN_TEXT_LENGTH];
    body[..4].copy_from_slice(&0x8000_0000u32.to_le_bytes());
    body[4..8].copy_from_slice(&30u32.to_le_bytes());
    body[8..12].copy_from_slice(&flags.to_le_bytes());
    let mut packet = payload(MessageType::SHUTDOWN, 3, 0, &body);
    let order = service.handle(&mut packet).unwrap();
    (header(&packet).status, order)
}

// C1g
#[test]
fn the_best_common_versions_are_chosen() {
    let mut service = Shutdown::new(System { hibernates: false });
    let mut packet = negotiation(&[v(1, 0), v(3, 0)], &[v(3, 0), v(3, 2)]);
    let length = packet.len();
    assert_eq!(service.handle(&mut packet), Ok(None));
    assert_eq!(packet.len(), length);
    assert_eq!(counts(&packet), (1, 1));
    let reply = header(&packet);
    assert_eq!(
        (reply.flags, reply.transaction_id, reply.status),
        (5, 7, Status::OK)
    );
    assert_eq!(reply.size.get(), 16);
    assert_eq!(packet[36..44], [3, 0, 0, 0, 3, 0, 2, 0]);
    let agreement = service.session().agreement().unwrap();
    assert_eq!((agreement.framework, agreement.version), (v(3, 0), v(3, 2)));
}

// C2g
#[test]
fn without_a_common_version_later_requests_are_dropped() {
    let mut service = Heartbeat::new();
    let mut packet = negotiation(&[v(3, 0)], &[v(9, 9)]);
    assert_eq!(service.handle(&mut packet), Ok(None));
    assert_eq!(counts(&packet), (0, 0));
    let mut beat = payload(MessageType::HEARTBEAT, 3, 0, &[0; 16]);
    assert_eq!(service.handle(&mut beat), Err(Dropped::NotNegotiated));
    assert_eq!(service.session().dropped(), 1);
}

// C3g
#[test]
fn fault_74_counts_of_a_negotiation() {
    for (frameworks, versions) in [
        (101, 1),
        (1, 101),
        (0, 0),
        (100, 100),
        (u16::MAX, u16::MAX),
        (u16::MAX, 0),
    ] {
        let mut service = Heartbeat::new();
        let mut packet = negotiation(&[v(3, 0)], &[v(3, 0)]);
        packet[28..30].copy_from_slice(&frameworks.to_le_bytes());
        packet[30..32].copy_from_slice(&versions.to_le_bytes());
        assert_eq!(
            service.handle(&mut packet),
            Ok(None),
            "{frameworks}/{versions}"
        );
        assert_eq!(counts(&packet), (0, 0), "{frameworks}/{versions}");
        assert_eq!(service.session().agreement(), None);
    }
    // A body too short for its own answer.
    for length in 0..16 {
        let mut packet = payload(MessageType::NEGOTIATE, 3, 0, &vec![0xFF; length]);
        assert_eq!(Heartbeat::new().handle(&mut packet), Ok(None), "{length}");
    }
}

// C4g
#[test]
fn a_second_negotiation_resets() {
    let mut service = heartbeat();
    assert_eq!(service.session().agreement().unwrap().version, v(3, 0));
    service
        .handle(&mut negotiation(&[v(1, 0)], &[v(1, 0)]))
        .unwrap();
    assert_eq!(service.session().agreement().unwrap().version, v(1, 0));
    service
        .handle(&mut negotiation(&[v(8, 0)], &[v(1, 0)]))
        .unwrap();
    assert_eq!(service.session().agreement(), None);
}

// C5g
#[test]
fn fault_75_message_size_against_the_buffer() {
    let mut service = heartbeat();
    let good = payload(MessageType::HEARTBEAT, 3, 0, &[0; 16]);
    for size in [0, 1, 19, 41, 1000, u32::MAX] {
        let mut packet = good.clone();
        packet[4..8].copy_from_slice(&u32::to_le_bytes(size));
        assert!(service.handle(&mut packet).is_err(), "{size}");
    }
    for size in [17, u16::MAX] {
        let mut packet = good.clone();
        packet[18..20].copy_from_slice(&size.to_le_bytes());
        assert_eq!(service.handle(&mut packet), Err(Dropped::BodySize(size)));
    }
    // The four bytes after the frame are only padding.
    for length in 0..good.len() - 4 {
        assert!(
            service.handle(&mut good[..length].to_vec()).is_err(),
            "{length}"
        );
    }
    let mut packet = good.clone();
    packet[0] = 2;
    assert_eq!(
        service.handle(&mut packet),
        Err(Dropped::Pipe(PipeError::UnknownType { frame_type: 2 }))
    );
    assert!(
        service.handle(&mut good.clone()).is_ok(),
        "the service goes on"
    );
}

#[test]
fn fault_76_direction_and_flags() {
    let mut service = heartbeat();
    for flags in [0, 1, 4, 5, 6, 7, 0xFD] {
        let mut packet = payload(MessageType::HEARTBEAT, flags, 0, &[0; 16]);
        assert_eq!(service.handle(&mut packet), Err(Dropped::Flags(flags)));
    }
    assert_eq!(service.beats(), 0);
}

// C9g
#[test]
fn a_message_of_another_service_is_refused() {
    let mut packet = payload(MessageType::KVP, 3, 9, &[0; 16]);
    assert_eq!(heartbeat().handle(&mut packet), Ok(None));
    let reply = header(&packet);
    assert_eq!(
        (reply.status, reply.transaction_id, reply.flags),
        (Status::FAIL, 9, 5)
    );
}

// HB1g, HB4h
#[test]
fn fault_77_heartbeat_sequence_jumps() {
    let mut service = heartbeat();
    for sequence in [0, 1, 77, 5, u64::MAX, 1 << 63] {
        let mut body = [0xA5; 40];
        body[..8].copy_from_slice(&sequence.to_le_bytes());
        let mut packet = payload(MessageType::HEARTBEAT, 3, 0, &body);
        assert!(service.handle(&mut packet).is_ok());
        assert_eq!(packet[28..36], sequence.wrapping_add(1).to_le_bytes());
        assert_eq!(packet[36..40], ApplicationState::HEALTHY.0.to_le_bytes());
        assert_eq!(packet[40..68], body[12..], "the rest is echoed");
    }
    service.set_application_state(ApplicationState::CRITICAL);
    let mut packet = payload(MessageType::HEARTBEAT, 3, 0, &[0; 16]);
    service.handle(&mut packet).unwrap();
    assert_eq!(packet[36], 2);
    assert_eq!(service.beats(), 7);
}

// HB2g
#[test]
fn a_heartbeat_needs_its_sequence_only() {
    let mut service = heartbeat();
    let mut packet = payload(MessageType::HEARTBEAT, 3, 0, &[41, 0, 0, 0, 0, 0, 0, 0]);
    service.handle(&mut packet).unwrap();
    assert_eq!(packet[28..36], 42u64.to_le_bytes());
    let mut packet = payload(MessageType::HEARTBEAT, 3, 0, &[0; 7]);
    assert_eq!(service.handle(&mut packet), Err(Dropped::ShortBody(7)));
}

// SD1g
#[test]
fn fault_79_shutdown_flags() {
    for (flags, action, force) in [
        (0, Action::PowerOff, false),
        (1, Action::PowerOff, true),
        (2, Action::Restart, false),
        (3, Action::Restart, true),
        (4, Action::Hibernate, false),
        (5, Action::Hibernate, true),
    ] {
        let (status, order) = order(&mut shutdown(), flags);
        assert_eq!(status, Status::OK);
        let expected = Order {
            action,
            force,
            reason: 0x8000_0000,
            timeout_seconds: 30,
        };
        assert_eq!(order, Some(expected), "flags {flags}");
    }
    for flags in [6, 7, 8, 9, 0x8000_0000, u32::MAX] {
        assert_eq!(
            order(&mut shutdown(), flags),
            (Status::FAIL, None),
            "flags {flags}"
        );
    }
}

#[test]
fn fault_79_repeated_shutdown_acts_once() {
    let mut service = shutdown();
    assert!(order(&mut service, 0).1.is_some());
    assert_eq!(order(&mut service, 0), (Status::OK, None));
    assert_eq!(order(&mut service, 2), (Status::OK, None));
    service.order_failed();
    assert!(order(&mut service, 0).1.is_some());
}

#[test]
fn fault_79_shutdown_text_is_never_read() {
    let mut service = shutdown();
    // Lone surrogates, no terminator, a format string's worth of percent signs: all the same to us.
    let mut body = vec![0xD8; 12 + SHUTDOWN_TEXT_LENGTH];
    body[8..12].copy_from_slice(&[0; 4]);
    let mut packet = payload(MessageType::SHUTDOWN, 3, 0, &body);
    assert_eq!(
        service
            .handle(&mut packet)
            .unwrap()
            .map(|order| order.action),
        Some(Action::PowerOff)
    );
    // Hosts without the text are accepted, those without the flags aren't.
    assert!(
        shutdown()
            .handle(&mut payload(MessageType::SHUTDOWN, 3, 0, &[0; 12]))
            .unwrap()
            .is_some()
    );
    // SD3g
    let mut short = payload(MessageType::SHUTDOWN, 3, 0, &[0; 11]);
    assert_eq!(shutdown().handle(&mut short), Err(Dropped::ShortBody(11)));
}

// SD5g
#[test]
fn what_the_system_cannot_do_is_refused() {
    let mut service = Shutdown::new(System { hibernates: false });
    service
        .handle(&mut negotiation(&[v(3, 0)], &[v(3, 2)]))
        .unwrap();
    assert_eq!(order(&mut service, 4), (Status::FAIL, None));
    assert!(order(&mut service, 0).1.is_some());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), negotiated in any::<bool>()) {
        let (mut beat, mut down) = (Heartbeat::new(), Shutdown::new(System { hibernates: true }));
        if negotiated {
            (beat, down) = (heartbeat(), shutdown());
        }
        let _ = beat.handle(&mut bytes.clone());
        let _ = down.handle(&mut bytes.clone());
    }

    #[test]
    fn a_damaged_message_changes_no_length(index in 0usize..60, value in any::<u8>()) {
        let mut packet = payload(MessageType::HEARTBEAT, 3, 0, &[0; 32]);
        packet[index] = value;
        let length = packet.len();
        let _ = heartbeat().handle(&mut packet);
        prop_assert_eq!(packet.len(), length);
    }
}
