//! The guest's end of the control plane against any messages from the host.

mod ledger;
mod message;

pub(crate) use message::kind;

use std::collections::VecDeque;

use vmbus_core::connection::{ChannelKey, Connection, ConnectionOptions, OpenRequest, Outgoing};
use vmbus_core::gpadl::GpadlList;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{GpadlId, HostMessage, MessageBuffer, MonitorPages, VP_NONE};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

use crate::input::Input;
use ledger::Ledger;

/// Steps.
pub(crate) mod op {
    pub(crate) const MESSAGE: u8 = 0;
    pub(crate) const BUILT_MESSAGE: u8 = 1;
    pub(crate) const EVENT: u8 = 2;
    pub(crate) const OUTGOING: u8 = 3;
    pub(crate) const NOT_POSTED: u8 = 4;
    pub(crate) const DRAIN: u8 = 5;
    pub(crate) const CONNECT: u8 = 6;
    pub(crate) const UNLOAD: u8 = 7;
    pub(crate) const GPADL: u8 = 8;
    pub(crate) const OPEN: u8 = 9;
    pub(crate) const CLOSE: u8 = 10;
    pub(crate) const TEARDOWN: u8 = 11;
    pub(crate) const MODIFY: u8 = 12;
    pub(crate) const EXPIRE: u8 = 13;
    pub(crate) const COUNT: u8 = 14;
}

/// Most channels that can exist at a time.
const MOST_CHANNELS: usize = 2047;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let versions = ProtocolVersion::ALL_NEWEST_FIRST;
    let options = ConnectionOptions {
        newest: input.choose(&versions),
        oldest: input.choose(&versions),
        features: FeatureFlags::from_bits_retain(input.u32()),
        client_id: input.flag().then_some(Guid::from_bytes([7; 16])),
        monitor_pages: MonitorPages::NONE,
        ..ConnectionOptions::default()
    };
    let mut guest = Guest {
        connection: Connection::new(options),
        ledger: Ledger::default(),
        given_out: VecDeque::new(),
        now: 0,
    };
    while let Some(step) = input.step() {
        guest.step(step % op::COUNT, &mut input);
    }
    guest.finish();
}

/// A message that can be read can be written and read again.
fn check_round_trip(bytes: &[u8]) {
    if let Ok(message) = HostMessage::parse(bytes) {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer);
        assert_eq!(HostMessage::parse(buffer.as_bytes()), Ok(message));
    }
}

struct Guest {
    connection: Connection,
    ledger: Ledger,
    /// Messages given out whose fate is not known yet.
    given_out: VecDeque<Outgoing>,
    now: u64,
}

