//! What is known of a disk.

use super::{Geometry, Text};
use crate::queue::Address;

/// Kind of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DiskKind {
    /// A disk.
    Disk,
    /// An optical drive; its medium may be missing and change.
    Optical,
}

/// Names that tell a disk from all others, the same wherever and whenever it is attached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Identity {
    /// The disk's GUID in its little-endian byte order, from Microsoft's designator.
    pub disk: Option<[u8; 16]>,
    /// World-wide name of 16 bytes (NAA 6).
    pub naa: Option<[u8; 16]>,
}

/// What the device takes in UNMAP commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiscardLimits {
    /// Most blocks of one command, at least 1.
    pub max_blocks: u32,
    /// Blocks that are deallocated together, at least 1.
    pub granularity: u32,
    /// First block of such a group.
    pub alignment: u32,
    /// Unmapped blocks read as zero.
    pub reads_zero: bool,
}

/// What is known of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskInfo {
    /// Where it is.
    pub address: Address,
    /// Disk or optical drive.
    pub kind: DiskKind,
    /// Whether its medium can be removed.
    pub removable: bool,
    /// Vendor.
    pub vendor: Text<8>,
    /// Product.
    pub product: Text<16>,
    /// Revision.
    pub revision: Text<4>,
    /// Serial number, if it has one; cut to 64 bytes.
    pub serial: Option<Text<64>>,
    /// Names.
    pub identity: Identity,
    /// Size; `None` without a medium.
    pub geometry: Option<Geometry>,
    /// Write protected. Always so for optical drives.
    pub read_only: bool,
    /// Writes may stay in a volatile cache until they are flushed. Also set if the device doesn't
    /// say.
    pub write_cache: bool,
    /// Single writes can be forced to stable storage.
    pub force_unit_access: bool,
    /// UNMAP works within these limits.
    pub discard: Option<DiscardLimits>,
    /// Longest transfer in blocks, 0 if only the controller limits it.
    pub max_transfer_blocks: u32,
    /// The medium doesn't rotate.
    pub solid_state: bool,
}

impl DiskInfo {
    /// Whether `other` is the same disk at the same place, whatever else changed.
    #[must_use]
    pub fn is_same_disk(&self, other: &Self) -> bool {
        self.address == other.address
            && self.kind == other.kind
            && self.identity == other.identity
            && self.serial == other.serial
            && self.product == other.product
    }
}
