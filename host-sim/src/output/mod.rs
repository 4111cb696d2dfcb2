//! Output to terminals and pipes that nobody may read: a guest's console, reports, logs.

mod queued;
mod standard;

pub use queued::QueuedOutput;
pub use standard::Standard;
