//! A service on its channel: packets in, replies out, orders to the caller.

use core::fmt;

use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{IncomingRing, OutgoingRing, RingError, RingMemory, Signal, WriteError};

use crate::session::{Dropped, Session};

/// One integration service, guest end, without any I/O.
pub trait Service {
    /// What the host may order that outlives the reply.
    type Order;

    /// The framing state, for its counters and the agreed versions.
    fn session(&self) -> &Session;

    /// Takes the private copy of a packet's payload and turns it into the reply.
    ///
    /// The payload is then to be sent back whole; an order is to be carried out after that.
    ///
    /// # Errors
    /// [`Dropped`] if nothing is to be sent back.
    fn handle(&mut self, payload: &mut [u8]) -> Result<Option<Self::Order>, Dropped>;
}

/// The channel can't be trusted any more and is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelBroken(pub RingError);

impl fmt::Display for ChannelBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "integration service channel: {}", self.0)
    }
}

impl core::error::Error for ChannelBroken {}

/// What one [`step`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<O> {
    /// There was nothing to read.
    Idle,
    /// The reply does not fit yet: step again when the host has read.
    Blocked,
    /// A packet was dropped.
    Dropped,
    /// A reply was sent; then there may be an order.
    Answered(Option<O>),
}

/// Reads one packet, lets the service answer it and sends the reply: one message, one reply, in order.
///
/// `buffer` holds two private copies, so half of its length bounds what the host may send; a larger packet
/// breaks the channel. The returned signal says whether the host is to be interrupted.
///
/// # Errors
/// [`ChannelBroken`] if the ring's contents contradict the protocol.
pub fn step<S: Service, M: RingMemory>(
    service: &mut S,
    incoming: &mut IncomingRing<M>,
    outgoing: &mut OutgoingRing<M>,
    buffer: &mut [u8],
) -> Result<(Step<S::Order>, Signal), ChannelBroken> {
    let (packet_buffer, reply_buffer) = buffer.split_at_mut(buffer.len() / 2);
    let mut reading = incoming.batch().map_err(ChannelBroken)?;
    let Some(packet) = reading.next(packet_buffer).map_err(ChannelBroken)? else {
        return Ok((Step::Idle, Signal::NotNeeded));
    };
    let reply_buffer = reply_buffer.get_mut(..packet.payload.len());
    let (IncomingKind::InBand, Some(reply)) = (&packet.kind, reply_buffer) else {
        return Ok((Step::Dropped, reading.commit()));
    };
    reply.copy_from_slice(packet.payload);
    let transaction_id = packet.transaction_id;

    // The service must not take a request whose reply has no room: it would take it twice.
    let cost = envelope(transaction_id, &[reply]).ring_cost();
    if outgoing.free_space().map_err(ChannelBroken)? < cost {
        let room_appeared = outgoing.announce_blocked(cost).map_err(ChannelBroken)?;
        if !room_appeared {
            return Ok((Step::Blocked, Signal::NotNeeded));
        }
    } else {
        outgoing.withdraw_blocked();
    }
    let handled = service.handle(reply);
    let consumed = reading.commit();
    match handled {
        Err(dropped) => {
            log::debug!("integration service: packet dropped: {dropped}");
            Ok((Step::Dropped, consumed))
        }
        Ok(order) => match outgoing.send(&envelope(transaction_id, &[reply])) {
            Ok(signal) => Ok((Step::Answered(order), consumed | signal)),
            Err(WriteError::Ring(error)) => Err(ChannelBroken(error)),
            // The room was checked above; only a host that moves its read index back gets here.
            Err(_) => Ok((Step::Dropped, consumed)),
        },
    }
}

