//! One service's open channel: negotiation, then one request at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ic_services::wire::{MAX_PAYLOAD, Status, Version};
use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::WriteError;

use super::session::{Offered, Reply, Session, SessionFault};
use crate::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, NextPoll, PollWaker, VspChannel,
};

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
    /// When to ask again even if nothing happens.
    fn deadline(&mut self, now: u64) -> Option<u64>;
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

    fn receive(&mut self, io: &mut ChannelIo<'_>) -> Result<(), ChannelFault> {
        let mut batch = io.incoming.batch()?;
        while let Some(packet) = batch.next(&mut self.buffer)? {
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
        Ok(())
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

impl<S: HostService> VspChannel for ServiceChannel<S> {
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        self.receive(io)?;
        if let Some(payload) = self.session.negotiation() {
            if Self::send(io, &payload)? {
                self.session.negotiation_sent();
            }
            return Ok(NextPoll::OnSignal);
        }
        let mut service = self.service.lock();
        if self.session.is_ready()
            && let Some(body) = service.request(io.now)
            && let Some(payload) = self.session.request(&body)
        {
            if Self::send(io, &payload)? {
                self.session.request_sent();
            } else {
                service.unsent(body);
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
