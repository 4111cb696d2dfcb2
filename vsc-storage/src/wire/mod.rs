//! VSTOR: the storage protocol's messages as they lie in a VMBus packet.
//!
//! Both ends use these definitions: the guest's initiator in this crate and a host that serves
//! disks. Every message is a 12-byte [`Header`] followed by a payload, and together they fill a
//! packet of a fixed size that depends on the [`Version`]: 48 bytes for Windows Server 2008 and
//! 2008 R2, 64 bytes from Windows Server 2012 on. [`Packet`] is one such message in private
//! memory; parsing it copies the peer's bytes once.
//!
//! All integers are little-endian.

#[macro_use]
mod codes;
mod packet;
mod srb;

pub use codes::{NtStatus, Operation, PacketFlags, SrbFlags, SrbStatus, UnknownVersion, Version};
pub use packet::{Packet, PacketError};
pub use srb::{DataDirection, Srb};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::scsi::BigEndianU64;

/// Bytes of the header in front of every payload.
pub const HEADER_SIZE: usize = 12;
/// Bytes of the longest payload: a SCSI request with the Windows 8 extension.
pub const MAX_PAYLOAD_SIZE: usize = 52;
/// Bytes of the longest payload of the Windows 6 and 7 dialects.
pub const SHORT_PAYLOAD_SIZE: usize = 36;
/// Bytes of a full packet from Windows 8 on.
pub const MAX_PACKET_SIZE: usize = HEADER_SIZE + MAX_PAYLOAD_SIZE;
/// Bytes of a full packet in the Windows 6 and 7 dialects.
pub const SHORT_PACKET_SIZE: usize = HEADER_SIZE + SHORT_PAYLOAD_SIZE;
/// Bytes of sense data that a request has room for from Windows 8 on.
pub const SENSE_SIZE: usize = 20;
/// Bytes of sense data that a request has room for in the Windows 6 and 7 dialects.
pub const SHORT_SENSE_SIZE: usize = 18;

/// The first 12 bytes of every VSTOR message.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// What the message asks for or answers; see [`Operation`].
    pub operation: U32,
    /// See [`PacketFlags`].
    pub flags: U32,
    /// Result, in what the host sends; the guest sends 0. See [`NtStatus`].
    pub status: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

/// Payload of [`Operation::QUERY_PROTOCOL_VERSION`], request and reply.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct VersionPayload {
    /// Version word, major in the high byte; see [`Version`].
    pub version: U16,
    /// 0; never compared.
    pub revision: U16,
}

const _: () = assert!(size_of::<VersionPayload>() == 4);

bitflags::bitflags! {
    /// What a controller offers, in [`ChannelProperties::flags`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PropertyFlags: u32 {
        /// The controller serves sub-channels.
        const MULTI_CHANNEL = 0x1;
        const _ = !0;
    }
}

/// Reply to [`Operation::QUERY_PROPERTIES`]. The user data of an open message has this shape too.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct ChannelProperties {
    /// Sent as 0 and ignored.
    pub reserved0: U32,
    /// Sub-channels that may be asked for; the primary channel isn't counted.
    pub max_sub_channels: U16,
    /// Sent as 0 and ignored.
    pub reserved1: U16,
    /// See [`PropertyFlags`].
    pub flags: U32,
    /// Largest transfer of one request, in bytes.
    pub max_transfer_bytes: U32,
    /// Sent as 0 and ignored.
    pub reserved2: [u8; 8],
}

const _: () = assert!(size_of::<ChannelProperties>() == 24);

impl ChannelProperties {
    /// The flags as a typed value; unknown bits are kept.
    #[must_use]
    pub const fn property_flags(&self) -> PropertyFlags {
        PropertyFlags::from_bits_retain(self.flags.get())
    }
}

/// Payload of [`Operation::CREATE_SUB_CHANNELS`].
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SubChannelCount {
    /// Sub-channels wanted.
    pub count: U16,
}

const _: () = assert!(size_of::<SubChannelCount>() == 2);

/// Reply to [`Operation::FCHBA_DATA`]: the adapter's world-wide names.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct FibreChannelNames {
    /// Not 0 if the primary pair of names is in use, 0 if the secondary one is.
    pub primary_active: u8,
    /// Sent as 0 and ignored.
    pub reserved: [u8; 3],
    /// World-wide name of the primary port.
    pub primary_port: BigEndianU64,
    /// World-wide name of the primary node.
    pub primary_node: BigEndianU64,
    /// World-wide name of the secondary port.
    pub secondary_port: BigEndianU64,
    /// World-wide name of the secondary node.
    pub secondary_node: BigEndianU64,
}

const _: () = assert!(size_of::<FibreChannelNames>() == 36);

#[cfg(test)]
mod tests;
