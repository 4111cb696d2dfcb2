//! What lies where in a VHD file, found and validated without changing a byte.

use super::footer::{DiskType, FOOTER_SIZE, Footer};
use super::header::{DynamicHeader, HEADER_SIZE};
use super::{UNALLOCATED, VhdError};
use crate::disk::{DiskError, Storage};

/// Most bytes of block allocation table that are taken into memory: enough for 2040 GiB in blocks of
/// 128 KiB.
pub(super) const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Table bytes read at a time.
const TABLE_CHUNK: usize = 1 << 20;

/// A validated file.
#[derive(Debug)]
pub(super) struct Layout {
    /// The footer that counts.
    pub(super) footer: Footer,
    /// Its bytes, reserved ones included.
    pub(super) footer_bytes: [u8; FOOTER_SIZE],
    /// File offset of the footer at the end, or where it is to be restored.
    pub(super) footer_offset: u64,
    /// What a writer must restore first.
    pub(super) repair: Repair,
    /// Where the blocks are; `None` in a fixed VHD.
    pub(super) blocks: Option<Blocks>,
}

/// What a power cut or accident left to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing.
    None,
    /// The footer at the end, from its copy at the start.
    Footer,
    /// The copy at the start, from the footer at the end.
    Copy,
}

/// The blocks of a dynamic VHD.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) header: DynamicHeader,
    /// Each block's place in the file in 512-byte sectors, or [`UNALLOCATED`].
    pub(super) table: Vec<u32>,
}

impl Layout {
    /// Reads and validates everything but the data.
    pub(super) fn read(storage: &impl Storage) -> Result<Self, VhdError> {
        let size = storage.size().map_err(|error| read_error(0, &error))?;
        let footer_offset = footer_place(size);
        let tail = match footer_offset {
            Some(offset) => read_footer(storage, offset, size)?,
            None => Err(VhdError::NotVhd),
        };
        let copy = if size >= FOOTER_SIZE as u64 {
            read_footer(storage, 0, size)?
        } else {
            Err(VhdError::NotVhd)
        };
        let is_sparse = |footer: &Footer| footer.disk_type != DiskType::Fixed;
        match (tail, footer_offset, copy) {
            (Ok((footer, footer_bytes)), Some(offset), copy) if is_sparse(&footer) => {
                let repair = match copy {
                    Ok((copy, _)) if !copy.agrees_with(&footer) => {
                        return Err(VhdError::malformed(
                            "footer copy",
                            0,
                            "type, size, data offset or identity differ from the footer at the end",
                        ));
                    }
                    Ok(_) => Repair::None,
                    Err(_) => Repair::Copy,
                };
                Self::sparse(storage, size, footer, footer_bytes, repair, Some(offset))
            }
            (Ok((footer, footer_bytes)), Some(offset), _) => {
                if footer.current_size != offset {
                    return Err(VhdError::malformed(
                        "current size",
                        offset + 48,
                        format!(
                            "{} bytes, but a fixed VHD of this file size holds {offset}",
                            footer.current_size
                        ),
                    ));
                }
                Ok(Self {
                    footer,
                    footer_bytes,
                    footer_offset: offset,
                    repair: Repair::None,
                    blocks: None,
                })
            }
            (_, _, Ok((footer, footer_bytes))) if is_sparse(&footer) => {
                Self::sparse(storage, size, footer, footer_bytes, Repair::Footer, None)
            }
            (Err(error), _, _) | (_, None, Err(error)) => Err(error),
            (_, None, Ok(_)) => Err(VhdError::NotVhd),
        }
    }

