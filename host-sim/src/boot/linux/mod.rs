//! Booting Linux, and whatever else speaks its boot protocol or PVH: a kernel, an initial RAM disk, a command line.
//!
//! | Kernel | Entered |
//! |---|---|
//! | bzImage for 64 bits | in 64-bit mode, by the 64-bit boot protocol |
//! | bzImage for 32 bits | in protected mode without paging, by the 32-bit boot protocol |
//! | ELF64 that says it is Linux | in 64-bit mode, by the 64-bit boot protocol |
//! | ELF64 with a PVH note otherwise | in protected mode without paging, by PVH |
//! | other ELF64 | in 64-bit mode, by the 64-bit boot protocol |

mod boot_parameters;
mod efi;
mod entry;
mod error;
mod header;
mod layout;
mod load;
mod memory_map;
mod notes;
mod pvh;

pub use entry::{CODE_SELECTOR, DATA_SELECTOR, EntryMode, LinuxEntry};
pub use error::LinuxError;
pub use load::{Kernel, KernelKind, LinuxBoot, Loaded};
