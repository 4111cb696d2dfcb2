//! Identifiers and status values in messages.

use core::fmt;

use zerocopy::little_endian::U32;

use super::CHANNEL_ID_LIMIT;

/// Id of a channel, the "relid": 1 to 2047 as long as the channel is offered. As parsed it may be any
/// number; see [`is_valid`](Self::is_valid).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// Whether a channel can have this id.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0 && self.0 < CHANNEL_ID_LIMIT
    }
}

/// Id of a GPADL: chosen by the guest, unique among those that live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GpadlId(pub u32);

/// Status in a reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplyStatus(pub u32);

impl ReplyStatus {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// Failed, for no stated reason.
    pub const FAILED: Self = Self(0x8000_FFFF);
    /// A socket's peer refused the connection.
    pub const CONNECTION_REFUSED: Self = Self(0xC000_0236);

    /// Whether the request was granted: the status is 0.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether the status, taken as a signed number, is negative: how replies to the creation of GPADLs
    /// say failure.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 >> 31 != 0
    }
}

macro_rules! wire_u32 {
    ($($name:ident, $display:literal;)*) => {$(
        impl From<U32> for $name {
            fn from(wire: U32) -> Self {
                Self(wire.get())
            }
        }

        impl From<$name> for U32 {
            fn from(plain: $name) -> Self {
                Self::new(plain.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $display, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $display, ")"), self.0)
            }
        }
    )*};
}

wire_u32! {
    ChannelId, "{}";
    GpadlId, "{:#x}";
    ReplyStatus, "{:#x}";
}
