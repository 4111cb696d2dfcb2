//! Checksum offload in per-packet information.

/// What the sender of a frame leaves to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TransmitChecksum(pub u32);

impl TransmitChecksum {
    const IPV4: u32 = 1;
    const IPV6: u32 = 1 << 1;
    const TCP: u32 = 1 << 2;
    const UDP: u32 = 1 << 3;
    const IP_HEADER: u32 = 1 << 4;

    /// The checksum of a TCP segment whose header is so many bytes into the frame (at most 1023).
    #[must_use]
    pub const fn tcp(ipv6: bool, transport_offset: u16) -> Self {
        Self(Self::version(ipv6) | Self::TCP | Self::offset(transport_offset))
    }

    /// The checksum of a UDP datagram whose header is so many bytes into the frame (at most 1023).
    #[must_use]
    pub const fn udp(ipv6: bool, transport_offset: u16) -> Self {
        Self(Self::version(ipv6) | Self::UDP | Self::offset(transport_offset))
    }

    /// The same with the checksum of the IPv4 header.
    #[must_use]
    pub const fn with_ip_header(self) -> Self {
        Self(self.0 | Self::IP_HEADER)
    }

    const fn version(ipv6: bool) -> u32 {
        if ipv6 { Self::IPV6 } else { Self::IPV4 }
    }

    const fn offset(transport_offset: u16) -> u32 {
        ((transport_offset & 0x3FF) as u32) << 16
    }

    /// Whether it is about anything: without a version of IP it is not.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & (Self::IPV4 | Self::IPV6) != 0
    }

    /// Whether the frame holds IPv6. With both versions marked it is IPv4.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.0 & (Self::IPV4 | Self::IPV6) == Self::IPV6
    }

    /// Whether the TCP checksum is to be made.
    #[must_use]
    pub const fn has_tcp(self) -> bool {
        self.0 & Self::TCP != 0
    }

    /// Whether the UDP checksum is to be made.
    #[must_use]
    pub const fn has_udp(self) -> bool {
        self.0 & Self::UDP != 0
    }

    /// Whether the checksum of the IPv4 header is to be made.
    #[must_use]
    pub const fn has_ip_header(self) -> bool {
        self.0 & Self::IP_HEADER != 0
    }

    /// Bytes of the frame before the transport header, without a VLAN tag; 0 if the sender does not say.
    #[must_use]
    pub const fn transport_offset(self) -> u16 {
        (self.0 >> 16 & 0x3FF) as u16
    }
}

/// What is known of a received frame's checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiveChecksum(pub u32);

impl ReceiveChecksum {
    /// The TCP checksum is wrong.
    pub const TCP_FAILED: u32 = 1;
    /// The UDP checksum is wrong.
    pub const UDP_FAILED: u32 = 1 << 1;
    /// The checksum of the IPv4 header is wrong.
    pub const IP_HEADER_FAILED: u32 = 1 << 2;
    /// The TCP checksum is right.
    pub const TCP_SUCCEEDED: u32 = 1 << 3;
    /// The UDP checksum is right.
    pub const UDP_SUCCEEDED: u32 = 1 << 4;
    /// The checksum of the IPv4 header is right.
    pub const IP_HEADER_SUCCEEDED: u32 = 1 << 5;
    /// The frame never was on a wire.
    pub const LOOPBACK: u32 = 1 << 6;
    /// The transport checksum's field holds no checksum.
    pub const TRANSPORT_VALUE_INVALID: u32 = 1 << 7;
    /// The IPv4 header checksum's field holds no checksum.
    pub const IP_HEADER_VALUE_INVALID: u32 = 1 << 8;

    /// Whether all of these bits are set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Whether the transport checksum is right. Hosts mark UDP as TCP at times.
    #[must_use]
    pub const fn is_transport_good(self) -> bool {
        self.0 & (Self::TCP_SUCCEEDED | Self::UDP_SUCCEEDED) != 0
    }
}
