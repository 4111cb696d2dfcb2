//! Commands as typed values.

use core::fmt;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::mode::PageControl;
use super::transfer::{Layout, Sixteen, Ten};
use super::vpd::VpdPage;
use super::{Cdb, DoesNotFit, Opcode, Transfer, TransferForm};

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
    /// [`TransferForm::Ten`] or [`TransferForm::Sixteen`].
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

const READ_CAPACITY_16_ACTION: u8 = 0x10;
const GET_LBA_STATUS_ACTION: u8 = 0x12;
const SERVICE_ACTION_MASK: u8 = 0x1F;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InquiryLayout {
    opcode: u8,
    flags: u8,
    page: u8,
    allocation_length: U16,
    control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Parameters10 {
    opcode: u8,
    flags: u8,
    page: u8,
    sub_page: u8,
    reserved: [u8; 3],
    length: U16,
    control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReserveOutLayout {
    opcode: u8,
    action: u8,
    scope_and_type: u8,
    reserved: [u8; 2],
    length: U32,
    control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReportLunsLayout {
    opcode: u8,
    reserved0: u8,
    select: u8,
    reserved1: [u8; 3],
    allocation_length: U32,
    reserved2: u8,
    control: u8,
}

const _: () = {
    assert!(size_of::<InquiryLayout>() == 6);
    assert!(size_of::<Parameters10>() == 10);
    assert!(size_of::<ReserveOutLayout>() == 10);
    assert!(size_of::<ReportLunsLayout>() == 12);
};

impl Command {
    /// Decodes a command's 16 bytes.
    ///
    /// # Errors
    ///
    /// [`UnsupportedCommand`] for an operation code or service action that isn't known.
    #[allow(clippy::too_many_lines)] // One table; a split would hide it.
    pub fn parse(cdb: &[u8; 16]) -> Result<Self, UnsupportedCommand> {
        use TransferForm::{Six, Sixteen as Long, Ten as Middle, Twelve};
        let [opcode, flags, _, _, fifth, ..] = *cdb;
        let opcode = Opcode(opcode);
        let transfer = |form| Transfer::decode(form, cdb);
        let ten = || Ten::from_cdb(cdb);
        let sixteen = || Sixteen::from_cdb(cdb);
        let parameters = || Parameters10::from_cdb(cdb);
        Ok(match opcode {
            Opcode::TEST_UNIT_READY => Self::TestUnitReady,
            Opcode::REQUEST_SENSE => Self::RequestSense {
                descriptor_format: flags & 1 != 0,
                allocation_length: fifth,
            },
            Opcode::FORMAT_UNIT => Self::FormatUnit { flags },
            Opcode::INQUIRY => {
                let layout = InquiryLayout::from_cdb(cdb);
                Self::Inquiry {
                    vital_product_data: flags & 1 != 0,
                    command_support_data: flags & 2 != 0,
                    page: VpdPage(layout.page),
                    allocation_length: layout.allocation_length.get(),
                }
            }
            Opcode::MODE_SELECT_6 => Self::ModeSelect {
                form: ModeForm::Six,
                save_pages: flags & 1 != 0,
                parameter_length: u16::from(fifth),
            },
            Opcode::MODE_SELECT_10 => Self::ModeSelect {
                form: ModeForm::Ten,
                save_pages: flags & 1 != 0,
                parameter_length: parameters().length.get(),
            },
            Opcode::MODE_SENSE_6 | Opcode::MODE_SENSE_10 => {
                let layout = parameters();
                let (form, allocation_length) = if opcode == Opcode::MODE_SENSE_6 {
                    (ModeForm::Six, u16::from(fifth))
                } else {
                    (ModeForm::Ten, layout.length.get())
                };
                Self::ModeSense {
                    form,
                    disable_block_descriptors: flags & 8 != 0,
                    page_control: PageControl::from_wire(layout.page),
                    page: layout.page & 0x3F,
                    sub_page: layout.sub_page,
                    allocation_length,
                }
            }
            Opcode::RESERVE_6 | Opcode::RELEASE_6 | Opcode::RESERVE_10 | Opcode::RELEASE_10 => {
                Self::ReserveRelease { opcode }
            }
            Opcode::START_STOP_UNIT => Self::StartStopUnit {
                immediate: flags & 1 != 0,
                flags: fifth,
            },
            Opcode::SEND_DIAGNOSTIC => Self::SendDiagnostic {
                flags,
                parameter_length: u16::from_be_bytes([cdb[3], cdb[4]]),
            },
            Opcode::PREVENT_ALLOW_MEDIUM_REMOVAL => {
                Self::PreventAllowMediumRemoval { prevent: fifth & 3 }
            }
            Opcode::READ_CAPACITY_10 => Self::ReadCapacity10,
            Opcode::SERVICE_ACTION_IN_16 => match flags & SERVICE_ACTION_MASK {
                READ_CAPACITY_16_ACTION => Self::ReadCapacity16 {
                    allocation_length: sixteen().length.get(),
                },
                GET_LBA_STATUS_ACTION => Self::GetLbaStatus {
                    lba: sixteen().lba.get(),
                    allocation_length: sixteen().length.get(),
                },
                action => {
                    return Err(UnsupportedCommand {
                        opcode,
                        service_action: Some(action),
                    });
                }
            },
            Opcode::REPORT_LUNS => {
                let layout = ReportLunsLayout::from_cdb(cdb);
                Self::ReportLuns {
                    select: layout.select,
                    allocation_length: layout.allocation_length.get(),
                }
            }
            Opcode::READ_6 => Self::Read(transfer(Six)),
            Opcode::READ_10 => Self::Read(transfer(Middle)),
            Opcode::READ_12 => Self::Read(transfer(Twelve)),
            Opcode::READ_16 => Self::Read(transfer(Long)),
            Opcode::WRITE_6 => Self::Write(transfer(Six)),
            Opcode::WRITE_10 => Self::Write(transfer(Middle)),
            Opcode::WRITE_12 => Self::Write(transfer(Twelve)),
            Opcode::WRITE_16 => Self::Write(transfer(Long)),
            Opcode::WRITE_AND_VERIFY_10 => Self::WriteAndVerify(transfer(Middle)),
            Opcode::WRITE_AND_VERIFY_12 => Self::WriteAndVerify(transfer(Twelve)),
            Opcode::WRITE_AND_VERIFY_16 => Self::WriteAndVerify(transfer(Long)),
            Opcode::VERIFY_10 => Self::Verify(transfer(Middle)),
            Opcode::VERIFY_12 => Self::Verify(transfer(Twelve)),
            Opcode::VERIFY_16 => Self::Verify(transfer(Long)),
            Opcode::SYNCHRONIZE_CACHE_10 => Self::SynchronizeCache(SynchronizeCache {
                sixteen: false,
                immediate: flags & 2 != 0,
                lba: u64::from(ten().lba.get()),
                blocks: u32::from(ten().length.get()),
            }),
            Opcode::SYNCHRONIZE_CACHE_16 => Self::SynchronizeCache(SynchronizeCache {
                sixteen: true,
                immediate: flags & 2 != 0,
                lba: sixteen().lba.get(),
                blocks: sixteen().length.get(),
            }),
            Opcode::UNMAP => Self::Unmap {
                anchor: flags & 1 != 0,
                parameter_length: parameters().length.get(),
            },
            Opcode::WRITE_SAME_10 => Self::WriteSame(WriteSame {
                sixteen: false,
                lba: u64::from(ten().lba.get()),
                blocks: u32::from(ten().length.get()),
                flags,
            }),
            Opcode::WRITE_SAME_16 => Self::WriteSame(WriteSame {
                sixteen: true,
                lba: sixteen().lba.get(),
                blocks: sixteen().length.get(),
                flags,
            }),
            Opcode::PERSISTENT_RESERVE_IN => Self::PersistentReserveIn {
                action: flags & SERVICE_ACTION_MASK,
                allocation_length: parameters().length.get(),
            },
            Opcode::PERSISTENT_RESERVE_OUT => {
                let layout = ReserveOutLayout::from_cdb(cdb);
                Self::PersistentReserveOut {
                    action: flags & SERVICE_ACTION_MASK,
                    scope_and_type: layout.scope_and_type,
                    parameter_length: layout.length.get(),
                }
            }
            _ => {
                return Err(UnsupportedCommand {
                    opcode,
                    service_action: None,
                });
            }
        })
    }

    /// Encodes the command.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if a field's value is too large for the form chosen, or if the command has
    /// no such form.
    #[allow(clippy::too_many_lines)] // One table; a split would hide it.
    pub fn encode(&self) -> Result<Cdb, DoesNotFit> {
        let six = |opcode: Opcode, a, b, c, d| Cdb::from_layout(&[opcode.0, a, b, c, d, 0u8]);
        let parameters = |opcode: Opcode, flags, page, sub_page, length| {
            Cdb::from_layout(&Parameters10 {
                opcode: opcode.0,
                flags,
                page,
                sub_page,
                reserved: [0; 3],
                length: U16::new(length),
                control: 0,
            })
        };
        let sixteen = |opcode: Opcode, flags, lba, length| {
            Cdb::from_layout(&Sixteen {
                opcode: opcode.0,
                flags,
                lba: U64::new(lba),
                length: U32::new(length),
                group: 0,
                control: 0,
            })
        };
        let byte_length = |value: u16| {
            u8::try_from(value).map_err(|_| DoesNotFit {
                field: "parameter length",
                value: u64::from(value),
            })
        };
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        Ok(match *self {
            Self::TestUnitReady => six(Opcode::TEST_UNIT_READY, 0, 0, 0, 0),
            Self::RequestSense {
                descriptor_format,
                allocation_length,
            } => six(
                Opcode::REQUEST_SENSE,
                flag(descriptor_format, 1),
                0,
                0,
                allocation_length,
            ),
            Self::FormatUnit { flags } => six(Opcode::FORMAT_UNIT, flags, 0, 0, 0),
            Self::Inquiry {
                vital_product_data,
                command_support_data,
                page,
                allocation_length,
            } => {
                let [high, low] = allocation_length.to_be_bytes();
                let flags = flag(vital_product_data, 1) | flag(command_support_data, 2);
                six(Opcode::INQUIRY, flags, page.0, high, low)
            }
            Self::ModeSelect {
                form,
                save_pages,
                parameter_length,
            } => {
                // Bit 4 says that the pages are in the standard's format.
                let flags = 0x10 | flag(save_pages, 1);
                match form {
                    ModeForm::Six => {
                        let length = byte_length(parameter_length)?;
                        six(Opcode::MODE_SELECT_6, flags, 0, 0, length)
                    }
                    ModeForm::Ten => {
                        parameters(Opcode::MODE_SELECT_10, flags, 0, 0, parameter_length)
                    }
                }
            }
            Self::ModeSense {
                form,
                disable_block_descriptors,
                page_control,
                page,
                sub_page,
                allocation_length,
            } => {
                let flags = flag(disable_block_descriptors, 8);
                let page = page_control.wire() | page & 0x3F;
                match form {
                    ModeForm::Six => {
                        let length = byte_length(allocation_length)?;
                        six(Opcode::MODE_SENSE_6, flags, page, sub_page, length)
                    }
                    ModeForm::Ten => parameters(
                        Opcode::MODE_SENSE_10,
                        flags,
                        page,
                        sub_page,
                        allocation_length,
                    ),
                }
            }
            Self::ReserveRelease { opcode } => match opcode {
                Opcode::RESERVE_6 | Opcode::RELEASE_6 => six(opcode, 0, 0, 0, 0),
                _ => parameters(opcode, 0, 0, 0, 0),
            },
            Self::StartStopUnit { immediate, flags } => {
                six(Opcode::START_STOP_UNIT, flag(immediate, 1), 0, 0, flags)
            }
            Self::SendDiagnostic {
                flags,
                parameter_length,
            } => {
                let [high, low] = parameter_length.to_be_bytes();
                six(Opcode::SEND_DIAGNOSTIC, flags, 0, high, low)
            }
            Self::PreventAllowMediumRemoval { prevent } => {
                six(Opcode::PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, prevent & 3)
            }
            Self::ReadCapacity10 => parameters(Opcode::READ_CAPACITY_10, 0, 0, 0, 0),
            Self::ReadCapacity16 { allocation_length } => sixteen(
                Opcode::SERVICE_ACTION_IN_16,
                READ_CAPACITY_16_ACTION,
                0,
                allocation_length,
            ),
            Self::GetLbaStatus {
                lba,
                allocation_length,
            } => sixteen(
                Opcode::SERVICE_ACTION_IN_16,
                GET_LBA_STATUS_ACTION,
                lba,
                allocation_length,
            ),
            Self::ReportLuns {
                select,
                allocation_length,
            } => Cdb::from_layout(&ReportLunsLayout {
                opcode: Opcode::REPORT_LUNS.0,
                reserved0: 0,
                select,
                reserved1: [0; 3],
                allocation_length: U32::new(allocation_length),
                reserved2: 0,
                control: 0,
            }),
            Self::Read(transfer) => transfer.encode(match transfer.form {
                TransferForm::Six => Opcode::READ_6,
                TransferForm::Ten => Opcode::READ_10,
                TransferForm::Twelve => Opcode::READ_12,
                TransferForm::Sixteen => Opcode::READ_16,
            })?,
            Self::Write(transfer) => transfer.encode(match transfer.form {
                TransferForm::Six => Opcode::WRITE_6,
                TransferForm::Ten => Opcode::WRITE_10,
                TransferForm::Twelve => Opcode::WRITE_12,
                TransferForm::Sixteen => Opcode::WRITE_16,
            })?,
            Self::WriteAndVerify(transfer) => transfer.encode(match transfer.form {
                TransferForm::Six => return Err(no_six_byte_form()),
                TransferForm::Ten => Opcode::WRITE_AND_VERIFY_10,
                TransferForm::Twelve => Opcode::WRITE_AND_VERIFY_12,
                TransferForm::Sixteen => Opcode::WRITE_AND_VERIFY_16,
            })?,
            Self::Verify(transfer) => transfer.encode(match transfer.form {
                TransferForm::Six => return Err(no_six_byte_form()),
                TransferForm::Ten => Opcode::VERIFY_10,
                TransferForm::Twelve => Opcode::VERIFY_12,
                TransferForm::Sixteen => Opcode::VERIFY_16,
            })?,
            Self::SynchronizeCache(sync) => {
                let flags = flag(sync.immediate, 2);
                if sync.sixteen {
                    sixteen(Opcode::SYNCHRONIZE_CACHE_16, flags, sync.lba, sync.blocks)
                } else {
                    ten_byte_range(Opcode::SYNCHRONIZE_CACHE_10, flags, sync.lba, sync.blocks)?
                }
            }
            Self::Unmap {
                anchor,
                parameter_length,
            } => parameters(Opcode::UNMAP, flag(anchor, 1), 0, 0, parameter_length),
            Self::WriteSame(same) => {
                if same.sixteen {
                    sixteen(Opcode::WRITE_SAME_16, same.flags, same.lba, same.blocks)
                } else {
                    ten_byte_range(Opcode::WRITE_SAME_10, same.flags, same.lba, same.blocks)?
                }
            }
            Self::PersistentReserveIn {
                action,
                allocation_length,
            } => parameters(
                Opcode::PERSISTENT_RESERVE_IN,
                action & SERVICE_ACTION_MASK,
                0,
                0,
                allocation_length,
            ),
            Self::PersistentReserveOut {
                action,
                scope_and_type,
                parameter_length,
            } => Cdb::from_layout(&ReserveOutLayout {
                opcode: Opcode::PERSISTENT_RESERVE_OUT.0,
                action: action & SERVICE_ACTION_MASK,
                scope_and_type,
                reserved: [0; 2],
                length: U32::new(parameter_length),
                control: 0,
            }),
        })
    }

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

fn no_six_byte_form() -> DoesNotFit {
    DoesNotFit {
        field: "command length",
        value: 6,
    }
}

fn ten_byte_range(opcode: Opcode, flags: u8, lba: u64, blocks: u32) -> Result<Cdb, DoesNotFit> {
    Transfer {
        form: TransferForm::Ten,
        lba,
        blocks,
        flags,
    }
    .encode(opcode)
}
