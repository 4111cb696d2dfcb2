//! A scripted guest on the other end of a device's channel.

#![allow(dead_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_sim::memory::GuestMemory;
use host_sim::partition::device_memory::RecordingMapper;
use host_sim::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, GuestRing, NextPoll, OpenRequest, PollWaker, Vsp,
    VspChannel, drive,
};
use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::pipe;
use vmbus_core::ring::{IncomingRing, OutgoingRing};
use vmbus_core::version::ProtocolVersion;

pub(crate) const MIB: u64 = 1 << 20;
/// Guest RAM of every bench.
pub(crate) const RAM: u64 = 32 * MIB;
/// The MMIO window that the guest is told of.
pub(crate) const WINDOW: Range<u64> = 0xF800_0000..0xFEC0_0000;

pub(crate) fn mapper() -> Arc<RecordingMapper> {
    let ram = std::iter::once(0..RAM).collect();
    Arc::new(RecordingMapper::new(vec![WINDOW], ram))
}

/// What the host sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A packet's payload, padding included.
    Payload(Vec<u8>),
    /// The completion of a packet.
    Completion(u64),
}

pub(crate) struct Guest {
    pub(crate) memory: GuestMemory,
    pub(crate) now: u64,
    channel: Option<Box<dyn VspChannel>>,
    incoming: IncomingRing<GuestRing>,
    outgoing: OutgoingRing<GuestRing>,
    to_host: OutgoingRing<GuestRing>,
    from_host: IncomingRing<GuestRing>,
    wakes: Arc<AtomicUsize>,
}

pub(crate) fn request(sub_channel_index: u16) -> OpenRequest {
    OpenRequest {
        sub_channel_index,
        user_data: [0; 120],
        vmbus_version: ProtocolVersion::V5_3,
        vp: 0,
    }
}

impl Guest {
    /// Opens a device's channel over rings of so many data pages.
    pub(crate) fn open(device: &mut dyn Vsp, data_pages: u64) -> Self {
        let memory = GuestMemory::new(RAM).unwrap();
        let pages = data_pages + 1;
        let ring = |first: u64| {
            let frames: Vec<_> = (first..first + pages).collect();
            GuestRing::new(&memory, &frames).unwrap()
        };
        let to_host = OutgoingRing::initialise(ring(0));
        let from_host = IncomingRing::initialise(ring(pages));
        let wakes = Arc::new(AtomicUsize::new(0));
        let waker = PollWaker::new({
            let wakes = Arc::clone(&wakes);
            move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let services = ChannelServices {
            waker,
            ..ChannelServices::inert()
        };
        Self {
            channel: Some(device.open(request(0), services).unwrap()),
            now: 1_000_000,
            incoming: IncomingRing::attach(ring(0)).unwrap(),
            outgoing: OutgoingRing::attach(ring(pages)).unwrap(),
            to_host,
            from_host,
            wakes,
            memory,
        }
    }

    /// How often the device asked for a poll since the last call.
    pub(crate) fn take_wakes(&self) -> usize {
        self.wakes.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn close(&mut self) {
        self.channel = None;
    }

    /// One turn of the device.
    pub(crate) fn turn(&mut self) -> Result<NextPoll, ChannelFault> {
        let channel = self.channel.as_mut().unwrap();
        let mut io = ChannelIo::new(
            &mut self.incoming,
            &mut self.outgoing,
            &self.memory,
            self.now,
        );
        drive(channel.as_mut(), &mut io)
    }

    /// Lets the device work until it sleeps; when it wants to be woken.
    pub(crate) fn work(&mut self) -> NextPoll {
        for _ in 0..1000 {
            match self.turn().unwrap() {
                NextPoll::Now => {}
                next => return next,
            }
        }
        panic!("the device never sleeps");
    }

    /// Puts a packet into the ring; `false` if it doesn't fit.
    pub(crate) fn put(
        &mut self,
        kind: OutgoingKind<'_>,
        payload: &[u8],
        completion: Option<u64>,
    ) -> bool {
        self.to_host
            .send(&OutgoingPacket {
                transaction_id: completion.unwrap_or(0),
                completion_requested: completion.is_some(),
                kind,
                payload: &[payload],
            })
            .is_ok()
    }

    /// Sends a payload as it is.
    pub(crate) fn send_raw(&mut self, payload: &[u8]) {
        assert!(self.put(OutgoingKind::InBand, payload, None));
    }

    /// Sends a message in a pipe frame.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let mut payload = pipe::emit(message.len()).unwrap().to_vec();
        payload.extend(message);
        self.send_raw(&payload);
    }

    /// Everything that the host has sent, without letting it work.
    pub(crate) fn read(&mut self) -> Vec<Sent> {
        let mut buffer = vec![0; 64 << 10];
        let mut sent = Vec::new();
        let mut batch = self.from_host.batch().unwrap();
        while let Some(packet) = batch.next(&mut buffer).unwrap() {
            sent.push(match packet.kind {
                IncomingKind::Completion => Sent::Completion(packet.transaction_id),
                _ => Sent::Payload(packet.payload.to_vec()),
            });
        }
        let _ = batch.commit();
        sent
    }

    /// The payloads that the host sends when it has worked.
    pub(crate) fn raw_answers(&mut self) -> Vec<Vec<u8>> {
        self.work();
        let sent = self.read().into_iter();
        sent.filter_map(|sent| match sent {
            Sent::Payload(payload) => Some(payload),
            Sent::Completion(_) => None,
        })
        .collect()
    }

    /// The messages in pipe frames that the host sends when it has worked.
    pub(crate) fn answers(&mut self) -> Vec<Vec<u8>> {
        self.raw_answers()
            .iter()
            .map(|payload| pipe::parse(payload).unwrap().to_vec())
            .collect()
    }
}
