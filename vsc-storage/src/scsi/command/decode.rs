//! From bytes to a typed command.

use super::layout::{
    GET_LBA_STATUS_ACTION, InquiryLayout, Parameters10, READ_CAPACITY_16_ACTION, ReportLunsLayout,
    ReserveOutLayout, SERVICE_ACTION_MASK,
};
use super::{Command, ModeForm, SynchronizeCache, UnsupportedCommand, WriteSame};
use crate::scsi::transfer::{Layout, Sixteen, Ten};
use crate::scsi::{Opcode, PageControl, Transfer, TransferForm, VpdPage};

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
}
