//! Which commands an operation takes.

use super::{Chunk, DiscardLimits, DiskError, DiskInfo, Geometry};
use crate::scsi::{Cdb, Command, SynchronizeCache, Transfer, UnmapDescriptor, UnmapHeader};

/// Whether a write must be durable when it completes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Fua {
    /// It may stay in the disk's cache until the next flush.
    #[default]
    No,
    /// It must be on stable storage (force unit access).
    Yes,
}

/// How a write is made as durable as asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// A plain write is enough.
    Plain,
    /// The write carries the flag that forces it.
    Flag,
    /// The write is followed by a flush, for devices that don't know the flag.
    Flush,
}

/// How a write to this disk is made as durable as asked for.
#[must_use]
pub const fn durability(info: &DiskInfo, fua: Fua) -> Durability {
    match fua {
        Fua::No => Durability::Plain,
        Fua::Yes if !info.write_cache => Durability::Plain,
        Fua::Yes if info.force_unit_access => Durability::Flag,
        Fua::Yes => Durability::Flush,
    }
}

/// A command that doesn't fit its block: impossible for the ranges that [`Geometry`] has checked.
fn encoded(command: Command) -> Result<Cdb, DiskError> {
    command.encode().map_err(|_| DiskError::Unsupported)
}

/// The read of a chunk: ten bytes where its range fits, else sixteen.
///
/// # Errors
///
/// None for chunks made by [`Geometry::chunks`].
pub fn read(chunk: &Chunk) -> Result<Cdb, DiskError> {
    encoded(Command::Read(Transfer::new(chunk.lba, chunk.blocks)))
}

/// The write of a chunk.
///
/// # Errors
///
/// None for chunks made by [`Geometry::chunks`].
pub fn write(chunk: &Chunk, durability: Durability) -> Result<Cdb, DiskError> {
    let mut transfer = Transfer::new(chunk.lba, chunk.blocks);
    if durability == Durability::Flag {
        transfer.flags = Transfer::FORCE_UNIT_ACCESS;
    }
    encoded(Command::Write(transfer))
}

/// The flush of the whole disk; `None` if it has no cache to flush.
///
/// # Errors
///
/// None in practice.
pub fn flush(info: &DiskInfo) -> Result<Option<Cdb>, DiskError> {
    if !info.write_cache {
        return Ok(None);
    }
    encoded(Command::SynchronizeCache(SynchronizeCache {
        sixteen: false,
        immediate: false,
        lba: 0,
        blocks: 0,
    }))
    .map(Some)
}

/// Bytes of the parameter list of one UNMAP command.
pub const UNMAP_LIST_SIZE: usize = size_of::<UnmapHeader>() + size_of::<UnmapDescriptor>();

/// One UNMAP command: its block, and the parameter list that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Unmap {
    /// The command.
    pub command: Cdb,
    /// Its data.
    pub list: [u8; UNMAP_LIST_SIZE],
}

/// The commands that unmap a range, one after the other.
#[derive(Clone, Debug)]
pub struct Unmaps {
    lba: u64,
    rest: u64,
    largest: u32,
}

/// The commands that unmap `blocks` blocks from `lba`.
///
/// # Errors
///
/// [`DiskError::OutOfRange`] if the range isn't on the disk.
pub fn unmap(
    geometry: &Geometry,
    limits: &DiscardLimits,
    lba: u64,
    blocks: u64,
) -> Result<Unmaps, DiskError> {
    geometry.check(lba, blocks)?;
    Ok(Unmaps {
        lba,
        rest: blocks,
        largest: limits.max_blocks.max(1),
    })
}

#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct UnmapList {
    header: UnmapHeader,
    descriptor: UnmapDescriptor,
}

impl Iterator for Unmaps {
    type Item = Result<Unmap, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        /// Bytes of the list; it fits because there is one descriptor.
        const LENGTH: u16 = UNMAP_LIST_SIZE as u16;
        let blocks = u32::try_from(self.rest)
            .unwrap_or(u32::MAX)
            .min(self.largest);
        if blocks == 0 {
            return None;
        }
        let list = UnmapList {
            header: UnmapHeader {
                data_length: (LENGTH - 2).into(),
                descriptor_length: (LENGTH - 8).into(),
                reserved: 0.into(),
            },
            descriptor: UnmapDescriptor {
                lba: self.lba.into(),
                blocks: blocks.into(),
                reserved: 0.into(),
            },
        };
        self.lba = self.lba.saturating_add(u64::from(blocks));
        self.rest = self.rest.saturating_sub(u64::from(blocks));
        let command = Command::Unmap {
            anchor: false,
            parameter_length: LENGTH,
        };
        Some(encoded(command).map(|command| Unmap {
            command,
            list: zerocopy::transmute!(list),
        }))
    }
}
