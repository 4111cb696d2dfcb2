//! Why a kernel cannot be booted.

use thiserror::Error;

use crate::memory::NotRam;

/// Why a kernel cannot be booted. Nothing runs then; guest memory is unspecified.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinuxError {
    /// Neither a bzImage nor an ELF image.
    #[error("the kernel is neither a bzImage nor an ELF image")]
    UnknownFormat,
    /// An ELF image for 32 bits: such kernels come as bzImage.
    #[error("the kernel is an ELF image for 32 bits; boot its bzImage instead")]
    Elf32,
    /// The bzImage's header is cut off or says what cannot be.
    #[error("the bzImage's header has {field} {value:#x}")]
    Header {
        /// Name of the field in the boot protocol.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The bzImage ends before its kernel begins.
    #[error("the bzImage is truncated: it has {0} bytes")]
    Truncated(usize),
    /// A kernel older than Linux 2.6.31.
    #[error("the bzImage speaks boot protocol {major}.{minor}; 2.10 or later is needed")]
    Protocol {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// The loader found the image to be wrong.
    #[error("the kernel cannot be loaded: {0}")]
    Loader(String),
    /// The ELF image's segments are outside RAM, or where the loader's tables are.
    #[error("the kernel wants memory from {start:#x} to {end:#x}, which is not the guest's RAM")]
    Placement {
        /// First address.
        start: u64,
        /// End.
        end: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the command line has {length} bytes; this kernel takes {most}")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The longest possible.
        most: usize,
    },
    /// A zero byte would end the command line early.
    #[error("the command line contains a zero byte")]
    CommandLineZero,
    /// Kernel and initial RAM disk do not fit.
    #[error(
        "the guest's memory is too small: kernel ({kernel:#x} bytes up to {kernel_end:#x}) and initial RAM disk \
         ({initrd:#x} bytes) do not both fit below {limit:#x}"
    )]
    TooLittleMemory {
        /// Bytes that the kernel needs to unpack itself.
        kernel: u64,
        /// Where they end.
        kernel_end: u64,
        /// Bytes of the initial RAM disk.
        initrd: u64,
        /// End of the memory that both may use.
        limit: u64,
    },
    /// More processors than the tables can name.
    #[error("{0} virtual processors: the ACPI tables can name 1 to 254")]
    ProcessorCount(u32),
    /// Not even the loader's tables fit.
    #[error("the guest has too little memory: {0}")]
    Memory(#[from] NotRam),
}
