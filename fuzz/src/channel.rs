//! A device's open channel and the guest's end of its rings, in one place.

use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vmbus::vsp::{
    ChannelFault, ChannelIo, ChannelServices, GuestRing, NextPoll, OpenRequest, Vsp, VspChannel,
    drive,
};
use vmbus_core::packet::{IncomingPacket, OutgoingPacket};
use vmbus_core::ring::{IncomingRing, OutgoingRing};
use vmbus_core::version::ProtocolVersion;

/// Turns after which a channel with nothing new to do must want to sleep.
const TURNS: usize = 64;

/// A channel between a device and a guest in the same hands.
pub(crate) struct Channel {
    memory: GuestMemory,
    /// `None` after a fault.
    device: Option<Box<dyn VspChannel>>,
    incoming: IncomingRing<GuestRing>,
    outgoing: OutgoingRing<GuestRing>,
    to_host: OutgoingRing<GuestRing>,
    from_host: IncomingRing<GuestRing>,
    /// First byte of the rings, and their number.
    rings: (u64, u64),
    /// The guest has written into its rings: what they hold proves nothing about the host any more.
    forged: bool,
    buffer: Vec<u8>,
}

impl Channel {
    /// Opens a channel of a device over two rings of as many pages each, starting at frame `first`.
    pub(crate) fn open(
        memory: &GuestMemory,
        first: u64,
        pages: u64,
        device: &mut dyn Vsp,
        sub_channel_index: u16,
    ) -> Self {
        let size = 2 * pages * PAGE_SIZE;
        memory
            .write(first * PAGE_SIZE, &vec![0; size as usize])
            .expect("RAM");
        let ring = |first: u64| {
            let frames: Vec<_> = (first..first + pages).collect();
            GuestRing::new(memory, &frames).expect("RAM")
        };
        let to_host = OutgoingRing::initialise(ring(first));
        let from_host = IncomingRing::initialise(ring(first + pages));
        let request = OpenRequest {
            sub_channel_index,
            user_data: [0; 120],
            vmbus_version: ProtocolVersion::NEWEST,
            vp: 0,
        };
        Self {
            device: device.open(request, ChannelServices::inert()).ok(),
            memory: memory.clone(),
            incoming: IncomingRing::attach(ring(first)).expect("fresh rings"),
            outgoing: OutgoingRing::attach(ring(first + pages)).expect("fresh rings"),
            to_host,
            from_host,
            rings: (first * PAGE_SIZE, size),
            forged: false,
            buffer: vec![0; 16 << 10],
        }
    }

    /// Whether the device still serves the channel.
    pub(crate) const fn is_alive(&self) -> bool {
        self.device.is_some()
    }

    /// Notes that the rings may be overwritten by the guest's will.
    pub(crate) const fn set_forged(&mut self) {
        self.forged = true;
    }

    /// Whether the guest has written into its rings.
    pub(crate) const fn is_forged(&self) -> bool {
        self.forged
    }

    /// Closes the channel.
    pub(crate) fn close(&mut self) {
        self.device = None;
    }

    /// Lets the device work until it wants to sleep.
    pub(crate) fn work(&mut self, now: u64) {
        for _ in 0..TURNS {
            match self.turn(now) {
                Some(Ok(NextPoll::Now)) => {}
                Some(Err(fault)) => {
                    assert!(!fault.to_string().is_empty());
                    // The channel is closed.
                    self.device = None;
                    return;
                }
                _ => return,
            }
        }
        panic!("the channel never sleeps");
    }

    fn turn(&mut self, now: u64) -> Option<Result<NextPoll, ChannelFault>> {
        let device = self.device.as_mut()?;
        let mut io = ChannelIo::new(&mut self.incoming, &mut self.outgoing, &self.memory, now);
        let next = drive(device.as_mut(), &mut io);
        let _ = io.signal();
        Some(next)
    }

    /// Sends a packet if it fits; `true` if it did.
    pub(crate) fn send(&mut self, packet: &OutgoingPacket<'_>) -> bool {
        self.to_host.send(packet).is_ok()
    }

    /// Hands the guest what the host has sent.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&IncomingPacket<'_>)) {
        let mut batch = match self.from_host.batch() {
            Ok(batch) => batch,
            Err(error) => {
                assert!(self.forged, "the host has broken the ring: {error}");
                return;
            }
        };
        loop {
            match batch.next(&mut self.buffer) {
                Ok(Some(packet)) => each(&packet),
                Ok(None) => break,
                Err(error) => {
                    assert!(self.forged, "the host has broken the ring: {error}");
                    break;
                }
            }
        }
        let _ = batch.commit();
    }

    /// Writes anywhere into the rings.
    pub(crate) fn forge(&mut self, at: u32, bytes: &[u8]) {
        self.forged = true;
        let (start, size) = self.rings;
        let at = u64::from(at) % size;
        let room = (size - at).min(bytes.len() as u64);
        self.memory
            .write(start + at, &bytes[..room as usize])
            .expect("RAM");
    }
}
