//! Synthetic SCSI controllers and accelerated IDE disks.
//!
//! A [`StorageController`] is the device that the VMBus server offers; its [`StorageHandle`] adds and removes
//! disks and optical drives, changes media, makes disks fail, and reads counters while a guest uses it.
//!
//! ```text
//! packet ──parse──▶ command ──execute──▶ outcome ──▶ completion packet
//!           │                    │
//!     request block and     inline, or by an Executor
//!     buffer validated      (thread pool, simulation)
//! ```
//!
//! A channel reads requests only as long as it has room for their completions, so a finished command always
//! finds a place in the ring; a guest that does not read its completions stops its own requests and nothing
//! else. Completions are written in batches with one signal at most.
//!
//! A write for which the host has no space fails, or waits until there is some, as the disk's
//! [`LunOptions`] say. Waiting costs no thread, and what waits is not acknowledged.
//!
//! | Module | What |
//! |---|---|
//! | [`protocol`] | initialisation as a state machine |
//! | [`executor`] | where commands are executed: pool of threads, seeded simulation |
//! | [`testing`] | a disk in memory and a guest's end of the protocol |
//!
mod channel;
mod completion;
mod controller;
mod counters;
pub mod executor;
mod handle;
mod outbox;
mod parked;
pub mod protocol;
mod request;
mod shared;
pub mod testing;
mod waiting;

pub use completion::Completion;
pub use controller::{ConfigError, StorageController, StorageOptions, scsi_instance};
pub use counters::StorageCounters;
pub use handle::{
    DiskSnapshot, DriveSnapshot, LunError, LunOptions, StorageHandle, StorageSnapshot,
};
pub use shared::{CommandRecord, Observer};

pub use super::scsi::{Addressing, DriveState, UnitAttention};

/// Largest transfer of one command that a controller may offer, in bytes.
pub const MAX_TRANSFER_LIMIT: u32 = 0x40_0000;
/// Largest transfer of one command that a controller offers by default, in bytes.
pub const DEFAULT_MAX_TRANSFER: u32 = 0x4_0000;
/// Commands that one channel executes or holds at a time; the rest waits in the ring.
pub const MAX_IN_FLIGHT: usize = 256;
