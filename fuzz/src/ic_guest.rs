//! The guest's heartbeat and shutdown against any frames from the host.

use ic_services::heartbeat::Heartbeat;
use ic_services::service::{Service, Step, step};
use ic_services::shutdown::{Action, OperatingSystem, Shutdown};
use ic_services::wire::{BODY_OFFSET, HEADER_LENGTH};
use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vmbus_core::ring::{IncomingRing, OutgoingRing};

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const HEARTBEAT_RAW: u8 = 0;
    pub(crate) const HEARTBEAT_FRAME: u8 = 1;
    pub(crate) const SHUTDOWN_RAW: u8 = 2;
    pub(crate) const SHUTDOWN_FRAME: u8 = 3;
    pub(crate) const SEND: u8 = 4;
    pub(crate) const FORGE: u8 = 5;
    pub(crate) const SERVE: u8 = 6;
    pub(crate) const ORDER_FAILED: u8 = 7;
    pub(crate) const COUNT: u8 = 8;
}

struct NoHibernation;

impl OperatingSystem for NoHibernation {
    fn can(&self, action: Action) -> bool {
        action != Action::Hibernate
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut heartbeat = Heartbeat::new();
    let mut shutdown = Shutdown::new(NoHibernation);
    let mut running = false;
    let mut channel = Channel::new();
    while let Some(step) = input.step() {
        match step % op::COUNT {
            op::HEARTBEAT_RAW => {
                handle(&mut heartbeat, input.long_bytes().to_vec());
            }
            op::HEARTBEAT_FRAME => {
                handle(&mut heartbeat, frame(&mut input));
            }
            raw_or_frame @ (op::SHUTDOWN_RAW | op::SHUTDOWN_FRAME) => {
                let payload = if raw_or_frame == op::SHUTDOWN_RAW {
                    input.long_bytes().to_vec()
                } else {
                    frame(&mut input)
                };
                if let Some(order) = handle(&mut shutdown, payload) {
                    assert!(!running, "an order is given once");
                    assert!(order.action != Action::Hibernate, "we cannot");
                    running = true;
                }
            }
            op::SEND => channel.send(&mut input),
            op::FORGE => channel.forge(&mut input),
            op::SERVE => channel.serve(),
            _ => {
                shutdown.order_failed();
                running = false;
            }
        }
    }
}

/// A frame with sound headers, but for one byte perhaps.
pub(crate) fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let message_type = input.u8() % 9;
    let flags = [3, 3, 3, 1, 2, 5, 7, 0][input.below(8)];
    let body = input.long_bytes();
    let mut payload = vec![1, 0, 0, 0];
    payload.extend(((HEADER_LENGTH + body.len()) as u32).to_le_bytes());
    payload.extend([0; HEADER_LENGTH]);
    payload[12] = message_type;
    payload[18..20].copy_from_slice(&(body.len() as u16).to_le_bytes());
    payload[25] = flags;
    payload.extend(body);
    let (at, mask) = (usize::from(input.u8()), input.u8());
    if let Some(byte) = payload[..BODY_OFFSET].get_mut(at) {
        *byte ^= mask;
    }
    payload
}

fn handle<S: Service>(service: &mut S, mut payload: Vec<u8>) -> Option<S::Order> {
    let length = payload.len();
    let dropped = service.session().dropped();
    let result = service.handle(&mut payload);
    assert_eq!(payload.len(), length);
    match result {
        Err(reason) => {
            assert_eq!(service.session().dropped(), dropped + 1);
            assert!(!reason.to_string().is_empty());
            None
        }
        Ok(order) => {
            // A reply, and not a request any more.
            assert_eq!(payload[25] & 7, 5);
            order
        }
    }
}

/// A heartbeat on rings, one of which the host forges.
struct Channel {
    service: Heartbeat,
    to_guest: HeapRing,
    host: OutgoingRing<HeapRing>,
    incoming: IncomingRing<HeapRing>,
    to_host: HeapRing,
    outgoing: OutgoingRing<HeapRing>,
    broken: bool,
}

impl Channel {
    fn new() -> Self {
        let (to_guest, to_host) = (HeapRing::new(4096), HeapRing::new(4096));
        Self {
            service: Heartbeat::new(),
            incoming: IncomingRing::initialise(to_guest.clone()),
            host: OutgoingRing::attach(to_guest.clone()).expect("a fresh ring"),
            outgoing: OutgoingRing::initialise(to_host.clone()),
            to_guest,
            to_host,
            broken: false,
        }
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let payload = frame(input);
        let _ = self.host.send(&OutgoingPacket {
            transaction_id: input.u64(),
            completion_requested: false,
            kind: OutgoingKind::InBand,
            payload: &[&payload],
        });
    }

    fn forge(&mut self, input: &mut Input<'_>) {
        let field = input.choose(&ControlField::ALL);
        let value = input.u32();
        match input.u8() % 4 {
            0 => self.to_guest.store(field, value),
            1 => self.to_host.store(field, value),
            // The host has read everything.
            2 => {
                let write_index = self.to_host.load(ControlField::WriteIndex);
                self.to_host.store(ControlField::ReadIndex, write_index);
            }
            _ => {
                let bytes = input.bytes();
                self.to_guest.poke(value % 4096, bytes);
            }
        }
    }

    fn serve(&mut self) {
        let mut buffer = [0; 4096];
        // One more than packets fit.
        for _ in 0..=4096 / 24 {
            if self.broken {
                return;
            }
            let stepped = step(
                &mut self.service,
                &mut self.incoming,
                &mut self.outgoing,
                &mut buffer,
            );
            match stepped {
                Err(_) => self.broken = true,
                Ok((Step::Idle | Step::Blocked, _)) => return,
                Ok((Step::Dropped | Step::Answered(_), _)) => {}
            }
        }
        panic!("more packets than fit a ring");
    }
}
