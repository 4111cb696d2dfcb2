//! What came of a command.

use core::fmt;

use crate::scsi::{ScsiStatus, Sense};
use crate::wire::{Srb, SrbStatus, Version};

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommandError {
    /// There is no such logical unit (any more).
    DeviceGone,
    /// The host has no resources for it now; try again.
    Busy,
    /// The device reported a condition.
    Check(Sense),
    /// Another initiator holds a reservation.
    ReservationConflict,
    /// Aborted or flushed from a queue; whether it took effect is unknown.
    Aborted,
    /// The host gave up on it; whether it took effect is unknown.
    TimedOut,
    /// The reply does not fit the buffer.
    Overrun,
    /// Failed without a reason.
    Failed {
        /// SRB status.
        srb: SrbStatus,
        /// SCSI status.
        scsi: ScsiStatus,
    },
    /// The two statuses contradict each other: one claims success, the other doesn't.
    Contradictory {
        /// SRB status.
        srb: SrbStatus,
        /// SCSI status.
        scsi: ScsiStatus,
    },
    /// The channel closed first; whether it took effect is unknown.
    Cancelled,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceGone => f.write_str("no such logical unit"),
            Self::Busy => f.write_str("device busy"),
            Self::Check(sense) => sense.fmt(f),
            Self::ReservationConflict => f.write_str("reserved by another initiator"),
            Self::Aborted => f.write_str("command aborted"),
            Self::TimedOut => f.write_str("command timed out on the host"),
            Self::Overrun => f.write_str("reply does not fit the buffer"),
            Self::Failed { srb, scsi } => {
                write!(f, "command failed with {srb:?} and {scsi:?}")
            }
            Self::Contradictory { srb, scsi } => {
                write!(f, "host contradicts itself with {srb:?} and {scsi:?}")
            }
            Self::Cancelled => f.write_str("channel closed"),
        }
    }
}

impl core::error::Error for CommandError {}

/// What came of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Success, or why not.
    pub result: Result<(), CommandError>,
    /// Bytes moved, never more than `requested`: only so many bytes of a read's buffer are valid.
    pub transferred: u32,
    /// Bytes of data that the request had room for.
    pub requested: u32,
}

impl Outcome {
    /// The outcome of a request that got no completion.
    #[must_use]
    pub const fn cancelled(requested: u32) -> Self {
        Self {
            result: Err(CommandError::Cancelled),
            transferred: 0,
            requested,
        }
    }

    /// Bytes asked for and not moved.
    #[must_use]
    pub const fn residue(&self) -> u32 {
        self.requested.saturating_sub(self.transferred)
    }

    /// Judges the host's reply to a request for `requested` bytes.
    #[must_use]
    #[inline]
    pub fn read(srb: &Srb, requested: u32, version: Version) -> Self {
        let result = judge(srb, version);
        // The stated count means something only with success and with an overrun without flags.
        let counted = result.is_ok() || srb.srb_status() == SrbStatus::DATA_OVERRUN;
        let transferred = if counted {
            srb.data_transfer_length.get().min(requested)
        } else {
            0
        };
        Self {
            result,
            transferred,
            requested,
        }
    }
}

fn sense_of(srb: &Srb, version: Version) -> Option<Sense> {
    if srb.scsi_status() != ScsiStatus::CHECK_CONDITION || !srb.srb_status().has_autosense() {
        return None;
    }
    let length = usize::from(srb.sense_info_length).min(version.sense_size());
    Sense::parse(srb.command_or_sense.get(..length)?)
}

#[inline]
fn judge(srb: &Srb, version: Version) -> Result<(), CommandError> {
    let (status, scsi) = (srb.srb_status().code(), srb.scsi_status());
    let good = scsi == ScsiStatus::GOOD || scsi == ScsiStatus::CONDITION_MET;
    if status == SrbStatus::SUCCESS && good {
        return Ok(());
    }
    Err(failure(srb, version))
}

#[cold]
fn failure(srb: &Srb, version: Version) -> CommandError {
    let (status, scsi) = (srb.srb_status().code(), srb.scsi_status());
    match status {
        SrbStatus::INVALID_LUN
        | SrbStatus::INVALID_TARGET_ID
        | SrbStatus::INVALID_PATH_ID
        | SrbStatus::NO_DEVICE
        | SrbStatus::NO_HBA => CommandError::DeviceGone,
        _ => {
            if let Some(sense) = sense_of(srb, version) {
                return CommandError::Check(sense);
            }
            match (status, scsi) {
                (_, ScsiStatus::RESERVATION_CONFLICT) => CommandError::ReservationConflict,
                (SrbStatus::BUSY, _) | (_, ScsiStatus::BUSY | ScsiStatus::TASK_SET_FULL) => {
                    CommandError::Busy
                }
                (SrbStatus::ABORTED | SrbStatus::REQUEST_FLUSHED | SrbStatus::BUS_RESET, _)
                | (_, ScsiStatus::TASK_ABORTED) => CommandError::Aborted,
                (
                    SrbStatus::TIMEOUT | SrbStatus::COMMAND_TIMEOUT | SrbStatus::SELECTION_TIMEOUT,
                    _,
                ) => CommandError::TimedOut,
                (SrbStatus::DATA_OVERRUN, _) => CommandError::Overrun,
                (SrbStatus::SUCCESS, _) => CommandError::Contradictory {
                    srb: srb.srb_status(),
                    scsi,
                },
                (_, ScsiStatus::GOOD | ScsiStatus::CONDITION_MET)
                    if srb.srb_status().has_autosense() =>
                {
                    CommandError::Contradictory {
                        srb: srb.srb_status(),
                        scsi,
                    }
                }
                _ => CommandError::Failed {
                    srb: srb.srb_status(),
                    scsi,
                },
            }
        }
    }
}
