//! The differentiated system description table: devices, and how to switch off.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Name, Package, Path,
    ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::hardware::{
    REAL_TIME_CLOCK, REAL_TIME_CLOCK_LINE, SERIAL, SERIAL_LINES, SLEEP_TYPE_OFF,
};
use super::{AcpiConfig, OEM_ID, OEM_REVISION, OEM_TABLE_ID};

const HEADER_BYTES: u32 = 36;
/// Revision 2 and later: integers have 64 bits.
const REVISION: u8 = 2;
/// Present, enabled, shown, working.
const STATUS_WORKING: u8 = 0xF;

/// A finished table.
pub(super) struct Table(Sdt);

impl Aml for Table {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0.as_slice());
    }
}

pub(super) fn table(config: &AcpiConfig) -> Table {
    let mut aml = Vec::new();
    let off = SLEEP_TYPE_OFF;
    let zero = 0u8;
    Name::new(
        Path::new("_S5_"),
        &Package::new(vec![&off, &off, &zero, &zero]),
    )
    .to_aml_bytes(&mut aml);
    let mut devices = Vec::new();
    processors(config.processor_count, &mut devices);
    serial_ports(&mut devices);
    real_time_clock(&mut devices);
    if config.vmbus {
        vmbus(config, &mut devices);
    }
    aml.extend(Scope::raw(Path::new("\\_SB_"), devices));
    let mut table = Sdt::new(
        *b"DSDT",
        HEADER_BYTES,
        REVISION,
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
    );
    table.append_slice(&aml);
    table.update_checksum();
    Table(table)
}

fn processors(count: u32, aml: &mut Vec<u8>) {
    for index in 0..count {
        Device::new(
            Path::new(&format!("C{index:03X}")),
            vec![
                &Name::new(Path::new("_HID"), &"ACPI0007"),
                &Name::new(Path::new("_UID"), &index),
            ],
        )
        .to_aml_bytes(aml);
    }
}

fn serial_ports(aml: &mut Vec<u8>) {
    for ((number, port), line) in (1u8..).zip(SERIAL).zip(SERIAL_LINES) {
        Device::new(
            Path::new(&format!("COM{number}")),
            vec![
                &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
                &Name::new(Path::new("_UID"), &number),
                &Name::new(Path::new("_STA"), &STATUS_WORKING),
                &Name::new(
                    Path::new("_CRS"),
                    &ResourceTemplate::new(vec![
                        &IO::new(port, port, 1, 8),
                        &Interrupt::new(true, true, false, false, line.into()),
                    ]),
                ),
            ],
        )
        .to_aml_bytes(aml);
    }
}

fn real_time_clock(aml: &mut Vec<u8>) {
    Device::new(
        Path::new("RTC_"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0B00")),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &IO::new(REAL_TIME_CLOCK, REAL_TIME_CLOCK, 1, 2),
                    &Interrupt::new(true, true, false, false, REAL_TIME_CLOCK_LINE.into()),
                ]),
            ),
        ],
    )
    .to_aml_bytes(aml);
}

/// The VMBus with, as its parent, the module whose windows its devices are placed in (spec 02, section 1).
fn vmbus(config: &AcpiConfig, aml: &mut Vec<u8>) {
    // An address below 4 GiB: `AcpiConfig` says so.
    let low = |address: u64| u32::try_from(address).unwrap_or(u32::MAX);
    Device::new(
        Path::new("VMOD"),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0004"),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_memory(
                        AddressSpaceCacheable::NotCacheable,
                        true,
                        low(config.low_mmio.start),
                        low(config.low_mmio.end - 1),
                        None,
                    ),
                    &AddressSpace::new_memory(
                        AddressSpaceCacheable::NotCacheable,
                        true,
                        config.high_mmio.start,
                        config.high_mmio.end - 1,
                        None,
                    ),
                ]),
            ),
            &Device::new(
                Path::new("VMBS"),
                vec![
                    &Name::new(Path::new("_HID"), &"VMBus"),
                    &Name::new(Path::new("_DDN"), &"VMBUS"),
                    &Name::new(Path::new("_UID"), &0u8),
                    &Name::new(Path::new("_STA"), &STATUS_WORKING),
                    &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![])),
                ],
            ),
        ],
    )
    .to_aml_bytes(aml);
}
