//! The state of the link.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ObjectHeader, ObjectType};

vmbus_core::open_enum! {
    /// Whether the cable is plugged in.
    ConnectState: u32 {
        /// Not known.
        UNKNOWN = 0,
        /// It is.
        CONNECTED = 1,
        /// It is not.
        DISCONNECTED = 2,
    }
}

/// [`Oid::GEN_LINK_STATE`](super::Oid::GEN_LINK_STATE).
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct LinkState {
    /// [`ObjectType::DEFAULT`].
    pub header: ObjectHeader,
    /// See [`ConnectState`].
    pub connect_state: U32,
    /// 0 unknown, 1 half, 2 full.
    pub duplex: U32,
    /// 0.
    pub reserved: U32,
    /// Bit/s.
    pub transmit_speed: U64,
    /// Bit/s.
    pub receive_speed: U64,
    /// 0: none supported.
    pub pause_functions: U32,
    /// 0.
    pub auto_negotiation_flags: U32,
}

const _: () = assert!(size_of::<LinkState>() == 40);

impl LinkState {
    /// A link with the same speed, in bit/s, both ways.
    #[must_use]
    pub const fn new(connect_state: ConnectState, speed: u64) -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::DEFAULT, 1, 40),
            connect_state: U32::new(connect_state.0),
            duplex: U32::ZERO,
            reserved: U32::ZERO,
            transmit_speed: U64::new(speed),
            receive_speed: U64::new(speed),
            pause_functions: U32::ZERO,
            auto_negotiation_flags: U32::ZERO,
        }
    }
}
