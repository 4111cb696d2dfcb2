//! The Viridian guest: one program that drives every synthetic device.
//!
//! The program ([`program`]) sees its machine only through [`environment::Environment`]. It runs on a virtual
//! processor as the bare-metal image `viridian-guest`, which this package also builds, and on host threads when a
//! host links this library. [`boot_info`] is what a loader must hand to the bare-metal image.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod boot_info;
pub mod environment;
pub mod program;
