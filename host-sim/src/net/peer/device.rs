//! The stack's end of the cable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use super::dhcp::DhcpServer;
use super::stack::Counters;
use crate::net::frame::Frame;
use crate::net::queue::FrameQueue;
use crate::net::{QUEUE_BYTES, QUEUE_FRAMES};

/// Frames that the stack may have under way to the guest; beyond, it is told that the cable is busy.
pub(super) const WATERMARK: usize = {
    let by_bytes = QUEUE_BYTES / 9100;
    if by_bytes < QUEUE_FRAMES / 2 {
        by_bytes
    } else {
        QUEUE_FRAMES / 2
    }
};

/// The cable. DHCP is answered here, before the stack sees it: a client has no address that the stack could answer.
pub(super) struct Cable {
    pub(super) from_guest: Arc<FrameQueue>,
    pub(super) to_guest: Arc<FrameQueue>,
    pub(super) counters: Arc<Counters>,
    pub(super) dhcp: DhcpServer,
    pub(super) mtu: usize,
}

impl Cable {
    fn is_busy(&self) -> bool {
        self.to_guest.len() >= WATERMARK
    }

    /// The next frame for the stack.
    fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.from_guest.pop()?;
            self.counters
                .frames_from_guest
                .fetch_add(1, Ordering::Relaxed);
            match self.dhcp.handle(&frame.bytes) {
                None => return Some(frame),
                Some(Some(reply)) => {
                    self.counters
                        .leases
                        .store(self.dhcp.acknowledged(), Ordering::Relaxed);
                    send(&self.to_guest, &self.counters, reply);
                }
                Some(None) => {}
            }
        }
    }
}

/// Sends a frame. The guest is woken when the stack has sent all that it has to send.
fn send(to_guest: &FrameQueue, counters: &Counters, bytes: Vec<u8>) {
    if to_guest.push_quietly(Frame::new(bytes)) {
        counters.frames_to_guest.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct RxToken(Frame);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0.bytes)
    }
}

pub(super) struct TxToken<'a> {
    to_guest: &'a FrameQueue,
    counters: &'a Counters,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut bytes = vec![0; length];
        let result = f(&mut bytes);
        send(self.to_guest, self.counters, bytes);
        result
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _timestamp: Instant) -> Option<(RxToken, TxToken<'_>)> {
        if self.is_busy() {
            return None;
        }
        let frame = self.next()?;
        Some((
            RxToken(frame),
            TxToken {
                to_guest: &self.to_guest,
                counters: &self.counters,
            },
        ))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        (!self.is_busy()).then(|| TxToken {
            to_guest: &self.to_guest,
            counters: &self.counters,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        // All checked and made: a guest whose offload is broken is to notice.
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}
