//! Host ends of the integration services.

mod channel;
pub mod file_copy;
pub mod heartbeat;
pub mod kvp;
mod pending;
mod request;
mod session;
pub mod shutdown;
#[cfg(test)]
mod testing;
pub mod time_sync;
#[cfg(test)]
mod version_tests;
mod versions;
pub mod vss;

pub use pending::Pending;
pub use request::{Link, REQUEST_TIMEOUT, RequestError};
pub use session::SessionFault;
pub use versions::{ServiceVersions, VersionsError};
