//! How a command ended, and how that looks on the wire.

use vsc_storage::scsi::{AdditionalSense, ScsiStatus, Sense, SenseKey};
use vsc_storage::wire::{NtStatus, SrbStatus};

use crate::disk::DiskError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; so many bytes were moved, at most as many as were offered.
    Good {
        /// Bytes moved.
        transferred: u32,
    },
    /// Failed for the reason in the sense data; nothing was moved.
    Check(Sense),
    /// A reply of fixed size does not fit the guest's buffer; nothing was moved.
    Overrun,
    /// There is no such logical unit.
    NoUnit,
    /// The host is out of something for the moment; the guest tries again.
    Busy,
    /// Another initiator holds a reservation.
    ReservationConflict,
    /// Given up before it was begun, or after the disk has promised not to touch guest memory any more.
    Aborted,
}

/// The three statuses of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// SCSI status byte.
    pub scsi: ScsiStatus,
    /// SRB status byte, with the autosense flag if there is sense data.
    pub srb: SrbStatus,
    /// Sense data.
    pub sense: Option<Sense>,
    /// Status in the message's header.
    pub header: NtStatus,
}

impl Outcome {
    /// Done without data.
    pub const DONE: Self = Self::Good { transferred: 0 };

    /// Failed with this key and additional sense.
    #[must_use]
    pub const fn check(key: SenseKey, additional: AdditionalSense) -> Self {
        Self::Check(Sense::new(key, additional))
    }

    /// Illegal request, for the reason given.
    #[must_use]
    pub const fn illegal(additional: AdditionalSense) -> Self {
        Self::check(SenseKey::ILLEGAL_REQUEST, additional)
    }

    /// A field of the command is wrong.
    pub const BAD_FIELD: Self = Self::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
    /// The operation isn't supported.
    pub const BAD_OPCODE: Self = Self::illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE);
    /// Blocks beyond the end.
    pub const BAD_LBA: Self = Self::illegal(AdditionalSense::LBA_OUT_OF_RANGE);
    /// A parameter list of the wrong length.
    pub const BAD_LIST_LENGTH: Self = Self::illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    /// A field of the parameter list is wrong.
    pub const BAD_LIST: Self = Self::illegal(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
    /// The disk is read-only.
    pub const WRITE_PROTECTED: Self =
        Self::check(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED);

    /// The host has no space for the data.
    pub const NO_SPACE: Self = Self::check(
        SenseKey::DATA_PROTECT,
        AdditionalSense::SPACE_ALLOCATION_FAILED,
    );

    /// How a failed read of the disk ends.
    #[must_use]
    pub fn from_read_error(error: &DiskError) -> Self {
        match error {
            DiskError::OutOfRange { .. } | DiskError::Unaligned { .. } => Self::BAD_LBA,
            _ => Self::check(
                SenseKey::MEDIUM_ERROR,
                AdditionalSense::UNRECOVERED_READ_ERROR,
            ),
        }
    }

    /// How a failed write or flush of the disk ends.
    #[must_use]
    pub fn from_write_error(error: &DiskError) -> Self {
        match error {
            DiskError::OutOfRange { .. } | DiskError::Unaligned { .. } => Self::BAD_LBA,
            DiskError::ReadOnly => Self::WRITE_PROTECTED,
            DiskError::NoSpace => Self::NO_SPACE,
            _ => Self::check(SenseKey::MEDIUM_ERROR, AdditionalSense::WRITE_ERROR),
        }
    }

    /// Bytes that were moved.
    #[must_use]
    pub const fn transferred(&self) -> u32 {
        match *self {
            Self::Good { transferred } => transferred,
            _ => 0,
        }
    }

    /// Whether the command succeeded.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }

    /// The outcome as the wire states it. Guests decide by the combination, so only these are ever sent.
    #[must_use]
    pub fn statuses(&self) -> Statuses {
        let (scsi, srb, sense, header) = match *self {
            Self::Good { .. } => (
                ScsiStatus::GOOD,
                SrbStatus::SUCCESS,
                None,
                NtStatus::SUCCESS,
            ),
            Self::Check(sense) => {
                let srb = if sense.key == SenseKey::ILLEGAL_REQUEST {
                    SrbStatus::INVALID_REQUEST
                } else {
                    SrbStatus::ERROR
                };
                (
                    ScsiStatus::CHECK_CONDITION,
                    srb,
                    Some(sense),
                    NtStatus::IO_DEVICE_ERROR,
                )
            }
            Self::Overrun => (
                ScsiStatus::CHECK_CONDITION,
                SrbStatus::DATA_OVERRUN,
                Some(Sense::new(
                    SenseKey::ILLEGAL_REQUEST,
                    AdditionalSense::INVALID_FIELD_IN_CDB,
                )),
                NtStatus::BUFFER_OVERFLOW,
            ),
            Self::NoUnit => (
                ScsiStatus::CHECK_CONDITION,
                SrbStatus::INVALID_LUN,
                None,
                NtStatus::DEVICE_DOES_NOT_EXIST,
            ),
            Self::Busy => (
                ScsiStatus::BUSY,
                SrbStatus::BUSY,
                None,
                NtStatus::DEVICE_BUSY,
            ),
            Self::ReservationConflict => (
                ScsiStatus::RESERVATION_CONFLICT,
                SrbStatus::ERROR,
                None,
                NtStatus::IO_DEVICE_ERROR,
            ),
            Self::Aborted => (
                ScsiStatus::TASK_ABORTED,
                SrbStatus::ABORTED,
                Some(Sense::new(SenseKey::ABORTED_COMMAND, AdditionalSense::NONE)),
                NtStatus::CANCELLED,
            ),
        };
        let srb = if sense.is_some() {
            srb.with_autosense()
        } else {
            srb
        };
        Statuses {
            scsi,
            srb,
            sense,
            header,
        }
    }
}
