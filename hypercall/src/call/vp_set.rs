//! Sets of virtual processors.

use core::fmt;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// One more than the largest index that a set can hold: 64 banks of 64.
pub const VP_INDEX_LIMIT: u32 = 64 * 64;

const BANKS: usize = 64;

/// Header of a processor set; one 64-bit bank follows for every bit of the
/// mask, in ascending order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct VpSetHeader {
    /// 0: the banks tell; 1: all processors.
    pub format: U64,
    /// Bit i: the bank of processors 64·i to 64·i + 63 is there.
    pub valid_bank_mask: U64,
}

const _: () = assert!(size_of::<VpSetHeader>() == 16);

impl VpSetHeader {
    /// Format of a set by banks of 64.
    pub const FORMAT_SPARSE_4K: u64 = 0;
    /// Format of the set of all processors.
    pub const FORMAT_ALL: u64 = 1;
}

/// Why a processor set is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpSetError {
    /// The index does not fit a set.
    IndexTooLarge {
        /// Index that was given.
        vp_index: u32,
    },
    /// The format is unknown.
    Format {
        /// Format that was given.
        format: u64,
    },
    /// The mask announces another number of banks than there are.
    BankCount {
        /// Banks by the mask.
        announced: u32,
        /// Banks by the size of the variable header.
        present: usize,
    },
    /// The buffer is too small for the set.
    BufferTooSmall {
        /// Bytes that the set takes.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
}

impl fmt::Display for VpSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IndexTooLarge { vp_index } => {
                write!(f, "VP index {vp_index} is not below {VP_INDEX_LIMIT}")
            }
            Self::Format { format } => write!(f, "processor set format {format} is unknown"),
            Self::BankCount { announced, present } => write!(
                f,
                "bank mask announces {announced} banks, {present} are there"
            ),
            Self::BufferTooSmall { needed, available } => write!(
                f,
                "processor set of {needed} bytes does not fit {available} bytes"
            ),
        }
    }
}

impl core::error::Error for VpSetError {}

/// A set of virtual processors by index, each below [`VP_INDEX_LIMIT`].
#[derive(Clone, PartialEq, Eq)]
pub struct SparseSet {
    banks: [u64; BANKS],
}

impl SparseSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { banks: [0; BANKS] }
    }

    /// Adds a processor.
    ///
    /// # Errors
    ///
    /// [`VpSetError::IndexTooLarge`] from [`VP_INDEX_LIMIT`] on.
    pub fn insert(&mut self, vp_index: u32) -> Result<(), VpSetError> {
        let bank = self
            .banks
            .get_mut((vp_index / 64) as usize)
            .ok_or(VpSetError::IndexTooLarge { vp_index })?;
        *bank |= 1 << (vp_index % 64);
        Ok(())
    }

    /// Whether a processor is in the set.
    #[must_use]
    pub fn contains(&self, vp_index: u32) -> bool {
        self.banks
            .get((vp_index / 64) as usize)
            .is_some_and(|bank| bank & 1 << (vp_index % 64) != 0)
    }

    /// Whether no processor is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.banks.iter().all(|&bank| bank == 0)
    }

    /// The processors in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.banks.iter().zip(0u32..).flat_map(|(&bank, number)| {
            (0..64)
                .filter(move |bit| bank & 1 << bit != 0)
                .map(move |bit| number * 64 + bit)
        })
    }

    fn valid_bank_mask(&self) -> u64 {
        self.banks
            .iter()
            .zip(0u32..)
            .filter(|(bank, _)| **bank != 0)
            .fold(0, |mask, (_, number)| mask | 1 << number)
    }
}

impl Default for SparseSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SparseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The processors that a call addresses.
// A set lives on the stack for the length of one call and is passed by
// reference; a box is not to be had without an allocator.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessorSet {
    /// All processors of the partition.
    All,
    /// These.
    Sparse(SparseSet),
}

impl ProcessorSet {
    /// The header before the banks.
    #[must_use]
    pub fn header(&self) -> VpSetHeader {
        let (format, mask) = match self {
            Self::All => (VpSetHeader::FORMAT_ALL, 0),
            Self::Sparse(set) => (VpSetHeader::FORMAT_SPARSE_4K, set.valid_bank_mask()),
        };
        VpSetHeader {
            format: U64::new(format),
            valid_bank_mask: U64::new(mask),
        }
    }

    /// Whether the set addresses no processor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Sparse(set) if set.is_empty())
    }

    /// Number of banks: the size of the variable header in 8-byte words, at
    /// most 64.
    #[must_use]
    pub fn variable_words(&self) -> u16 {
        self.header().valid_bank_mask.get().count_ones() as u16
    }

    /// Writes the banks, without the header, to the front of a buffer and
    /// returns their size in bytes.
    ///
    /// # Errors
    ///
    /// [`VpSetError::BufferTooSmall`].
    pub fn emit_banks(&self, buffer: &mut [u8]) -> Result<usize, VpSetError> {
        let needed = usize::from(self.variable_words()) * 8;
        let available = buffer.len();
        let target = buffer
            .get_mut(..needed)
            .ok_or(VpSetError::BufferTooSmall { needed, available })?;
        if let Self::Sparse(set) = self {
            let banks = set.banks.iter().filter(|bank| **bank != 0);
            for (bytes, bank) in target.chunks_exact_mut(8).zip(banks) {
                bytes.copy_from_slice(&bank.to_le_bytes());
            }
        }
        Ok(needed)
    }

    /// Reads a set from its header and the variable header.
    ///
    /// # Errors
    ///
    /// [`VpSetError`] if the format is unknown or the mask does not announce
    /// exactly the banks that are there. The set of all processors may carry
    /// banks; they have no meaning.
    pub fn parse(header: &VpSetHeader, banks: &[U64]) -> Result<Self, VpSetError> {
        match header.format.get() {
            VpSetHeader::FORMAT_ALL => Ok(Self::All),
            VpSetHeader::FORMAT_SPARSE_4K => {
                let mask = header.valid_bank_mask.get();
                let (announced, present) = (mask.count_ones(), banks.len());
                if announced as usize != present {
                    return Err(VpSetError::BankCount { announced, present });
                }
                let mut set = SparseSet::new();
                let valid = set
                    .banks
                    .iter_mut()
                    .zip(0u32..)
                    .filter(|(_, number)| mask & 1 << number != 0);
                for ((bank, _), value) in valid.zip(banks) {
                    *bank = value.get();
                }
                Ok(Self::Sparse(set))
            }
            format => Err(VpSetError::Format { format }),
        }
    }
}
