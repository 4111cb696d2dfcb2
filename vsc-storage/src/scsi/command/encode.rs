//! From a typed command to bytes.

use zerocopy::big_endian::{U16, U32, U64};

use super::layout::{
    GET_LBA_STATUS_ACTION, Parameters10, READ_CAPACITY_16_ACTION, ReportLunsLayout,
    ReserveOutLayout, SERVICE_ACTION_MASK,
};
use super::{Command, ModeForm};
use crate::scsi::transfer::Sixteen;
use crate::scsi::{Cdb, DoesNotFit, Opcode, Transfer, TransferForm};

impl Command {
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
