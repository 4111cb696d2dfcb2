//! NVSP: the protocol of a network adapter's channels.
//!
//! A message is a 4-byte number and up to 36 bytes of body; only the indirection table is longer. The number of
//! bytes on the wire says little: packets are padded to 8 bytes and ends send more than a message needs, so a
//! [`Message`] is whatever the packet holds, and each body asks for the bytes that its fields need.

mod codes;
mod layouts;
mod message;
mod version;

pub use codes::{Capabilities, ChannelType, DataPath, MessageType, Status, SubChannelOperation};
pub use layouts::{
    Body, IndirectionTable, Init, InitComplete, NdisConfig, NdisVersion, OidQueryEx,
    OidQueryExComplete, PacketDirectComplete, ReceiveBufferComplete, RevokeBuffer, RndisPacket,
    RndisPacketComplete, SendBuffer, SendBufferComplete, SubChannelComplete, SubChannelRequest,
    SwitchDataPath, VfAssociation,
};
pub use message::{Message, MessageError};
pub use version::{UnknownVersion, Version};

/// Bytes of a message up to NVSP 6 before the packet's padding.
pub const SHORT_MESSAGE_SIZE: usize = 28;
/// Bytes of a message from NVSP 6.1 on.
pub const MESSAGE_SIZE: usize = 40;
/// Bytes of the longest message: an indirection table with the padding that some hosts put before it.
pub const MAX_MESSAGE_SIZE: usize = 112;
/// Entries of an indirection table.
pub const INDIRECTION_ENTRIES: usize = 16;
/// Section index that names no section of the send buffer.
pub const NO_SECTION: u32 = 0xFFFF_FFFF;
/// The id that every guest gives its receive buffer, and host packets name.
pub const RECEIVE_BUFFER_ID: u16 = 0xCAFE;

#[cfg(test)]
mod tests;
