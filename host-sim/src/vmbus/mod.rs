//! The VMBus server.

mod guest_ring;
pub mod vsp;
