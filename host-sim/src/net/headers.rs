//! Ethernet, VLAN, IP and transport headers of a frame.

/// Bytes of an Ethernet header without a tag.
pub const ETHERNET_HEADER: usize = 14;
/// Bytes of a VLAN tag.
pub const VLAN_TAG: usize = 4;
/// EtherType of a VLAN tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86DD;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Extension headers of IPv6 that are looked behind.
const MAX_EXTENSIONS: usize = 8;
/// VLAN tags that are looked behind.
const MAX_TAGS: usize = 2;

/// Big-endian 16-bit word at a place.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

/// What kind of packet a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the headers of an IP packet lie in its frame. All offsets are from the frame's first byte and lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Version of IP.
    pub version: IpVersion,
    /// First byte of the IP header.
    pub network: usize,
    /// First byte behind the IP header and its extensions.
    pub transport: usize,
    /// Protocol of the transport header.
    pub protocol: u8,
    /// Whether the packet is a part of another one, so that there may be no transport header.
    pub is_fragment: bool,
    /// Where the packet ends as its length says; the frame may be padded behind it. Where the packet says no length,
    /// as those to be segmented do, the end of the frame.
    pub end: usize,
}

impl Headers {
    /// The headers of a frame; `None` if it holds no IP packet, or one whose headers or length do not fit it.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut network = ETHERNET_HEADER;
        let mut ethertype = word(frame, 12)?;
        for _ in 0..MAX_TAGS {
            if ethertype != ETHERTYPE_VLAN {
                break;
            }
            ethertype = word(frame, network + 2)?;
            network += VLAN_TAG;
        }
        match ethertype {
            ETHERTYPE_IPV4 => Self::ipv4(frame, network),
            ETHERTYPE_IPV6 => Self::ipv6(frame, network),
            _ => None,
        }
    }

    fn ipv4(frame: &[u8], network: usize) -> Option<Self> {
        let header = frame.get(network..)?.first_chunk::<20>()?;
        let length = usize::from(header[0] & 0xF) * 4;
        if header[0] >> 4 != 4 || length < 20 {
            return None;
        }
        let transport = network + length;
        let end = match word(header, 2)? {
            0 => frame.len(),
            total => network + usize::from(total),
        };
        if transport > end || end > frame.len() {
            return None;
        }
        // More fragments, or not the first one.
        let is_fragment = word(header, 6)? & 0x3FFF != 0;
        Some(Self {
            version: IpVersion::V4,
            network,
            transport,
            protocol: header[9],
            is_fragment,
            end,
        })
    }

    fn ipv6(frame: &[u8], network: usize) -> Option<Self> {
        let header = frame.get(network..)?.first_chunk::<40>()?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let mut transport = network + 40;
        let end = match word(header, 4)? {
            0 => frame.len(),
            payload => transport + usize::from(payload),
        };
        if end > frame.len() {
            return None;
        }
        let mut protocol = header[6];
        let mut is_fragment = false;
        for _ in 0..MAX_EXTENSIONS {
            let packet = frame.get(..end)?;
            let length = match protocol {
                // Hop-by-hop, routing, destination options.
                0 | 43 | 60 => (usize::from(*packet.get(transport + 1)?) + 1) * 8,
                44 => {
                    is_fragment = word(packet, transport + 2)? & 0xFFF9 != 0;
                    8
                }
                _ => break,
            };
            protocol = *packet.get(transport)?;
            transport += length;
            if transport > end {
                return None;
            }
            if is_fragment {
                break;
            }
        }
        Some(Self {
            version: IpVersion::V6,
            network,
            transport,
            protocol,
            is_fragment,
            end,
        })
    }

    /// Source and destination address, one after the other, as they lie in the frame.
    #[must_use]
    pub fn addresses<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        match self.version {
            IpVersion::V4 => frame.get(self.network + 12..self.network + 20),
            IpVersion::V6 => frame.get(self.network + 8..self.network + 40),
        }
    }

    /// Source and destination port, one after the other, of a whole TCP or UDP packet.
    #[must_use]
    pub fn ports<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        let has_ports = matches!(self.protocol, PROTOCOL_TCP | PROTOCOL_UDP) && !self.is_fragment;
        has_ports
            .then(|| {
                frame
                    .get(..self.end)?
                    .get(self.transport..self.transport + 4)
            })
            .flatten()
    }

    /// Bytes of the TCP header; `None` if the packet is no whole TCP segment or its header does not fit.
    #[must_use]
    pub fn tcp_header_length(&self, frame: &[u8]) -> Option<usize> {
        if self.protocol != PROTOCOL_TCP || self.is_fragment {
            return None;
        }
        let packet = frame.get(..self.end)?;
        let length = usize::from(packet.get(self.transport + 12)? >> 4) * 4;
        (length >= 20 && self.transport + length <= self.end).then_some(length)
    }

    /// Where the checksum of the transport header lies in it; `None` if it has none or does not fit.
    #[must_use]
    pub fn checksum_offset(&self) -> Option<u16> {
        let (offset, least) = match self.protocol {
            PROTOCOL_TCP => (16, 20),
            PROTOCOL_UDP => (6, 8),
            _ => return None,
        };
        (!self.is_fragment && self.transport + least <= self.end).then_some(offset)
    }
}

/// The control word of a frame's outermost VLAN tag.
#[must_use]
pub fn vlan_tag(frame: &[u8]) -> Option<u16> {
    (word(frame, 12)? == ETHERTYPE_VLAN)
        .then(|| word(frame, 14))
        .flatten()
}

/// Puts a VLAN tag behind the addresses; nothing in a frame that is too short to have them.
pub fn insert_vlan_tag(frame: &mut super::Frame, tci: u16) {
    let [a, b] = tci.to_be_bytes();
    if frame.bytes.len() < 12 {
        return;
    }
    frame.bytes.splice(12..12, [0x81, 0x00, a, b]);
    frame.tag_inserted();
}

/// Takes the outermost VLAN tag out of a frame; returns its control word.
pub fn remove_vlan_tag(frame: &mut super::Frame) -> Option<u16> {
    let tci = vlan_tag(&frame.bytes)?;
    frame.bytes.drain(12..16);
    frame.tag_removed();
    Some(tci)
}
