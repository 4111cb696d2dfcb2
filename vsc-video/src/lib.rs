//! Synthetic video for Hyper-V guests: a linear frame buffer that the host shows.
//!
//! The guest tells the host over a message pipe where its frame buffer lies, which mode it is in and which
//! parts of it have changed; pixels themselves never pass through the channel. This crate is `no_std` with
//! `alloc`:
//!
//! | Module | Holds |
//! |---|---|
//! | [`wire`] | The messages of both ends, versions 3.0 to 3.5. |
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
