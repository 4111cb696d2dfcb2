//! Boot loaders: what must be in guest memory and in the processors' registers for a guest to start.

pub mod elf;
pub mod long_mode;
