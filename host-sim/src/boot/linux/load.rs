//! Putting kernel, initial RAM disk and tables into guest memory.

use std::io::Cursor;

use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{BzImage, KernelLoader};
use vm_memory::GuestAddress;

use super::boot_parameters::BootParameters;
use super::efi::Firmware;
use super::entry::{EntryMode, LinuxEntry, descriptors};
use super::error::LinuxError;
use super::header::{Header, is_bzimage};
use super::layout::{
    BIOS_BASE_MEMORY_KIB, BIOS_DATA_AREA_SEGMENT, BOOT_PARAMETERS, COMMAND_LINE, COMMAND_LINE_ROOM,
    GDT, START_INFO,
};
use super::notes::{is_linux, memory_end};
use super::{memory_map, pvh};
use crate::boot::acpi::{AcpiConfig, AcpiTables, MOST_PROCESSORS};
use crate::boot::address_space::{BASE_MEMORY_END, EFI_FIRMWARE, HIGH_MEMORY, LOW_RAM_END};
use crate::boot::long_mode::{PAGE_MAP, write_full_tables};
use crate::memory::{GuestMemory, PAGE_SIZE};

/// Offset of the 64-bit entry point in a bzImage's kernel.
const ENTRY_64: u64 = 0x200;
/// Longest command line of an ELF kernel, which does not say: Linux's limit on x86, without the final zero.
const ELF_COMMAND_LINE_MAX: usize = 2047;

/// What kind of kernel a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelKind {
    /// A bzImage for 64 bits.
    BzImage64,
    /// A bzImage for 32 bits.
    BzImage32,
    /// An ELF image for 64 bits.
    Elf,
}

/// A kernel's file, checked as far as it can be without memory to load it to.
#[derive(Clone, Debug)]
pub struct Kernel {
    image: Vec<u8>,
    header: Option<Header>,
}

impl Kernel {
    /// Takes a kernel's file.
    ///
    /// # Errors
    /// [`LinuxError`]: it is none that can be booted.
    pub fn new(image: Vec<u8>) -> Result<Self, LinuxError> {
        const ELF_MAGIC: &[u8] = b"\x7FELF";
        const CLASS_64: u8 = 2;
        if is_bzimage(&image) {
            let header = Some(Header::parse(&image)?);
            return Ok(Self { image, header });
        }
        match image.get(..5) {
            Some([magic @ .., CLASS_64]) if magic == ELF_MAGIC => Ok(Self {
                image,
                header: None,
            }),
            Some([magic @ .., _]) if magic == ELF_MAGIC => Err(LinuxError::Elf32),
            _ => Err(LinuxError::UnknownFormat),
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> KernelKind {
        match &self.header {
            Some(header) if header.is_64_bit => KernelKind::BzImage64,
            Some(_) => KernelKind::BzImage32,
            None => KernelKind::Elf,
        }
    }
}

/// Everything that a guest boots from.
#[derive(Clone, Copy, Debug)]
pub struct LinuxBoot<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The machine as ACPI describes it.
    pub acpi: &'a AcpiConfig,
    /// Whether the kernel is to believe that UEFI has started the machine, as on Hyper-V's of generation 2. Without
    /// effect on kernels for 32 bits and on PVH.
    pub efi: bool,
}

/// The memory that a kernel needs at its start.
struct Placed {
    mode: EntryMode,
    instruction: u64,
    /// What it occupies, and will unpack itself to.
    start: u64,
    end: u64,
    /// End of the memory for the initial RAM disk.
    initrd_limit: u64,
    parameters: BootParameters,
    pvh: bool,
}

/// Where everything has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How to enter the kernel.
    pub entry: LinuxEntry,
    /// Address and length of the initial RAM disk.
    pub initrd: Option<(u64, u64)>,
}

