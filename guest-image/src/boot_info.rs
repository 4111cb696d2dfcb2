//! What a loader hands to the bare-metal image: the machine's state at entry, its ports, the boot information.
//!
//! # State at entry
//!
//! Every virtual processor enters at the ELF entry point, in any order:
//!
//! - 64-bit mode, privilege level 0, interrupts off, flat 64-bit code and data segments;
//! - RAM and the local APIC at its architectural address identity-mapped, writable and executable, except that page 0
//!   may be unmapped;
//! - RDI: guest-physical address of a [`BootInfo`] in RAM, 8-byte aligned, outside the image;
//! - RSI: index of this virtual processor, counting from 0; index 0 runs the program, the others wait for it;
//! - every other register: anything. The image brings its own stacks, GDT, TSS and IDT.
//!
//! Each virtual processor has a local APIC with an identifier of its own below 255.
//!
//! # Ports
//!
//! | Port | Access | Meaning |
//! |---|---|---|
//! | [`CONSOLE_PORT`] and the 7 above | 16550 | console: text for people |
//! | [`REPORT_PORT`] and the 7 above | 16550 | report channel: lines for the host's program |
//! | [`POWER_OFF_PORT`] | byte out | ends the machine with this status |

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First of the eight ports of the console's 16550 (the PC's COM1).
pub const CONSOLE_PORT: u16 = 0x3F8;

/// First of the eight ports of the report channel's 16550 (the PC's COM2).
pub const REPORT_PORT: u16 = 0x2F8;

/// A byte written here ends the machine: status 0 means success.
pub const POWER_OFF_PORT: u16 = 0xF4;

/// Power-off status of a guest that panicked.
pub const STATUS_PANIC: u8 = 101;

/// Power-off status of a guest that took exception *n* and had no use for it: this plus *n*.
pub const STATUS_EXCEPTION: u8 = 128;

/// Most virtual processors that the image can start.
pub const MOST_PROCESSORS: u32 = 32;

/// Longest command line, in bytes.
pub const LONGEST_COMMAND_LINE: u32 = 4096;

/// Name (owner) of the ELF note that describes the program inside the image.
pub const NOTE_NAME: &str = "Viridian";

/// Type of that note; its descriptor is the UTF-8 text `NAME VERSION`, padded with zero bytes to 4.
pub const NOTE_TYPE: u32 = 1;

/// The program's name in the note. A host that links this library at the same version has the program's twin.
pub const PROGRAM_NAME: &str = "viridian-guest";

/// The program's version in the note.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The boot information. Host and guest are both x86-64, so fields are in native byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BootInfo {
    /// [`BootInfo::MAGIC`].
    pub magic: u64,
    /// [`BootInfo::VERSION`].
    pub version: u32,
    /// Virtual processors that enter the image, 1 to [`MOST_PROCESSORS`].
    pub processor_count: u32,
    /// Bytes of RAM, which starts at address 0 and has no holes.
    pub ram_size: u64,
    /// Guest-physical address of the command line.
    pub command_line_address: u64,
    /// Bytes of the command line, UTF-8 without a terminator, at most [`LONGEST_COMMAND_LINE`].
    pub command_line_length: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<BootInfo>() == 40);

/// Why boot information was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// The first field is not [`BootInfo::MAGIC`].
    Magic(u64),
    /// The layout's version is not the one of this build.
    Version(u32),
    /// No processor, or more than [`MOST_PROCESSORS`].
    ProcessorCount(u32),
    /// The command line is too long or not inside RAM.
    CommandLine {
        /// Its address.
        address: u64,
        /// Its length in bytes.
        length: u32,
    },
}

impl core::fmt::Display for BootInfoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic(found) => {
                write!(f, "no boot information: {found:#x} in place of the magic")
            }
            Self::Version(found) => write!(
                f,
                "boot information of version {found}, not {}",
                BootInfo::VERSION
            ),
            Self::ProcessorCount(found) => {
                write!(f, "{found} processors, not 1 to {MOST_PROCESSORS}")
            }
            Self::CommandLine { address, length } => write!(
                f,
                "command line of {length} bytes at {address:#x}: too long or outside RAM"
            ),
        }
    }
}

impl core::error::Error for BootInfoError {}

impl BootInfo {
    /// "VIRIDIAN" in ASCII.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"VIRIDIAN");

    /// Version of this layout.
    pub const VERSION: u32 = 1;

    /// Boot information for a machine of this size, whose command line is at this place.
    #[must_use]
    pub const fn new(
        processor_count: u32,
        ram_size: u64,
        command_line_address: u64,
        command_line_length: u32,
    ) -> Self {
        Self {
            magic: Self::MAGIC,
            version: Self::VERSION,
            processor_count,
            ram_size,
            command_line_address,
            command_line_length,
            reserved: 0,
        }
    }

    /// Checks everything that can be checked without looking at memory.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), BootInfoError> {
        if self.magic != Self::MAGIC {
            return Err(BootInfoError::Magic(self.magic));
        }
        if self.version != Self::VERSION {
            return Err(BootInfoError::Version(self.version));
        }
        if !(1..=MOST_PROCESSORS).contains(&self.processor_count) {
            return Err(BootInfoError::ProcessorCount(self.processor_count));
        }
        let (address, length) = (self.command_line_address, self.command_line_length);
        let end = address.checked_add(u64::from(length));
        if length > LONGEST_COMMAND_LINE || end.is_none_or(|end| end > self.ram_size) {
            return Err(BootInfoError::CommandLine { address, length });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_field_is_named() {
        let good = BootInfo::new(2, 1 << 20, 0x3000, 5);
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(good.as_bytes()[..8], *b"VIRIDIAN");
        let wrong = |change: fn(&mut BootInfo)| {
            let mut info = good;
            change(&mut info);
            info.validate().unwrap_err()
        };
        assert_eq!(wrong(|info| info.magic = 7), BootInfoError::Magic(7));
        assert_eq!(wrong(|info| info.version = 9), BootInfoError::Version(9));
        assert_eq!(
            wrong(|info| info.processor_count = 0),
            BootInfoError::ProcessorCount(0)
        );
        assert_eq!(
            wrong(|info| info.processor_count = MOST_PROCESSORS + 1),
            BootInfoError::ProcessorCount(MOST_PROCESSORS + 1)
        );
        let outside = |change| matches!(wrong(change), BootInfoError::CommandLine { .. });
        assert!(outside(
            |info| info.command_line_length = LONGEST_COMMAND_LINE + 1
        ));
        assert!(outside(|info| info.command_line_address = u64::MAX));
        assert!(outside(|info| info.command_line_address = info.ram_size - 4));
    }
}
