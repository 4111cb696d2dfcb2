//! Controllers and disks for guests that wait: `async`, and blocking with an executor.
//!
//! - [`StorageController`] brings a controller up, finds its disks and reports changes.
//! - [`Disk`] reads, writes, flushes and unmaps.
//! - [`DmaBuffer`] is memory that moves into a request and comes back with its completion.
//!
//! Any number of tasks may have requests in flight. The futures need no executor of a particular
//! kind; [`vmbus_core::executor::block_on`] runs them without one.

mod bring_up;
mod buffer;
mod bus;
mod call;
mod controller;
mod disk;
mod event;
mod lane;
mod options;
mod port;
#[cfg(test)]
mod tests;
mod time;
mod transport;

pub use bring_up::BringUpError;
pub use buffer::{DmaBuffer, OutsideBuffer, SharedPlatform};
pub use bus::OpenError;
pub use controller::{ControllerInfo, StorageController};
pub use disk::Disk;
pub use event::DiskEvent;
pub use options::{ControllerKind, ControllerOptions};
pub use port::LaneStatistics;
pub use time::{Elapsed, SECOND, SharedRuntime, within};
pub use transport::Transport;
