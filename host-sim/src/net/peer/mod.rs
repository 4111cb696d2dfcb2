//! A small network in this process, for guests on machines where nothing else is permitted.
//!
//! One host stands at the other end of the cable. It answers ARP and ping, gives addresses by DHCP and serves TCP:
//!
//! | Port | Service |
//! |---|---|
//! | 7 | echo: what is sent comes back |
//! | 9 | discard: reads to the end, answers one line: SHA-256 and number of the bytes read |
//! | 19 | source: reads one line with a number, sends so many bytes of [`content`] and closes |
//!
//! So `nc 10.0.2.2 9 < file` shows the hash of what arrived, and `echo 268435456 | nc 10.0.2.2 19 | sha256sum` what
//! [`content_digest`] says. There is no way out of this network. Byte `i` of a source is the low byte of
//! `i ^ 31 * (i >> 8) ^ 17 * (i >> 16)`.

mod device;
mod dhcp;
mod service;
mod stack;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::backend::{BackendError, BackendWaker, Link, NetworkBackend, SendError};
use super::frame::Frame;
use super::mac::MacAddress;
use super::queue::FrameQueue;

pub use dhcp::DhcpServer;

use device::WATERMARK;
use stack::{Counters, Stack};

/// Port of the echo service.
pub const ECHO_PORT: u16 = 7;
/// Port of the discard service.
pub const DISCARD_PORT: u16 = 9;
/// Port of the source service.
pub const SOURCE_PORT: u16 = 19;

/// How the network is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// Ethernet address of the host in it.
    pub mac: MacAddress,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Bits of the network's number, at most 30.
    pub prefix: u8,
    /// First address that is given to guests.
    pub first_lease: Ipv4Addr,
    /// Addresses that are given, at most 256.
    pub leases: u16,
    /// Bytes of the longest IP packet.
    pub mtu: u16,
}

impl Default for PeerOptions {
    /// 10.0.2.2 in 10.0.2.0/24, guests from 10.0.2.15 on, packets of up to 9000 bytes. A guest with a smaller MTU says
    /// so in its TCP connections, and its pings are answered with packets of their size.
    fn default() -> Self {
        Self {
            mac: MacAddress([0x52, 0x55, 0x0A, 0x00, 0x02, 0x02]),
            address: Ipv4Addr::new(10, 0, 2, 2),
            prefix: 24,
            first_lease: Ipv4Addr::new(10, 0, 2, 15),
            leases: 64,
            mtu: 9000,
        }
    }
}

/// What the network has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounters {
    /// Frames from the guest.
    pub frames_from_guest: u64,
    /// Frames to the guest.
    pub frames_to_guest: u64,
    /// Frames to the guest that found no room.
    pub dropped: u64,
    /// Addresses given by DHCP, renewals included.
    pub leases: u64,
    /// TCP connections served to their end.
    pub connections: u64,
    /// Bytes that the services read.
    pub bytes_read: u64,
    /// Bytes that the services wrote.
    pub bytes_written: u64,
}

/// Byte `index` of what the source service sends.
#[must_use]
pub const fn content(index: u64) -> u8 {
    // Different in each block of 256 bytes and in each of 64 KiB, so that exchanged or repeated pieces show.
    (index ^ (index >> 8).wrapping_mul(31) ^ (index >> 16).wrapping_mul(17)) as u8
}

/// Fills a piece with the bytes of [`content`] from `start` on.
fn fill_content(start: u64, piece: &mut [u8]) {
    let mut index = start;
    let mut rest = piece;
    while !rest.is_empty() {
        // Up to the next multiple of 256 the low byte is combined with the same: much faster than asking for each.
        let count = rest.len().min(256 - (index & 0xFF) as usize);
        let (block, after) = rest.split_at_mut(count);
        let same = content(index) ^ index as u8;
        for (low, byte) in (index as u8..=u8::MAX).zip(block) {
            *byte = low ^ same;
        }
        index += count as u64;
        rest = after;
    }
}

/// SHA-256 of the first `length` bytes of [`content`], in hexadecimal digits.
#[must_use]
pub fn content_digest(length: u64) -> String {
    let mut hash = Sha256::new();
    let mut piece = [0; 4096];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(piece.len() as u64) as usize;
        fill_content(done, &mut piece[..count]);
        hash.update(&piece[..count]);
        done += count as u64;
    }
    hexadecimal(&hash.finalize())
}

/// Bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The network, with one thread.
pub struct SmoltcpPeer {
    to_guest: Arc<FrameQueue>,
    from_guest: Arc<FrameQueue>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
    worker: std::thread::Thread,
    stop: Arc<AtomicBool>,
}

impl SmoltcpPeer {
    /// Starts the network.
    ///
    /// # Errors
    /// The options contradict each other, or the system refuses a thread.
    pub fn new(options: PeerOptions) -> Result<Self, BackendError> {
        check(&options)?;
        let to_guest = Arc::new(FrameQueue::default());
        let from_guest = Arc::new(FrameQueue::default());
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut stack = Stack::new(
            options,
            Arc::clone(&from_guest),
            Arc::clone(&to_guest),
            Arc::clone(&counters),
        );
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("user-network".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    match stack.poll() {
                        // What has come meanwhile has unparked this thread already.
                        Some(pause) => std::thread::park_timeout(pause),
                        None => std::thread::park(),
                    }
                }
            })
            .map_err(|error| BackendError::system("no thread for the network", error))?;
        Ok(Self {
            to_guest,
            from_guest,
            counters,
            worker: thread.thread().clone(),
            thread: Some(thread),
            stop,
        })
    }

    /// What the network has seen.
    #[must_use]
    pub fn counters(&self) -> PeerCounters {
        self.counters.read(self.to_guest.dropped())
    }
}

/// Refuses options that make no network.
fn check(options: &PeerOptions) -> Result<(), BackendError> {
    let refuse = |why: &str| Err(BackendError::Missing(format!("user network: {why}")));
    if !options.mac.is_unicast() {
        return refuse("the Ethernet address is a group's or zero");
    }
    if !(8..=30).contains(&options.prefix) {
        return refuse("the network's number has 8 to 30 bits");
    }
    if !(576..=9000).contains(&options.mtu) {
        return refuse("packets have 576 to 9000 bytes");
    }
    if options.leases == 0 || options.leases > 256 {
        return refuse("there are 1 to 256 addresses for guests");
    }
    let mask = u32::MAX << (32 - options.prefix);
    let (own, first) = (u32::from(options.address), u32::from(options.first_lease));
    let last = first.checked_add(u32::from(options.leases) - 1);
    let inside = |address: u32| {
        address & mask == own & mask && address & !mask != 0 && address & !mask != !mask
    };
    if !inside(own) || !inside(first) || !last.is_some_and(inside) {
        return refuse("an address lies outside of the network");
    }
    if last.is_some_and(|last| (first..=last).contains(&own)) {
        return refuse("the host's own address is among those for guests");
    }
    Ok(())
}

impl NetworkBackend for SmoltcpPeer {
    fn describe(&self) -> String {
        "user".into()
    }

    fn send(&self, frame: &Frame) -> Result<(), SendError> {
        let sent = self.from_guest.push(frame.clone());
        self.worker.unpark();
        if sent { Ok(()) } else { Err(SendError::Full) }
    }

    fn receive(&self, frame: &mut Frame) -> bool {
        let Some(next) = self.to_guest.pop() else {
            return false;
        };
        *frame = next;
        // With so many frames under way the stack leaves what the guest sent unread, and may sleep without an end.
        if self.to_guest.len() < WATERMARK && !self.from_guest.is_empty() {
            self.worker.unpark();
        }
        true
    }

    fn dropped(&self) -> u64 {
        self.to_guest.dropped()
    }

    fn set_waker(&self, waker: Option<BackendWaker>) {
        self.to_guest.set_waker(waker);
    }

    fn link(&self) -> Link {
        Link::new(true)
    }
}

impl Drop for SmoltcpPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.worker.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the user network's thread panicked");
        }
    }
}

impl std::fmt::Debug for SmoltcpPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmoltcpPeer")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_bytes_of_their_places() {
        let mut piece = [0; 600];
        for start in [0, 1, 255, 256, 65_300, (1 << 40) - 300] {
            for length in [0, 1, 2, 255, 256, 257, 600] {
                fill_content(start, &mut piece[..length]);
                for (at, byte) in piece[..length].iter().enumerate() {
                    assert_eq!(*byte, content(start + at as u64), "{start} {length} {at}");
                }
            }
        }
    }
}
