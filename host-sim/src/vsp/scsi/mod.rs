//! SCSI logical units: commands in, data and an [`Outcome`] out.
//!
//! Nothing here knows VMBus. A [`LogicalUnit`] executes one command at a time on the caller's thread, any
//! number of callers at once; data moves between the image's file and guest memory without a copy in between.
//! What a command's parameter data says is copied out of guest memory once, then validated, then used.
//!
//! An [`OpticalDrive`] does the same for media that come and go.
//!
//! [`UnitTable`] is the set of units behind one controller, and finds the unit that a command is for.
//!
//! Disks follow SPC-4 and SBC-3 as far as Hyper-V's synthetic disks do:
//!
//! - unit attentions are reported once, by the next command that may report them;
//! - every command that fails leaves the guest's buffer as it was;
//! - a flush or a write with FUA reaches stable storage before it completes.

mod attention;
mod block;
mod data;
mod identity;
mod mode;
mod optical;
mod outcome;
mod provisioning;
mod reports;
mod table;
mod unit;
mod verify;

pub use attention::UnitAttention;
pub use data::DataBuffer;
pub use optical::{DriveState, MediumError, OpticalDrive};
pub use outcome::{Outcome, Statuses};
pub use table::{Address, Addressing, MAX_LUNS, Unit, UnitTable};
pub use unit::{LogicalUnit, UnsuitableImage};

#[cfg(test)]
mod tests;
