//! The guest-physical address map of the PC that stock kernels boot on.
//!
//! | Addresses | What |
//! |---|---|
//! | 0 to [`BASE_MEMORY_END`] | RAM; loader's tables below [`LINUX_LOW_END`] |
//! | [`EFI_FIRMWARE`] | what there is of a UEFI firmware |
//! | [`ACPI_TABLES`] | ACPI tables, in the range where old kernels look for them |
//! | [`HIGH_MEMORY`] to [`LOW_RAM_END`] | RAM: kernel, initial RAM disk |
//! | [`LOW_MMIO`] | window for VMBus devices below 4 GiB (spec 02, section 1; spec 05, section 2.12) |
//! | [`IO_APIC`], [`LOCAL_APIC`] | interrupt controllers, a page each |
//! | [`HIGH_RAM`] on | RAM that does not fit below |
//! | [`high_mmio`] | window for VMBus devices above all RAM |

use std::ops::Range;

/// End of the RAM that old software calls base memory; what follows up to [`HIGH_MEMORY`] is not the guest's.
pub const BASE_MEMORY_END: u64 = 0x9_FC00;

/// What a loader leaves for Linux lies below, in RAM that the kernel takes over once it has read it.
pub const LINUX_LOW_END: u64 = 0x8_0000;

/// Where a kernel finds what there is of a UEFI firmware: a page of code, then tables.
pub const EFI_FIRMWARE: Range<u64> = 0xD_0000..0xD_4000;

/// Where the ACPI tables lie, the root pointer first.
pub const ACPI_TABLES: Range<u64> = 0xE_0000..0x10_0000;

/// Where RAM begins again behind the legacy range.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// First address that is not for RAM below 4 GiB.
pub const LOW_RAM_END: u64 = 3 << 30;

/// Window for VMBus devices below 4 GiB: 492 MiB, room for the largest video memory.
pub const LOW_MMIO: Range<u64> = 0xE000_0000..0xFEC0_0000;

/// The I/O APIC's page.
pub const IO_APIC: u32 = 0xFEC0_0000;

/// The local APICs' page.
pub const LOCAL_APIC: u32 = 0xFEE0_0000;

/// Where RAM goes on above 4 GiB.
pub const HIGH_RAM: u64 = 4 << 30;

/// The addresses between [`LOW_RAM_END`] and [`HIGH_RAM`], which are never RAM.
pub const HOLE: Range<u64> = LOW_RAM_END..HIGH_RAM;

/// Bytes of the window above all RAM.
pub const HIGH_MMIO_BYTES: u64 = 4 << 30;

/// The window for VMBus devices above all RAM, for a guest whose RAM ends at `ram_end`. Both ends are whole GiB.
#[must_use]
pub fn high_mmio(ram_end: u64) -> Range<u64> {
    let start = ram_end.max(HIGH_RAM).next_multiple_of(1 << 30);
    start..start + HIGH_MMIO_BYTES
}

const _: () = {
    assert!(LOW_RAM_END <= LOW_MMIO.start);
    assert!(LOW_MMIO.end <= IO_APIC as u64);
    assert!(IO_APIC < LOCAL_APIC);
    assert!((LOCAL_APIC as u64) < HIGH_RAM);
    assert!(LINUX_LOW_END < BASE_MEMORY_END);
    assert!(BASE_MEMORY_END < EFI_FIRMWARE.start && EFI_FIRMWARE.end <= ACPI_TABLES.start);
    assert!(ACPI_TABLES.end == HIGH_MEMORY);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_window_lies_above_all_ram() {
        assert_eq!(high_mmio(64 << 20), 4 << 30..8 << 30);
        assert_eq!(high_mmio(4 << 30), 4 << 30..8 << 30);
        assert_eq!(high_mmio((5 << 30) + 4096), 6 << 30..10 << 30);
    }
}
