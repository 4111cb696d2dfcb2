//! Inputs of the TLB flush calls.

use bitflags::bitflags;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::VpSetHeader;

bitflags! {
    /// What to flush, and where.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FlushFlags: u64 {
        /// On all processors; the mask or set is ignored.
        const ALL_PROCESSORS = 1 << 0;
        /// Of all address spaces; the address space is ignored.
        const ALL_ADDRESS_SPACES = 1 << 1;
        /// Non-global mappings only. Not for the list calls.
        const NON_GLOBAL_MAPPINGS_ONLY = 1 << 2;
        /// List elements have the extended format. Needs
        /// [`Features::EXTENDED_GVA_RANGES`](crate::cpuid::Features::EXTENDED_GVA_RANGES).
        const EXTENDED_RANGE_FORMAT = 1 << 3;
        const _ = !0;
    }
}

/// Input of FlushVirtualAddressSpace, and header of FlushVirtualAddressList
/// before its list of [`GvaRange`]; 24 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct FlushVirtualAddressSpace {
    /// CR3 without its low 12 bits.
    pub address_space: U64,
    /// [`FlushFlags`].
    pub flags: U64,
    /// Bit n addresses virtual processor n.
    pub processor_mask: U64,
}

const _: () = assert!(size_of::<FlushVirtualAddressSpace>() == 24);

/// Low bits of CR3 that are not part of an address space's identity.
const CR3_LOW_BITS: u64 = 0xFFF;

impl FlushVirtualAddressSpace {
    /// A flush of the address space that `cr3` selects, on the processors of a
    /// mask.
    #[must_use]
    pub const fn new(cr3: u64, flags: FlushFlags, processor_mask: u64) -> Self {
        Self {
            address_space: U64::new(cr3 & !CR3_LOW_BITS),
            flags: U64::new(flags.bits()),
            processor_mask: U64::new(processor_mask),
        }
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> FlushFlags {
        FlushFlags::from_bits_retain(self.flags.get())
    }
}

/// Input of FlushVirtualAddressSpaceEx and FlushVirtualAddressListEx up to the
/// banks of its processor set, 32 bytes. The banks are the variable header; a
/// list follows them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct FlushVirtualAddressSpaceEx {
    /// CR3 without its low 12 bits.
    pub address_space: U64,
    /// [`FlushFlags`].
    pub flags: U64,
    /// Header of the processor set; the banks follow.
    pub processors: VpSetHeader,
}

const _: () = assert!(size_of::<FlushVirtualAddressSpaceEx>() == 32);

impl FlushVirtualAddressSpaceEx {
    /// A flush of the address space that `cr3` selects, on the processors of a
    /// set.
    #[must_use]
    pub const fn new(cr3: u64, flags: FlushFlags, processors: VpSetHeader) -> Self {
        Self {
            address_space: U64::new(cr3 & !CR3_LOW_BITS),
            flags: U64::new(flags.bits()),
            processors,
        }
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> FlushFlags {
        FlushFlags::from_bits_retain(self.flags.get())
    }
}

/// Most pages of one [`GvaRange`].
pub const GVA_RANGE_PAGES_MAX: u64 = 4096;

/// List element of the flush calls: a run of up to 4096 pages.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct GvaRange(pub U64);

impl GvaRange {
    const ADDITIONAL: u64 = 0xFFF;

    /// The pages from the one that holds `address`, `pages` in number; `None`
    /// unless there are 1 to [`GVA_RANGE_PAGES_MAX`] of them.
    #[must_use]
    pub const fn new(address: u64, pages: u64) -> Option<Self> {
        if pages == 0 || pages > GVA_RANGE_PAGES_MAX {
            return None;
        }
        Some(Self(U64::new((address & !Self::ADDITIONAL) | (pages - 1))))
    }

    /// Address of the first page.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0.get() & !Self::ADDITIONAL
    }

    /// Number of pages, 1 to [`GVA_RANGE_PAGES_MAX`].
    #[must_use]
    pub const fn pages(self) -> u64 {
        (self.0.get() & Self::ADDITIONAL) + 1
    }
}
