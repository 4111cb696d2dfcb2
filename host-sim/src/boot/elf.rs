//! 64-bit ELF executables, from untrusted bytes to guest memory.
//!
//! [`parse`] is pure and accepts any bytes; what it returns is consistent in itself. [`Image::load`] then checks it
//! against the guest's memory.

use std::fmt;
use std::ops::Range;

use guest_image::boot_info::{NOTE_NAME, NOTE_TYPE};
use thiserror::Error;

use crate::memory::GuestMemory;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const CURRENT_VERSION: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;
const FLAG_EXECUTE: u32 = 1;
/// In the header's count: the real count is elsewhere. No image of ours has that many.
const COUNT_ELSEWHERE: u16 = 0xFFFF;

/// Why bytes are not an image that can be booted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// The first four bytes are not ELF's.
    #[error("the file is not an ELF image")]
    NotElf,
    /// The file ends before something that it announces.
    #[error("the ELF image is truncated: its {what} ends at byte {end} of {length}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Length of the file.
        length: u64,
    },
    /// A 32-bit image.
    #[error("the ELF image is of class {0}, not 64-bit (2)")]
    Class(u8),
    /// Big-endian, or nonsense.
    #[error("the ELF image has data encoding {0}, not little-endian (1)")]
    Encoding(u8),
    /// A version of ELF that does not exist.
    #[error("the ELF image has version {0}, not 1")]
    Version(u8),
    /// Not an executable at fixed addresses, but an object, a library or a position-independent executable.
    #[error("the ELF image is of type {0}, not a fixed-address executable (2)")]
    Type(u16),
    /// Code for other processors.
    #[error("the ELF image is for machine {0}, not x86-64 (62)")]
    Machine(u16),
    /// The table of segments is not one.
    #[error("the ELF image has {count} program headers of {size} bytes each")]
    ProgramHeaders {
        /// Number of headers.
        count: u16,
        /// Size of each in bytes; 56 is right.
        size: u16,
    },
    /// Nothing to load.
    #[error("the ELF image has no segment to load")]
    NothingToLoad,
    /// A segment has more bytes in the file than in memory, or ends beyond the address space.
    #[error("segment {index} of the ELF image has impossible sizes")]
    SegmentSize {
        /// Index of its program header.
        index: usize,
    },
    /// Two segments want the same memory.
    #[error("the ELF image's segments at {first:#x} and {second:#x} overlap")]
    Overlap {
        /// Address of the lower one.
        first: u64,
        /// Address of the higher one.
        second: u64,
    },
    /// The entry point is not in a segment with code.
    #[error("the ELF image's entry point {0:#x} is in no executable segment")]
    Entry(u64),
    /// A segment lies where the loader keeps its own tables.
    #[error("the ELF image's segment at {address:#x} is below {lowest:#x}")]
    TooLow {
        /// Its address.
        address: u64,
        /// Lowest address allowed.
        lowest: u64,
    },
    /// A segment does not fit into RAM.
    #[error(
        "the guest needs RAM up to {end:#x} for its image and has {ram:#x}: give it more memory"
    )]
    OutsideRam {
        /// End of the segment.
        end: u64,
        /// Bytes of RAM.
        ram: u64,
    },
}

/// A consistent executable image: no segment overlaps another, every byte it refers to exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Address of the first instruction; inside an executable segment.
    pub entry: u64,
    /// What to load, by ascending address; not empty.
    pub segments: Vec<Segment<'a>>,
    /// The program that the image says it contains.
    pub program: Option<Program>,
}

/// A piece of memory that the image wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// Bytes of memory, not 0; those beyond `data` are zero.
    pub memory_size: u64,
    /// First bytes, no more than `memory_size`.
    pub data: &'a [u8],
    /// Whether it holds code.
    pub executable: bool,
}

impl Segment<'_> {
    /// The guest-physical addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.address..self.address + self.memory_size
    }
}

