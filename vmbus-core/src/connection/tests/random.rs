//! Random hosts and random owners.

use proptest::prelude::*;

use super::*;
use crate::protocol::{ModifyChannelResponse, UnloadResponse};

#[derive(Clone, Debug)]
enum Step {
    /// Any bytes.
    Bytes(Vec<u8>),
    Version(bool),
    Offer(u32, u8, u16),
    AllOffers,
    Rescind(u32),
    OpenResult(u32, u32, bool),
    Created(u32, u32, bool),
    Torndown(u32),
    ModifyResponse(u32, bool),
    UnloadResponse,
    Connect,
    Unload,
    Open(usize, u32),
    Close(usize),
    Create(usize, u64),
    Teardown(usize, u32),
    Modify(usize),
    Events(usize),
    Outgoing(usize),
    PostFailed,
    Expire(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0u32..6;
    let gpadl = || 0u32..8;
    let channel = || 0usize..6;
    prop_oneof![
        (0u32..32, proptest::collection::vec(any::<u8>(), 0..244)).prop_map(|(number, bytes)| {
            let mut message = number.to_le_bytes().to_vec();
            message.extend(bytes);
            Step::Bytes(message)
        }),
        any::<bool>().prop_map(Step::Version),
        (id(), 0u8..3, 0u16..3).prop_map(|(id, instance, index)| Step::Offer(id, instance, index)),
        Just(Step::AllOffers),
        id().prop_map(Step::Rescind),
        (id(), 1u32..8, any::<bool>()).prop_map(|(id, open, ok)| Step::OpenResult(id, open, ok)),
        (id(), gpadl(), any::<bool>()).prop_map(|(id, gpadl, ok)| Step::Created(id, gpadl, ok)),
        gpadl().prop_map(Step::Torndown),
        (id(), any::<bool>()).prop_map(|(id, ok)| Step::ModifyResponse(id, ok)),
        Just(Step::UnloadResponse),
        Just(Step::Connect),
        Just(Step::Unload),
        (channel(), gpadl()).prop_map(|(channel, gpadl)| Step::Open(channel, gpadl)),
        channel().prop_map(Step::Close),
        (channel(), 1u64..60).prop_map(|(channel, pages)| Step::Create(channel, pages)),
        (channel(), gpadl()).prop_map(|(channel, gpadl)| Step::Teardown(channel, gpadl)),
        channel().prop_map(Step::Modify),
        (1usize..8).prop_map(Step::Events),
        (1usize..8).prop_map(Step::Outgoing),
        Just(Step::PostFailed),
        (1u64..40).prop_map(Step::Expire),
    ]
}

/// What an owner knows, and what must hold whatever the host does.
struct Owner {
    script: Script,
    keys: Vec<ChannelKey>,
    now: u64,
    /// Memory lent and not yet released.
    lent: Vec<GpadlId>,
    /// Requests without an outcome.
    opening: Vec<ChannelKey>,
    creating: Vec<GpadlId>,
    releases: Vec<ChannelKey>,
}

impl Owner {
    fn key(&self, index: usize) -> Option<ChannelKey> {
        self.keys.get(index).copied()
    }

    fn gpadl(number: u32) -> GpadlId {
        GpadlId(FIRST_GPADL_ID + number)
    }

    fn event(&mut self) {
        match self.script.connection.poll_event() {
            Some(Event::Offered(key)) => self.keys.push(key),
            Some(Event::Opened { channel, .. }) => {
                let at = self.opening.iter().position(|key| *key == channel);
                self.opening.remove(at.expect("an outcome of nothing"));
            }
            Some(Event::GpadlCreated { gpadl, .. }) => {
                let at = self.creating.iter().position(|id| *id == gpadl);
                self.creating.remove(at.expect("an outcome of nothing"));
            }
            Some(Event::GpadlReleased(gpadl)) => {
                let at = self.lent.iter().position(|id| *id == gpadl);
                self.lent.remove(at.expect("released twice"));
            }
            _ => {}
        }
    }

    fn outgoing(&mut self) -> Option<Outgoing> {
        let outgoing = self.script.connection.poll_outgoing()?;
        let message = GuestMessage::parse(outgoing.bytes()).unwrap();
        match message {
            GuestMessage::RelIdReleased(released) => {
                let key = self
                    .keys
                    .iter()
                    .rev()
                    .find(|key| key.id == released.channel_id);
                let key = *key.expect("released before it was offered");
                assert!(!self.releases.contains(&key), "released twice");
                self.releases.push(key);
            }
            GuestMessage::OpenChannel(open) => {
                let key = self.keys.iter().rev().find(|key| key.id == open.channel_id);
                assert!(
                    !self.releases.contains(key.unwrap()),
                    "opened after release"
                );
            }
            _ => {}
        }
        Some(outgoing)
    }

