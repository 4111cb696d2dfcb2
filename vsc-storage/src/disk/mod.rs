//! What makes logical units into disks: finding them, addressing them, and deciding what a failure
//! means. No I/O happens here.
//!
//! - [`Scan`] finds the units of a controller and reads everything known about them.
//! - [`Geometry`] checks addresses and splits transfers; [`plan`] chooses the commands.
//! - [`Retries`] decides whether a failed command is tried again, and [`DiskError`] is what is left
//!   when it isn't.

mod error;
mod geometry;
mod info;
pub mod plan;
mod retry;
mod scan;
#[cfg(test)]
mod tests;
mod text;

pub use error::{DiskError, UnitError};
pub use geometry::{Chunk, Chunks, Geometry};
pub use info::{DiscardLimits, DiskInfo, DiskKind, Identity};
pub use plan::Fua;
pub use retry::{CommandKind, Decision, Retries, RetryLimits};
pub use scan::{SCAN_BUFFER_SIZE, Scan, ScanCommand, ScanProgress, Unit};
pub use text::Text;
