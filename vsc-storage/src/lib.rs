//! Synthetic SCSI and accelerated IDE storage for Hyper-V guests.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod disk;
pub mod front;
pub mod init;
pub mod queue;
pub mod scsi;
pub mod wire;

#[cfg(test)]
mod testing;
