//! Whether a failed command is tried again.

use super::DiskError;
use crate::queue::CommandError;
use crate::scsi::{AdditionalSense, Sense, SenseKey};

/// What a command does, as far as trying again is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommandKind {
    /// It may be executed twice: reads, writes of the same data, queries.
    Repeatable,
    /// A flush: once one has failed, a second one may succeed although data is lost. It is tried
    /// again only if it was not executed at all.
    Flush,
}

/// How often a command is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryLimits {
    /// After "busy".
    pub busy: u32,
    /// After a unit attention. A device has few of them and reports each once.
    pub attention: u32,
    /// After a failure that may pass: aborted, timed out, failed without sense data.
    pub transient: u32,
    /// Pause before the first try after "busy", in units of 100 ns. Doubled each time, up to 128
    /// times as long.
    pub pause: u64,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self {
            busy: 64,
            attention: 8,
            transient: 3,
            // 1 ms, up to 128 ms: 7.5 s in all.
            pause: 10_000,
        }
    }
}

/// What to do about a failed command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Decision {
    /// Send it again now.
    Again,
    /// Send it again after a pause.
    AgainAfter {
        /// The pause in units of 100 ns.
        pause: u64,
    },
    /// The capacity changed: read it, check the range against it, then send the command again.
    AgainAfterCapacity,
    /// The set of units or their properties changed: ask for a scan and send the command again.
    AgainAndRescan,
    /// Report the failure.
    Fail(DiskError),
    /// Report the failure and ask for a scan: the unit is gone or its medium changed.
    FailAndRescan(DiskError),
}

/// Counts the tries of one command.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    limits: RetryLimits,
    kind: CommandKind,
    busy: u32,
    attention: u32,
    transient: u32,
}

impl Retries {
    /// A command that has not been tried yet.
    #[must_use]
    pub const fn new(limits: RetryLimits, kind: CommandKind) -> Self {
        Self {
            limits,
            kind,
            busy: 0,
            attention: 0,
            transient: 0,
        }
    }

    /// Decides about a failure.
    pub fn decide(&mut self, error: CommandError) -> Decision {
        match error {
            CommandError::DeviceGone => Decision::FailAndRescan(DiskError::Gone),
            CommandError::Busy => self.busy(),
            CommandError::Check(sense) => self.check(sense),
            CommandError::ReservationConflict => Decision::Fail(DiskError::Reserved),
            CommandError::Cancelled => Decision::Fail(DiskError::Closed),
            CommandError::Aborted | CommandError::TimedOut | CommandError::Failed { .. } => {
                self.transient(DiskError::Command(error))
            }
            CommandError::Overrun | CommandError::Contradictory { .. } => {
                Decision::Fail(DiskError::Command(error))
            }
        }
    }

    fn busy(&mut self) -> Decision {
        if self.busy >= self.limits.busy {
            return Decision::Fail(DiskError::Busy);
        }
        let pause = self.limits.pause.saturating_mul(1 << self.busy.min(7));
        self.busy = self.busy.saturating_add(1);
        Decision::AgainAfter { pause }
    }

    fn attention(&mut self, sense: Sense, decision: Decision) -> Decision {
        if self.attention >= self.limits.attention {
            return Decision::Fail(DiskError::Device(sense));
        }
        self.attention = self.attention.saturating_add(1);
        decision
    }

    fn transient(&mut self, error: DiskError) -> Decision {
        if self.kind == CommandKind::Flush || self.transient >= self.limits.transient {
            return Decision::Fail(error);
        }
        self.transient = self.transient.saturating_add(1);
        Decision::Again
    }

    fn check(&mut self, sense: Sense) -> Decision {
        let failure = DiskError::Device(sense);
        let code = sense.additional.code;
        match sense.key {
            SenseKey::UNIT_ATTENTION => match sense.additional {
                AdditionalSense::CAPACITY_DATA_CHANGED => {
                    self.attention(sense, Decision::AgainAfterCapacity)
                }
                AdditionalSense::MEDIUM_MAY_HAVE_CHANGED => {
                    Decision::FailAndRescan(DiskError::MediumChanged)
                }
                // Parameters, operating conditions or the set of units changed.
                _ if code == 0x2A || code == 0x3F => {
                    self.attention(sense, Decision::AgainAndRescan)
                }
                _ => self.attention(sense, Decision::Again),
            },
            SenseKey::NOT_READY if code == AdditionalSense::MEDIUM_NOT_PRESENT.code => {
                Decision::FailAndRescan(DiskError::NoMedium)
            }
            SenseKey::NOT_READY if sense.additional == AdditionalSense::BECOMING_READY => {
                self.busy()
            }
            SenseKey::ILLEGAL_REQUEST => match sense.additional {
                AdditionalSense::INVALID_COMMAND_OPERATION_CODE
                | AdditionalSense::INVALID_FIELD_IN_CDB => Decision::Fail(DiskError::Unsupported),
                AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED => {
                    Decision::FailAndRescan(DiskError::Gone)
                }
                _ => Decision::Fail(failure),
            },
            SenseKey::DATA_PROTECT => Decision::Fail(match sense.additional {
                AdditionalSense::SPACE_ALLOCATION_FAILED => DiskError::NoSpace,
                _ if code == AdditionalSense::WRITE_PROTECTED.code => DiskError::ReadOnly,
                _ => failure,
            }),
            SenseKey::ABORTED_COMMAND | SenseKey::RECOVERED_ERROR | SenseKey::NO_SENSE => {
                self.transient(failure)
            }
            _ => Decision::Fail(failure),
        }
    }
}
