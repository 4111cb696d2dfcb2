//! NVSP versions.

use core::fmt;

use super::MessageType;

/// A version of NVSP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// Windows Server 2008: frames of 1514 bytes, no configuration message.
    V1,
    /// Windows Server 2008 R2: MTU, VLAN and capabilities.
    V2,
    /// Windows Server 2012: virtual functions.
    V4,
    /// Windows Server 2012 R2: sub-channels, indirection table, NDIS 6.30.
    V5,
    /// Windows Server 2016: packet direct, which no guest uses.
    V6,
    /// Windows Server 2019: messages of 40 bytes, receive segment coalescing.
    V6_1,
}

/// The word is no version of NVSP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownVersion(pub u32);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} is no version of NVSP", self.0)
    }
}

impl core::error::Error for UnknownVersion {}

impl Version {
    /// All versions, in the order in which a guest proposes them.
    pub const ALL_NEWEST_FIRST: [Self; 6] =
        [Self::V6_1, Self::V6, Self::V5, Self::V4, Self::V2, Self::V1];

    /// The version's word.
    #[must_use]
    pub const fn wire(self) -> u32 {
        match self {
            Self::V1 => 0x0000_0002,
            Self::V2 => 0x0003_0002,
            Self::V4 => 0x0004_0000,
            Self::V5 => 0x0005_0000,
            Self::V6 => 0x0006_0000,
            Self::V6_1 => 0x0006_0001,
        }
    }

    /// Whether the guest sends its configuration, MTU and capabilities.
    #[must_use]
    pub fn has_ndis_config(self) -> bool {
        self >= Self::V2
    }

    /// Whether the guest may ask for sub-channels.
    #[must_use]
    pub fn has_sub_channels(self) -> bool {
        self >= Self::V5
    }

    /// The highest message number of the version.
    #[must_use]
    pub const fn highest_message(self) -> MessageType {
        match self {
            Self::V1 => MessageType::SEND_RNDIS_PACKET_COMPLETE,
            Self::V2 => MessageType(127),
            Self::V4 => MessageType::UPLINK_CONNECT_STATE,
            Self::V5 => MessageType::SEND_INDIRECTION_TABLE,
            Self::V6 | Self::V6_1 => MessageType::PACKET_DIRECT_POST_BATCH,
        }
    }

    /// Bytes of a message: 28 or 40.
    #[must_use]
    pub const fn message_size(self) -> usize {
        match self {
            Self::V6_1 => super::MESSAGE_SIZE,
            _ => super::SHORT_MESSAGE_SIZE,
        }
    }
}

impl TryFrom<u32> for Version {
    type Error = UnknownVersion;

    fn try_from(word: u32) -> Result<Self, UnknownVersion> {
        Self::ALL_NEWEST_FIRST
            .into_iter()
            .find(|version| version.wire() == word)
            .ok_or(UnknownVersion(word))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V4 => "4",
            Self::V5 => "5",
            Self::V6 => "6",
            Self::V6_1 => "6.1",
        })
    }
}
