//! A host's end of a channel, for tests: scripted by the test, over rings on the heap.

pub(crate) mod host;
pub(crate) mod machine;
pub(crate) mod target;

use std::vec::Vec;

use vmbus_core::packet::{IncomingKind, IncomingPacket, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::testing::HeapRing;
use vmbus_core::ring::{IncomingRing, OutgoingRing, Signal};

use crate::queue::{Received, Request, RequestQueue, SubmitError};
use crate::wire::{NtStatus, Operation, Packet, PacketFlags, Srb};

/// A packet that the guest sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) completion_requested: bool,
    /// Byte count, byte offset and page frames of the GPA-direct range.
    pub(crate) range: Option<(u32, u32, Vec<u64>)>,
    pub(crate) payload: Vec<u8>,
}

impl Sent {
    pub(crate) fn packet(&self) -> Packet {
        Packet::parse(&self.payload).unwrap()
    }

    pub(crate) fn operation(&self) -> Operation {
        self.packet().operation()
    }

    pub(crate) fn srb(&self) -> Srb {
        self.packet().srb().unwrap()
    }
}

/// Both ends of a channel.
pub(crate) struct Link {
    pub(crate) outgoing: OutgoingRing<HeapRing>,
    pub(crate) incoming: IncomingRing<HeapRing>,
    /// The guest's outgoing ring as raw memory.
    pub(crate) to_host: HeapRing,
    pub(crate) host: HostEnd,
}

/// The host's rings.
pub(crate) struct HostEnd {
    incoming: IncomingRing<HeapRing>,
    outgoing: OutgoingRing<HeapRing>,
}

impl Link {
    /// A channel with `size` data bytes towards the host. The ring towards the guest is large: how
    /// a host copes with a full one is not the guest's matter.
    pub(crate) fn new(size: u32) -> Self {
        let to_host = HeapRing::new(size);
        let to_guest = HeapRing::new(1 << 17);
        let outgoing = OutgoingRing::initialise(to_host.clone());
        let incoming = IncomingRing::initialise(to_guest.clone());
        Self {
            host: HostEnd {
                incoming: IncomingRing::attach(to_host.clone()).unwrap(),
                outgoing: OutgoingRing::attach(to_guest).unwrap(),
            },
            outgoing,
            incoming,
            to_host,
        }
    }

    /// Queues a command and ignores whether the host must be interrupted: the test drives it.
    pub(crate) fn send<B>(
        &mut self,
        queue: &mut RequestQueue<B>,
        request: &Request<'_>,
        context: B,
    ) -> Result<u64, SubmitError<B>> {
        queue
            .send(&mut self.outgoing, request, context)
            .map(|(id, _)| id)
    }

    /// Hands every packet waiting for the guest to `each`.
    pub(crate) fn deliver(&mut self, mut each: impl FnMut(&IncomingPacket<'_>)) {
        let mut buffer = [0; 4096];
        let mut batch = self.incoming.batch().unwrap();
        while let Some(packet) = batch.next(&mut buffer).unwrap() {
            each(&packet);
        }
        let _ = batch.commit();
    }

    /// Hands every packet waiting for the guest to `queue`.
    pub(crate) fn receive<B>(&mut self, queue: &mut RequestQueue<B>) -> Vec<Received<B>> {
        let mut all = Vec::new();
        self.deliver(|packet| all.push(queue.receive(packet)));
        all
    }
}

impl HostEnd {
    /// Takes what the guest has sent.
    pub(crate) fn take(&mut self) -> Vec<Sent> {
        self.take_at_most(usize::MAX)
    }

    pub(crate) fn take_at_most(&mut self, most: usize) -> Vec<Sent> {
        let mut buffer = [0; 16384];
        let mut all = Vec::new();
        let mut batch = self.incoming.batch().unwrap();
        while all.len() < most
            && let Some(packet) = batch.next(&mut buffer).unwrap()
        {
            let range = match packet.kind {
                IncomingKind::InBand => None,
                IncomingKind::GpaDirect(ranges) => {
                    let mut ranges: Vec<_> = ranges
                        .map(|range| {
                            (
                                range.byte_count,
                                range.byte_offset,
                                range.page_frames.iter().collect(),
                            )
                        })
                        .collect();
                    assert_eq!(ranges.len(), 1, "exactly one range");
                    ranges.pop()
                }
                kind => panic!("the guest sent {kind:?}"),
            };
            all.push(Sent {
                id: packet.transaction_id,
                completion_requested: packet.completion_requested,
                range,
                payload: packet.payload.to_vec(),
            });
        }
        let _ = batch.commit();
        all
    }

    pub(crate) fn send(&mut self, id: u64, kind: OutgoingKind<'_>, payload: &[u8]) -> Signal {
        self.outgoing
            .send(&OutgoingPacket {
                transaction_id: id,
                completion_requested: false,
                kind,
                payload: &[payload],
            })
            .unwrap()
    }

    /// Completes a guest message with a status and a payload.
    pub(crate) fn complete(&mut self, id: u64, reply: &Packet) {
        let _ = self.send(id, OutgoingKind::Completion, reply.as_bytes());
    }

    /// Completes a command with an edited request block.
    pub(crate) fn complete_srb(&mut self, sent: &Sent, edit: impl FnOnce(&mut Srb)) {
        let mut reply = sent.packet().completion(NtStatus::SUCCESS);
        let request = sent.srb();
        let mut srb = Srb {
            length: 52.into(),
            srb_status: 1,
            cdb_length: 16,
            data_transfer_length: request.data_transfer_length,
            ..Srb::ZERO
        };
        edit(&mut srb);
        reply.set_payload(&srb);
        self.complete(sent.id, &reply);
    }

    /// Sends an unsolicited message.
    pub(crate) fn announce(&mut self, operation: Operation) {
        let packet = Packet::new(operation, PacketFlags::empty(), NtStatus::SUCCESS, 52);
        let _ = self.send(0, OutgoingKind::InBand, packet.as_bytes());
    }
}
