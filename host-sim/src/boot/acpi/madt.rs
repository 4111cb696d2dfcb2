//! The multiple APIC description table: processors and interrupt routes.

use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::{Aml, AmlSink};
use zerocopy::{Immutable, IntoBytes};

use super::hardware::{IO_APIC_ID, SCI};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::boot::address_space::{IO_APIC, LOCAL_APIC};

/// Level-triggered, active high.
const LEVEL_ACTIVE_HIGH: u16 = 0b1101;
/// Stands for every processor.
const ALL_PROCESSORS: u8 = 0xFF;
/// The local interrupt pin that non-maskable interrupts arrive at.
const NMI_PIN: u8 = 1;

/// An interrupt of the ISA bus that is not what such interrupts are (edge-triggered, active high).
#[repr(C, packed)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct InterruptSourceOverride {
    kind: u8,
    length: u8,
    bus: u8,
    source: u8,
    global_interrupt: [u8; 4],
    flags: [u8; 2],
}

/// Where non-maskable interrupts arrive.
#[repr(C, packed)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct LocalApicNmi {
    kind: u8,
    length: u8,
    processor: u8,
    flags: [u8; 2],
    pin: u8,
}

const _: () = {
    assert!(size_of::<InterruptSourceOverride>() == 10);
    assert!(size_of::<LocalApicNmi>() == 6);
};

macro_rules! as_bytes {
    ($name:ty) => {
        impl Aml for $name {
            fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
                sink.vec(self.as_bytes());
            }
        }
    };
}

as_bytes!(InterruptSourceOverride);
as_bytes!(LocalApicNmi);

/// Byte offset of the flags, and the flag that there are legacy interrupt controllers, too.
const FLAGS_AT: usize = 40;
const LEGACY_CONTROLLERS: u8 = 1;
const CHECKSUM_AT: usize = 9;

/// A finished table.
pub(super) struct Table(Vec<u8>);

impl Aml for Table {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

pub(super) fn table(processor_count: u32) -> Table {
    let mut table = MADT::new(
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
        LocalInterruptController::Address(LOCAL_APIC),
    );
    let processors = u8::try_from(processor_count).unwrap_or(u8::MAX - 1);
    for index in 0..processors {
        table.add_structure(ProcessorLocalApic::new(
            index,
            index,
            EnabledStatus::Enabled,
        ));
    }
    table.add_structure(IoApic::new(IO_APIC_ID, IO_APIC, 0));
    table.add_structure(InterruptSourceOverride {
        kind: 2,
        length: 10,
        bus: 0,
        source: SCI,
        global_interrupt: u32::from(SCI).to_le_bytes(),
        flags: LEVEL_ACTIVE_HIGH.to_le_bytes(),
    });
    table.add_structure(LocalApicNmi {
        kind: 4,
        length: 6,
        processor: ALL_PROCESSORS,
        flags: [0; 2],
        pin: NMI_PIN,
    });
    // The library has no way to set the flags.
    let mut bytes = super::bytes_of(&table);
    bytes[FLAGS_AT] |= LEGACY_CONTROLLERS;
    bytes[CHECKSUM_AT] = bytes[CHECKSUM_AT].wrapping_sub(LEGACY_CONTROLLERS);
    Table(bytes)
}
