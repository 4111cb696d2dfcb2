//! One service's open channel: negotiation, then one request at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ic_services::wire::{MAX_PAYLOAD, Status, Version};
use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::WriteError;

use super::session::{Offered, Reply, Session, SessionFault};
use crate::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, NextPoll, PollWaker, VspChannel,
};

/// Packets read in one poll.
const PACKETS_PER_POLL: usize = 64;
/// Time between looks at the ring of a guest that does not signal room, in 100 ns units: 10 ms.
const RETRY_INTERVAL: u64 = 100_000;

/// What a service does with its channel; all of it under the service's lock.
pub(super) trait HostService: Send {
    /// The channel is open: `waker` makes it look for requests.
    fn opened(&mut self, waker: PollWaker);
    /// Versions are agreed on.
    fn negotiated(&mut self, version: Version, now: u64);
    /// The body of the next request, if one is due at `now` (100 ns units).
    fn request(&mut self, now: u64) -> Option<Vec<u8>>;
    /// The request did not fit into the ring: it is to be offered again.
    fn unsent(&mut self, body: Vec<u8>);
    /// The request never fits into the ring: it is given up.
    fn too_large(&mut self) {}
    /// When to ask again even if nothing happens.
    fn deadline(&mut self, now: u64) -> Option<u64>;
    /// When the guest has had time enough to answer, or to make room for a request.
    fn expiry(&self) -> Option<u64> {
        None
    }
    /// Gives up on a guest that had: `true` if the session is to begin anew.
    fn give_up(&mut self, _now: u64) -> bool {
        false
    }
    /// The guest's answer to the last request.
    fn answer(&mut self, status: Status, body: &[u8], now: u64);
    /// The guest broke the protocol; nothing more will come until it opens the channel again.
    fn failed(&mut self, fault: SessionFault);
    /// The channel is closed.
    fn closed(&mut self);
}

/// A service's state, shared by its channel and its handles.
pub(super) struct Shared<S>(Arc<Mutex<S>>);

impl<S> Shared<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }

    /// The state. A thread that panicked with the lock left nothing half-done that would matter here.
    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

pub(super) struct ServiceChannel<S: HostService> {
    session: Session,
    service: Shared<S>,
    failed: bool,
    buffer: Vec<u8>,
}

impl<S: HostService> ServiceChannel<S> {
    pub(super) fn new(offered: Offered, service: Shared<S>, services: &ChannelServices) -> Self {
        service.lock().opened(services.waker.clone());
        Self {
            session: Session::new(offered),
            service,
            failed: false,
            buffer: vec![0; MAX_PAYLOAD + 64],
        }
    }

    /// Reads what the guest has sent; `false` if there may be more.
    fn receive(&mut self, io: &mut ChannelIo<'_>) -> Result<bool, ChannelFault> {
        let mut batch = io.incoming.batch()?;
        let mut all = false;
        for _ in 0..PACKETS_PER_POLL {
            let Some(packet) = batch.next(&mut self.buffer)? else {
                all = true;
                break;
            };
            if !matches!(packet.kind, IncomingKind::InBand) {
                continue;
            }
            let mut service = self.service.lock();
            match self.session.receive(packet.payload) {
                Ok(Reply::Negotiated(version)) => service.negotiated(version, io.now),
                Ok(Reply::Answer { status, body }) => service.answer(status, body, io.now),
                Ok(Reply::Stale) => tracing::debug!("stale answer during negotiation"),
                Err(fault) if !self.failed => {
                    self.failed = true;
                    tracing::warn!(%fault, "integration service stopped until the guest reopens it");
                    service.failed(fault);
                }
                Err(_) => {}
            }
        }
        let signal = batch.commit();
        io.notify(signal);
        Ok(all)
    }