impl LinuxBoot<'_> {
    /// Puts everything into memory that is otherwise zero.
    ///
    /// # Errors
    /// [`LinuxError`]; guest memory is then unspecified.
    pub fn load(&self, memory: &GuestMemory) -> Result<Loaded, LinuxError> {
        let count = self.acpi.processor_count;
        if !(1..=MOST_PROCESSORS).contains(&count) {
            return Err(LinuxError::ProcessorCount(count));
        }
        let Placed {
            mode,
            instruction,
            start,
            end,
            initrd_limit,
            mut parameters,
            pvh: is_pvh,
        } = match &self.kernel.header {
            Some(header) => self.load_bzimage(header, memory)?,
            None => self.load_elf(memory)?,
        };
        let initrd = self.load_initrd(memory, start, end, initrd_limit)?;
        self.load_command_line(memory)?;

        let tables = AcpiTables::new(self.acpi);
        tables.load(memory)?;
        let map = memory_map::map(memory);
        if is_pvh {
            let info = pvh::start_info(initrd, tables.root_pointer(), &map);
            memory.write(START_INFO, &info)?;
        } else {
            if let Some((address, bytes)) = initrd {
                // Both are below 4 GiB, as RAM there ends before.
                parameters.set_initrd(address as u32, bytes as u32);
            }
            parameters.set_command_line();
            parameters.set_root_pointer(tables.root_pointer());
            parameters.set_memory_map(&map);
            if self.efi && matches!(mode, EntryMode::Long { .. }) {
                let firmware = Firmware::new(tables.root_pointer(), &map);
                memory.write(EFI_FIRMWARE.start, &firmware.bytes)?;
                parameters.set_firmware(&firmware);
            }
            memory.write(BOOT_PARAMETERS, parameters.as_bytes())?;
        }
        let descriptors = descriptors(mode).map(u64::to_le_bytes);
        memory.write(GDT, descriptors.as_flattened())?;
        if matches!(mode, EntryMode::Long { .. }) {
            write_full_tables(memory)?;
        }
        memory.write(
            BIOS_DATA_AREA_SEGMENT,
            &((BASE_MEMORY_END >> 4) as u16).to_le_bytes(),
        )?;
        memory.write(
            BIOS_BASE_MEMORY_KIB,
            &((BASE_MEMORY_END >> 10) as u16).to_le_bytes(),
        )?;
        Ok(Loaded {
            entry: LinuxEntry {
                mode,
                instruction,
                boot_parameters: if is_pvh { 0 } else { BOOT_PARAMETERS },
                start_info: if is_pvh { START_INFO } else { 0 },
                gdt_base: GDT,
                gdt_limit: (descriptors.as_flattened().len() - 1) as u16,
            },
            initrd,
        })
    }

    fn load_bzimage(&self, header: &Header, memory: &GuestMemory) -> Result<Placed, LinuxError> {
        let kernel_bytes = (self.kernel.image.len() - header.setup_bytes) as u64;
        let start = header.load_address;
        if header.is_64_bit && kernel_bytes <= ENTRY_64 {
            return Err(LinuxError::Truncated(self.kernel.image.len()));
        }
        // What is loaded, and what the kernel unpacks to, may lie apart or overlap.
        let loaded_end = start.saturating_add(kernel_bytes);
        let run_end = header.run_address.saturating_add(header.run_bytes);
        let end = loaded_end.max(run_end);
        if start < HIGH_MEMORY || header.run_address < HIGH_MEMORY {
            return Err(LinuxError::Placement { start, end });
        }
        let limit = low_ram_end(memory);
        if end > limit {
            return Err(self.too_little(start, end, limit));
        }
        let loaded = BzImage::load(
            memory.regions(),
            Some(GuestAddress(start)),
            &mut Cursor::new(&self.kernel.image),
            Some(GuestAddress(HIGH_MEMORY)),
        )
        .map_err(|error| LinuxError::Loader(error.to_string()))?;
        // Below 4 GiB: the limit is.
        let address = loaded.kernel_load.0 as u32;
        let (mode, offset) = if header.is_64_bit {
            (EntryMode::Long { page_map: PAGE_MAP }, ENTRY_64)
        } else {
            (EntryMode::Protected, 0)
        };
        Ok(Placed {
            mode,
            instruction: start + offset,
            start,
            end,
            initrd_limit: header.initrd_address_max.saturating_add(1),
            parameters: BootParameters::with_header(&header.bytes, address),
            pvh: false,
        })
    }

    fn load_elf(&self, memory: &GuestMemory) -> Result<Placed, LinuxError> {
        let loaded = Elf::load(
            memory.regions(),
            None,
            &mut Cursor::new(&self.kernel.image),
            Some(GuestAddress(HIGH_MEMORY)),
        )
        .map_err(|error| LinuxError::Loader(error.to_string()))?;
        // The loader does not count a segment of which nothing is in the file.
        let end = loaded.kernel_end.max(memory_end(&self.kernel.image));
        let start = HIGH_MEMORY;
        if end > low_ram_end(memory) {
            return Err(LinuxError::Placement { start, end });
        }
        let (mode, instruction, pvh) = match loaded.pvh_boot_cap {
            PvhBootCapability::PvhEntryPresent(entry) if !is_linux(&self.kernel.image) => {
                (EntryMode::Protected, entry.0, true)
            }
            _ => {
                let mode = EntryMode::Long { page_map: PAGE_MAP };
                (mode, loaded.kernel_load.0, false)
            }
        };
        if !(HIGH_MEMORY..end).contains(&instruction) {
            return Err(LinuxError::Header {
                field: "entry point",
                value: instruction,
            });
        }
        Ok(Placed {
            mode,
            instruction,
            start,
            end,
            initrd_limit: LOW_RAM_END,
            parameters: BootParameters::without_header(),
            pvh,
        })
    }

    /// Puts the initial RAM disk as high as the kernel can reach, behind the kernel.
    fn load_initrd(
        &self,
        memory: &GuestMemory,
        kernel_start: u64,
        kernel_end: u64,
        limit: u64,
    ) -> Result<Option<(u64, u64)>, LinuxError> {
        let Some(initrd) = self.initrd else {
            return Ok(None);
        };
        let bytes = initrd.len() as u64;
        let limit = limit.min(low_ram_end(memory));
        let address = limit
            .checked_sub(bytes)
            .map(|address| address & !(PAGE_SIZE - 1))
            .filter(|&address| address >= kernel_end)
            .ok_or_else(|| self.too_little(kernel_start, kernel_end, limit))?;
        memory.write(address, initrd)?;
        Ok(Some((address, bytes)))
    }

    fn load_command_line(&self, memory: &GuestMemory) -> Result<(), LinuxError> {
        let line = self.command_line.as_bytes();
        let most = match &self.kernel.header {
            Some(header) => header.command_line_max,
            None => ELF_COMMAND_LINE_MAX,
        }
        .min(COMMAND_LINE_ROOM - 1);
        if line.len() > most {
            return Err(LinuxError::CommandLine {
                length: line.len(),
                most,
            });
        }
        if line.contains(&0) {
            return Err(LinuxError::CommandLineZero);
        }
        memory.write(COMMAND_LINE, line)?;
        memory.write(COMMAND_LINE + line.len() as u64, &[0])?;
        Ok(())
    }

    fn too_little(&self, start: u64, end: u64, limit: u64) -> LinuxError {
        LinuxError::TooLittleMemory {
            kernel: end.saturating_sub(start),
            kernel_end: end,
            initrd: self.initrd.map_or(0, <[u8]>::len) as u64,
            limit,
        }
    }
}

/// End of the RAM below the devices.
fn low_ram_end(memory: &GuestMemory) -> u64 {
    memory.ranges().next().map_or(0, |first| first.end)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
