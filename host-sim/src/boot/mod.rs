//! Boot loaders: what must be in guest memory and in the processors' registers for a guest to start.

pub mod acpi;
pub mod address_space;
pub mod elf;
pub mod linux;
pub mod long_mode;
