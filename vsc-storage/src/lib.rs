//! Synthetic SCSI and accelerated IDE storage for Hyper-V guests.
//!
//! Hyper-V and Azure present disks over VMBus: a *storage controller* is a channel on which the
//! guest sends SCSI commands in VSTOR packets, with the page frames of the data, and the host
//! completes them in any order. This crate is the guest's end of it, `no_std` with `alloc`:
//!
//! | Module | Holds |
//! |---|---|
//! | [`front`] | Controllers and disks for `async` and blocking callers: what most users want. |
//! | [`disk`] | Finding disks, splitting transfers, durability, retries. No I/O. |
//! | [`queue`] | Requests in flight on one channel. No I/O, lock, clock or allocation: for interrupt handlers. |
//! | [`init`] | Negotiation of a controller. No I/O. |
//! | [`wire`], [`scsi`] | Formats, for both ends. |
//!
//! The host is not trusted: everything it says is copied once, checked and cut to what was asked
//! for, and a lie ends in a typed error and a count.
//!
//! # Example
//!
//! ```
//! use std::error::Error;
//! use std::sync::Arc;
//!
//! use hypercall::Processor;
//! use vmbus_core::bus::Bus;
//! use vmbus_core::class;
//! use vmbus_core::platform::Runtime;
//! use vsc_storage::disk::Fua;
//! use vsc_storage::front::{ControllerOptions, StorageController};
//!
//! /// Adds one to the first byte of the first disk.
//! async fn count<R, C>(bus: &Bus<R, C>, runtime: Arc<R>) -> Result<(), Box<dyn Error>>
//! where
//!     R: Runtime + Send + Sync + 'static,
//!     C: Processor + Send + Sync + 'static,
//! {
//!     let offers = bus.enumerate().await?;
//!     let offer = offers
//!         .iter()
//!         .find(|offer| offer.interface() == class::SCSI && offer.is_primary())
//!         .ok_or("no storage controller")?;
//!     let options = ControllerOptions::default();
//!     let controller = StorageController::open(bus, runtime, offer, options).await?;
//!     for disk in controller.scan().await? {
//!         let info = disk.info();
//!         println!("{} {}: {:?}", info.vendor, info.product, info.geometry);
//!     }
//!     let disk = controller.disks().into_iter().next().ok_or("no disk")?;
//!
//!     // The buffer moves into the request and comes back with its completion.
//!     let block = usize::try_from(disk.geometry()?.block_size())?;
//!     let (read, mut buffer) = disk.read(0, disk.buffer(block)?).await;
//!     read?;
//!     let mut first = [0];
//!     buffer.copy_to(0, &mut first)?;
//!     buffer.copy_from(0, &[first[0].wrapping_add(1)])?;
//!     let (written, _) = disk.write(0, buffer, Fua::Yes).await;
//!     written?;
//!     controller.close().await;
//!     Ok(())
//! }
//! ```
//!
//! [`vmbus_core::executor::block_on`] runs such a future without an executor.
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
