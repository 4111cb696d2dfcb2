//! What can be wrong with a disk or with what is asked of it.

use core::fmt;

use crate::queue::CommandError;
use crate::scsi::Sense;

/// Why an operation on a disk failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// The range isn't on the disk.
    OutOfRange {
        /// First block asked for.
        lba: u64,
        /// Blocks asked for.
        blocks: u64,
        /// Blocks of the disk.
        capacity: u64,
    },
    /// A length or offset isn't a multiple of the block size.
    Unaligned {
        /// The length or offset in bytes.
        bytes: u64,
        /// Bytes of a block.
        block_size: u32,
    },
    /// The controller's limit on transfers is below one block.
    TransferLimit {
        /// The limit in bytes.
        bytes: u32,
        /// Bytes of a block.
        block_size: u32,
    },
    /// The disk is write protected.
    ReadOnly,
    /// The host has no space for the write.
    NoSpace,
    /// There is no medium in the drive.
    NoMedium,
    /// The medium was changed: what was known of it is void.
    MediumChanged,
    /// The disk is gone.
    Gone,
    /// Another initiator holds a reservation.
    Reserved,
    /// The device doesn't support the operation.
    Unsupported,
    /// The device stayed busy for as many tries as allowed.
    Busy,
    /// The device reported an error.
    Device(Sense),
    /// The command failed without a word from the device.
    Command(CommandError),
    /// The host claims success with fewer bytes than were asked for.
    Short {
        /// Bytes asked for.
        requested: u32,
        /// Bytes moved.
        transferred: u32,
    },
    /// The controller's channel is closed.
    Closed,
    /// Memory for the operation cannot be had.
    OutOfMemory,
    /// The operation took longer than its deadline.
    TimedOut,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange {
                lba,
                blocks,
                capacity,
            } => write!(
                f,
                "{blocks} blocks from {lba} are not on a disk of {capacity} blocks"
            ),
            Self::Unaligned { bytes, block_size } => {
                write!(f, "{bytes} bytes are no multiple of {block_size}")
            }
            Self::TransferLimit { bytes, block_size } => write!(
                f,
                "the controller moves {bytes} bytes at most, less than a block of {block_size}"
            ),
            Self::ReadOnly => f.write_str("disk is write protected"),
            Self::NoSpace => f.write_str("host has no space for the write"),
            Self::NoMedium => f.write_str("no medium"),
            Self::MediumChanged => f.write_str("medium changed"),
            Self::Gone => f.write_str("disk is gone"),
            Self::Reserved => f.write_str("disk is reserved by another initiator"),
            Self::Unsupported => f.write_str("not supported by the device"),
            Self::Busy => f.write_str("device stayed busy"),
            Self::Device(sense) => sense.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::Short {
                requested,
                transferred,
            } => write!(
                f,
                "host claims success with {transferred} of {requested} bytes"
            ),
            Self::Closed => f.write_str("controller's channel is closed"),
            Self::OutOfMemory => f.write_str("no memory for the operation"),
            Self::TimedOut => f.write_str("operation took too long"),
        }
    }
}

impl core::error::Error for DiskError {}

/// Why a logical unit that is there cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitError {
    /// The block size isn't 512, 1024, 2048 or 4096 bytes.
    BlockSize {
        /// Bytes of a block, as stated.
        bytes: u32,
    },
    /// The capacity in bytes doesn't fit 64 bits.
    Capacity {
        /// Last block, as stated.
        last_lba: u64,
        /// Bytes of a block.
        block_size: u32,
    },
    /// The capacity's data is too short.
    ShortCapacity {
        /// Bytes received.
        bytes: u32,
    },
    /// Its capacity cannot be read.
    NoCapacity(DiskError),
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize { bytes } => write!(f, "block size of {bytes} bytes"),
            Self::Capacity {
                last_lba,
                block_size,
            } => write!(
                f,
                "last block {last_lba} of {block_size} bytes exceeds 64 bits"
            ),
            Self::ShortCapacity { bytes } => write!(f, "capacity data of {bytes} bytes"),
            Self::NoCapacity(error) => write!(f, "capacity cannot be read: {error}"),
        }
    }
}

impl core::error::Error for UnitError {}
