//! Virtual service providers: the host ends of the synthetic devices.
//!
//! | Module | Device |
//! |---|---|
//! | [`network`] | synthetic network adapters |
//! | [`storage`] | synthetic SCSI controllers and accelerated IDE disks |
//! | [`scsi`] | the disks behind them |
//! | [`video`] | the synthetic screen |
//! | [`keyboard`], [`mouse`] | what is typed into it and pointed at |

mod counters;
pub mod keyboard;
mod message_channel;
pub mod mouse;
pub mod network;
pub mod scsi;
pub mod storage;
pub mod video;