    /// Goes on with a VHD that has a dynamic header. `footer_offset` is `None` if there is no good footer
    /// at the end.
    fn sparse(
        storage: &impl Storage,
        size: u64,
        footer: Footer,
        footer_bytes: [u8; FOOTER_SIZE],
        repair: Repair,
        footer_offset: Option<u64>,
    ) -> Result<Self, VhdError> {
        if footer.disk_type == DiskType::Differencing {
            return Err(VhdError::Unsupported(
                "a differencing disk (type 4), whose content is partly in a parent disk".into(),
            ));
        }
        let at = footer_offset.unwrap_or(0);
        // The end of what blocks and tables may occupy.
        let limit = footer_offset.unwrap_or(size);
        let header_end = footer.data_offset.saturating_add(HEADER_SIZE as u64);
        if footer.data_offset < FOOTER_SIZE as u64 || !footer.data_offset.is_multiple_of(512) {
            return Err(VhdError::malformed(
                "data offset",
                at + 16,
                format!("{:#x} is below 512 or not a multiple", footer.data_offset),
            ));
        }
        inside("dynamic header", header_end, limit)?;
        let mut bytes = [0; HEADER_SIZE];
        read(storage, footer.data_offset, &mut bytes)?;
        let header =
            DynamicHeader::parse(&bytes).map_err(|error| error.moved(footer.data_offset))?;
        let blocks = Blocks::read(storage, &footer, header, limit)?;
        Ok(Self {
            footer_offset: footer_offset.unwrap_or_else(|| blocks.end_of_use(footer.data_offset)),
            footer,
            footer_bytes,
            repair,
            blocks: Some(blocks),
        })
    }
}

impl Blocks {
    /// Reads the table and checks that no two things share a place.
    fn read(
        storage: &impl Storage,
        footer: &Footer,
        header: DynamicHeader,
        limit: u64,
    ) -> Result<Self, VhdError> {
        let needed = footer.current_size.div_ceil(header.block_size.into());
        if u64::from(header.table_entries) < needed {
            return Err(VhdError::malformed(
                "table entries",
                footer.data_offset + 28,
                format!(
                    "{} are fewer than the disk's {needed} blocks",
                    header.table_entries
                ),
            ));
        }
        let table_end = header.table_offset.saturating_add(header.table_bytes());
        inside("block allocation table", table_end, limit)?;
        if header.table_bytes() > MAX_TABLE_BYTES {
            return Err(VhdError::Unsupported(format!(
                "a block allocation table of {} entries",
                header.table_entries
            )));
        }
        let mut fixed = vec![
            (0, FOOTER_SIZE as u64, "footer copy"),
            (
                footer.data_offset,
                footer.data_offset + HEADER_SIZE as u64,
                "dynamic header",
            ),
            (header.table_offset, table_end, "block allocation table"),
        ];
        for locator in &header.locators {
            let end = locator.offset.saturating_add(locator.length.into());
            inside("parent locator data", end, limit)?;
            fixed.push((locator.offset, end, "parent locator data"));
        }
        fixed.retain(|(start, end, _)| start < end);
        fixed.sort_unstable();
        for pair in fixed.windows(2) {
            if let [(_, end, first), (start, _, second)] = pair
                && start < end
            {
                return Err(VhdError::malformed(
                    second,
                    *start,
                    format!("overlaps the {first}"),
                ));
            }
        }
        let table = read_table(storage, &header)?;
        let blocks = Self { header, table };
        blocks.check_places(&fixed, limit)?;
        Ok(blocks)
    }

