//! RNDIS: control messages and packets.
//!
//! Every message begins with its type and its length in bytes. Offsets inside a message count from its ninth byte,
//! the one after the length; the parsers here resolve them, so that nobody else has to know.

mod checksum;
mod codes;
mod control;
mod large_send;
mod packet;
mod per_packet_info;
mod reply;
mod request;
mod vlan;

pub use checksum::{ReceiveChecksum, TransmitChecksum};
pub use codes::{MessageType, PacketFilter, PerPacketInfoType, Status};
pub use control::{
    ControlError, HEADER_SIZE, Header, IndicateStatus, InitializeComplete, InitializeRequest,
    QueryComplete, RequestHeader, ResetComplete, StatusComplete, information, parse_header,
};
pub use large_send::LargeSend;
pub use packet::{PACKET_HEADER_SIZE, PacketError, PacketHeader, PacketLayout};
pub use per_packet_info::{
    HashInfo, MAX_ELEMENTS, PER_PACKET_INFO_ROOM, PacketInfo, PerPacketInfoError, SegmentInfo,
};
pub use reply::Reply;
pub use request::Request;
pub use vlan::VlanTag;

#[cfg(test)]
mod tests;
