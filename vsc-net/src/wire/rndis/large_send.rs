//! Large send offload in per-packet information.

/// How a long TCP segment is to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LargeSend(pub u32);

impl LargeSend {
    const MSS: u32 = 0xF_FFFF;
    const VERSION_2: u32 = 1 << 30;
    const IPV6: u32 = 1 << 31;

    /// Version 2: segments of `mss` bytes of payload (at most 0xFFFFF) and the TCP header `tcp_offset` bytes (at
    /// most 1023) into the frame.
    #[must_use]
    pub const fn version_2(ipv6: bool, mss: u32, tcp_offset: u16) -> Self {
        let version = if ipv6 { Self::IPV6 } else { 0 };
        Self(mss & Self::MSS | ((tcp_offset & 0x3FF) as u32) << 20 | Self::VERSION_2 | version)
    }

    /// Version 1, for IPv4 only.
    #[must_use]
    pub const fn version_1(mss: u32, tcp_offset: u16) -> Self {
        Self(mss & Self::MSS | ((tcp_offset & 0x3FF) as u32) << 20)
    }

    /// Bytes of TCP payload in each segment but the last.
    #[must_use]
    pub const fn mss(self) -> u32 {
        self.0 & Self::MSS
    }

    /// Bytes of the frame before the TCP header; 0 if the sender does not say.
    #[must_use]
    pub const fn tcp_offset(self) -> u16 {
        (self.0 >> 20 & 0x3FF) as u16
    }

    /// Whether it is version 2.
    #[must_use]
    pub const fn is_version_2(self) -> bool {
        self.0 & Self::VERSION_2 != 0
    }

    /// Whether the frame holds IPv6; version 1 never does.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.is_version_2() && self.0 & Self::IPV6 != 0
    }
}
