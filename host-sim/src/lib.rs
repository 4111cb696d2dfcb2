//! A Hyper-V-like host on Linux, to test Hyper-V guest code without Windows.

pub mod boot;
pub mod control;
pub mod disk;
pub mod display;
pub mod host;
pub mod host_version;
pub mod hv;
pub mod ic;
pub mod memory;
pub mod net;
pub mod output;
pub mod partition;
pub mod serial;
pub mod vmbus;
pub mod vsp;
