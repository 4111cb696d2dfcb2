//! One open channel with both ends of its rings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket, TransferRange};
use vmbus_core::ring::{IncomingRing, OutgoingRing, RingError, WriteError};

use crate::memory::GuestMemory;
use crate::vmbus::vsp::{ChannelFault, ChannelIo, GuestRing, NextPoll, VspChannel, drive};

/// What a packet from the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// Data in itself.
    InBand,
    /// A completion.
    Completion,
    /// Ranges of the receive buffer, with the id of their set.
    TransferPages(u16, Vec<TransferRange>),
    /// Something that hosts do not send.
    Other,
}

/// A packet from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// What it is.
    pub kind: PacketKind,
    /// Its transaction id.
    pub transaction_id: u64,
    /// Whether the host wants a completion.
    pub completion_requested: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// One open channel: both ends of its rings, and the device behind it.
pub struct TestChannel {
    /// The guest's end of the ring to the host.
    pub to_host: OutgoingRing<GuestRing>,
    /// The guest's end of the ring from the host.
    pub from_host: IncomingRing<GuestRing>,
    /// The guest's memory.
    pub memory: GuestMemory,
    /// Whether the device asked to be polled; cleared by polling.
    pub woken: Arc<AtomicBool>,
    /// Polls that ended with a signal to the guest.
    pub signals: u64,
    pub(super) now: Arc<AtomicU64>,
    pub(super) host_incoming: IncomingRing<GuestRing>,
    pub(super) host_outgoing: OutgoingRing<GuestRing>,
    pub(super) channel: Box<dyn VspChannel>,
}

impl TestChannel {
    /// Sends a packet as it is.
    ///
    /// # Errors
    /// The ring is full.
    pub fn send(
        &mut self,
        transaction_id: u64,
        completion_requested: bool,
        kind: OutgoingKind<'_>,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        self.to_host
            .send(&OutgoingPacket {
                transaction_id,
                completion_requested,
                kind,
                payload: &[payload],
            })
            .map(|_| ())
    }

    /// One turn of the device.
    ///
    /// # Errors
    /// The device has found a fault.
    pub fn poll_once(&mut self) -> Result<NextPoll, ChannelFault> {
        self.woken.store(false, Ordering::Release);
        let mut io = ChannelIo::new(
            &mut self.host_incoming,
            &mut self.host_outgoing,
            &self.memory,
            self.now.load(Ordering::Relaxed),
        );
        let next = drive(self.channel.as_mut(), &mut io);
        self.signals += u64::from(io.signal().is_needed());
        next
    }

    /// Polls the device until it wants to sleep.
    ///
    /// # Errors
    /// The device has found a fault.
    ///
    /// # Panics
    /// If it never wants to.
    pub fn poll(&mut self) -> Result<NextPoll, ChannelFault> {
        for _ in 0..10_000 {
            match self.poll_once()? {
                NextPoll::Now => {}
                next => return Ok(next),
            }
        }
        panic!("the device never sleeps");
    }

    /// Takes all packets from the host.
    ///
    /// # Errors
    /// The host broke the ring.
    pub fn receive(&mut self) -> Result<Vec<ReceivedPacket>, RingError> {
        let mut received = Vec::new();
        let mut buffer = [0; 8192];
        let mut batch = self.from_host.batch()?;
        while let Some(packet) = batch.next(&mut buffer)? {
            received.push(ReceivedPacket {
                kind: match packet.kind {
                    IncomingKind::InBand => PacketKind::InBand,
                    IncomingKind::Completion => PacketKind::Completion,
                    IncomingKind::TransferPages(ranges) => {
                        PacketKind::TransferPages(ranges.set_id(), ranges.collect())
                    }
                    IncomingKind::GpaDirect(_) => PacketKind::Other,
                },
                transaction_id: packet.transaction_id,
                completion_requested: packet.completion_requested,
                payload: packet.payload.to_vec(),
            });
        }
        let _ = batch.commit();
        Ok(received)
    }
}
