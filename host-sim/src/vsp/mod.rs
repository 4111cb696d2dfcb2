//! Virtual service providers: the host ends of the synthetic devices.
//!
//! | Module | Device |
//! |---|---|
//! | [`storage`] | synthetic SCSI controllers and accelerated IDE disks |
//! | [`scsi`] | the disks behind them |

pub mod scsi;
pub mod storage;
