//! Volume snapshots: what the messages look like, for both ends.

pub mod wire;
