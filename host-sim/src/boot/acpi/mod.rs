//! ACPI tables of the PC that stock kernels boot on.
//!
//! The platform is a fixed-hardware one (not hardware-reduced): kernels without any knowledge of Hyper-V get a power
//! management timer, legacy interrupts and a power button.

mod dsdt;
mod fadt;
pub mod hardware;
mod madt;

use std::ops::Range;

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;

use super::address_space::{ACPI_TABLES, LOW_MMIO, high_mmio};
use crate::memory::{GuestMemory, NotRam};

const OEM_ID: [u8; 6] = *b"VIRIDN";
const OEM_TABLE_ID: [u8; 8] = *b"VIRIDIAN";
const OEM_REVISION: u32 = 1;

/// Most virtual processors that the tables can name: local APIC identifiers of eight bits, 255 being all.
pub const MOST_PROCESSORS: u32 = 254;

/// The shape of the machine that the tables describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// Virtual processors, at most [`MOST_PROCESSORS`]; a local APIC's identifier is its processor's index.
    pub processor_count: u32,
    /// Whether there is a VMBus.
    pub vmbus: bool,
    /// Addresses below 4 GiB for VMBus devices; ends below 4 GiB.
    pub low_mmio: Range<u64>,
    /// Addresses above all RAM for VMBus devices.
    pub high_mmio: Range<u64>,
}

impl AcpiConfig {
    /// The usual map for this much RAM, with a VMBus.
    #[must_use]
    pub fn new(processor_count: u32, memory: &GuestMemory) -> Self {
        Self {
            processor_count,
            vmbus: true,
            low_mmio: LOW_MMIO,
            high_mmio: high_mmio(memory.end()),
        }
    }
}

/// Tables, ready to be put at [`ACPI_TABLES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiTables {
    bytes: Vec<u8>,
}

/// Tables begin at multiples of this many bytes.
const ALIGNMENT: usize = 64;

impl AcpiTables {
    /// Makes the tables of a machine.
    #[must_use]
    pub fn new(config: &AcpiConfig) -> Self {
        // The root pointer must be first, and needs the address of what comes last.
        let mut image = Image {
            bytes: vec![0; Rsdp::len().next_multiple_of(ALIGNMENT)],
        };
        let facs = image.append(&FACS::new());
        let dsdt = image.append(&dsdt::table(config));
        let fadt = image.append(&fadt::table(facs, dsdt));
        let madt = image.append(&madt::table(config.processor_count));
        let mut root = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        root.add_entry(fadt.into());
        root.add_entry(madt.into());
        let root = image.append(&root);
        let pointer = bytes_of(&Rsdp::new(OEM_ID, root.into()));
        image.bytes[..pointer.len()].copy_from_slice(&pointer);
        Self { bytes: image.bytes }
    }

    /// The root pointer's address, once the tables are in memory.
    #[must_use]
    pub fn root_pointer(&self) -> u64 {
        ACPI_TABLES.start
    }

    /// All tables, as they lie from [`ACPI_TABLES`]' start on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts the tables into guest memory.
    ///
    /// # Errors
    /// [`NotRam`] if guest memory ends below [`ACPI_TABLES`]' end.
    pub fn load(&self, memory: &GuestMemory) -> Result<(), NotRam> {
        memory.write(ACPI_TABLES.start, &self.bytes)
    }
}

struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Appends a table and gives its address. All lie below 1 MiB.
    fn append(&mut self, table: &dyn Aml) -> u32 {
        let address = ACPI_TABLES.start + self.bytes.len() as u64;
        table.to_aml_bytes(&mut self.bytes);
        let end = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(end, 0);
        u32::try_from(address).unwrap_or(u32::MAX)
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