/// A reply is a new in-band packet with the request's transaction id and no flags.
fn envelope<'a>(transaction_id: u64, payload: &'a [&'a [u8]]) -> OutgoingPacket<'a> {
    OutgoingPacket {
        transaction_id,
        completion_requested: false,
        kind: OutgoingKind::InBand,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Heartbeat;
    use crate::session::tests::{heartbeat, payload};
    use crate::wire::MessageType;
    use alloc::vec;
    use alloc::vec::Vec;
    use vmbus_core::ring::testing::HeapRing;

    type Ends = (OutgoingRing<HeapRing>, IncomingRing<HeapRing>);

    /// The writer's and the reader's end of one ring.
    fn ring() -> Ends {
        let memory = HeapRing::new(4096);
        (
            OutgoingRing::initialise(memory.clone()),
            IncomingRing::attach(memory).unwrap(),
        )
    }

    fn send(ring: &mut OutgoingRing<HeapRing>, transaction_id: u64, payload: &[u8]) {
        let _ = ring.send(&envelope(transaction_id, &[payload])).unwrap();
    }

    fn run(service: &mut Heartbeat, to_guest: &mut Ends, to_host: &mut Ends) -> Step<()> {
        let mut buffer = vec![0; 2048];
        step(service, &mut to_guest.1, &mut to_host.0, &mut buffer)
            .unwrap()
            .0
    }

    #[test]
    fn requests_are_answered_one_by_one_with_their_ids() {
        let (mut to_guest, mut to_host) = (ring(), ring());
        let mut service = heartbeat();
        for id in [5, u64::MAX, 0] {
            send(
                &mut to_guest.0,
                id,
                &payload(MessageType::HEARTBEAT, 3, 0, &[1; 16]),
            );
        }
        for id in [5, u64::MAX, 0] {
            assert_eq!(
                run(&mut service, &mut to_guest, &mut to_host),
                Step::Answered(None)
            );
            let mut buffer = vec![0; 1024];
            let mut batch = to_host.1.batch().unwrap();
            let packet = batch.next(&mut buffer).unwrap().unwrap();
            assert_eq!(
                (packet.transaction_id, packet.completion_requested),
                (id, false)
            );
            assert_eq!(packet.payload[28], 2);
            let _ = batch.commit();
        }
        assert_eq!(run(&mut service, &mut to_guest, &mut to_host), Step::Idle);
    }

    #[test]
    fn a_full_ring_defers_the_request_and_counts_no_beat() {
        let (mut to_guest, mut to_host) = (ring(), ring());
        let mut service = heartbeat();
        let filler: Vec<u8> = vec![0; 4000];
        send(&mut to_host.0, 0, &filler);
        send(
            &mut to_guest.0,
            1,
            &payload(MessageType::HEARTBEAT, 3, 0, &[1; 16]),
        );
        for _ in 0..3 {
            assert_eq!(
                run(&mut service, &mut to_guest, &mut to_host),
                Step::Blocked
            );
        }
        assert_eq!(service.beats(), 0);
        let mut buffer = vec![0; 4096];
        let mut batch = to_host.1.batch().unwrap();
        assert!(batch.next(&mut buffer).unwrap().is_some());
        assert_eq!(
            batch.commit(),
            Signal::Needed,
            "the host tells that there is room"
        );
        assert_eq!(
            run(&mut service, &mut to_guest, &mut to_host),
            Step::Answered(None)
        );
        assert_eq!(service.beats(), 1);
    }

    #[test]
    fn what_is_no_message_is_dropped_and_the_next_one_answered() {
        let (mut to_guest, mut to_host) = (ring(), ring());
        let mut service = heartbeat();
        send(&mut to_guest.0, 1, &[7; 64]);
        send(
            &mut to_guest.0,
            2,
            &payload(MessageType::HEARTBEAT, 3, 0, &[1; 16]),
        );
        assert_eq!(
            run(&mut service, &mut to_guest, &mut to_host),
            Step::Dropped
        );
        assert_eq!(
            run(&mut service, &mut to_guest, &mut to_host),
            Step::Answered(None)
        );
    }
}
