//! The queue of requests, step by step.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

#[derive(Clone)]
struct Log(u8, Rc<RefCell<Vec<(u8, RequestError)>>>);

impl Outcome for Log {
    fn fail(self, error: RequestError) {
        self.1.borrow_mut().push((self.0, error));
    }
}

type Failures = Rc<RefCell<Vec<(u8, RequestError)>>>;

fn ready(count: u8) -> (Requests<Log>, Failures) {
    let failures = Failures::default();
    let mut requests = Requests::new();
    requests.opened(PollWaker::new(|| {}));
    requests.negotiated(Version::new(1, 0));
    for number in 0..count {
        requests.submit(vec![number], 100, Log(number, Rc::clone(&failures)));
    }
    (requests, failures)
}

#[test]
fn one_at_a_time_in_order() {
    let (mut requests, failures) = ready(2);
    assert_eq!(requests.next(0), Some(vec![0]));
    assert_eq!(requests.next(0), None);
    assert_eq!(requests.answered().map(|log| log.0), Some(0));
    requests.submit_first(vec![9], 100, Log(9, Rc::clone(&failures)));
    assert_eq!(requests.next(0), Some(vec![9]));
    assert_eq!(requests.answered().map(|log| log.0), Some(9));
    assert_eq!(requests.next(0), Some(vec![1]));
    assert!(failures.borrow().is_empty());
}

#[test]
fn fault_84_what_is_late_ends_the_session() {
    let (mut requests, failures) = ready(2);
    assert_eq!(requests.expiry(), None);
    assert!(requests.next(50).is_some());
    assert_eq!(requests.expiry(), Some(150));
    assert!(!requests.give_up(149));
    assert!(requests.give_up(150));
    assert_eq!(
        *failures.borrow(),
        [(0, RequestError::TimedOut), (1, RequestError::NotReady)]
    );
    assert_eq!(requests.version(), Err(RequestError::NotReady));
    assert!(!requests.give_up(1000));
}

#[test]
fn a_request_that_finds_no_room_keeps_its_deadline() {
    let (mut requests, failures) = ready(1);
    let body = requests.next(0).unwrap();
    requests.unsent(body);
    assert_eq!(requests.next(60), Some(vec![0]));
    requests.unsent(vec![0]);
    assert_eq!(requests.expiry(), Some(100));
    assert!(requests.give_up(100));
    assert_eq!(*failures.borrow(), [(0, RequestError::TimedOut)]);
}

#[test]
fn what_ends_the_service_ends_all_requests() {
    let fault = SessionFault::Short(3);
    let (mut requests, failures) = ready(2);
    requests.next(0);
    requests.failed(fault);
    assert_eq!(failures.borrow().len(), 2);
    assert_eq!(requests.version(), Err(RequestError::GuestFault(fault)));
    let (mut requests, failures) = ready(1);
    requests.closed();
    assert_eq!(*failures.borrow(), [(0, RequestError::Abandoned)]);
    assert_eq!(requests.check_room(), Err(RequestError::NotReady));
    let (mut requests, failures) = ready(1);
    requests.next(0);
    requests.too_large();
    assert_eq!(*failures.borrow(), [(0, RequestError::TooLarge)]);
}

#[test]
fn the_queue_has_a_limit() {
    let (requests, _failures) = ready(63);
    assert_eq!(requests.check_room(), Ok(()));
    let (requests, _failures) = ready(64);
    assert_eq!(requests.check_room(), Err(RequestError::Busy));
}

#[test]
fn waiting_for_a_turn_has_an_end() {
    let (mut requests, failures) = ready(2);
    assert!(requests.next(0).is_some());
    assert_eq!(requests.waits_until(), None);
    requests.expire_waiting(7);
    assert_eq!(requests.waits_until(), Some(7 + QUEUE_TIMEOUT));
    requests.submit(vec![2], 100, Log(2, Rc::clone(&failures)));
    requests.expire_waiting(7 + QUEUE_TIMEOUT - 1);
    assert!(failures.borrow().is_empty());
    requests.expire_waiting(7 + QUEUE_TIMEOUT);
    assert_eq!(*failures.borrow(), [(1, RequestError::TimedOut)]);
    // The one that the guest is at has its own time, and the session goes on.
    assert_eq!(requests.answered().map(|log| log.0), Some(0));
    assert_eq!(requests.next(7 + QUEUE_TIMEOUT), Some(vec![2]));
}
