//! The boot parameters ("zero page") of the Linux boot protocol.

use super::efi::{self, Firmware};
use super::header::HEADER_START;
use super::layout::COMMAND_LINE;
use super::memory_map::Range;
use crate::memory::PAGE_SIZE;

const ACPI_ROOT_POINTER: usize = 0x070;
const EFI_SIGNATURE: usize = 0x1C0;
const EFI_SYSTEM_TABLE: usize = 0x1C4;
const EFI_DESCRIPTOR_BYTES: usize = 0x1C8;
const EFI_DESCRIPTOR_VERSION: usize = 0x1CC;
const EFI_MEMORY_MAP: usize = 0x1D0;
const EFI_MEMORY_MAP_BYTES: usize = 0x1D4;
const SECURE_BOOT: usize = 0x1EC;
const MEMORY_RANGES: usize = 0x1E8;
const BOOT_FLAG: usize = 0x1FE;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER_TYPE: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
const INITRD_ADDRESS: usize = 0x218;
const INITRD_BYTES: usize = 0x21C;
const COMMAND_LINE_POINTER: usize = 0x228;
const MEMORY_MAP: usize = 0x2D0;
const MEMORY_MAP_ENTRY: usize = 20;
const MEMORY_MAP_MOST: usize = 128;

/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xFF;
const LOADED_HIGH: u8 = 1;

/// Boot parameters being made.
pub(super) struct BootParameters(Box<[u8; PAGE_SIZE as usize]>);

impl BootParameters {
    /// For a bzImage: begins with its own header.
    pub(super) fn with_header(header: &[u8], load_address: u32) -> Self {
        let mut parameters = Self(Box::new([0; PAGE_SIZE as usize]));
        parameters.put(HEADER_START, header);
        parameters.put(LOADER_TYPE, &[UNDEFINED_LOADER]);
        parameters.put(CODE32_START, &load_address.to_le_bytes());
        parameters
    }

    /// For an ELF image, which has no header.
    pub(super) fn without_header() -> Self {
        let mut parameters = Self(Box::new([0; PAGE_SIZE as usize]));
        parameters.put(BOOT_FLAG, &0xAA55_u16.to_le_bytes());
        parameters.put(MAGIC, b"HdrS");
        parameters.put(VERSION, &0x020F_u16.to_le_bytes());
        parameters.put(LOADER_TYPE, &[UNDEFINED_LOADER]);
        parameters.put(LOAD_FLAGS, &[LOADED_HIGH]);
        parameters
    }

    /// The initial RAM disk.
    pub(super) fn set_initrd(&mut self, address: u32, bytes: u32) {
        self.put(INITRD_ADDRESS, &address.to_le_bytes());
        self.put(INITRD_BYTES, &bytes.to_le_bytes());
    }

    /// Where the command line is: always at its place.
    pub(super) fn set_command_line(&mut self) {
        self.put(COMMAND_LINE_POINTER, &(COMMAND_LINE as u32).to_le_bytes());
    }

    /// Where the ACPI tables begin.
    pub(super) fn set_root_pointer(&mut self, address: u64) {
        self.put(ACPI_ROOT_POINTER, &address.to_le_bytes());
    }

    /// The UEFI firmware, for 64 bits; it does not verify what it starts.
    pub(super) fn set_firmware(&mut self, firmware: &Firmware) {
        const DISABLED: u8 = 2;
        self.put(EFI_SIGNATURE, b"EL64");
        // The addresses are below 1 MiB.
        self.put(
            EFI_SYSTEM_TABLE,
            &(firmware.system_table as u32).to_le_bytes(),
        );
        self.put(EFI_DESCRIPTOR_BYTES, &efi::DESCRIPTOR_BYTES.to_le_bytes());
        self.put(
            EFI_DESCRIPTOR_VERSION,
            &efi::DESCRIPTOR_VERSION.to_le_bytes(),
        );
        self.put(EFI_MEMORY_MAP, &(firmware.memory_map as u32).to_le_bytes());
        self.put(
            EFI_MEMORY_MAP_BYTES,
            &firmware.memory_map_bytes.to_le_bytes(),
        );
        self.put(SECURE_BOOT, &[DISABLED]);
    }

    /// Where RAM is; at most 128 ranges.
    pub(super) fn set_memory_map(&mut self, map: &[Range]) {
        let map = &map[..map.len().min(MEMORY_MAP_MOST)];
        self.put(MEMORY_RANGES, &[map.len() as u8]);
        for (index, range) in map.iter().enumerate() {
            let at = MEMORY_MAP + index * MEMORY_MAP_ENTRY;
            self.put(at, &range.start.to_le_bytes());
            self.put(at + 8, &range.bytes.to_le_bytes());
            self.put(at + 16, &range.kind.to_le_bytes());
        }
    }

    /// The page as it is to lie in memory.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// All offsets above are constants below the page's end.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
