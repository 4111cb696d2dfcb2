//! A checker for VHD files that finds all damage, not only the first.

use std::fmt;

use super::vhd::{
    DiskType, DynamicHeader, FOOTER_SIZE, Footer, HEADER_SIZE, VhdError, footer_bytes, footer_place,
};
use super::{DiskError, ImageFormat, Storage};

/// Table bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Most problems listed; a wrecked table has one in every entry.
const MAX_PROBLEMS: usize = 1000;

/// What is wrong in a VHD.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The footer at the end of the file.
    Footer(VhdError),
    /// The copy of the footer at the start of the file.
    FooterCopy(VhdError),
    /// Both footers are valid but don't describe the same disk.
    FootersDiffer,
    /// The header, the table or their place; the blocks can't be checked.
    Structure(VhdError),
    /// A block isn't wholly before the footer.
    BlockOutside {
        /// Number of the block.
        block: u32,
        /// File offset of its bitmap.
        offset: u64,
    },
    /// A block shares its place with a header or table.
    BlockOnStructure {
        /// Number of the block.
        block: u32,
        /// File offset of its bitmap.
        offset: u64,
    },
    /// Two blocks share their place.
    BlocksOverlap {
        /// Number of the block that begins first.
        first: u32,
        /// Number of the other.
        second: u32,
        /// File offset where the other begins.
        offset: u64,
    },
    /// There are more problems than are listed.
    More,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Opening the disk for writing mends it.
    Repairable,
    /// The disk can't be used.
    Fatal,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Fixed or dynamic.
    pub format: ImageFormat,
    /// Bytes on the disk; 0 if that can't be told.
    pub size: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Blocks in the disk; 0 in a fixed VHD.
    pub blocks: u64,
    /// Blocks stored.
    pub allocated: u64,
    /// Bytes of the file that belong to nothing, as left by a power cut. Harmless.
    pub leaked: u64,
    /// All that is wrong, with its severity.
    pub problems: Vec<(Severity, Problem)>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether the disk can be used, perhaps after a repair.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.problems
            .iter()
            .all(|(severity, _)| *severity == Severity::Repairable)
    }

    fn add(&mut self, severity: Severity, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push((severity, problem));
        } else if self.problems.len() == MAX_PROBLEMS {
            self.problems.push((severity, Problem::More));
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Footer(error) => write!(f, "footer: {error}"),
            Self::FooterCopy(error) => write!(f, "copy of the footer: {error}"),
            Self::FootersDiffer => f.write_str("the footer and its copy describe different disks"),
            Self::Structure(error) => write!(f, "{error}"),
            Self::BlockOutside { block, offset } => {
                write!(f, "block {block} at {offset:#x} ends beyond the data")
            }
            Self::BlockOnStructure { block, offset } => {
                write!(f, "block {block} at {offset:#x} overlaps a header or table")
            }
            Self::BlocksOverlap {
                first,
                second,
                offset,
            } => write!(f, "blocks {first} and {second} overlap at {offset:#x}"),
            Self::More => f.write_str("and more"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes in a file of {}: {} of {} blocks stored, {} bytes leaked, {}",
            self.format,
            self.size,
            self.file_size,
            self.allocated,
            self.blocks,
            self.leaked,
            match self.problems.len() {
                0 => "no problems".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            }
        )?;
        for (severity, problem) in &self.problems {
            let word = match severity {
                Severity::Repairable => "repairable",
                Severity::Fatal => "fatal",
            };
            write!(f, "\n{word}: {problem}")?;
        }
        Ok(())
    }
}