impl Guest {
    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step {
            op::MESSAGE => self.message(input.bytes()),
            op::BUILT_MESSAGE => {
                let mut buffer = MessageBuffer::new();
                message::build(input).emit(&mut buffer);
                self.message(buffer.as_bytes());
            }
            op::EVENT => {
                self.event();
            }
            op::OUTGOING => {
                self.outgoing();
            }
            op::NOT_POSTED => {
                if let Some(outgoing) = self.given_out.pop_front() {
                    let _ = self.connection.is_obsolete(&outgoing);
                    self.connection.post_failed(&outgoing);
                }
            }
            op::DRAIN => self.drain(),
            op::CONNECT => {
                let deadline = self.deadline(input);
                self.ledger.connects += 1;
                self.connection.connect(deadline);
            }
            op::UNLOAD => {
                let deadline = self.deadline(input);
                if self.connection.unload(deadline).is_ok() {
                    self.ledger.unloads += 1;
                }
            }
            op::GPADL => self.create_gpadl(input),
            op::EXPIRE => {
                self.now += u64::from(input.u16());
                self.connection.expire(self.now);
                let next = self.connection.next_deadline();
                assert!(next.is_none_or(|deadline| deadline > self.now));
            }
            _ => {
                if let Some(key) = self.key(input) {
                    self.request(step, key, input);
                }
            }
        }
        assert!(self.connection.channels().count() <= MOST_CHANNELS);
    }

    fn request(&mut self, step: u8, key: ChannelKey, input: &mut Input<'_>) {
        let deadline = self.deadline(input);
        match step {
            op::OPEN => {
                let request = OpenRequest {
                    ring_gpadl: self.gpadl(input),
                    downstream_page_offset: u32::from(input.u8()),
                    target_vp: input.choose(&[0, 1, VP_NONE]),
                    user_data: [0; 120],
                };
                if self.connection.open(key, &request, deadline).is_ok() {
                    self.ledger.opens += 1;
                }
            }
            op::CLOSE => self.connection.close(key, deadline),
            op::TEARDOWN => {
                let gpadl = self.gpadl(input);
                let _ = self.connection.teardown_gpadl(key, gpadl, deadline);
            }
            _ => {
                let vp = input.choose(&[0, 1, VP_NONE]);
                if self.connection.modify(key, vp, deadline).is_ok() {
                    self.ledger.modifies += 1;
                }
            }
        }
    }

    fn message(&mut self, bytes: &[u8]) {
        check_round_trip(bytes);
        let received = self.connection.counters().received;
        let dropped = self.connection.counters().dropped();
        let result = self.connection.handle_message(bytes);
        let counters = self.connection.counters();
        assert_eq!(counters.received, received + 1);
        assert_eq!(counters.dropped(), dropped + u64::from(result.is_err()));
        if let Err(error) = result {
            assert!(!error.to_string().is_empty());
        } else {
            self.ledger.messages += 1;
        }
    }

    fn event(&mut self) -> bool {
        let Some(event) = self.connection.poll_event() else {
            return false;
        };
        self.ledger.note(&event);
        true
    }

    fn outgoing(&mut self) -> bool {
        let Some(outgoing) = self.connection.poll_outgoing() else {
            return false;
        };
        assert!((8..=240).contains(&outgoing.bytes().len()));
        let _ = self.connection.is_obsolete(&outgoing);
        self.given_out.push_back(outgoing);
        true
    }

    /// The usual guest: sees everything, and all its messages are posted.
    fn drain(&mut self) {
        while self.event() || self.outgoing() {}
        self.given_out.clear();
    }

    fn create_gpadl(&mut self, input: &mut Input<'_>) {
        let Some(key) = self.key(input) else {
            return;
        };
        // Up to several messages.
        let pages = usize::from(input.u8());
        let Ok(list) = GpadlList::of_pages((0..pages).map(|page| page as u64)) else {
            return;
        };
        let deadline = self.deadline(input);
        if let Ok(gpadl) = self.connection.create_gpadl(key, list, deadline) {
            self.ledger.lend(gpadl);
        }
    }

    fn deadline(&self, input: &mut Input<'_>) -> u64 {
        self.now + 1 + u64::from(input.u16())
    }

    /// A channel that exists or once did.
    fn key(&self, input: &mut Input<'_>) -> Option<ChannelKey> {
        let index = usize::from(input.u8());
        let keys = &self.ledger.keys;
        (!keys.is_empty()).then(|| keys[keys.len() - 1 - index % keys.len()])
    }

    /// A GPADL that exists or once did, or one that never did.
    fn gpadl(&self, input: &mut Input<'_>) -> GpadlId {
        let index = usize::from(input.u8());
        let gpadls = &self.ledger.gpadls;
        let known = gpadls.keys().rev().nth(index);
        known.copied().unwrap_or(GpadlId(index as u32))
    }

    /// Ends everything: whatever was asked for must have been answered by then.
    fn finish(&mut self) {
        self.drain();
        for key in self.ledger.keys.clone() {
            self.connection.close(key, self.now + 1);
        }
        let mut taken_back: Vec<_> = self.ledger.gpadls.keys().copied().collect();
        taken_back.retain(|gpadl| self.connection.is_taking_back(*gpadl));
        self.drain();
        self.connection.expire(u64::MAX);
        self.drain();
        assert_eq!(self.connection.next_deadline(), None);
        self.ledger.check_settled(&taken_back);
    }
}
