//! A guest in the same hands as the host: rings between a device and a scripted end.

use ic_services::session::{Definition, Received, Session};
use ic_services::wire::{MessageType, Status, Version};
use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{IncomingRing, OutgoingRing};
use vmbus_core::version::ProtocolVersion;

use crate::memory::GuestMemory;
use crate::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, GuestRing, NextPoll, OpenRequest, Vsp, VspChannel,
    drive,
};

const FRAMEWORKS: &[Version] = &[Version::new(3, 0), Version::new(1, 0)];
/// Most turns of one wait.
const TURNS: usize = 20_000;

/// A guest's end of a service that does what a test says.
pub(super) struct Guest {
    pub(super) session: Session,
}

impl Guest {
    /// A guest that speaks these versions, the preferred one first.
    pub(super) fn new(message_type: MessageType, versions: &'static [Version]) -> Self {
        Self {
            session: Session::new(Definition {
                message_type,
                frameworks: FRAMEWORKS,
                versions,
                least_body: 1,
            }),
        }
    }

    /// Answers a packet; `None` if it is none.
    pub(super) fn answer(
        &mut self,
        payload: &mut [u8],
        mut act: impl FnMut(Version, &mut [u8]) -> Status,
    ) -> bool {
        match self.session.receive(payload) {
            Ok(Received::Answered) => true,
            Ok(Received::Request(mut request)) => {
                let version = request.version();
                let status = act(version, request.body());
                request.answer(status);
                true
            }
            Err(_) => false,
        }
    }
}

/// An open channel of a device, and the guest's ends of its rings.
pub(super) struct Bench {
    memory: GuestMemory,
    channel: Option<Box<dyn VspChannel>>,
    incoming: IncomingRing<GuestRing>,
    outgoing: OutgoingRing<GuestRing>,
    from_host: IncomingRing<GuestRing>,
    to_host: OutgoingRing<GuestRing>,
    /// Reference time, in 100 ns.
    pub(super) now: u64,
}

impl Bench {
    /// Opens the device on rings of 16 KiB, as Linux does.
    pub(super) fn open(device: &mut dyn Vsp) -> Self {
        Self::open_with_pages(device, 4)
    }

    /// Opens the device on rings of so many pages, control page included.
    pub(super) fn open_with_pages(device: &mut dyn Vsp, pages: u64) -> Self {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let ring = |first: u64| {
            let frames: Vec<_> = (first..first + pages).collect();
            GuestRing::new(&memory, &frames).unwrap()
        };
        let to_host = OutgoingRing::initialise(ring(0));
        let from_host = IncomingRing::initialise(ring(pages));
        let request = OpenRequest {
            sub_channel_index: 0,
            user_data: [0; 120],
            vmbus_version: ProtocolVersion::V5_3,
            vp: 0,
        };
        let channel = device.open(request, ChannelServices::inert()).unwrap();
        Self {
            channel: Some(channel),
            incoming: IncomingRing::attach(ring(0)).unwrap(),
            outgoing: OutgoingRing::attach(ring(pages)).unwrap(),
            from_host,
            to_host,
            memory,
            now: 5000,
        }
    }

    /// Closes the channel.
    pub(super) fn close(&mut self) {
        self.channel = None;
    }

    /// One turn of the channel.
    pub(super) fn turn(&mut self) -> Result<NextPoll, ChannelFault> {
        let channel = self.channel.as_mut().expect("an open channel");
        let (incoming, outgoing) = (&mut self.incoming, &mut self.outgoing);
        let mut io = ChannelIo::new(incoming, outgoing, &self.memory, self.now);
        drive(channel.as_mut(), &mut io)
    }

    /// Turns of the channel until it sleeps.
    pub(super) fn poll(&mut self) -> NextPoll {
        for _ in 0..TURNS {
            match self.turn().unwrap() {
                NextPoll::Now => {}
                next => return next,
            }
        }
        panic!("the channel never sleeps");
    }

    /// What the host has sent.
    pub(super) fn read(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 16 << 10];
        let mut batch = self.from_host.batch().unwrap();
        let packet = batch.next(&mut buffer).unwrap()?;
        let payload = packet.payload.to_vec();
        let _ = batch.commit();
        Some(payload)
    }

    pub(super) fn write(&mut self, payload: &[u8]) {
        let _ = self.to_host.send(&packet(&[payload])).unwrap();
    }

    /// Fills the ring to the guest, as if the guest read nothing.
    pub(super) fn fill(&mut self) {
        while self.outgoing.send(&packet(&[&[0; 32]])).is_ok() {}
    }

    /// Writes nonsense into the indices of the ring to the host.
    pub(super) fn break_ring(&mut self) {
        self.memory.write(0, &[0xFF; 8]).unwrap();
    }

    /// Lets host and guest work until both have nothing to do; the clock goes on to what the host waits for, but
    /// not beyond `until`.
    pub(super) fn run(
        &mut self,
        guest: &mut Guest,
        until: u64,
        mut act: impl FnMut(Version, &mut [u8]) -> Status,
    ) {
        for _ in 0..TURNS {
            let next = self.poll();
            if let Some(mut payload) = self.read() {
                if guest.answer(&mut payload, &mut act) {
                    self.write(&payload);
                }
                continue;
            }
            match next {
                NextPoll::At(time) if time <= until => self.now = self.now.max(time),
                _ => return,
            }
        }
        panic!("they never end");
    }

    /// As [`run`](Self::run) without time passing.
    pub(super) fn run_now(
        &mut self,
        guest: &mut Guest,
        act: impl FnMut(Version, &mut [u8]) -> Status,
    ) {
        self.run(guest, self.now, act);
    }
}

fn packet<'a>(payload: &'a [&'a [u8]]) -> OutgoingPacket<'a> {
    OutgoingPacket {
        transaction_id: 0,
        completion_requested: false,
        kind: OutgoingKind::InBand,
        payload,
    }
}
