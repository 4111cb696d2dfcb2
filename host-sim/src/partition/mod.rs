//! Partitions: guest memory and virtual processors, on KVM or in process.

pub mod device_memory;
pub mod inproc;
pub mod kvm;