/// Examines a VHD without changing it.
///
/// # Errors
/// The host failed to read. Damage is no error but in the report.
pub fn check(storage: &impl Storage) -> Result<Report, DiskError> {
    let file_size = storage
        .size()
        .map_err(|error| DiskError::from_io("read", 0, &error))?;
    let mut report = Report {
        format: ImageFormat::VhdFixed,
        size: 0,
        file_size,
        blocks: 0,
        allocated: 0,
        leaked: 0,
        problems: Vec::new(),
    };
    let footer_at = footer_place(file_size);
    let read = |offset| -> Result<_, DiskError> {
        Ok(Footer::parse(&footer_bytes(storage, offset, file_size)?))
    };
    let tail = footer_at.map_or(Ok(Err(VhdError::NotVhd)), read)?;
    let copy = if file_size < FOOTER_SIZE as u64 {
        Err(VhdError::NotVhd)
    } else {
        read(0)?
    };
    let limit = match (&tail, footer_at) {
        (Ok(_), Some(offset)) => offset,
        _ => file_size,
    };
    let copy_is_dynamic = copy
        .as_ref()
        .is_ok_and(|copy| copy.disk_type != DiskType::Fixed);
    let footer = match (tail, copy) {
        (Ok(footer), _) if footer.disk_type == DiskType::Fixed => {
            report.size = footer.current_size;
            if footer.current_size != limit {
                let error = VhdError::Truncated {
                    what: "disk",
                    end: footer.current_size,
                    size: limit,
                };
                report.add(Severity::Fatal, Problem::Structure(error));
            }
            return Ok(report);
        }
        (Ok(footer), Ok(copy)) => {
            let same = |footer: &Footer| {
                (
                    footer.disk_type,
                    footer.current_size,
                    footer.data_offset,
                    footer.unique_id,
                )
            };
            if same(&footer) != same(&copy) {
                report.add(Severity::Fatal, Problem::FootersDiffer);
            }
            footer
        }
        (Ok(footer), Err(error)) => {
            report.add(Severity::Repairable, Problem::FooterCopy(error));
            footer
        }
        (Err(error), Ok(copy)) if copy_is_dynamic => {
            report.add(Severity::Repairable, Problem::Footer(error));
            copy
        }
        (Err(error), _) => {
            report.add(Severity::Fatal, Problem::Footer(error));
            return Ok(report);
        }
    };
    report.format = ImageFormat::VhdDynamic;
    report.size = footer.current_size;
    match check_blocks(storage, &footer, limit, &mut report) {
        Ok(()) => {}
        Err(VhdError::Disk(error)) => return Err(error),
        Err(error) => report.add(Severity::Fatal, Problem::Structure(error)),
    }
    Ok(report)
}

/// Checks header, table and blocks, which end by `limit`.
fn check_blocks(
    storage: &impl Storage,
    footer: &Footer,
    limit: u64,
    report: &mut Report,
) -> Result<(), VhdError> {
    if footer.disk_type == DiskType::Differencing {
        return Err(VhdError::Unsupported("a differencing disk".into()));
    }
    let read = |offset: u64, into: &mut [u8]| {
        storage
            .read_bytes(offset, into)
            .map_err(|error| VhdError::Disk(DiskError::from_io("read", offset, &error)))
    };
    let must_end = |what, end: u64| {
        if end > limit {
            let size = limit;
            return Err(VhdError::Truncated { what, end, size });
        }
        Ok(end)
    };
    let header_at = footer.data_offset;
    let header_end = must_end(
        "dynamic header",
        header_at.saturating_add(HEADER_SIZE as u64),
    )?;
    let mut bytes = [0; HEADER_SIZE];
    read(header_at, &mut bytes)?;
    let header = DynamicHeader::parse(&bytes)?;
    let table_end = must_end(
        "block allocation table",
        header.table_offset.saturating_add(header.table_bytes()),
    )?;
    report.blocks = footer.current_size.div_ceil(header.block_size.into());
    if u64::from(header.table_entries) < report.blocks {
        return Err(VhdError::Malformed {
            field: "table entries",
            offset: header_at + 28,
            problem: format!("fewer than the disk's {} blocks", report.blocks),
        });
    }
    let structures = [
        0..FOOTER_SIZE as u64,
        header_at..header_end,
        header.table_offset..table_end,
    ];
    let span = header.block_span();
    let mut places = Vec::new();
    let mut chunk = vec![0; CHUNK];
    for first in (0..header.table_entries).step_by(CHUNK / 4) {
        let count = (header.table_entries - first).min((CHUNK / 4) as u32);
        let part = &mut chunk[..count as usize * 4];
        read(header.table_offset + u64::from(first) * 4, part)?;
        for (block, entry) in (first..).zip(part.as_chunks::<4>().0) {
            let sector = u32::from_be_bytes(*entry);
            if sector == u32::MAX {
                continue;
            }
            let offset = u64::from(sector) * 512;
            let end = offset + span;
            if end > limit {
                report.add(Severity::Fatal, Problem::BlockOutside { block, offset });
            } else if structures
                .iter()
                .any(|range| offset < range.end && range.start < end)
            {
                report.add(Severity::Fatal, Problem::BlockOnStructure { block, offset });
            } else {
                places.push((offset, block));
            }
        }
    }
    report.allocated = places.len() as u64;
    places.sort_unstable();
    for pair in places.windows(2) {
        if let [(one, first), (offset, second)] = *pair
            && offset - one < span
        {
            let problem = Problem::BlocksOverlap {
                first,
                second,
                offset,
            };
            report.add(Severity::Fatal, problem);
        }
    }
    // Whole sectors in use; overlaps were reported, and would only hide a leak.
    let structures: u64 = structures.iter().map(|range| range.end - range.start).sum();
    let used = structures.saturating_add(report.allocated.saturating_mul(span));
    report.leaked = limit.saturating_sub(used);
    Ok(())
}
