//! Partitions: guest memory and virtual processors, on KVM or in process.

pub mod kvm;

pub mod inproc;
