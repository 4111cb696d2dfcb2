//! Commands as typed values.

mod decode;
mod encode;
mod layout;

use core::fmt;

use super::mode::PageControl;
use super::vpd::VpdPage;
use super::{Opcode, Transfer};

/// Which way a command moves data, seen from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// No data.
    None,
    /// From the device to the guest.
    In,
    /// From the guest to the device.
    Out,
}

/// The two sizes of MODE SENSE and MODE SELECT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModeForm {
    /// 6-byte command, 4-byte header in the data.
    Six,
    /// 10-byte command, 8-byte header in the data.
    Ten,
}

/// Fields of SYNCHRONIZE CACHE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SynchronizeCache {
    /// Whether it is the sixteen-byte form, else the ten-byte one.
    pub sixteen: bool,
    /// Answer before the flush is done. Hosts ignore it.
    pub immediate: bool,
    /// First logical block.
    pub lba: u64,
    /// Blocks; 0 means to the end.
    pub blocks: u32,
}

/// Fields of WRITE SAME.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WriteSame {
    /// Whether it is the sixteen-byte form, else the ten-byte one.
    pub sixteen: bool,
    /// First logical block.
    pub lba: u64,
    /// Blocks to write.
    pub blocks: u32,
    /// Second byte of the command as it is.
    pub flags: u8,
}

impl WriteSame {
    /// Flag: deallocate if the blocks then read as the data sent.
    pub const UNMAP: u8 = 0x08;
    /// Flag: anchor the blocks.
    pub const ANCHOR: u8 = 0x10;
    /// Flag of the sixteen-byte form: no data is sent, zeros are written.
    pub const NO_DATA_OUT: u8 = 0x01;
    /// Bits of the protection field.
    pub const PROTECT_MASK: u8 = 0xE0;

    /// Whether no data accompanies the command.
    #[must_use]
    pub const fn no_data_out(&self) -> bool {
        self.sixteen && self.flags & Self::NO_DATA_OUT != 0
    }
}

/// A command's descriptor block, decoded. Control byte and group number are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE.
    RequestSense {
        /// Descriptor format wanted instead of the fixed one.
        descriptor_format: bool,
        /// Most bytes wanted.
        allocation_length: u8,
    },
    /// FORMAT UNIT.
    FormatUnit {
        /// Second byte as it is: parameter list present (0x10), complete list, list format.
        flags: u8,
    },
    /// INQUIRY.
    Inquiry {
        /// Vital product data wanted instead of the standard data.
        vital_product_data: bool,
        /// Obsolete command support data flag; refused.
        command_support_data: bool,
        /// The page; 0 for the standard data.
        page: VpdPage,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// MODE SELECT.
    ModeSelect {
        /// Size of the command.
        form: ModeForm,
        /// Save the pages.
        save_pages: bool,
        /// Bytes of the parameter list.
        parameter_length: u16,
    },
    /// MODE SENSE.
    ModeSense {
        /// Size of the command.
        form: ModeForm,
        /// No block descriptors wanted.
        disable_block_descriptors: bool,
        /// Which values are wanted.
        page_control: PageControl,
        /// Page code, 0x3F for all.
        page: u8,
        /// Sub-page code.
        sub_page: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// RESERVE or RELEASE, 6 or 10 bytes.
    ReserveRelease {
        /// The exact command.
        opcode: Opcode,
    },
    /// START STOP UNIT.
    StartStopUnit {
        /// Answer before it is done.
        immediate: bool,
        /// Fifth byte: power condition in the high half, load/eject 0x02, start 0x01.
        flags: u8,
    },
    /// SEND DIAGNOSTIC.
    SendDiagnostic {
        /// Second byte: self-test code in the high three bits, page format 0x10, self-test 0x04.
        flags: u8,
        /// Bytes of the parameter list.
        parameter_length: u16,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL.
    PreventAllowMediumRemoval {
        /// Prevent field, 0 to 3.
        prevent: u8,
    },
    /// READ CAPACITY(10).
    ReadCapacity10,
    /// READ CAPACITY(16).
    ReadCapacity16 {
        /// Most bytes wanted.
        allocation_length: u32,
    },
    /// GET LBA STATUS.
    GetLbaStatus {
        /// First logical block.
        lba: u64,
        /// Most bytes wanted.
        allocation_length: u32,
    },
    /// REPORT LUNS.
    ReportLuns {
        /// Select report field.
        select: u8,
        /// Most bytes wanted.
        allocation_length: u32,
    },
    /// READ of any form.
    Read(Transfer),
    /// WRITE of any form.
    Write(Transfer),
    /// WRITE AND VERIFY of any form but the six-byte one.
    WriteAndVerify(Transfer),
    /// VERIFY of any form but the six-byte one.
    Verify(Transfer),
    /// SYNCHRONIZE CACHE.
    SynchronizeCache(SynchronizeCache),
    /// UNMAP.
    Unmap {
        /// Anchor the blocks; refused.
        anchor: bool,
        /// Bytes of the parameter list.
        parameter_length: u16,
    },
    /// WRITE SAME.
    WriteSame(WriteSame),
    /// PERSISTENT RESERVE IN.
    PersistentReserveIn {
        /// Service action.
        action: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// PERSISTENT RESERVE OUT.
    PersistentReserveOut {
        /// Service action.
        action: u8,
        /// Scope in the high half, type in the low half.
        scope_and_type: u8,
        /// Bytes of the parameter list.
        parameter_length: u32,
    },
}

/// The command isn't one that [`Command`] knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsupportedCommand {
    /// Operation code.
    pub opcode: Opcode,
    /// Service action, where the operation code has them.
    pub service_action: Option<u8>,
}

impl fmt::Display for UnsupportedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unsupported SCSI command {:#04x}", self.opcode.0)?;
        match self.service_action {
            Some(action) => write!(f, ", service action {action:#04x}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for UnsupportedCommand {}

impl Command {
    /// Which way the command moves data. A parameter list or allocation length of 0 moves none.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Self::TestUnitReady
            | Self::ReserveRelease { .. }
            | Self::StartStopUnit { .. }
            | Self::PreventAllowMediumRemoval { .. }
            | Self::SynchronizeCache(_) => Direction::None,
            Self::RequestSense { .. }
            | Self::Inquiry { .. }
            | Self::ModeSense { .. }
            | Self::ReadCapacity10
            | Self::ReadCapacity16 { .. }
            | Self::GetLbaStatus { .. }
            | Self::ReportLuns { .. }
            | Self::Read(_)
            | Self::PersistentReserveIn { .. } => Direction::In,
            Self::FormatUnit { flags } => {
                if *flags & 0x10 != 0 {
                    Direction::Out
                } else {
                    Direction::None
                }
            }
            Self::ModeSelect { .. }
            | Self::SendDiagnostic { .. }
            | Self::Write(_)
            | Self::WriteAndVerify(_)
            | Self::Unmap { .. }
            | Self::PersistentReserveOut { .. } => Direction::Out,
            Self::Verify(transfer) => {
                if transfer.byte_check() == 0 {
                    Direction::None
                } else {
                    Direction::Out
                }
            }
            Self::WriteSame(same) => {
                if same.no_data_out() {
                    Direction::None
                } else {
                    Direction::Out
                }
            }
        }
    }
}
