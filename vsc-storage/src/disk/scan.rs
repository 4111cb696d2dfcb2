//! Finding the logical units of a controller.
//!
//! A [`Scan`] names one command at a time and takes its outcome. It asks logical unit 0 what it is,
//! reads the list of units, and reads of each one what a disk's user wants to know. A device that
//! lies is believed as little as possible: lengths are cut to the bytes received, a unit listed
//! twice is one unit, sizes are checked.

mod unit;

use alloc::vec::Vec;

use self::unit::{Draft, UnitStep};
use super::retry::{CommandKind, Decision, Retries, RetryLimits};
use super::{DiskError, DiskInfo, UnitError};
use crate::queue::{Address, CommandError, Outcome};
use crate::scsi::{Cdb, Command, InquiryData, StandardInquiry, VpdPage, reported_luns};

/// Bytes that a command of a scan moves at most.
pub const SCAN_BUFFER_SIZE: u32 = 4096;
/// Units that are tried one by one if the controller cannot list them.
const UNITS_TRIED: u8 = 64;

/// One command of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanCommand {
    /// Where it goes.
    pub address: Address,
    /// The command.
    pub command: Cdb,
    /// Bytes of data from the device: 0 for none, at most 4096.
    pub length: u32,
}

/// How a scan goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ScanProgress {
    /// [`Scan::command`] is to be sent.
    Next,
    /// The same, after a pause in units of 100 ns.
    NextAfter(u64),
    /// [`Scan::into_units`] has the result.
    Done,
    /// The channel closed.
    Failed(DiskError),
}

/// A logical unit that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// What it is.
    pub info: DiskInfo,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<UnitError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    FirstInquiry,
    ReportLuns,
    Unit { lun: u8, step: UnitStep },
    Done,
}

/// A scan of one SCSI target.
#[derive(Debug)]
pub struct Scan {
    target: Address,
    only_unit_0: bool,
    limits: RetryLimits,
    step: Step,
    retries: Retries,
    /// One bit for each unit to look at.
    candidates: [u64; 4],
    draft: Draft,
    units: Vec<Unit>,
    changed_meanwhile: bool,
}

impl Scan {
    /// Starts a scan of the units behind the path and target of `target`.
    ///
    /// `only_unit_0` is for accelerated IDE, which is one disk.
    #[must_use]
    pub const fn new(target: Address, only_unit_0: bool, limits: RetryLimits) -> Self {
        Self {
            target: Address { lun: 0, ..target },
            only_unit_0,
            limits,
            step: Step::FirstInquiry,
            retries: Retries::new(limits, CommandKind::Repeatable),
            candidates: [0; 4],
            draft: Draft::new(target),
            units: Vec::new(),
            changed_meanwhile: false,
        }
    }

    /// The command to send, or whose outcome is awaited; `None` when done.
    #[must_use]
    pub fn command(&self) -> Option<ScanCommand> {
        let (lun, command, length) = match self.step {
            Step::FirstInquiry => {
                let length = 36;
                (0, inquiry(length), u32::from(length))
            }
            Step::ReportLuns => {
                let command = Command::ReportLuns {
                    select: 0,
                    allocation_length: SCAN_BUFFER_SIZE,
                };
                (0, command, SCAN_BUFFER_SIZE)
            }
            Step::Unit { lun, step } => {
                let (command, length) = step.command();
                (lun, command, length)
            }
            Step::Done => return None,
        };
        Some(ScanCommand {
            address: Address { lun, ..self.target },
            // Every field of these commands fits.
            command: command.encode().ok()?,
            length,
        })
    }

    /// Takes the outcome of [`command`](Self::command), with a private copy of the data. Data
    /// beyond what the outcome says was transferred is not used.
    pub fn answer(&mut self, outcome: &Outcome, data: &[u8]) -> ScanProgress {
        let valid = usize::try_from(outcome.transferred)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let result = match outcome.result {
            Ok(()) => Ok(data.get(..valid).unwrap_or_default()),
            Err(CommandError::Cancelled) => return ScanProgress::Failed(DiskError::Closed),
            Err(error) => match self.retries.decide(error) {
                Decision::Again | Decision::AgainAfterCapacity => return ScanProgress::Next,
                Decision::AgainAndRescan => {
                    // Before the list is read, the change is about to be seen anyway.
                    self.changed_meanwhile |= matches!(self.step, Step::Unit { .. });
                    return ScanProgress::Next;
                }
                Decision::AgainAfter { pause } => return ScanProgress::NextAfter(pause),
                Decision::Fail(error) | Decision::FailAndRescan(error) => Err(error),
            },
        };
        self.retries = Retries::new(self.limits, CommandKind::Repeatable);
        match self.step {
            Step::FirstInquiry => {
                if result
                    .ok()
                    .and_then(InquiryData::parse)
                    .is_some_and(|data| data.is_present())
                {
                    self.add_candidate(0);
                }
                if self.only_unit_0 {
                    self.next_unit(0);
                } else {
                    self.step = Step::ReportLuns;
                }
            }
            Step::ReportLuns => {
                self.take_list(result);
                self.next_unit(0);
            }
            Step::Unit { lun, step } => match self.draft.take(step, result) {
                unit::Next::Step(step) => self.step = Step::Unit { lun, step },
                unit::Next::Absent => self.next_unit(u16::from(lun).saturating_add(1)),
                unit::Next::Finished => {
                    self.units.push(self.draft.unit());
                    self.next_unit(u16::from(lun).saturating_add(1));
                }
            },
            Step::Done => {}
        }
        if self.step == Step::Done {
            ScanProgress::Done
        } else {
            ScanProgress::Next
        }
    }

    /// Whether units changed while the scan ran, so that another one is due.
    #[must_use]
    pub const fn changed_meanwhile(&self) -> bool {
        self.changed_meanwhile
    }

    /// The units found so far, in the order of their numbers.
    #[must_use]
    pub fn into_units(self) -> Vec<Unit> {
        self.units
    }

    fn take_list(&mut self, result: Result<&[u8], DiskError>) {
        match result.ok().and_then(reported_luns) {
            Some(entries) => {
                for lun in entries.filter_map(|entry| entry.lun()) {
                    self.add_candidate(lun);
                }
            }
            // A controller that cannot list its units: look at each.
            None => (0..UNITS_TRIED).for_each(|lun| self.add_candidate(lun)),
        }
    }

    fn add_candidate(&mut self, lun: u8) {
        if let Some(word) = self.candidates.get_mut(usize::from(lun >> 6)) {
            *word |= 1 << (lun & 63);
        }
    }

    /// Goes to the first candidate from `lun` on.
    fn next_unit(&mut self, lun: u16) {
        let is_candidate = |lun: &u8| {
            let word = self.candidates.get(usize::from(lun >> 6));
            word.is_some_and(|word| word >> (lun & 63) & 1 != 0)
        };
        let next = u8::try_from(lun)
            .ok()
            .and_then(|lun| (lun..=u8::MAX).find(is_candidate));
        self.step = match next {
            Some(lun) => {
                self.draft = Draft::new(Address { lun, ..self.target });
                Step::Unit {
                    lun,
                    step: UnitStep::Inquiry,
                }
            }
            None => Step::Done,
        };
    }
}

const fn inquiry(allocation_length: u16) -> Command {
    Command::Inquiry {
        vital_product_data: false,
        command_support_data: false,
        page: VpdPage::SUPPORTED_PAGES,
        allocation_length,
    }
}

/// Bytes of standard data that are asked for.
const INQUIRY_LENGTH: u16 = StandardInquiry::DISK_SIZE as u16;
