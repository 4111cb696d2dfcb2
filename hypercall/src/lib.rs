//! Hyper-V as one virtual processor sees it.
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

#[cfg(test)]
extern crate std;

pub mod arch;
pub mod assist;
pub mod call;
pub mod cpuid;
pub mod crash;
pub mod identity;
pub mod invoke;
pub mod msr;
pub mod page;
mod processor;
pub mod stimer;
pub mod synic;
pub mod teardown;
pub mod time;

pub use processor::{CpuidResult, MsrFault, Processor, vp_index};

/// Size of a page: of the hypercall page, the SynIC pages and everything else
/// that is shared by page frame number.
pub const PAGE_SIZE: usize = 4096;
