//! Virtual service providers: the host ends of the synthetic devices.
//!
//! | Module | Device |
//! |---|---|
//! | [`network`] | synthetic network adapters |
//! | [`storage`] | synthetic SCSI controllers and accelerated IDE disks |
//! | [`scsi`] | the disks behind them |

pub mod network;
pub mod scsi;
pub mod storage;
