//! The messages of key-value exchange.
//!
//! Each body begins with the [`Header`], whose reserved half is already part of the body in a message with IP
//! information as text ([`text_info`]).

pub mod binary_info;
pub mod exchange;
pub mod text_info;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::Version;

/// Bytes of every body about IP information.
pub const IP_LENGTH: usize = 7428;
/// The first version whose IP information is binary.
pub const FIRST_WITH_BINARY_INFO: Version = Version::new(5, 0);

/// What the host wants.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Operation(pub u8);

impl Operation {
    /// The value of a key.
    pub const GET: Self = Self(0);
    /// Stores a key and its value.
    pub const SET: Self = Self(1);
    /// Removes a key.
    pub const DELETE: Self = Self(2);
    /// The item with a number.
    pub const ENUMERATE: Self = Self(3);
    /// The addresses of a network adapter.
    pub const GET_IP_INFO: Self = Self(4);
    /// Gives a network adapter addresses.
    pub const SET_IP_INFO: Self = Self(5);
}

/// Where an item lives.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Pool(pub u8);

impl Pool {
    /// Written by the host's administrator.
    pub const EXTERNAL: Self = Self(0);
    /// Written by the guest's programs.
    pub const GUEST: Self = Self(1);
    /// Made by the guest's daemon.
    pub const AUTO: Self = Self(2);
    /// Made by the host.
    pub const AUTO_EXTERNAL: Self = Self(3);
    /// Never on the wire.
    pub const AUTO_INTERNAL: Self = Self(4);
}

/// What a value is.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct ValueType(pub U32);

impl ValueType {
    /// Text.
    pub const TEXT: Self = Self(U32::new(1));
    /// Text with references to the environment.
    pub const EXPANDABLE_TEXT: Self = Self(U32::new(2));
    /// 4 bytes.
    pub const U32: Self = Self(U32::new(4));
    /// 8 bytes, as Linux numbers it.
    pub const U64_LINUX: Self = Self(U32::new(8));
    /// 8 bytes.
    pub const U64: Self = Self(U32::new(11));
}

/// The header of every body.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// What is wanted.
    pub operation: Operation,
    /// Where.
    pub pool: Pool,
}

const _: () = assert!(size_of::<Header>() == 2);

bitflags::bitflags! {
    /// Families of addresses.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Families: u8 {
        /// IPv4.
        const V4 = 1;
        /// IPv6.
        const V6 = 2;

        const _ = !0;
    }
}
