//! Copying a file into the guest: what the messages look like, for both ends.

pub mod wire;
