//! What the guest has asked of its connection, and what came back.

use std::collections::BTreeMap;

use vmbus_core::connection::{ChannelKey, Event};
use vmbus_core::protocol::GpadlId;

/// Most events that one accepted message or one request may lead to, on average: an offer alone means "offered"
/// and "gone".
const EVENTS_EACH: usize = 4;

/// One piece of memory that was lent.
#[derive(Default)]
pub(super) struct Loan {
    created: bool,
    leaked: bool,
    released: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    /// Messages that were not dropped.
    pub(super) messages: usize,
    pub(super) connects: usize,
    pub(super) unloads: usize,
    pub(super) opens: usize,
    pub(super) modifies: usize,
    /// Channels in the order of their offers.
    pub(super) keys: Vec<ChannelKey>,
    pub(super) gpadls: BTreeMap<GpadlId, Loan>,
    gone: usize,
    events: usize,
    connected: usize,
    not_connected: usize,
    unload_results: usize,
    open_results: usize,
    modify_results: usize,
}

impl Ledger {
    pub(super) fn lend(&mut self, gpadl: GpadlId) {
        assert!(self.gpadls.insert(gpadl, Loan::default()).is_none());
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.events += 1;
        match event {
            Event::Connected(_) => {
                self.connected += 1;
                assert!(self.connected <= self.connects);
            }
            // Also after a success, when the request for offers is not posted.
            Event::ConnectFailed(_) => {
                self.not_connected += 1;
                assert!(self.not_connected <= self.connects);
            }
            Event::Offered(key) => {
                assert!(!self.keys.contains(key), "keys are never used again");
                self.keys.push(*key);
            }
            Event::AllOffersDelivered => {}
            Event::ClosedWithPrimary(channel) => assert!(self.keys.contains(channel)),
            Event::Gone { channel, .. } => {
                assert!(self.keys.contains(channel));
                self.gone += 1;
                assert!(self.gone <= self.keys.len());
            }
            Event::Opened { .. } => {
                self.open_results += 1;
                assert!(self.open_results <= self.opens);
            }
            Event::Modified { .. } => {
                self.modify_results += 1;
                assert!(self.modify_results <= self.modifies);
            }
            Event::Unloaded { .. } => {
                self.unload_results += 1;
                assert!(self.unload_results <= self.unloads);
            }
            Event::GpadlCreated { gpadl, .. } => {
                let loan = self.loan(*gpadl);
                assert!(!loan.created && !loan.released && !loan.leaked);
                loan.created = true;
            }
            Event::GpadlLeaked { gpadl, .. } => {
                let loan = self.loan(*gpadl);
                assert!(!loan.released && !loan.leaked);
                loan.leaked = true;
            }
            Event::GpadlReleased(gpadl) => {
                let loan = self.loan(*gpadl);
                assert!(!loan.released, "memory is released once");
                loan.released = true;
            }
        }
        let causes = self.messages
            + self.connects
            + self.unloads
            + self.opens
            + self.modifies
            + self.gpadls.len();
        assert!(self.events <= EVENTS_EACH * causes);
    }

    fn loan(&mut self, gpadl: GpadlId) -> &mut Loan {
        self.gpadls.get_mut(&gpadl).expect("a GPADL of ours")
    }

    /// After every deadline: nothing is left open, and the memory that was being taken back is back or given up.
    pub(super) fn check_settled(&self, taken_back: &[GpadlId]) {
        // A new attempt takes the place of an unfinished one, or of the farewell to an earlier connection.
        let connect_results = self.connected + self.not_connected;
        assert!(connect_results > 0 || self.connects == 0, "connections");
        assert!(
            self.unloads <= self.unload_results + self.connects,
            "unloads"
        );
        assert_eq!(self.open_results, self.opens, "opens");
        assert_eq!(self.modify_results, self.modifies, "modifications");
        for (gpadl, loan) in &self.gpadls {
            assert!(loan.created, "{gpadl:?} has no outcome");
            let ended = loan.released || loan.leaked;
            assert!(ended || !taken_back.contains(gpadl), "{gpadl:?} has no end");
        }
    }
}
