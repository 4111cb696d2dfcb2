//! The host's integration services against any frames from the guest.

mod operators;

use host_sim::ic::heartbeat::{self, Contact, HeartbeatHandle};
use host_sim::ic::shutdown::{self, Order, ShutdownHandle};
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vmbus::vsp::Vsp;
use ic_services::heartbeat::Heartbeat;
use ic_services::service::Service;
use ic_services::shutdown::{Action, OperatingSystem, Shutdown};
use ic_services::wire::BODY_OFFSET;
use vmbus_core::packet::{OutgoingKind, OutgoingPacket};

use crate::channel::Channel;
use crate::ic_guest::frame;
use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const RAW: u8 = 0;
    pub(crate) const FRAME: u8 = 1;
    pub(crate) const WORK: u8 = 2;
    pub(crate) const ANSWER: u8 = 3;
    pub(crate) const ORDER: u8 = 4;
    pub(crate) const FORGE: u8 = 5;
    pub(crate) const REOPEN: u8 = 6;
    pub(crate) const ANSWER_BODY: u8 = 7;
    pub(crate) const COUNT: u8 = 8;
}

/// Time between beats, in the protocol's units.
const INTERVAL: u64 = 1000;
/// Pages of each ring, control page included.
const RING_PAGES: u64 = 3;

struct Willing;

impl OperatingSystem for Willing {
    fn can(&self, _action: Action) -> bool {
        true
    }
}

/// Services that the first byte chooses.
pub(crate) mod service {
    pub(crate) const HEARTBEAT: u8 = 0;
    pub(crate) const SHUTDOWN: u8 = 1;
    pub(crate) const TIME_SYNC: u8 = 2;
    pub(crate) const KVP: u8 = 3;
    pub(crate) const VSS: u8 = 4;
    pub(crate) const COUNT: u8 = 6;
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % service::COUNT {
        service::HEARTBEAT => {
            let (device, handle) = heartbeat::Heartbeat::new(INTERVAL);
            let mut end = End::new(device, Heartbeat::new);
            end.run(&mut input, |input| sequence(&handle, input));
            check_heartbeat(&handle);
        }
        service::SHUTDOWN => {
            let (device, handle) = shutdown::Shutdown::new();
            let mut end = End::new(device, || Shutdown::new(Willing));
            end.run(&mut input, |input| order(&handle, input));
        }
        service::TIME_SYNC => operators::time_sync(&mut input),
        service::KVP => operators::kvp(&mut input),
        service::VSS => operators::vss(&mut input),
        _ => operators::file_copy(&mut input),
    }
}

fn order(handle: &ShutdownHandle, input: &mut Input<'_>) {
    let action = input.choose(&[Action::PowerOff, Action::Restart, Action::Hibernate]);
    let order = Order {
        force: input.flag(),
        timeout_seconds: input.u32(),
        text: String::from_utf8_lossy(input.bytes()).into_owned(),
        ..Order::new(action)
    };
    let ready = handle.is_ready();
    assert!(handle.order(&order).is_err() || ready);
    let _ = handle.progress();
}

fn sequence(handle: &HeartbeatHandle, input: &mut Input<'_>) {
    handle.set_sequence(input.u64());
    check_heartbeat(handle);
}

fn check_heartbeat(handle: &HeartbeatHandle) {
    let status = handle.status();
    assert!(status.answered + status.wrong_sequence <= status.sent);
    assert!(status.contact != Contact::Ok || status.sent > 0);
}

/// A device and its guest.
struct End<D, S> {
    memory: GuestMemory,
    device: D,
    channel: Channel,
    service: S,
    new_service: fn() -> S,
    /// What the host has sent, not answered yet.
    requests: Vec<Vec<u8>>,
    now: u64,
    /// The guest has sent nothing but sound answers.
    honest: bool,
}

impl<D: Vsp, S: Service> End<D, S> {
    fn new(mut device: D, new_service: fn() -> S) -> Self {
        let memory = GuestMemory::new(2 * RING_PAGES * PAGE_SIZE).expect("a small mapping");
        Self {
            channel: Channel::open(&memory, 0, RING_PAGES, &mut device, 0),
            memory,
            device,
            service: new_service(),
            new_service,
            requests: Vec::new(),
            now: 1,
            honest: true,
        }
    }

    fn run(&mut self, input: &mut Input<'_>, mut operate: impl FnMut(&mut Input<'_>)) {
        while let Some(step) = input.step() {
            match step % op::COUNT {
                op::RAW => {
                    let kind = if input.u8() == 0xFF {
                        OutgoingKind::Completion
                    } else {
                        OutgoingKind::InBand
                    };
                    self.honest = false;
                    self.send(kind, input.long_bytes());
                }
                op::FRAME => {
                    self.honest = false;
                    self.send(OutgoingKind::InBand, &frame(input));
                }
                op::WORK => {
                    self.now += u64::from(input.u16());
                    self.work();
                }
                op::ANSWER => self.answer(input),
                op::ANSWER_BODY => self.answer_body(input),
                op::ORDER => operate(input),
                op::FORGE => {
                    self.honest = false;
                    self.channel.forge(input.u32(), input.bytes());
                }
                _ => {
                    // A channel is closed before it is opened again, as the server sees to.
                    self.channel.close();
                    self.channel = Channel::open(&self.memory, 0, RING_PAGES, &mut self.device, 0);
                    self.service = (self.new_service)();
                    self.requests.clear();
                    self.honest = true;
                }
            }
        }
        self.channel.close();
    }

    fn send(&mut self, kind: OutgoingKind<'_>, payload: &[u8]) {
        self.channel.send(&OutgoingPacket {
            transaction_id: 0,
            completion_requested: false,
            kind,
            payload: &[payload],
        });
    }

    fn work(&mut self) {
        self.channel.work(self.now);
        let requests = &mut self.requests;
        self.channel
            .receive(|packet| requests.push(packet.payload.to_vec()));
        self.requests.truncate(16);
    }

    /// Our own guest answers the oldest request; one byte of the answer may be another than it wants.
    fn answer(&mut self, input: &mut Input<'_>) {
        let (at, mask) = (usize::from(input.u8()), input.u8());
        self.answer_with(|payload| {
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= mask;
            }
            mask == 0
        });
    }

    /// Our own guest answers the oldest request, with other bytes somewhere in the body and perhaps another status.
    fn answer_body(&mut self, input: &mut Input<'_>) {
        let (at, bytes, status) = (usize::from(input.u16()), input.bytes(), input.u32());
        self.answer_with(|payload| {
            // Negotiations have their own bytes.
            if payload.get(12) == Some(&0) {
                return true;
            }
            payload[20..24].copy_from_slice(&status.to_le_bytes());
            let body = payload.get_mut(BODY_OFFSET + at..).unwrap_or_default();
            for (to, from) in body.iter_mut().zip(bytes) {
                *to = *from;
            }
            true
        });
    }

    /// `change` says whether the answer is still one that a guest may give.
    fn answer_with(&mut self, change: impl FnOnce(&mut [u8]) -> bool) {
        if self.requests.is_empty() {
            return;
        }
        let mut payload = self.requests.remove(0);
        let answered = self.service.handle(&mut payload);
        assert!(
            answered.is_ok() || !self.honest,
            "our guest does not understand our host"
        );
        self.honest &= change(&mut payload);
        self.send(OutgoingKind::InBand, &payload);
        self.work();
    }
}
