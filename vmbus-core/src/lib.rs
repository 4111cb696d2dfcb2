//! VMBus for Hyper-V guests.
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

pub mod bus;
pub mod channel;
pub mod class;
pub mod connection;
pub mod executor;
pub mod gpadl;
pub mod guid;
pub mod packet;
pub mod pipe;
pub mod platform;
pub mod protocol;
pub mod ring;
pub mod shared;
pub mod transaction;
pub mod version;
