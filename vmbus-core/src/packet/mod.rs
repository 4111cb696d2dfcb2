//! Ring packets: what travels on a channel.
//!
//! A packet is a 16-byte descriptor, an extension that depends on its type, and a payload padded with
//! zeros to 8 bytes; an 8-byte trailer follows it in the ring. [`OutgoingPacket`] is what a sender
//! describes and the ring lays out in shared memory without an intermediate copy; [`IncomingPacket`] is
//! what a receiver gets: a view of one private copy, every field of which has been validated.
//!
//! Four types are in use and supported: in-band data, completions, GPA-direct (data in guest pages named
//! by the packet) and transfer pages (data in a buffer that both ends set up earlier).

mod error;
mod incoming;
mod outgoing;
mod ranges;

pub use error::PacketError;
pub use incoming::{Descriptor, IncomingKind, IncomingPacket};
pub use outgoing::{GpaRange, InvalidRange, OutgoingKind, OutgoingPacket, TransferRange};
pub(crate) use outgoing::{Layout, PacketSink};
pub use ranges::{GpaRanges, IncomingGpaRange, PageFrames, TransferRanges};

/// Bytes in the descriptor that starts every packet.
pub const DESCRIPTOR_SIZE: u32 = 16;
/// Bytes in the trailer that follows every packet in the ring.
pub const TRAILER_SIZE: u32 = 8;
/// Longest packet that a descriptor can express, in bytes, without its trailer.
pub const MAXIMUM_PACKET_SIZE: u32 = 65535 * 8;
/// Bytes in a page of the protocol, whatever the guest's own page size.
pub const PAGE_SIZE: u32 = 4096;

/// Descriptor flag: the sender wants exactly one completion packet with the same transaction id.
pub const FLAG_COMPLETION_REQUESTED: u16 = 1;

/// Type code of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PacketType(pub u16);

impl PacketType {
    /// Data in the packet itself.
    pub const IN_BAND: Self = Self(6);
    /// Data in ranges of a transfer-page set.
    pub const TRANSFER_PAGES: Self = Self(7);
    /// Data in guest pages that the packet lists.
    pub const GPA_DIRECT: Self = Self(9);
    /// Completion of an earlier packet.
    pub const COMPLETION: Self = Self(0xB);
}

#[cfg(test)]
mod tests;