    /// Sends a payload; `false` if the ring has no room, in which case the guest will signal.
    fn send(io: &mut ChannelIo<'_>, payload: &[u8]) -> Result<bool, ChannelFault> {
        let parts = [payload];
        let packet = OutgoingPacket {
            transaction_id: 0,
            completion_requested: false,
            kind: OutgoingKind::InBand,
            payload: &parts,
        };
        loop {
            match io.outgoing.send(&packet) {
                Ok(signal) => {
                    io.outgoing.withdraw_blocked();
                    io.notify(signal);
                    return Ok(true);
                }
                Err(WriteError::Full { needed }) => {
                    if !io.outgoing.announce_blocked(needed)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Until the guest makes room, or has had time enough to: it signals, or is too old to and is looked after.
fn wait_for_room(io: &ChannelIo<'_>, expiry: Option<u64>) -> NextPoll {
    let look = io.now.saturating_add(RETRY_INTERVAL);
    let look = (!io.incoming.peer_announces_blocked()).then_some(look);
    match (look, expiry) {
        (None, None) => NextPoll::OnSignal,
        (Some(time), None) | (None, Some(time)) => NextPoll::At(time),
        (Some(look), Some(expiry)) => NextPoll::At(look.min(expiry)),
    }
}

impl<S: HostService> VspChannel for ServiceChannel<S> {
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        let read_all = self.receive(io)?;
        if self.service.lock().give_up(io.now) {
            tracing::warn!("integration service: the guest has not answered; negotiating anew");
            self.session.restart();
        }
        let next = self.work(io)?;
        Ok(if read_all { next } else { NextPoll::Now })
    }
}

impl<S: HostService> ServiceChannel<S> {
    fn work(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        if let Some(payload) = self.session.negotiation() {
            if !Self::send(io, &payload)? {
                return Ok(wait_for_room(io, None));
            }
            self.session.negotiation_sent();
        }
        if !self.session.is_negotiated() {
            return Ok(NextPoll::OnSignal);
        }
        let mut service = self.service.lock();
        if self.session.is_ready()
            && let Some(body) = service.request(io.now)
            && let Some(payload) = self.session.request(&body)
        {
            match Self::send(io, &payload) {
                Ok(true) => self.session.request_sent(),
                Ok(false) => {
                    service.unsent(body);
                    return Ok(wait_for_room(io, service.expiry()));
                }
                Err(ChannelFault::Write(WriteError::TooLarge { .. })) => {
                    service.too_large();
                    return Ok(NextPoll::Now);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(service
            .deadline(io.now)
            .map_or(NextPoll::OnSignal, NextPoll::At))
    }
}

impl<S: HostService> Drop for ServiceChannel<S> {
    fn drop(&mut self) {
        self.service.lock().closed();
    }
}

#[cfg(test)]
mod tests {
    use vmbus_core::class;
    use vmbus_core::ring::{IncomingRing, OutgoingRing};

    use super::*;
    use crate::ic::heartbeat::Heartbeat;
    use crate::memory::GuestMemory;
    use crate::vmbus::vsp::{GuestRing, Vsp, drive};
    use ic_services::service::Service as _;
    use vmbus_core::version::ProtocolVersion;

    /// A heartbeat's channel, and the guest's ends of its rings.
    struct Bench {
        memory: GuestMemory,
        channel: Box<dyn VspChannel>,
        incoming: IncomingRing<GuestRing>,
        outgoing: OutgoingRing<GuestRing>,
        from_host: IncomingRing<GuestRing>,
        to_host: OutgoingRing<GuestRing>,
        now: u64,
    }

    impl Bench {
        fn new() -> Self {
            let memory = GuestMemory::new(1 << 20).unwrap();
            let ring = |first| GuestRing::new(&memory, &[first, first + 1]).unwrap();
            let to_host = OutgoingRing::initialise(ring(0));
            let from_host = IncomingRing::initialise(ring(2));
            let request = crate::vmbus::vsp::OpenRequest {
                sub_channel_index: 0,
                user_data: [0; 120],
                vmbus_version: ProtocolVersion::V5_3,
                vp: 0,
            };
            let (mut device, _) = Heartbeat::new(1000);
            assert_eq!(device.offer().interface, class::HEARTBEAT);
            let channel = device.open(request, ChannelServices::inert()).unwrap();
            Self {
                channel,
                incoming: IncomingRing::attach(ring(0)).unwrap(),
                outgoing: OutgoingRing::attach(ring(2)).unwrap(),
                from_host,
                to_host,
                memory,
                now: 5000,
            }
        }

        fn poll(&mut self) -> NextPoll {
            let (incoming, outgoing) = (&mut self.incoming, &mut self.outgoing);
            let mut io = ChannelIo::new(incoming, outgoing, &self.memory, self.now);
            drive(self.channel.as_mut(), &mut io).unwrap()
        }

        fn read(&mut self) -> Option<Vec<u8>> {
            let mut buffer = [0; 4096];
            let mut batch = self.from_host.batch().unwrap();
            let packet = batch.next(&mut buffer).unwrap()?;
            let payload = packet.payload.to_vec();
            let _ = batch.commit();
            Some(payload)
        }

        fn write(&mut self, payload: &[u8]) {
            let packet = OutgoingPacket {
                transaction_id: 0,
                completion_requested: false,
                kind: OutgoingKind::InBand,
                payload: &[payload],
            };
            let _ = self.to_host.send(&packet).unwrap();
        }

        /// Takes the host's messages off its ring's hands without reading them: the ring is full.
        fn fill(&mut self) {
            let packet = OutgoingPacket {
                transaction_id: 0,
                completion_requested: false,
                kind: OutgoingKind::InBand,
                payload: &[&[0; 32]],
            };
            while self.outgoing.send(&packet).is_ok() {}
        }
    }

    #[test]
    fn a_guest_that_does_not_answer_the_negotiation_is_waited_for_in_sleep() {
        let mut bench = Bench::new();
        assert_eq!(bench.poll(), NextPoll::OnSignal);
        assert!(bench.read().is_some(), "the negotiation");
        assert_eq!(bench.poll(), NextPoll::OnSignal, "a spurious signal");
    }

    #[test]
    fn a_guest_that_makes_no_room_is_waited_for_in_sleep() {
        let mut bench = Bench::new();
        assert_eq!(bench.poll(), NextPoll::OnSignal);
        let mut negotiation = bench.read().unwrap();
        let mut guest = ic_services::heartbeat::Heartbeat::new();
        guest.handle(&mut negotiation).unwrap();
        bench.write(&negotiation);
        bench.fill();
        assert_eq!(bench.poll(), NextPoll::OnSignal, "no room for the beat");
        while bench.read().is_some() {}
        assert_eq!(bench.poll(), NextPoll::At(bench.now + 2000));
        assert!(bench.read().is_some(), "the beat");
        let requested = bench.memory.atomic_u32(2 * 4096 + 12).unwrap();
        let requested = requested.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(requested, 0, "the host no longer waits for room");
    }
}
