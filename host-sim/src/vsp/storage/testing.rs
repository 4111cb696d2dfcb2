//! For tests and benchmarks: a disk in memory, and a guest's end of the storage protocol that says whatever a
//! test wants it to say.
//!
//! ```
//! use std::sync::Arc;
//! use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk};
//! use host_sim::vsp::storage::StorageOptions;
//! use vmbus_core::guid::Guid;
//!
//! let mut machine = Machine::new(StorageOptions::scsi(Guid::ZERO));
//! machine.handle.add_lun(0, Arc::new(MemoryDisk::new(1 << 20)))?;
//! let mut channel = machine.open_ready();
//! // TEST UNIT READY
//! let reply = channel.command(0, &[0; 6], Data::None);
//! assert!(reply.is_good());
//! # Ok::<(), host_sim::vsp::storage::LunError>(())
//! ```

mod disk;
mod guest;

pub use disk::MemoryDisk;
pub use guest::{Data, Machine, Received, Reply, TestChannel};
