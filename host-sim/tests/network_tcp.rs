//! A TCP/IP stack in the guest, through an adapter, to the user network and back: contents are compared.

mod network_support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_sim::net::peer::{
    DISCARD_PORT, DhcpServer, ECHO_PORT, PeerOptions, SOURCE_PORT, SmoltcpPeer, content,
    content_digest,
};
use host_sim::net::{MacAddress, NetworkBackend};
use host_sim::vsp::network::testing::{Guest, Shape};
use network_support::{options, own};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::{PacketInfo, TransmitChecksum};

/// Bytes each way. As many as go through in a moment without optimisation; the whole image is moved by real guests.
const LENGTH: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The guest's driver, as its stack sees it.
struct Nic {
    guest: Guest,
    /// Leaves TCP's checksums to the host.
    offloads: bool,
    sent: usize,
}

struct Rx(Vec<u8>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Tx<'a>(&'a mut Nic);

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut bytes = vec![0; length];
        let result = f(&mut bytes);
        let mut info = PacketInfo::default();
        if self.0.offloads && bytes[12..14] == [8, 0] {
            info.checksum = Some(TransmitChecksum::tcp(false, 34).with_ip_header().0);
        }
        self.0.sent += 1;
        // Each shape in turn.
        let shape = [
            Shape::Section,
            Shape::Direct,
            Shape::Partial,
            Shape::SplitHeader,
        ][self.0.sent % 4];
        assert!(self.0.guest.transmit(0, &bytes, &info, shape));
        result
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        if self.guest.frames[0].is_empty() {
            self.guest.work(0).expect("a sound device");
        }
        let frame = self.guest.frames[0].pop_front()?;
        Some((Rx(frame.bytes), Tx(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Tx<'_>> {
        Some(Tx(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if self.offloads {
            capabilities.checksum = ChecksumCapabilities::default();
            capabilities.checksum.ipv4 = Checksum::Rx;
            capabilities.checksum.tcp = Checksum::Rx;
        }
        capabilities
    }
}

struct Machine {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    begun: Instant,
    peer: Arc<SmoltcpPeer>,
}

impl Machine {
    fn new(version: Version, offloads: bool) -> Self {
        let peer = Arc::new(SmoltcpPeer::new(PeerOptions::default()).unwrap());
        let mut nic = Nic {
            guest: Guest::ready(options(), peer.clone(), version),
            offloads,
            sent: 0,
        };
        let address = HardwareAddress::Ethernet(EthernetAddress(own()));
        let mut interface =
            Interface::new(Config::new(address), &mut nic, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::Ipv4(GUEST), 24))
                .unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || SocketBuffer::new(vec![0; 128 << 10]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        Self {
            nic,
            interface,
            socket: sockets.add(socket),
            sockets,
            begun: Instant::now(),
            peer,
        }
    }

    fn turn<R>(&mut self, act: impl FnOnce(&mut Socket<'_>) -> R) -> R {
        assert!(self.begun.elapsed() < PATIENCE, "the network is stuck");
        let now = smoltcp::time::Instant::from_micros(self.begun.elapsed().as_micros() as i64);
        self.interface.poll(now, &mut self.nic, &mut self.sockets);
        act(self.sockets.get_mut(self.socket))
    }

    /// Connects, sends what `next` gives until it gives nothing, and returns all that comes back.
    fn talk(
        &mut self,
        port: u16,
        mut next: impl FnMut(&mut [u8]) -> usize,
        mut each: impl FnMut(&[u8]),
    ) {
        let context = self.interface.context();
        self.sockets
            .get_mut::<Socket<'_>>(self.socket)
            .connect(context, (IpAddress::Ipv4(HOST), port), 40_000 + port)
            .unwrap();
        let mut is_sent = false;
        loop {
            let ended = self.turn(|socket| {
                if socket.may_send() && !is_sent {
                    let sent = socket.send(|room| {
                        let count = next(room);
                        (count, (count, room.len()))
                    });
                    if let Ok((0, 1..)) = sent {
                        socket.close();
                        is_sent = true;
                    }
                }
                while socket.can_recv() {
                    socket
                        .recv(|data| {
                            each(data);
                            (data.len(), ())
                        })
                        .unwrap();
                }
                is_sent && !socket.may_recv()
            });
            if ended {
                break;
            }
        }
        self.turn(|socket| socket.abort());
        self.turn(|_| {});
    }
}

fn pieces(length: u64) -> impl FnMut(&mut [u8]) -> usize {
    let mut done = 0;
    move |room| {
        let count = (length - done).min(room.len() as u64) as usize;
        for (at, byte) in room[..count].iter_mut().enumerate() {
            *byte = content(done + at as u64);
        }
        done += count as u64;
        count
    }
}

fn moves(version: Version, offloads: bool) {
    let mut machine = Machine::new(version, offloads);
    let mut answer = Vec::new();
    machine.talk(DISCARD_PORT, pieces(LENGTH), |data| answer.extend(data));
    let expected = format!("{} {LENGTH}\n", content_digest(LENGTH));
    assert_eq!(String::from_utf8(answer).unwrap(), expected);

    let mut line = format!("{LENGTH}\n").into_bytes();
    let mut at = 0u64;
    let ask = |room: &mut [u8]| {
        let count = line.len().min(room.len());
        room[..count].copy_from_slice(&line[..count]);
        line.drain(..count);
        count
    };
    machine.talk(SOURCE_PORT, ask, |data| {
        for byte in data {
            assert_eq!(*byte, content(at), "byte {at}");
            at += 1;
        }
    });
    assert_eq!(at, LENGTH);

    let mut back: Vec<u8> = Vec::new();
    machine.talk(ECHO_PORT, pieces(100_000), |data| back.extend(data));
    assert!(
        back.iter()
            .enumerate()
            .all(|(at, byte)| *byte == content(at as u64))
    );
    assert_eq!(back.len(), 100_000);
    let counters = machine.nic.guest.machine.handle.counters();
    assert_eq!(counters.checksum_offloads > 1000, offloads);
    assert_eq!(
        (
            counters.send_errors,
            counters.receive_errors,
            counters.malformed
        ),
        (0, 0, 0)
    );
    assert!(machine.peer.counters().bytes_read >= LENGTH);
}

#[test]
fn streams_with_checksum_offload() {
    moves(Version::V6_1, true);
}

#[test]
fn streams_without_offloads() {
    moves(Version::V2, false);
}

/// The end that closes first remembers the connection for a while. That must not keep the next ones out.
#[test]
fn connections_that_the_host_closes_first_do_not_keep_others_out() {
    let mut machine = Machine::new(Version::V6_1, false);
    for round in 0..40 {
        let context = machine.interface.context();
        machine
            .sockets
            .get_mut::<Socket<'_>>(machine.socket)
            .connect(
                context,
                (IpAddress::Ipv4(HOST), SOURCE_PORT),
                50_000 + round,
            )
            .unwrap();
        let (mut asked, mut received) = (false, 0);
        loop {
            let state = machine.turn(|socket| {
                if socket.may_send() && !asked {
                    asked = socket.send_slice(b"1000\n").is_ok();
                }
                while socket.can_recv() {
                    received += socket.recv(|data| (data.len(), data.len())).unwrap();
                }
                if socket.state() == State::CloseWait {
                    socket.close();
                }
                socket.state()
            });
            if state == State::Closed {
                break;
            }
        }
        assert_eq!(received, 1000, "connection {round}");
    }
}

#[test]
fn a_source_that_is_asked_nonsense_closes() {
    let mut machine = Machine::new(Version::V6_1, false);
    for question in ["\n", "x\n", "-1\n", "99999999999999999999999999999999\n"] {
        let mut line = question.as_bytes().to_vec();
        let ask = |room: &mut [u8]| {
            let count = line.len();
            room[..count].copy_from_slice(&line);
            line.clear();
            count
        };
        let mut answer = 0;
        machine.talk(SOURCE_PORT, ask, |data| answer += data.len());
        assert_eq!(answer, 0, "{question:?}");
    }
}

fn dhcp(
    message_type: DhcpMessageType,
    client: [u8; 6],
    wanted: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
) -> Vec<u8> {
    let request = DhcpRepr {
        message_type,
        transaction_id: 0x1234_5678,
        secs: 0,
        client_hardware_address: EthernetAddress(client),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: wanted,
        client_identifier: None,
        server_identifier: server,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr {
        src_port: 68,
        dst_port: 67,
    };
    let ip = Ipv4Repr {
        src_addr: Ipv4Addr::UNSPECIFIED,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + request.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(client),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; 14 + 20 + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    udp.emit(
        &mut datagram,
        &IpAddress::Ipv4(ip.src_addr),
        &IpAddress::Ipv4(ip.dst_addr),
        request.buffer_len(),
        |payload| {
            request
                .emit(&mut DhcpPacket::new_unchecked(payload))
                .unwrap()
        },
        &checksums,
    );
    bytes
}

/// Type and address of the answer in a frame.
fn answer(frame: &[u8]) -> (DhcpMessageType, Ipv4Addr) {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
    assert!(ip.verify_checksum());
    let udp = UdpPacket::new_checked(ip.payload()).unwrap();
    assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
    let reply = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(reply.transaction_id, 0x1234_5678);
    (reply.message_type, reply.your_ip)
}

#[test]
fn addresses_are_given_by_dhcp_through_the_adapter() {
    let peer = Arc::new(SmoltcpPeer::new(PeerOptions::default()).unwrap());
    let mut guest = Guest::ready(options(), peer.clone(), Version::V6_1);
    let mut ask = |bytes: Vec<u8>| {
        assert!(guest.transmit(0, &bytes, &PacketInfo::default(), Shape::Section));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(frame) = guest.receive(0).pop() {
                return answer(&frame.bytes);
            }
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    };
    let offer = ask(dhcp(DhcpMessageType::Discover, own(), None, None));
    assert_eq!(offer, (DhcpMessageType::Offer, GUEST));
    let given = ask(dhcp(
        DhcpMessageType::Request,
        own(),
        Some(GUEST),
        Some(HOST),
    ));
    assert_eq!(given, (DhcpMessageType::Ack, GUEST));
    let other = ask(dhcp(DhcpMessageType::Request, own(), Some(HOST), None));
    assert_eq!(other, (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED));
    assert_eq!(peer.counters().leases, 1);
}

#[test]
fn a_dhcp_server_gives_each_its_own_and_survives_floods() {
    let options = PeerOptions {
        leases: 4,
        ..PeerOptions::default()
    };
    let mut server = DhcpServer::new(options);
    let client = |number: u8| [0x02, 0, 0, 0, 1, number];
    for round in 0..3 {
        for number in 0..4 {
            let (_, address) = answer(
                &server
                    .handle(&dhcp(DhcpMessageType::Discover, client(number), None, None))
                    .unwrap()
                    .unwrap(),
            );
            assert_eq!(
                address,
                Ipv4Addr::new(10, 0, 2, 15 + number),
                "round {round}"
            );
        }
    }
    // More clients than addresses: the oldest give way.
    for number in 4..200 {
        let frame = dhcp(DhcpMessageType::Discover, client(number), None, None);
        assert!(server.handle(&frame).unwrap().is_some());
    }
    assert_eq!(server.lease(MacAddress(client(0))), None);
    assert!(server.lease(MacAddress(client(199))).is_some());
    let release = dhcp(DhcpMessageType::Release, client(199), None, Some(HOST));
    assert_eq!(server.handle(&release), Some(None));
    assert_eq!(server.lease(MacAddress(client(199))), None);
    // For another server, from a group, damaged.
    let foreign = dhcp(
        DhcpMessageType::Request,
        client(1),
        Some(GUEST),
        Some(GUEST),
    );
    assert_eq!(server.handle(&foreign), Some(None));
    assert_eq!(
        server.handle(&dhcp(DhcpMessageType::Discover, [0xFF; 6], None, None)),
        Some(None)
    );
    let good = dhcp(DhcpMessageType::Discover, client(1), None, None);
    for at in 14..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0xFF;
        assert!(
            !matches!(server.handle(&damaged), Some(Some(_))),
            "byte {at}"
        );
        let _ = server.handle(&good[..at]);
    }
    assert_eq!(server.handle(&[0; 60]), None);
}

#[test]
fn the_user_network_is_a_back_end_without_offloads() {
    let peer = SmoltcpPeer::new(PeerOptions::default()).unwrap();
    assert_eq!(peer.capabilities(), Default::default());
    assert!(peer.link().is_up && peer.describe() == "user");
}
