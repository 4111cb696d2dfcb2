//! VMBus for Hyper-V guests.
#![no_std]

extern crate alloc;

pub mod guid;
