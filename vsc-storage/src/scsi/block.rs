//! Replies and parameter lists of block commands: capacity, logical unit list, UNMAP.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// READ CAPACITY(10) data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ReadCapacity10 {
    /// Address of the last block; `u32::MAX` if it doesn't fit.
    pub last_lba: U32,
    /// Bytes of a logical block.
    pub block_length: U32,
}

/// READ CAPACITY(16) data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ReadCapacity16 {
    /// Address of the last block.
    pub last_lba: U64,
    /// Bytes of a logical block.
    pub block_length: U32,
    /// 0.
    pub protection: u8,
    /// Low four bits: power of two of logical blocks in a physical one.
    pub physical_exponent: u8,
    /// [`ReadCapacity16::PROVISIONED`], [`ReadCapacity16::READS_ZERO`]; the low 14 bits are the
    /// lowest aligned block.
    pub provisioning: U16,
    /// 0.
    pub reserved: [u8; 16],
}

impl ReadCapacity16 {
    /// Flag in `provisioning`: blocks can be unmapped (LBPME).
    pub const PROVISIONED: u16 = 0x8000;
    /// Flag in `provisioning`: unmapped blocks read as zero (LBPRZ).
    pub const READS_ZERO: u16 = 0x4000;
    /// Fewest bytes of use: address and length.
    pub const MINIMUM_SIZE: usize = 12;
}

/// What a guest takes from READ CAPACITY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Address of the last block.
    pub last_lba: u64,
    /// Bytes of a logical block, as stated.
    pub block_length: u32,
    /// Power of two of logical blocks in a physical one.
    pub physical_exponent: u8,
    /// Blocks can be unmapped.
    pub provisioned: bool,
    /// Unmapped blocks read as zero.
    pub unmapped_reads_zero: bool,
}

/// Reads READ CAPACITY(10) data; `None` if fewer than 8 bytes were received.
#[must_use]
pub fn parse_capacity_10(received: &[u8]) -> Option<Capacity> {
    let (data, _) = ReadCapacity10::read_from_prefix(received).ok()?;
    Some(Capacity {
        last_lba: u64::from(data.last_lba.get()),
        block_length: data.block_length.get(),
        physical_exponent: 0,
        provisioned: false,
        unmapped_reads_zero: false,
    })
}

/// Reads READ CAPACITY(16) data; `None` if fewer than 12 bytes were received. Absent bytes read
/// as zero.
#[must_use]
pub fn parse_capacity_16(received: &[u8]) -> Option<Capacity> {
    if received.len() < ReadCapacity16::MINIMUM_SIZE {
        return None;
    }
    let mut padded = [0u8; size_of::<ReadCapacity16>()];
    for (to, from) in padded.iter_mut().zip(received) {
        *to = *from;
    }
    let data: ReadCapacity16 = zerocopy::transmute!(padded);
    let provisioning = data.provisioning.get();
    Some(Capacity {
        last_lba: data.last_lba.get(),
        block_length: data.block_length.get(),
        physical_exponent: data.physical_exponent & 0xF,
        provisioned: provisioning & ReadCapacity16::PROVISIONED != 0,
        unmapped_reads_zero: provisioning & ReadCapacity16::READS_ZERO != 0,
    })
}

/// Header of GET LBA STATUS data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct LbaStatusHeader {
    /// Bytes after this field: 4 + 16 per descriptor.
    pub length: U32,
    /// 0.
    pub reserved: U32,
}

/// One descriptor of GET LBA STATUS data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct LbaStatus {
    /// First block.
    pub lba: U64,
    /// Blocks.
    pub blocks: U32,
    /// 0 mapped, 1 deallocated, 2 anchored.
    pub status: u8,
    /// 0.
    pub reserved: [u8; 3],
}

/// Header of REPORT LUNS data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ReportLunsHeader {
    /// Bytes of the list: 8 per logical unit, those cut off included.
    pub list_length: U32,
    /// 0.
    pub reserved: U32,
}

/// One entry of REPORT LUNS data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ReportedLun(pub [u8; 8]);

impl ReportedLun {
    /// The entry of a unit in peripheral addressing.
    #[must_use]
    pub const fn peripheral(lun: u8) -> Self {
        Self([0, lun, 0, 0, 0, 0, 0, 0])
    }

    /// The unit's number if it is one that a request can address: peripheral or flat addressing,
    /// bus 0, at most 255.
    #[must_use]
    pub fn lun(&self) -> Option<u8> {
        let [high, low, rest @ ..] = self.0;
        let flat = high & 0xC0 == 0x40 && high & 0x3F == 0;
        ((high == 0 || flat) && rest == [0; 6]).then_some(low)
    }
}

/// The entries in REPORT LUNS data: the whole ones within both the bytes received and the list's
/// stated length. `None` without a header.
#[must_use]
pub fn reported_luns(received: &[u8]) -> Option<impl Iterator<Item = ReportedLun> + '_> {
    let (header, list) = ReportLunsHeader::read_from_prefix(received).ok()?;
    let stated = usize::try_from(header.list_length.get() / 8).unwrap_or(usize::MAX);
    let entries = list.chunks_exact(8).take(stated);
    Some(entries.filter_map(|entry| ReportedLun::read_from_bytes(entry).ok()))
}

/// Header of an UNMAP parameter list.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct UnmapHeader {
    /// Bytes after this field.
    pub data_length: U16,
    /// Bytes of descriptors.
    pub descriptor_length: U16,
    /// 0.
    pub reserved: U32,
}

/// One range of an UNMAP parameter list.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct UnmapDescriptor {
    /// First block.
    pub lba: U64,
    /// Blocks.
    pub blocks: U32,
    /// 0.
    pub reserved: U32,
}

const _: () = {
    assert!(size_of::<ReadCapacity10>() == 8);
    assert!(size_of::<ReadCapacity16>() == 32);
    assert!(size_of::<LbaStatusHeader>() == 8);
    assert!(size_of::<LbaStatus>() == 16);
    assert!(size_of::<ReportLunsHeader>() == 8);
    assert!(size_of::<ReportedLun>() == 8);
    assert!(size_of::<UnmapHeader>() == 8);
    assert!(size_of::<UnmapDescriptor>() == 16);
};

/// Splits an UNMAP parameter list into its header and the whole descriptors that follow.
/// The header's lengths are left to the caller to check; `None` without a header.
#[must_use]
pub fn unmap_descriptors(
    list: &[u8],
) -> Option<(
    UnmapHeader,
    impl ExactSizeIterator<Item = UnmapDescriptor> + '_,
)> {
    let (header, rest) = UnmapHeader::read_from_prefix(list).ok()?;
    let descriptors = rest
        .as_chunks::<16>()
        .0
        .iter()
        .map(|bytes| zerocopy::transmute!(*bytes));
    Some((header, descriptors))
}
