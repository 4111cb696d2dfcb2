//! Guest and host on one thread, interleaved by a seed.
//!
//! At each step a generator chooses what happens next: a task of the guest is polled, a virtual processor takes its
//! interrupts, the host carries out one piece of its work, a disk finishes one of its commands, time passes, or the
//! host is unpleasant (takes the controller or a disk away and brings it back, fails, loses power). Nothing else
//! happens, no thread, no clock of the machine: a seed fixes the whole run, and a seed that fails fails again.
//!
//! The guest reads and writes from several tasks at once. Every block describes itself, and every read is held
//! against a [`model`] of what the block may contain. When all operations are done, everything is read back, the
//! image is held against the model as well, and memory, channels and counters are examined for what was left behind.
//!
//! Guest tasks are polled only when they were woken, so that a lost wake-up or a lost signal ends in a hang, which is
//! found when simulated time runs out.

mod examine;
pub mod executor;
pub mod guest;
pub mod host;
pub mod log;
pub mod model;
pub mod operations;
pub mod plan;
mod run;
pub mod tasks;
pub mod world;

pub use run::{Report, run};
