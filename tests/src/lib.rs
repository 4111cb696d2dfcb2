//! What the end-to-end tests share: the guest crates and the host simulator put together in one process.
//!
//! | Module | What |
//! |---|---|
//! | [`future`] | waiting for one of two, giving up |
//! | [`machine`] | virtual processors with their SynIC on, as a kernel would have them |
//! | [`services`] | heartbeat and shutdown as guest tasks |
//! | [`random`] | the generator behind every seed |
//! | [`simulation`] | guest and host on one thread, interleaved by a seed |
//!
//! Panics are the way in which these helpers fail: they run in tests only.

pub mod future;
pub mod machine;
pub mod random;
pub mod services;
pub mod simulation;