/// The program inside an image, by the image's own "Viridian" note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Program {
    /// The program that is linked into this host, too.
    #[must_use]
    pub fn linked_twin() -> Self {
        Self {
            name: guest_image::boot_info::PROGRAM_NAME.to_owned(),
            version: guest_image::boot_info::PROGRAM_VERSION.to_owned(),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Reads and checks an image.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Image<'_>, ElfError> {
    if !bytes.starts_with(b"\x7FELF") {
        return Err(ElfError::NotElf);
    }
    let header = Fields(part(bytes, 0, HEADER_BYTES as u64, "header")?);
    check_identity(&header)?;
    let (count, size) = (header.u16(56), header.u16(54));
    if usize::from(size) != PROGRAM_HEADER_BYTES || count == COUNT_ELSEWHERE {
        return Err(ElfError::ProgramHeaders { count, size });
    }
    let table_bytes = u64::from(count) * PROGRAM_HEADER_BYTES as u64;
    let table = part(bytes, header.u64(32), table_bytes, "program header table")?;

    let mut segments = Vec::new();
    let mut program = None;
    for (index, entry) in table.chunks_exact(PROGRAM_HEADER_BYTES).enumerate() {
        let entry = Fields(entry);
        match entry.u32(0) {
            SEGMENT_LOAD => segments.extend(segment(bytes, index, &entry)?),
            SEGMENT_NOTE => {
                let notes = part(bytes, entry.u64(8), entry.u64(32), "note segment")?;
                program = program.or_else(|| find_program(notes, entry.u64(48)));
            }
            _ => {}
        }
    }
    segments.sort_by_key(|segment| segment.address);
    if let Some(pair) = segments
        .windows(2)
        .find(|pair| pair[0].range().end > pair[1].address)
    {
        return Err(ElfError::Overlap {
            first: pair[0].address,
            second: pair[1].address,
        });
    }
    let entry = header.u64(24);
    if segments.is_empty() {
        return Err(ElfError::NothingToLoad);
    }
    let is_code = |segment: &Segment<'_>| segment.executable && segment.range().contains(&entry);
    if !segments.iter().any(is_code) {
        return Err(ElfError::Entry(entry));
    }
    Ok(Image {
        entry,
        segments,
        program,
    })
}

fn check_identity(header: &Fields<'_>) -> Result<(), ElfError> {
    let (class, encoding, version) = (header.u8(4), header.u8(5), header.u8(6));
    if class != CLASS_64 {
        return Err(ElfError::Class(class));
    }
    if encoding != LITTLE_ENDIAN {
        return Err(ElfError::Encoding(encoding));
    }
    if version != CURRENT_VERSION {
        return Err(ElfError::Version(version));
    }
    let (kind, machine) = (header.u16(16), header.u16(18));
    if machine != MACHINE_X86_64 {
        return Err(ElfError::Machine(machine));
    }
    if kind != TYPE_EXECUTABLE {
        return Err(ElfError::Type(kind));
    }
    Ok(())
}

/// A segment to load, unless it is empty.
fn segment<'a>(
    bytes: &'a [u8],
    index: usize,
    entry: &Fields<'_>,
) -> Result<Option<Segment<'a>>, ElfError> {
    let (offset, file_size) = (entry.u64(8), entry.u64(32));
    let (address, memory_size) = (entry.u64(24), entry.u64(40));
    if file_size > memory_size || address.checked_add(memory_size).is_none() {
        return Err(ElfError::SegmentSize { index });
    }
    if memory_size == 0 {
        return Ok(None);
    }
    Ok(Some(Segment {
        address,
        memory_size,
        data: part(bytes, offset, file_size, "segment")?,
        executable: entry.u32(4) & FLAG_EXECUTE != 0,
    }))
}

/// The first "Viridian" note. Whatever is malformed ends the search: notes are hints, not part of the program.
fn find_program(mut notes: &[u8], alignment: u64) -> Option<Program> {
    // Notes are aligned to 4, or to 8 in segments that say so.
    let alignment = if alignment == 8 { 8 } else { 4 };
    loop {
        let (header, rest) = notes.split_at_checked(12)?;
        let header = Fields(header);
        let (name, rest) = take_padded(rest, header.u32(0), alignment)?;
        let (descriptor, rest) = take_padded(rest, header.u32(4), alignment)?;
        let ours = name
            .strip_suffix(b"\0")
            .is_some_and(|name| name == NOTE_NAME.as_bytes());
        if ours && header.u32(8) == NOTE_TYPE {
            let text = std::str::from_utf8(descriptor).ok()?;
            let (name, version) = text.trim_end_matches('\0').split_once(' ')?;
            let clean = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
            return (clean(name) && clean(version)).then(|| Program {
                name: name.to_owned(),
                version: version.to_owned(),
            });
        }
        notes = rest;
    }
}

/// The first `length` bytes, and what follows their padding.
fn take_padded(bytes: &[u8], length: u32, alignment: usize) -> Option<(&[u8], &[u8])> {
    let length = length as usize;
    let taken = bytes.get(..length)?;
    // The last one may lack its padding.
    let next = length.checked_next_multiple_of(alignment)?.min(bytes.len());
    Some((taken, bytes.get(next..)?))
}

fn part<'a>(
    bytes: &'a [u8],
    offset: u64,
    length: u64,
    what: &'static str,
) -> Result<&'a [u8], ElfError> {
    let end = offset.saturating_add(length);
    let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
    range
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or(ElfError::Truncated {
            what,
            end,
            length: bytes.len() as u64,
        })
}

/// Fields of a structure whose length has been checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

impl Image<'_> {
    /// End of the highest segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |segment| segment.range().end)
    }

    /// Copies the segments into guest memory, zeroes included.
    ///
    /// # Errors
    /// [`ElfError::TooLow`] or [`ElfError::OutsideRam`]; nothing has then been written.
    pub fn load(&self, memory: &GuestMemory, lowest: u64) -> Result<(), ElfError> {
        if let Some(low) = self
            .segments
            .iter()
            .find(|segment| segment.address < lowest)
        {
            return Err(ElfError::TooLow {
                address: low.address,
                lowest,
            });
        }
        let outside = ElfError::OutsideRam {
            end: self.end(),
            ram: memory.size(),
        };
        if self.end() > memory.size() {
            return Err(outside);
        }
        const ZEROES: [u8; 4096] = [0; 4096];
        for segment in &self.segments {
            let data_end = segment.address + segment.data.len() as u64;
            memory
                .write(segment.address, segment.data)
                .map_err(|_| outside.clone())?;
            let mut at = data_end;
            while at < segment.range().end {
                let length = ZEROES.len().min((segment.range().end - at) as usize);
                memory
                    .write(at, &ZEROES[..length])
                    .map_err(|_| outside.clone())?;
                at += length as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
