//! The hypercall interface: how a call is encoded, and the calls of a VMBus
//! guest.
//!
//! [`Control`] and [`CallResult`] are the two values that go in and come back
//! in registers. The structures are inputs as they lie in memory; for a fast
//! call their first 16 bytes go into registers instead. They are of use to
//! both ends: a guest builds them, a host parses them.

mod code;
mod control;
mod flush;
mod ipi;
mod message;
mod registers;
mod status;
mod vp_set;

pub use code::{CallCode, CallKind};
pub use control::{CallResult, Control, ControlError};
pub use flush::{
    FlushFlags, FlushVirtualAddressSpace, FlushVirtualAddressSpaceEx, GVA_RANGE_PAGES_MAX, GvaRange,
};
pub use ipi::{
    IPI_VECTOR_MIN, NotifyLongSpinWait, SendSyntheticClusterIpi, SendSyntheticClusterIpiEx,
};
pub use message::{
    CONNECTION_ID_MAX, MESSAGE_PAYLOAD_SIZE, MessageError, MessageType, PostMessage, SignalEvent,
};
pub use registers::{
    RegisterAssignment, RegisterName, RegisterTarget, RegisterValue, VpRegistersHeader,
};
pub use status::Status;
pub use vp_set::{ProcessorSet, SparseSet, VP_INDEX_LIMIT, VpSetError, VpSetHeader};

/// `HV_PARTITION_ID_SELF`: the calling partition.
pub const PARTITION_ID_SELF: u64 = u64::MAX;
/// `HV_VP_INDEX_SELF`: the calling virtual processor.
pub const VP_INDEX_SELF: u32 = 0xFFFF_FFFE;

#[cfg(test)]
mod tests;
