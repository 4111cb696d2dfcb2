//! Types of messages: number, name, direction, version.

use core::fmt;

use crate::version::{FeatureFlags, ProtocolVersion};

/// Who sends a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The guest, to the host.
    GuestToHost,
    /// The host, to the guest.
    HostToGuest,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GuestToHost => "guest to host",
            Self::HostToGuest => "host to guest",
        })
    }
}

/// Type of a message. Open: every 32-bit value may appear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u32);

macro_rules! message_types {
    ($($constant:ident = $number:literal, $direction:ident, $version:ident, $feature:expr;)*) => {
        impl MessageType {
            $(
                #[doc = concat!("`", stringify!($constant), "`.")]
                pub const $constant: Self = Self($number);
            )*

            /// All types that the protocol defines.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// Name in the protocol, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some(stringify!($constant)),)*
                    _ => None,
                }
            }

            /// Who sends it, if it is defined.
            #[must_use]
            pub const fn direction(self) -> Option<Direction> {
                match self {
                    $(Self::$constant => Some(Direction::$direction),)*
                    _ => None,
                }
            }

            /// The first version that has it, and the feature that it belongs to.
            const fn since(self) -> Option<(ProtocolVersion, FeatureFlags)> {
                match self {
                    $(Self::$constant => Some((ProtocolVersion::$version, $feature)),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    OFFER_CHANNEL = 1, HostToGuest, V0_13, FeatureFlags::empty();
    RESCIND_CHANNEL_OFFER = 2, HostToGuest, V0_13, FeatureFlags::empty();
    REQUEST_OFFERS = 3, GuestToHost, V0_13, FeatureFlags::empty();
    ALL_OFFERS_DELIVERED = 4, HostToGuest, V0_13, FeatureFlags::empty();
    OPEN_CHANNEL = 5, GuestToHost, V0_13, FeatureFlags::empty();
    OPEN_CHANNEL_RESULT = 6, HostToGuest, V0_13, FeatureFlags::empty();
    CLOSE_CHANNEL = 7, GuestToHost, V0_13, FeatureFlags::empty();
    GPADL_HEADER = 8, GuestToHost, V0_13, FeatureFlags::empty();
    GPADL_BODY = 9, GuestToHost, V0_13, FeatureFlags::empty();
    GPADL_CREATED = 10, HostToGuest, V0_13, FeatureFlags::empty();
    GPADL_TEARDOWN = 11, GuestToHost, V0_13, FeatureFlags::empty();
    GPADL_TORNDOWN = 12, HostToGuest, V0_13, FeatureFlags::empty();
    RELID_RELEASED = 13, GuestToHost, V0_13, FeatureFlags::empty();
    INITIATE_CONTACT = 14, GuestToHost, V0_13, FeatureFlags::empty();
    VERSION_RESPONSE = 15, HostToGuest, V0_13, FeatureFlags::empty();
    UNLOAD = 16, GuestToHost, V0_13, FeatureFlags::empty();
    UNLOAD_RESPONSE = 17, HostToGuest, V1_1, FeatureFlags::empty();
    OPEN_RESERVED_CHANNEL = 18, GuestToHost, V4_0, FeatureFlags::empty();
    CLOSE_RESERVED_CHANNEL = 19, GuestToHost, V0_13, FeatureFlags::empty();
    CLOSE_RESERVED_CHANNEL_RESPONSE = 20, HostToGuest, V4_0, FeatureFlags::empty();
    TL_CONNECT_REQUEST = 21, GuestToHost, V4_0, FeatureFlags::empty();
    MODIFY_CHANNEL = 22, GuestToHost, V4_1, FeatureFlags::empty();
    TL_CONNECT_RESULT = 23, HostToGuest, V4_1, FeatureFlags::empty();
    MODIFY_CHANNEL_RESPONSE = 24, HostToGuest, V5_3, FeatureFlags::empty();
    MODIFY_CONNECTION = 25, GuestToHost, V6_0, FeatureFlags::MODIFY_CONNECTION;
    MODIFY_CONNECTION_RESPONSE = 26, HostToGuest, V6_0, FeatureFlags::MODIFY_CONNECTION;
    PAUSE = 27, GuestToHost, V6_0, FeatureFlags::PAUSE_RESUME;
    PAUSE_RESPONSE = 28, HostToGuest, V6_0, FeatureFlags::PAUSE_RESUME;
    RESUME = 29, GuestToHost, V6_0, FeatureFlags::PAUSE_RESUME;
}

impl MessageType {
    /// Whether a connection of this version, with these features granted, may carry it.
    #[must_use]
    pub fn is_agreed(self, version: ProtocolVersion, features: FeatureFlags) -> bool {
        self.since()
            .is_some_and(|(since, feature)| version >= since && features.contains(feature))
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "message type {}", self.0),
        }
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
