//! Handing the machine to a guest in 64-bit mode: page tables, segments, boot information.
//!
//! Everything that the loader leaves in RAM lies below [`LOWEST_IMAGE_ADDRESS`]; all RAM above the image is the
//! guest's from its first instruction on. Page 0 is not mapped, so that a null pointer is found.

use guest_image::boot_info::{BootInfo, BootInfoError, LONGEST_COMMAND_LINE};
use thiserror::Error;
use zerocopy::IntoBytes;

use super::elf::{ElfError, Image};
use crate::memory::{GuestMemory, NotRam, PAGE_SIZE};

/// Lowest address that an image may occupy.
pub const LOWEST_IMAGE_ADDRESS: u64 = 0x10_0000;

/// Addresses below this one are identity-mapped: all RAM and the devices under 4 GiB.
pub const MAPPED_BYTES: u64 = 4 << 30;

const GDT: u64 = 0x1000;
const BOOT_INFO: u64 = 0x2000;
const COMMAND_LINE: u64 = 0x3000;
/// Address of the top page table.
pub(super) const PAGE_MAP: u64 = 0x1_0000;
const DIRECTORY_POINTERS: u64 = 0x1_1000;
const DIRECTORIES: u64 = 0x1_2000;
const LOWEST_TABLE: u64 = 0x1_6000;

/// Present, writable, and open to every privilege level: a guest that has something to hide makes its own tables.
const OPEN: u64 = 0b111;
const LARGE: u64 = 1 << 7;
const LARGE_PAGE: u64 = 2 << 20;
const DIRECTORY_COUNT: u64 = MAPPED_BYTES >> 30;
const ENTRIES: u64 = PAGE_SIZE / 8;

/// Null, 64-bit code, data.
const DESCRIPTORS: [u64; 3] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];

/// Selector of the code segment in the table at [`Entry::gdt_base`].
pub const CODE_SELECTOR: u16 = 0x08;

/// Selector of the data segment.
pub const DATA_SELECTOR: u16 = 0x10;

/// How every virtual processor enters the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address of the first instruction.
    pub instruction: u64,
    /// Address of the boot information, for RDI.
    pub boot_info: u64,
    /// Address of the top page table, for CR3.
    pub page_map: u64,
    /// Address of the segment descriptors.
    pub gdt_base: u64,
    /// Offset of their last byte.
    pub gdt_limit: u16,
}