    /// Checks that allocated blocks lie inside the file, clear of each other and of the `fixed` ranges,
    /// which are sorted.
    fn check_places(&self, fixed: &[(u64, u64, &'static str)], limit: u64) -> Result<(), VhdError> {
        let span = self.header.block_span();
        let bad = |block: usize, problem: String| {
            let offset = self.header.table_offset + block as u64 * 4;
            Err(VhdError::malformed(
                "block allocation table entry",
                offset,
                problem,
            ))
        };
        let mut allocated: Vec<(u32, u32)> = Vec::new();
        for (block, &sector) in self.table.iter().enumerate() {
            if sector == UNALLOCATED {
                continue;
            }
            let start = u64::from(sector) * 512;
            let end = start + span;
            if end > limit {
                return bad(
                    block,
                    format!("block {block} at {start:#x} ends beyond the data"),
                );
            }
            if let Some((_, _, what)) = fixed
                .iter()
                .find(|(from, to, _)| start < *to && *from < end)
            {
                return bad(
                    block,
                    format!("block {block} at {start:#x} overlaps the {what}"),
                );
            }
            // The table is bounded to 2^24 entries.
            allocated.push((sector, block as u32));
        }
        allocated.sort_unstable();
        for pair in allocated.windows(2) {
            if let [(first, one), (second, other)] = *pair
                && u64::from(second - first) * 512 < span
            {
                let block = one.max(other);
                return bad(
                    block as usize,
                    format!(
                        "blocks {one} and {other} overlap at {:#x}",
                        u64::from(second) * 512
                    ),
                );
            }
        }
        Ok(())
    }

    /// End of the headers and the table, in whole sectors: the first place that a block can have.
    pub(super) fn end_of_structures(&self, header_offset: u64) -> u64 {
        let mut end = (header_offset + HEADER_SIZE as u64)
            .max(self.header.table_offset + self.header.table_bytes());
        for locator in &self.header.locators {
            end = end.max(locator.offset + u64::from(locator.length));
        }
        end.next_multiple_of(512)
    }

    /// End of the last structure or block in the file, in whole sectors.
    fn end_of_use(&self, header_offset: u64) -> u64 {
        let mut end = self.end_of_structures(header_offset);
        if let Some(last) = self.table.iter().filter(|&&at| at != UNALLOCATED).max() {
            end = end.max(u64::from(*last) * 512 + self.header.block_span());
        }
        end.next_multiple_of(512)
    }
}

/// Where a file of this size has its footer: the last 512 bytes, or 511 as the oldest writers left.
pub(in crate::disk) fn footer_place(size: u64) -> Option<u64> {
    match size % 512 {
        0 => size.checked_sub(512),
        511 => Some(size - 511),
        _ => None,
    }
}

/// Reads the 512 (or last 511) bytes at a footer's place.
pub(in crate::disk) fn footer_bytes(
    storage: &impl Storage,
    offset: u64,
    size: u64,
) -> Result<[u8; FOOTER_SIZE], DiskError> {
    let mut bytes = [0; FOOTER_SIZE];
    let length = usize::try_from(size - offset).map_or(FOOTER_SIZE, |left| left.min(FOOTER_SIZE));
    storage
        .read_bytes(offset, &mut bytes[..length])
        .map_err(|error| DiskError::from_io("read", offset, &error))?;
    Ok(bytes)
}

/// A footer with its bytes, or what is wrong with it; the outer error is the host's.
type ReadFooter = Result<(Footer, [u8; FOOTER_SIZE]), VhdError>;

fn read_footer(storage: &impl Storage, offset: u64, size: u64) -> Result<ReadFooter, VhdError> {
    let bytes = footer_bytes(storage, offset, size)?;
    Ok(Footer::parse(&bytes)
        .map(|footer| (footer, bytes))
        .map_err(|error| error.moved(offset)))
}

fn read_table(storage: &impl Storage, header: &DynamicHeader) -> Result<Vec<u32>, VhdError> {
    let entries = header.table_entries as usize;
    let mut table = Vec::with_capacity(entries);
    let mut chunk = vec![0; TABLE_CHUNK.min(entries * 4)];
    while table.len() < entries {
        let count = (chunk.len() / 4).min(entries - table.len());
        let part = &mut chunk[..count * 4];
        read(storage, header.table_offset + table.len() as u64 * 4, part)?;
        table.extend(
            part.chunks_exact(4)
                .map(|entry| super::field::u32_at(entry, 0)),
        );
    }
    Ok(table)
}

fn inside(what: &'static str, end: u64, limit: u64) -> Result<(), VhdError> {
    if end > limit {
        return Err(VhdError::Truncated {
            what,
            end,
            size: limit,
        });
    }
    Ok(())
}

fn read(storage: &impl Storage, offset: u64, into: &mut [u8]) -> Result<(), VhdError> {
    storage
        .read_bytes(offset, into)
        .map_err(|error| read_error(offset, &error))
}

fn read_error(offset: u64, error: &std::io::Error) -> VhdError {
    DiskError::from_io("read", offset, error).into()
}
