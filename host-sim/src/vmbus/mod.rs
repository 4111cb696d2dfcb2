//! The VMBus server: offers devices to the guest and serves its channels.

mod bus;
mod doorbell;
pub mod gpadl;
mod guest_ring;
mod interrupt;
pub mod lent;
mod patience;
pub mod server;
pub mod trace;
pub mod vsp;
mod worker;

pub use bus::{BusError, BusSnapshot, Execution, OpenChannelSnapshot, VmBus, Work};
