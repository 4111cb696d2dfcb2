//! Partitions: guest memory and virtual processors, on KVM or in process.

pub mod inproc;
pub mod kvm;