/// Why a guest cannot be put into memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The image is not right, or does not fit.
    #[error(transparent)]
    Image(#[from] ElfError),
    /// The command line is too long.
    #[error("the guest's command line has {0} bytes; {LONGEST_COMMAND_LINE} are possible")]
    CommandLine(usize),
    /// There is not even room for the loader's tables.
    #[error("the guest has too little memory: {0}")]
    TooLittleMemory(#[from] NotRam),
    /// The guest has no use for a machine of this shape.
    #[error("the guest cannot use this machine: {0}")]
    BootInfo(BootInfoError),
}

/// Loads an image and writes the tables that it enters with.
///
/// # Errors
/// [`LoadError`]; guest memory is then unspecified.
pub fn load(
    memory: &GuestMemory,
    image: &Image<'_>,
    command_line: &str,
    processor_count: u32,
) -> Result<Entry, LoadError> {
    let length = u32::try_from(command_line.len())
        .ok()
        .filter(|&length| length <= LONGEST_COMMAND_LINE)
        .ok_or(LoadError::CommandLine(command_line.len()))?;
    let info = BootInfo::new(processor_count, memory.size(), COMMAND_LINE, length);
    image.load(memory, LOWEST_IMAGE_ADDRESS)?;
    info.validate().map_err(LoadError::BootInfo)?;
    memory.write(COMMAND_LINE, command_line.as_bytes())?;
    memory.write(BOOT_INFO, info.as_bytes())?;
    write_tables(memory)?;
    Ok(Entry {
        instruction: image.entry,
        boot_info: BOOT_INFO,
        page_map: PAGE_MAP,
        gdt_base: GDT,
        gdt_limit: (size_of_val(&DESCRIPTORS) - 1) as u16,
    })
}

/// Writes the identity map and the segment descriptors.
///
/// # Errors
/// [`NotRam`] if there is not enough memory for them.
pub fn write_tables(memory: &GuestMemory) -> Result<(), NotRam> {
    write_mapping(memory, 1)
}

/// Writes the identity map with page 0 mapped as well, for kernels that read the BIOS's data there.
///
/// # Errors
/// [`NotRam`] if there is not enough memory for it.
pub(super) fn write_full_tables(memory: &GuestMemory) -> Result<(), NotRam> {
    write_mapping(memory, 0)
}

/// Writes the tables, with the pages from `first_page` on mapped.
fn write_mapping(memory: &GuestMemory, first_page: u64) -> Result<(), NotRam> {
    let write = |table: u64, entries: &mut dyn Iterator<Item = u64>| {
        let bytes: Vec<u8> = entries.flat_map(u64::to_le_bytes).collect();
        memory.write(table, &bytes)
    };
    write(GDT, &mut DESCRIPTORS.into_iter())?;
    write(PAGE_MAP, &mut std::iter::once(DIRECTORY_POINTERS | OPEN))?;
    write(
        DIRECTORY_POINTERS,
        &mut (0..DIRECTORY_COUNT).map(|index| (DIRECTORIES + index * PAGE_SIZE) | OPEN),
    )?;
    let large = |index: u64| (index * LARGE_PAGE) | OPEN | LARGE;
    let first = std::iter::once(LOWEST_TABLE | OPEN);
    write(
        DIRECTORIES,
        &mut first.chain((1..DIRECTORY_COUNT * ENTRIES).map(large)),
    )?;
    let small = |index: u64| (index * PAGE_SIZE) | OPEN;
    write(
        LOWEST_TABLE,
        &mut (0..ENTRIES).map(|page| if page < first_page { 0 } else { small(page) }),
    )
}

/// The state in which [`write_tables`]'s tables are used, for a guest without an image.
#[must_use]
pub fn bare_entry(instruction: u64) -> Entry {
    Entry {
        instruction,
        boot_info: 0,
        page_map: PAGE_MAP,
        gdt_base: GDT,
        gdt_limit: (size_of_val(&DESCRIPTORS) - 1) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(memory: &GuestMemory, address: u64) -> u64 {
        let mut bytes = [0; 8];
        memory.read(address, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// What the processor's page walk finds.
    fn translate(memory: &GuestMemory, address: u64) -> Option<u64> {
        let mut table = PAGE_MAP;
        for shift in [39, 30, 21, 12] {
            let entry = word(memory, table + (address >> shift & 0x1FF) * 8);
            if entry & 1 == 0 {
                return None;
            }
            let frame = entry & 0x000F_FFFF_FFFF_F000;
            if shift == 12 || entry & LARGE != 0 {
                return Some(frame | address & ((1 << shift) - 1));
            }
            table = frame;
        }
        None
    }

    #[test]
    fn everything_below_4_gib_but_page_0_is_mapped_onto_itself() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        write_tables(&memory).unwrap();
        for address in [
            0x1000,
            0x1F_F123,
            0x20_0000,
            0x4000_0000,
            0xFEE0_00B0,
            0xFFFF_FFFF,
        ] {
            assert_eq!(translate(&memory, address), Some(address), "{address:#x}");
        }
        for address in [0, 0xFFF, MAPPED_BYTES, 1 << 40] {
            assert_eq!(translate(&memory, address), None, "{address:#x}");
        }
    }

    #[test]
    fn too_little_memory_for_the_tables_is_an_error() {
        let memory = GuestMemory::new(4 * PAGE_SIZE).unwrap();
        assert!(write_tables(&memory).is_err());
    }
}
