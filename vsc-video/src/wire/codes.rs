//! Message types, versions and flags of the synthetic video protocol.

use core::cmp::Ordering;
use core::fmt;

use bitflags::bitflags;

vmbus_core::open_enum! {
    /// What a message says.
    MessageType: u32 {
        /// Either end: something went wrong. Without meaning for the receiver.
        ERROR = 0,
        /// Guest: asks for a version.
        VERSION_REQUEST = 1,
        /// Host: accepts or rejects it.
        VERSION_RESPONSE = 2,
        /// Guest: where the frame buffer lies.
        VRAM_LOCATION = 3,
        /// Host: the frame buffer is there.
        VRAM_LOCATION_ACK = 4,
        /// Guest: the mode.
        SITUATION_UPDATE = 5,
        /// Host: the mode has been looked at.
        SITUATION_UPDATE_ACK = 6,
        /// Guest: where the pointer is.
        POINTER_POSITION = 7,
        /// Guest: how the pointer looks.
        POINTER_SHAPE = 8,
        /// Host: which reports it wants.
        FEATURE_CHANGE = 9,
        /// Guest: which rectangles have changed.
        DIRT = 10,
        /// Guest: asks about the firmware. From version 3.3.
        BIOS_INFO_REQUEST = 11,
        /// Host: answers it.
        BIOS_INFO_RESPONSE = 12,
        /// Guest: asks for the list of resolutions. From version 3.5.
        SUPPORTED_RESOLUTIONS_REQUEST = 13,
        /// Host: answers it.
        SUPPORTED_RESOLUTIONS_RESPONSE = 14,
        /// Guest: asks for the host's capabilities. From version 3.5.
        CAPABILITY_REQUEST = 15,
        /// Host: answers it.
        CAPABILITY_RESPONSE = 16,
    }
}

vmbus_core::open_enum! {
    /// The host's word on a version.
    Acceptance: u8 {
        /// Rejected: ask for another.
        REJECTED = 0,
        /// Accepted.
        ACCEPTED = 1,
        /// Accepted, and the response's version is what the host speaks.
        ACCEPTED_WITH_VERSION = 2,
    }
}

vmbus_core::open_enum! {
    /// How a pointer shape's data is laid out.
    PointerFormat: u8 {
        /// Two planes of one bit: AND, then XOR; rows padded to bytes.
        MONOCHROME = 0,
        /// 32 bits for each pixel: blue, green, red, alpha.
        ARGB = 1,
    }
}

bitflags! {
    /// Which reports the host wants from the guest.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Features: u8 {
        /// Dirty rectangles.
        const DIRT = 1;
        /// The pointer's position.
        const POINTER_POSITION = 1 << 1;
        /// The pointer's shape.
        const POINTER_SHAPE = 1 << 2;
        /// The mode.
        const SITUATION = 1 << 3;
    }
}

/// A version as it is on the wire: major in the low half, minor in the high half, opposite to other services.
///
/// Ordered by major, then minor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(pub u32);

impl Version {
    /// A version.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self((minor as u32) << 16 | major as u32)
    }

    /// The major number.
    #[must_use]
    pub const fn major(self) -> u16 {
        self.0 as u16
    }

    /// The minor number.
    #[must_use]
    pub const fn minor(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major(), self.minor()).cmp(&(other.major(), other.minor()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

/// A version of the protocol that exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProtocolVersion {
    /// Windows 7 and Server 2008 R2: 16 bits for each pixel, at most 1600 by 1200.
    V3_0,
    /// Windows 8 and Server 2012: 32 bits for each pixel.
    V3_2,
    /// Windows 8.1 and Server 2012 R2: question about the firmware.
    V3_3,
    /// Windows 10: resolution chosen by the host.
    V3_4,
    /// Windows 10 and Server 2016, later waves: EDID and list of resolutions.
    V3_5,
}

impl ProtocolVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 5] = [Self::V3_0, Self::V3_2, Self::V3_3, Self::V3_4, Self::V3_5];

    /// How the version is written on the wire.
    #[must_use]
    pub const fn wire(self) -> Version {
        let minor = match self {
            Self::V3_0 => 0,
            Self::V3_2 => 2,
            Self::V3_3 => 3,
            Self::V3_4 => 4,
            Self::V3_5 => 5,
        };
        Version::new(3, minor)
    }

    /// The version with this number on the wire; `None` if there is none.
    #[must_use]
    pub fn from_wire(version: Version) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.wire() == version)
    }

    /// Bits of each pixel in this version's modes.
    #[must_use]
    pub const fn depth_bits(self) -> u8 {
        match self {
            Self::V3_0 => 16,
            _ => 32,
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire().fmt(f)
    }
}
