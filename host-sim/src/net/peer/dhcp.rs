//! A DHCP server.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::PeerOptions;
use crate::net::mac::MacAddress;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Seconds that an address is given for.
const LEASE_TIME: u32 = 86_400;

/// Gives each Ethernet address its IPv4 address, the same again when it asks again.
#[derive(Clone, Debug)]
pub struct DhcpServer {
    options: PeerOptions,
    /// By place in the range; the oldest client gives way when there are more than addresses.
    clients: Vec<Option<EthernetAddress>>,
    next: usize,
    acknowledged: u64,
}

impl DhcpServer {
    /// A server for this network, all addresses free.
    #[must_use]
    pub fn new(options: PeerOptions) -> Self {
        Self {
            options,
            clients: vec![None; options.leases.into()],
            next: 0,
            acknowledged: 0,
        }
    }

    /// Addresses given so far, renewals included.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The address of a client.
    #[must_use]
    pub fn lease(&self, client: MacAddress) -> Option<Ipv4Addr> {
        let place = self.place_of(EthernetAddress(client.0))?;
        Some(self.address(place))
    }

    fn place_of(&self, client: EthernetAddress) -> Option<usize> {
        self.clients.iter().position(|other| *other == Some(client))
    }

    fn address(&self, place: usize) -> Ipv4Addr {
        // At most 256 places, and the range was checked.
        Ipv4Addr::from(u32::from(self.options.first_lease) + place as u32)
    }

    fn allocate(&mut self, client: EthernetAddress) -> Ipv4Addr {
        if let Some(place) = self.place_of(client) {
            return self.address(place);
        }
        let free = self.clients.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            let oldest = self.next;
            self.next = (self.next + 1) % self.clients.len();
            oldest
        });
        self.clients[place] = Some(client);
        self.address(place)
    }

    /// Takes a frame: `None` if it is not for a DHCP server, else the frame that answers it, if one does.
    pub fn handle(&mut self, frame: &[u8]) -> Option<Option<Vec<u8>>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        if ip.next_header() != IpProtocol::Udp || ip.more_frags() || ip.frag_offset() != 0 {
            return None;
        }
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        if udp.dst_port() != SERVER_PORT {
            return None;
        }
        let checksums = ChecksumCapabilities::default();
        let is_sound = ip.verify_checksum()
            && UdpRepr::parse(
                &udp,
                &IpAddress::Ipv4(ip.src_addr()),
                &IpAddress::Ipv4(ip.dst_addr()),
                &checksums,
            )
            .is_ok();
        Some(is_sound.then(|| self.reply(udp.payload())).flatten())
    }

    fn reply(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let client = request.client_hardware_address;
        if !client.is_unicast() {
            return None;
        }
        let own = self.options.address;
        let for_another = request
            .server_identifier
            .is_some_and(|server| server != own);
        let (message_type, address) = match request.message_type {
            DhcpMessageType::Discover => (DhcpMessageType::Offer, self.allocate(client)),
            DhcpMessageType::Request if !for_another => {
                let address = self.allocate(client);
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if wanted == address {
                    self.acknowledged += 1;
                    (DhcpMessageType::Ack, address)
                } else {
                    (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED)
                }
            }
            DhcpMessageType::Release if !for_another => {
                if let Some(place) = self.place_of(client) {
                    self.clients[place] = None;
                }
                return None;
            }
            DhcpMessageType::Inform => (DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED),
            _ => return None,
        };
        let gives = address != Ipv4Addr::UNSPECIFIED;
        let mask = u32::MAX << (32 - self.options.prefix);
        let reply = DhcpRepr {
            message_type,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: client,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: address,
            server_ip: own,
            router: gives.then_some(own),
            subnet_mask: gives.then(|| Ipv4Addr::from(mask)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: request.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(own),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: gives.then_some(LEASE_TIME),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        // The client has no address yet that it would answer ARP for: the Ethernet address is known, and IP's
        // broadcast reaches every state of a client.
        Some(self.frame(&reply, client))
    }

    fn frame(&self, reply: &DhcpRepr<'_>, client: EthernetAddress) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let udp = UdpRepr {
            src_port: SERVER_PORT,
            dst_port: CLIENT_PORT,
        };
        let ip = Ipv4Repr {
            src_addr: self.options.address,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + reply.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.options.mac.0),
            dst_addr: client,
            ethertype: EthernetProtocol::Ipv4,
        };
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        udp.emit(
            &mut datagram,
            &IpAddress::Ipv4(ip.src_addr),
            &IpAddress::Ipv4(ip.dst_addr),
            reply.buffer_len(),
            |payload| {
                // The buffer has the length that the message says it needs.
                let _ = reply.emit(&mut DhcpPacket::new_unchecked(payload));
            },
            &checksums,
        );
        bytes
    }
}
