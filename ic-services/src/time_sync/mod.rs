//! Time synchronisation: what its messages look like, for both ends.

pub mod wire;
