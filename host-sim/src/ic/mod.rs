//! Host ends of the integration services.

mod channel;
pub mod heartbeat;
mod session;
pub mod shutdown;

pub use session::SessionFault;
