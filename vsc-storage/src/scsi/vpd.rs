//! Vital product data: INQUIRY's pages.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use vmbus_core::open_enum;

open_enum! {
    /// Code of a vital product data page.
    VpdPage: u8 {
        /// List of the supported pages.
        SUPPORTED_PAGES = 0x00,
        /// Serial number.
        SERIAL_NUMBER = 0x80,
        /// Identification.
        DEVICE_IDENTIFICATION = 0x83,
        /// Third-party copy.
        THIRD_PARTY_COPY = 0x8F,
        /// Limits of block commands.
        BLOCK_LIMITS = 0xB0,
        /// Characteristics of the medium.
        BLOCK_CHARACTERISTICS = 0xB1,
        /// Provisioning.
        LOGICAL_BLOCK_PROVISIONING = 0xB2,
        /// Microsoft: paging extent properties.
        MSFT_PAGING_EXTENT = 0xCE,
        /// Microsoft: virtual device properties.
        MSFT_VIRTUAL_DEVICE = 0xCF,
    }
}

/// First four bytes of every page.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct VpdHeader {
    /// Qualifier and device type, as in the standard data.
    pub peripheral: u8,
    /// The page's code.
    pub page: u8,
    /// Bytes after the header.
    pub length: U16,
}

/// The body of a page: the bytes that are both received and within the page's stated length.
/// `None` if the header is missing or belongs to another page.
#[must_use]
pub fn vpd_body(page: VpdPage, received: &[u8]) -> Option<&[u8]> {
    let (header, rest) = VpdHeader::read_from_prefix(received).ok()?;
    if header.page != page.0 {
        return None;
    }
    let length = rest.len().min(usize::from(header.length.get()));
    rest.get(..length)
}

/// Body of the block limits page, 60 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct BlockLimits {
    /// Bit 0: a WRITE SAME of length 0 is refused.
    pub flags: u8,
    /// Most blocks of COMPARE AND WRITE.
    pub max_compare_and_write: u8,
    /// Best granularity of transfers, in blocks.
    pub optimal_granularity: U16,
    /// Longest transfer in blocks; 0 is unlimited.
    pub max_transfer: U32,
    /// Best transfer length in blocks.
    pub optimal_transfer: U32,
    /// Longest PREFETCH.
    pub max_prefetch: U32,
    /// Most blocks of one UNMAP command.
    pub max_unmap_blocks: U32,
    /// Most descriptors of one UNMAP command.
    pub max_unmap_descriptors: U32,
    /// Best granularity of UNMAP, in blocks.
    pub unmap_granularity: U32,
    /// Bit 31: the alignment is valid; the rest is the alignment in blocks.
    pub unmap_alignment: U32,
    /// Most blocks of one WRITE SAME.
    pub max_write_same: U64,
    /// Atomic operations; 0.
    pub reserved: [u8; 20],
}

/// Body of the block device characteristics page, 60 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct BlockCharacteristics {
    /// [`BlockCharacteristics::NON_ROTATING`] or revolutions per minute.
    pub rotation_rate: U16,
    /// 0.
    pub reserved: [u8; 58],
}

impl BlockCharacteristics {
    /// Rotation rate of a medium that doesn't rotate.
    pub const NON_ROTATING: u16 = 1;
}

/// Body of the logical block provisioning page, 4 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct LogicalBlockProvisioning {
    /// Power of two of blocks per threshold unit.
    pub threshold_exponent: u8,
    /// [`LogicalBlockProvisioning::UNMAP`] and others.
    pub flags: u8,
    /// 2: thin.
    pub provisioning_type: u8,
    /// 0.
    pub reserved: u8,
}

impl LogicalBlockProvisioning {
    /// Flag: UNMAP works (LBPU).
    pub const UNMAP: u8 = 0x80;
    /// Flag: WRITE SAME(16) with UNMAP works (LBPWS).
    pub const WRITE_SAME_16: u8 = 0x40;
    /// Provisioning type: thin.
    pub const THIN: u8 = 2;
}

/// First designator of a synthetic disk: vendor and disk GUID.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct MsftIdentity {
    /// 0x01 (binary), 0x01 (vendor), 0, 24 (bytes that follow).
    pub header: [u8; 4],
    /// `Msft    `.
    pub vendor: [u8; 8],
    /// The disk's GUID in its little-endian byte order.
    pub disk: [u8; 16],
}

/// Second designator of a synthetic disk: a world-wide name made from the GUID.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct NaaIdentity {
    /// 0x01 (binary), 0x03 (NAA), 0, 16 (bytes that follow).
    pub header: [u8; 4],
    /// 60 02 24 80, GUID bytes 0 to 5, GUID bytes 10 to 15.
    pub name: [u8; 16],
}

/// Body of a synthetic disk's identification page, 48 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Page83 {
    /// Vendor-specific designator.
    pub vendor: MsftIdentity,
    /// World-wide name.
    pub naa: NaaIdentity,
}

const _: () = {
    assert!(size_of::<VpdHeader>() == 4);
    assert!(size_of::<BlockLimits>() == 60);
    assert!(size_of::<BlockCharacteristics>() == 60);
    assert!(size_of::<LogicalBlockProvisioning>() == 4);
    assert!(size_of::<Page83>() == 48);
};

impl Page83 {
    /// The page of the disk with this GUID, given in its little-endian byte order.
    #[must_use]
    pub const fn new(disk: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, _, _, _, _, g, h, i, j, k, l] = disk;
        Self {
            vendor: MsftIdentity {
                header: [0x01, 0x01, 0x00, 0x18],
                vendor: *b"Msft    ",
                disk,
            },
            naa: NaaIdentity {
                header: [0x01, 0x03, 0x00, 0x10],
                name: [0x60, 0x02, 0x24, 0x80, a, b, c, d, e, f, g, h, i, j, k, l],
            },
        }
    }
}

/// One designator of an identification page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Designator<'a> {
    /// 1 binary, 2 ASCII, 3 UTF-8.
    pub code_set: u8,
    /// 0 the logical unit, 1 the port, 2 the device.
    pub association: u8,
    /// 1 vendor specific, 2 EUI-64, 3 NAA, 8 SCSI name.
    pub designator_type: u8,
    /// The designator itself.
    pub bytes: &'a [u8],
}

impl Designator<'_> {
    /// Type: vendor specific.
    pub const VENDOR: u8 = 1;
    /// Type: NAA world-wide name.
    pub const NAA: u8 = 3;
}

/// Iterates over the designators in an identification page's body.
#[derive(Clone, Debug)]
pub struct Designators<'a> {
    rest: &'a [u8],
}

/// The designators in an identification page's body, up to the first that reaches beyond it.
#[must_use]
pub const fn designators(body: &[u8]) -> Designators<'_> {
    Designators { rest: body }
}

impl<'a> Iterator for Designators<'a> {
    type Item = Designator<'a>;

    fn next(&mut self) -> Option<Designator<'a>> {
        let [code, kind, _, length, rest @ ..] = self.rest else {
            return None;
        };
        let Some((bytes, next)) = rest.split_at_checked(usize::from(*length)) else {
            self.rest = &[];
            return None;
        };
        self.rest = next;
        Some(Designator {
            code_set: code & 0xF,
            association: kind >> 4 & 3,
            designator_type: kind & 0xF,
            bytes,
        })
    }
}
