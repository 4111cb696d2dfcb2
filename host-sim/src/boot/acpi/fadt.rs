//! The fixed ACPI description table: where the fixed hardware is.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::hardware::{
    CENTURY_INDEX, PM_TIMER, PM_TIMER_BYTES, PM1_CONTROL, PM1_CONTROL_BYTES, PM1_EVENT,
    PM1_EVENT_BYTES, RESET, RESET_VALUE, SCI,
};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};

/// There are devices on the ISA bus that the operating system may look for.
const LEGACY_DEVICES: u16 = 1 << 0;
/// There is no VGA to look for. That there is no keyboard controller follows from its bit, 1, being clear.
const NO_VGA: u16 = 1 << 2;

pub(super) fn table(facs: u32, dsdt: u32) -> FADT {
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::Desktop)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    table.firmware_ctrl = facs.into();
    table.dsdt = dsdt.into();
    table.x_dsdt = u64::from(dsdt).into();
    table.sci_int = u16::from(SCI).into();
    table.pm1a_evt_blk = u32::from(PM1_EVENT).into();
    table.pm1_evt_len = PM1_EVENT_BYTES;
    table.x_pm1a_evt_blk = port(PM1_EVENT, PM1_EVENT_BYTES, AccessSize::WordAccess);
    table.pm1a_cnt_blk = u32::from(PM1_CONTROL).into();
    table.pm1_cnt_len = PM1_CONTROL_BYTES;
    table.x_pm1a_cnt_blk = port(PM1_CONTROL, PM1_CONTROL_BYTES, AccessSize::WordAccess);
    table.pm_tmr_blk = u32::from(PM_TIMER).into();
    table.pm_tmr_len = PM_TIMER_BYTES;
    table.x_pm_tmr_blk = port(PM_TIMER, PM_TIMER_BYTES, AccessSize::DwordAccess);
    // Latencies beyond these say that C2 and C3 do not exist.
    table.p_lvl2_lat = 101.into();
    table.p_lvl3_lat = 1001.into();
    table.century = CENTURY_INDEX;
    table.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA).into();
    table.reset_reg = port(RESET, 1, AccessSize::ByteAccess);
    table.reset_value = RESET_VALUE;
    table.finalize()
}

fn port(port: u16, bytes: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bytes * 8, 0, access, port.into())
}
