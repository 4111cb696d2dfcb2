//! SCSI as both ends of a synthetic disk need it: commands, statuses, sense data and the layouts
//! of the replies (SPC-4, SBC-3).
//!
//! Nothing here knows VMBus. A guest builds commands with [`Command::encode`] and reads replies
//! with the `parse` functions; a host parses commands with [`Command::parse`] and builds replies
//! with the layouts. Parsers take any bytes. All integers are big-endian.

mod block;
mod command;
mod inquiry;
mod mode;
mod opcode;
pub mod optical;
mod sense;
mod transfer;
mod vpd;

pub use block::{
    Capacity, LbaStatus, LbaStatusHeader, ReadCapacity10, ReadCapacity16, ReportLunsHeader,
    ReportedLun, UnmapDescriptor, UnmapHeader, parse_capacity_10, parse_capacity_16, reported_luns,
    unmap_descriptors,
};
pub use command::{Command, Direction, ModeForm, SynchronizeCache, UnsupportedCommand, WriteSame};
pub use inquiry::{InquiryData, PeripheralQualifier, PeripheralType, StandardInquiry};
pub use mode::{
    CachingPage, DeviceParameter, ModeHeader6, ModeHeader10, ModeSense, ModeSenseError,
    PageControl, mode_page,
};
pub use opcode::{Opcode, ScsiStatus};
pub use optical::OpticalCommand;
pub use sense::{AdditionalSense, FIXED_SENSE_SIZE, FixedSense, Sense, SenseKey};
pub use transfer::{Cdb, DoesNotFit, Transfer, TransferForm};
pub use vpd::{
    BlockCharacteristics, BlockLimits, Designator, Designators, LogicalBlockProvisioning,
    MsftIdentity, NaaIdentity, Page83, VpdHeader, VpdPage, designators, vpd_body,
};

pub use zerocopy::big_endian::{U16 as BigEndianU16, U32 as BigEndianU32, U64 as BigEndianU64};

#[cfg(test)]
mod tests;
