//! The host in the network: its interface and its sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::device::Cable;
use super::dhcp::DhcpServer;
use super::service::{Kind, Session};
use super::{DISCARD_PORT, ECHO_PORT, PeerCounters, PeerOptions, SOURCE_PORT};
use crate::net::queue::FrameQueue;

/// Connections of each service at once.
const SOCKETS: usize = 4;
/// Bytes that a socket keeps in each direction.
const BUFFER: usize = 256 << 10;
/// Milliseconds after which a connection whose guest says nothing is given up.
const TIMEOUT: u64 = 60_000;

/// Numbers that the thread counts and others read.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames_from_guest: AtomicU64,
    pub(super) frames_to_guest: AtomicU64,
    pub(super) leases: AtomicU64,
    connections: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, dropped: u64) -> PeerCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerCounters {
            frames_from_guest: get(&self.frames_from_guest),
            frames_to_guest: get(&self.frames_to_guest),
            dropped,
            leases: get(&self.leases),
            connections: get(&self.connections),
            bytes_read: get(&self.bytes_read),
            bytes_written: get(&self.bytes_written),
        }
    }
}

fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(smoltcp::time::Duration::from_millis(TIMEOUT)));
    socket.set_nagle_enabled(false);
    socket
}

struct Served {
    handle: SocketHandle,
    kind: Kind,
    /// While there is a connection.
    session: Option<Session>,
}

/// All of it.
pub(super) struct Stack {
    begun: Instant,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    served: Vec<Served>,
    counters: Arc<Counters>,
}

impl Stack {
    pub(super) fn new(
        options: PeerOptions,
        from_guest: Arc<FrameQueue>,
        to_guest: Arc<FrameQueue>,
        counters: Arc<Counters>,
    ) -> Self {
        let mut cable = Cable {
            from_guest,
            to_guest,
            counters: Arc::clone(&counters),
            dhcp: DhcpServer::new(options),
            mtu: options.mtu.into(),
        };
        let address = HardwareAddress::Ethernet(EthernetAddress(options.mac.0));
        let mut interface = Interface::new(
            Config::new(address),
            &mut cable,
            smoltcp::time::Instant::ZERO,
        );
        interface.update_ip_addrs(|addresses| {
            // The list has room for one.
            let _ = addresses.push(IpCidr::new(
                IpAddress::Ipv4(options.address),
                options.prefix,
            ));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let mut served = Vec::new();
        for kind in [Kind::Echo, Kind::Discard, Kind::Source] {
            for _ in 0..SOCKETS {
                served.push(Served {
                    handle: sockets.add(socket()),
                    kind,
                    session: None,
                });
            }
        }
        Self {
            begun: Instant::now(),
            cable,
            interface,
            sockets,
            served,
            counters,
        }
    }

    /// Does all there is to do; returns how long nothing will be, unless a frame comes. `None`: for ever.
    pub(super) fn poll(&mut self) -> Option<Duration> {
        let micros = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        let now = smoltcp::time::Instant::from_micros(micros);
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        self.serve();
        // What the services have written goes out with the same turn.
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        self.serve();
        self.cable.to_guest.announce();
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        // With a busy cable it says "at once" for as long as the guest takes nothing.
        Some(Duration::from_micros(delay.total_micros()).max(Duration::from_micros(200)))
    }

    fn serve(&mut self) {
        self.forget();
        for served in &mut self.served {
            let socket = self.sockets.get_mut::<Socket<'_>>(served.handle);
            if socket.state() == State::Closed {
                if served.session.take().is_some() {
                    self.counters.connections.fetch_add(1, Ordering::Relaxed);
                }
                let port = match served.kind {
                    Kind::Echo => ECHO_PORT,
                    Kind::Discard => DISCARD_PORT,
                    Kind::Source => SOURCE_PORT,
                };
                if let Err(error) = socket.listen(port) {
                    tracing::error!(%error, port, "the user network does not listen");
                }
            }
            if matches!(socket.state(), State::Listen | State::SynReceived) {
                continue;
            }
            let kind = served.kind;
            let session = served.session.get_or_insert_with(|| Session::new(kind));
            let moved = session.turn(socket);
            let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
            add(&self.counters.bytes_read, moved.read);
            add(&self.counters.bytes_written, moved.written);
        }
    }

    /// Connections that the guest has ended and that are only remembered, in case its last acknowledgement was lost, make
    /// room where a service has no socket left for the next one.
    fn forget(&mut self) {
        for kind in [Kind::Echo, Kind::Discard, Kind::Source] {
            let state = |served: &Served| self.sockets.get::<Socket<'_>>(served.handle).state();
            let mut of_kind = self.served.iter().filter(|served| served.kind == kind);
            let is_ready = |state| matches!(state, State::Closed | State::Listen);
            if of_kind.clone().any(|served| is_ready(state(served))) {
                continue;
            }
            if let Some(old) = of_kind.find(|served| state(served) == State::TimeWait) {
                *self.sockets.get_mut::<Socket<'_>>(old.handle) = socket();
            }
        }
    }
}
