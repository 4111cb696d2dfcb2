//! The host's framing against our guest's services and against lies.

use ic_services::heartbeat::Heartbeat;
use ic_services::service::Service as _;
use proptest::prelude::*;

use super::*;

fn offered() -> Offered {
    let list = [Version::new(1, 0), Version::new(3, 0)];
    Offered {
        message_type: MessageType::HEARTBEAT,
        versions: ServiceVersions::new(list.to_vec(), list.to_vec()).unwrap(),
    }
}

fn negotiated() -> (Session, Heartbeat) {
    let (mut host, mut guest) = (Session::new(offered()), Heartbeat::new());
    let mut packet = host.negotiation().unwrap();
    host.negotiation_sent();
    guest.handle(&mut packet).unwrap();
    assert_eq!(
        host.receive(&packet),
        Ok(Reply::Negotiated(Version::new(3, 0)))
    );
    (host, guest)
}

#[test]
fn both_ends_agree_and_exchange() {
    let (mut host, mut guest) = negotiated();
    assert!(host.negotiation().is_none());
    let mut packet = host.request(&[9; 16]).unwrap();
    host.request_sent();
    assert!(
        host.request(&[9; 16]).is_none(),
        "one transaction at a time"
    );
    guest.handle(&mut packet).unwrap();
    assert!(
        matches!(host.receive(&packet), Ok(Reply::Answer { status: Status::OK, body }) if body[0] == 10)
    );
    assert!(host.is_ready());
}

// C6h
#[test]
fn fault_74_answers_of_the_guest_with_wrong_counts_or_versions() {
    for (at, value, fault) in [
        (28, 0, SessionFault::NoVersion(0, 1)),
        (30, 2, SessionFault::NoVersion(1, 2)),
        (
            36,
            9,
            SessionFault::NotOffered(Version::new(9, 0), Version::new(3, 0)),
        ),
        (
            42,
            7,
            SessionFault::NotOffered(Version::new(3, 0), Version::new(3, 7)),
        ),
    ] {
        let (mut host, mut guest) = (Session::new(offered()), Heartbeat::new());
        let mut packet = host.negotiation().unwrap();
        host.negotiation_sent();
        guest.handle(&mut packet).unwrap();
        packet[at] = value;
        assert_eq!(host.receive(&packet), Err(fault));
        assert!(!host.is_ready());
        assert_eq!(
            host.receive(&packet),
            Err(fault),
            "until the channel is opened again"
        );
    }
}

#[test]
fn fault_75_reply_sizes() {
    let (mut host, _) = negotiated();
    let good = host.request(&[0; 16]).unwrap();
    for length in 0..good.len() {
        let (mut host, _) = negotiated();
        let mut packet = good[..length].to_vec();
        if let Some(flags) = packet.get_mut(25) {
            *flags = 5;
        }
        assert!(host.receive(&packet).is_err(), "{length}");
    }
    let mut packet = good;
    packet[18..20].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(host.receive(&packet).is_err());
}

// C8h
#[test]
fn fault_76_replies_with_the_flags_of_a_request() {
    for (flags, transaction_id) in [(3, 0), (4, 0), (1, 0), (0, 0), (5, 1)] {
        let (mut host, _) = negotiated();
        let mut packet = host.request(&[0; 16]).unwrap();
        host.request_sent();
        (packet[24], packet[25]) = (transaction_id, flags);
        assert_eq!(
            host.receive(&packet),
            Err(SessionFault::NotAReply {
                flags,
                transaction_id
            })
        );
    }
}

// C7h
#[test]
fn stale_answers_during_negotiation_are_forgotten() {
    let (mut old, mut guest) = negotiated();
    let mut answer = old.request(&[0; 16]).unwrap();
    old.request_sent();
    guest.handle(&mut answer).unwrap();
    let mut host = Session::new(offered());
    let mut packet = host.negotiation().unwrap();
    host.negotiation_sent();
    assert_eq!(host.receive(&answer), Ok(Reply::Stale));
    guest.handle(&mut packet).unwrap();
    assert!(matches!(host.receive(&packet), Ok(Reply::Negotiated(_))));
}

#[test]
fn fault_84_late_answers_after_a_new_start_are_forgotten() {
    let (mut host, mut guest) = negotiated();
    let mut late = host.request(&[9; 16]).unwrap();
    host.request_sent();
    guest.handle(&mut late).unwrap();
    host.restart();
    assert!(!host.is_negotiated());
    assert!(host.request(&[9; 16]).is_none());
    assert_eq!(host.receive(&late), Ok(Reply::Stale), "before it is sent");
    let mut packet = host.negotiation().unwrap();
    host.negotiation_sent();
    assert_eq!(host.receive(&late), Ok(Reply::Stale), "and after");
    guest.handle(&mut packet).unwrap();
    assert!(matches!(host.receive(&packet), Ok(Reply::Negotiated(_))));
    assert_eq!(host.receive(&late), Err(SessionFault::Unexpected(1)));
    host.restart();
    assert!(host.negotiation().is_none(), "a fault ends it for good");
}

#[test]
fn an_answer_that_nothing_asked_for_is_a_fault() {
    let (mut host, mut guest) = negotiated();
    let mut packet = host.request(&[0; 16]).unwrap();
    guest.handle(&mut packet).unwrap();
    assert_eq!(host.receive(&packet), Err(SessionFault::Unexpected(1)));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (mut host, _) = negotiated();
        host.request_sent();
        let _ = host.receive(&bytes);
    }
}
