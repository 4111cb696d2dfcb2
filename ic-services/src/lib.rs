//! Placeholder replaced by the crate.
#![no_std]
