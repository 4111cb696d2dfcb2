//! Versions of the VMBus protocol and the feature flags that came with the last of them.

use core::fmt;

/// A version of the VMBus protocol that this crate speaks.
///
/// Closed on purpose: what a peer names on the wire becomes a `ProtocolVersion` only through the fallible
/// [`TryFrom<u32>`]. Versions compare by age, so `version >= ProtocolVersion::V5_0` reads as it should.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ProtocolVersion {
    /// 0.13 (Windows Server 2008): the base, with one interrupt page for both directions.
    V0_13 = 0x0000_000D,
    /// 1.1 (Windows Server 2008 R2): a signal connection per channel, an answer to UNLOAD.
    V1_1 = 0x0001_0001,
    /// 2.4 (Windows Server 2012): interrupts through event flags on any virtual processor, sub-channels.
    V2_4 = 0x0002_0004,
    /// 3.0 (Windows Server 2012 R2): messages to the virtual processor of the guest's choice.
    V3_0 = 0x0003_0000,
    /// 4.0 (Windows Server 2016): reserved channels, socket channels.
    V4_0 = 0x0004_0000,
    /// 4.1 (Windows 10 1709): moving an open channel to another virtual processor.
    V4_1 = 0x0004_0001,
    /// 5.0 (Windows 10 1709): the host names the connection for messages.
    V5_0 = 0x0005_0000,
    /// 5.1 (Windows 10 1803): the guest names the virtual trust level.
    V5_1 = 0x0005_0001,
    /// 5.2 (Windows Server 2019): socket requests name a silo.
    V5_2 = 0x0005_0002,
    /// 5.3 (Windows Server 2022): moving a channel is answered.
    V5_3 = 0x0005_0003,
    /// 6.0: feature flags.
    V6_0 = 0x0006_0000,
}

impl ProtocolVersion {
    /// All versions, the newest first: the order of negotiation.
    pub const ALL_NEWEST_FIRST: [Self; 11] = [
        Self::V6_0,
        Self::V5_3,
        Self::V5_2,
        Self::V5_1,
        Self::V5_0,
        Self::V4_1,
        Self::V4_0,
        Self::V3_0,
        Self::V2_4,
        Self::V1_1,
        Self::V0_13,
    ];

    /// The newest version.
    pub const NEWEST: Self = Self::V6_0;
    /// The oldest version.
    pub const OLDEST: Self = Self::V0_13;

    /// The value on the wire: major number × 65536 + minor number.
    #[must_use]
    pub const fn wire(self) -> u32 {
        self as u32
    }

    /// Major number.
    #[must_use]
    pub const fn major(self) -> u32 {
        self.wire() >> 16
    }

    /// Minor number.
    #[must_use]
    pub const fn minor(self) -> u32 {
        self.wire() & 0xFFFF
    }

    /// Versions of the closed interval, the newest first.
    pub fn between(newest: Self, oldest: Self) -> impl Iterator<Item = Self> + Clone {
        Self::ALL_NEWEST_FIRST
            .into_iter()
            .filter(move |version| (oldest..=newest).contains(version))
    }

    /// Whether each channel's signals have a connection of their own (1.1 and later).
    #[must_use]
    pub fn has_dedicated_signals(self) -> bool {
        self >= Self::V1_1
    }

    /// Whether the host interrupts through event flags, on the virtual processor that the channel names
    /// (2.4 and later). Before that it uses the interrupt page and virtual processor 0.
    #[must_use]
    pub fn has_channel_event_flags(self) -> bool {
        self >= Self::V2_4
    }

    /// Whether VERSION_RESPONSE names the connection for messages, and INITIATE_CONTACT goes to the
    /// multi-client connection (5.0 and later).
    #[must_use]
    pub fn has_message_connection(self) -> bool {
        self >= Self::V5_0
    }

    /// Whether INITIATE_CONTACT and VERSION_RESPONSE carry feature flags (6.0 and later).
    #[must_use]
    pub fn has_feature_flags(self) -> bool {
        self >= Self::V6_0
    }
}

/// The value does not name a version that this crate speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownVersion(
    /// The value on the wire.
    pub u32,
);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown VMBus protocol version {:#010x}", self.0)
    }
}

impl core::error::Error for UnknownVersion {}

impl TryFrom<u32> for ProtocolVersion {
    type Error = UnknownVersion;

    fn try_from(wire: u32) -> Result<Self, UnknownVersion> {
        Self::ALL_NEWEST_FIRST
            .into_iter()
            .find(|version| version.wire() == wire)
            .ok_or(UnknownVersion(wire))
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

bitflags::bitflags! {
    /// Features that guest and host agree on from protocol 6.0 on. Unknown bits are kept.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct FeatureFlags: u32 {
        /// OPEN_CHANNEL may carry the guest's choice of connection id and event flag.
        const GUEST_SPECIFIED_SIGNAL_PARAMETERS = 0x01;
        /// OPEN_CHANNEL may ask for redirected interrupts.
        const CHANNEL_INTERRUPT_REDIRECTION = 0x02;
        /// MODIFY_CONNECTION is allowed.
        const MODIFY_CONNECTION = 0x04;
        /// INITIATE_CONTACT carries the client's id.
        const CLIENT_ID = 0x08;
        /// Offers may ask for confidential rings and confidential external memory.
        const CONFIDENTIAL_CHANNELS = 0x10;
        /// PAUSE and RESUME are allowed.
        const PAUSE_RESUME = 0x20;
        /// The host may supply the monitor pages.
        const SERVER_SPECIFIED_MONITOR_PAGES = 0x40;
        /// Offers may ask for pinned external memory.
        const GPA_PINNING = 0x80;

        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn wire_values_go_round() {
        for version in ProtocolVersion::ALL_NEWEST_FIRST {
            assert_eq!(ProtocolVersion::try_from(version.wire()), Ok(version));
        }
        assert_eq!(
            ProtocolVersion::try_from(0x0005_0004),
            Err(UnknownVersion(0x0005_0004))
        );
        assert_eq!(ProtocolVersion::V5_3.to_string(), "5.3");
        assert_eq!(ProtocolVersion::V0_13.to_string(), "0.13");
    }

    #[test]
    fn order_is_by_age() {
        let all = ProtocolVersion::ALL_NEWEST_FIRST;
        assert!(all.is_sorted_by(|newer, older| newer > older));
        let some: Vec<_> =
            ProtocolVersion::between(ProtocolVersion::V5_0, ProtocolVersion::V3_0).collect();
        assert_eq!(
            some,
            [
                ProtocolVersion::V5_0,
                ProtocolVersion::V4_1,
                ProtocolVersion::V4_0,
                ProtocolVersion::V3_0
            ]
        );
        assert_eq!(
            ProtocolVersion::between(ProtocolVersion::V3_0, ProtocolVersion::V5_0).count(),
            0
        );
    }
}