    fn run(&mut self, step: Step) {
        let deadline = self.now + 100;
        let status = |ok| {
            if ok {
                ReplyStatus::SUCCESS
            } else {
                ReplyStatus::FAILED
            }
        };
        match step {
            Step::Bytes(bytes) => {
                let _ = self.script.connection.handle_message(&bytes);
            }
            Step::Version(supported) => {
                let Phase::Negotiating { proposed, .. } = self.script.connection.phase else {
                    return;
                };
                let response = if supported {
                    accept(proposed)
                } else {
                    VersionResponse::UNSUPPORTED
                };
                let _ = self.script.send(response);
            }
            Step::Offer(id, instance, index) => drop(self.script.send(sub(id, instance, index))),
            Step::AllOffers => drop(self.script.send(AllOffersDelivered {})),
            Step::Rescind(id) => {
                let channel_id = ChannelId(id);
                let _ = self.script.send(RescindChannelOffer { channel_id });
            }
            Step::OpenResult(id, open_id, ok) => {
                let _ = self.script.send(OpenChannelResult {
                    channel_id: ChannelId(id),
                    open_id,
                    status: status(ok),
                });
            }
            Step::Created(id, gpadl, ok) => {
                let _ = self.script.send(GpadlCreated {
                    channel_id: ChannelId(id),
                    gpadl_id: Self::gpadl(gpadl),
                    status: status(ok),
                });
            }
            Step::Torndown(gpadl) => drop(self.script.send(torndown(Self::gpadl(gpadl)))),
            Step::ModifyResponse(id, ok) => {
                let _ = self.script.send(ModifyChannelResponse {
                    channel_id: ChannelId(id),
                    status: status(ok),
                });
            }
            Step::UnloadResponse => drop(self.script.send(UnloadResponse {})),
            Step::Connect => self.script.connection.connect(deadline),
            Step::Unload => drop(self.script.connection.unload(deadline)),
            Step::Open(channel, gpadl) => {
                let Some(key) = self.key(channel) else { return };
                let request = open_with(Self::gpadl(gpadl));
                if self.script.connection.open(key, &request, deadline).is_ok() {
                    self.opening.push(key);
                }
            }
            Step::Close(channel) => {
                let Some(key) = self.key(channel) else { return };
                self.script.connection.close(key, deadline);
            }
            Step::Create(channel, pages) => {
                let Some(key) = self.key(channel) else { return };
                let list = pages_list(pages);
                if let Ok(gpadl) = self.script.connection.create_gpadl(key, list, deadline) {
                    assert!(!self.lent.contains(&gpadl), "the id of a live GPADL");
                    self.lent.push(gpadl);
                    self.creating.push(gpadl);
                }
            }
            Step::Teardown(channel, gpadl) => {
                let Some(key) = self.key(channel) else { return };
                let gpadl = Self::gpadl(gpadl);
                let _ = self.script.connection.teardown_gpadl(key, gpadl, deadline);
            }
            Step::Modify(channel) => {
                let Some(key) = self.key(channel) else { return };
                let _ = self.script.connection.modify(key, 1, deadline);
            }
            Step::Events(count) => (0..count).for_each(|_| self.event()),
            Step::Outgoing(count) => {
                for _ in 0..count {
                    let _ = self.outgoing();
                }
            }
            Step::PostFailed => {
                if let Some(outgoing) = self.outgoing() {
                    self.script.connection.post_failed(&outgoing);
                }
            }
            Step::Expire(time) => {
                self.now += time;
                self.script.connection.expire(self.now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No sequence of messages and requests makes it panic, give memory back twice, answer a request
    /// twice, or release an id twice; and every request has an outcome in the end.
    #[test]
    fn any_sequence_keeps_the_rules(
        version in 0usize..11,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let version = ProtocolVersion::ALL_NEWEST_FIRST[version];
        let mut owner = Owner {
            script: Script::connected(version),
            keys: Vec::new(),
            now: 0,
            lent: Vec::new(),
            opening: Vec::new(),
            creating: Vec::new(),
            releases: Vec::new(),
        };
        for step in steps {
            owner.run(step);
        }
        // The host falls silent.
        owner.script.connection.expire(owner.now + 10_000);
        while owner.outgoing().is_some() {}
        while !owner.script.connection.events.is_empty() {
            owner.event();
        }
        prop_assert_eq!(&owner.opening[..], &[]);
        prop_assert_eq!(&owner.creating[..], &[]);
        prop_assert_eq!(owner.script.connection.next_deadline(), None);
        for gpadl in owner.script.connection.gpadls.keys() {
            prop_assert!(owner.lent.contains(gpadl));
        }
    }
}
