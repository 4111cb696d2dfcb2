//! Implementations of [`Processor`](crate::Processor) on real processors.

#[cfg(target_arch = "x86_64")]
pub mod x86_64;
