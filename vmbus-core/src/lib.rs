//! VMBus for Hyper-V guests.
#![no_std]

extern crate alloc;

pub mod guid;
pub mod packet;
pub mod pipe;
pub mod ring;
pub mod shared;
pub mod transaction;
