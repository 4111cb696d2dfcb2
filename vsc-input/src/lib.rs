//! Synthetic keyboard and mouse for Hyper-V guests.
//!
//! The host sends key strokes as scancodes of set 1, and the pointer as reports of a HID device whose
//! descriptor it sends first. This crate is `no_std` with `alloc`:
//!
//! | Module | Holds |
//! |---|---|
//! | [`wire::keyboard`] | The keyboard's messages, both ends. |
//! | [`wire::mouse`] | The mouse's messages, both ends. |
//! | [`wire::hid`] | The mouse's HID descriptor and input reports. |
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

pub mod wire;
