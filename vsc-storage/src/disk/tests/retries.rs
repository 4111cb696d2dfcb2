//! What failures lead to.

use crate::disk::{CommandKind, Decision, DiskError, Retries, RetryLimits};
use crate::queue::CommandError;
use crate::scsi::{AdditionalSense, ScsiStatus, Sense, SenseKey};
use crate::wire::SrbStatus;

fn retries(kind: CommandKind) -> Retries {
    Retries::new(RetryLimits::default(), kind)
}

fn first(error: CommandError) -> Decision {
    retries(CommandKind::Repeatable).decide(error)
}

const fn check(key: SenseKey, additional: AdditionalSense) -> CommandError {
    CommandError::Check(Sense::new(key, additional))
}

const ATTENTION: SenseKey = SenseKey::UNIT_ATTENTION;

/// Tries until the command fails; returns the tries and the failure.
fn tries(kind: CommandKind, error: CommandError) -> (u32, DiskError) {
    let mut retries = retries(kind);
    for count in 0..1000 {
        match retries.decide(error) {
            Decision::Fail(error) | Decision::FailAndRescan(error) => return (count, error),
            _ => {}
        }
    }
    panic!("tried forever");
}

#[test]
fn g19_a_missing_unit_is_gone_and_asks_for_a_scan() {
    assert_eq!(
        first(CommandError::DeviceGone),
        Decision::FailAndRescan(DiskError::Gone)
    );
}

#[test]
fn g20_busy_is_retried_with_growing_pauses_and_an_end() {
    let mut retries = retries(CommandKind::Flush);
    let mut pauses = std::vec::Vec::new();
    while let Decision::AgainAfter { pause } = retries.decide(CommandError::Busy) {
        pauses.push(pause);
    }
    assert_eq!(pauses.len(), 64);
    assert_eq!(pauses[..3], [10_000, 20_000, 40_000]);
    assert_eq!(pauses[63], 1_280_000);
    assert_eq!(
        tries(CommandKind::Repeatable, CommandError::Busy).1,
        DiskError::Busy
    );
}

#[test]
fn g21_an_error_without_sense_is_not_retried_forever() {
    let error = CommandError::Failed {
        srb: SrbStatus::ERROR,
        scsi: ScsiStatus::CHECK_CONDITION,
    };
    assert_eq!(
        tries(CommandKind::Repeatable, error),
        (3, DiskError::Command(error))
    );
}

#[test]
fn g22_a_reservation_conflict_is_reported() {
    assert_eq!(
        first(CommandError::ReservationConflict),
        Decision::Fail(DiskError::Reserved)
    );
}

#[test]
fn g23_g24_unit_attentions_lead_to_what_changed() {
    for (additional, decision) in [
        (
            AdditionalSense::CAPACITY_DATA_CHANGED,
            Decision::AgainAfterCapacity,
        ),
        (AdditionalSense::POWER_ON_OR_RESET, Decision::Again),
        (
            AdditionalSense::REPORTED_LUNS_DATA_CHANGED,
            Decision::AgainAndRescan,
        ),
        (AdditionalSense::MICROCODE_CHANGED, Decision::AgainAndRescan),
        (
            AdditionalSense::MODE_PARAMETERS_CHANGED,
            Decision::AgainAndRescan,
        ),
        (
            AdditionalSense::MEDIUM_MAY_HAVE_CHANGED,
            Decision::FailAndRescan(DiskError::MediumChanged),
        ),
    ] {
        assert_eq!(first(check(ATTENTION, additional)), decision);
    }
    let (count, _) = tries(
        CommandKind::Repeatable,
        check(ATTENTION, AdditionalSense::POWER_ON_OR_RESET),
    );
    assert_eq!(count, 8, "a device that is never content");
}

#[test]
fn g28_a_failed_flush_is_not_tried_again() {
    for error in [
        CommandError::Aborted,
        CommandError::TimedOut,
        check(SenseKey::MEDIUM_ERROR, AdditionalSense::WRITE_ERROR),
        check(SenseKey::ABORTED_COMMAND, AdditionalSense::NONE),
    ] {
        let (count, reported) = tries(CommandKind::Flush, error);
        assert_eq!(count, 0, "{error:?}");
        assert!(matches!(
            reported,
            DiskError::Command(_) | DiskError::Device(_)
        ));
    }
    // A unit attention means that it was not executed.
    assert_eq!(
        retries(CommandKind::Flush).decide(check(ATTENTION, AdditionalSense::POWER_ON_OR_RESET)),
        Decision::Again
    );
}

#[test]
fn sense_data_become_typed_failures() {
    for (key, additional, expected) in [
        (
            SenseKey::DATA_PROTECT,
            AdditionalSense::WRITE_PROTECTED,
            DiskError::ReadOnly,
        ),
        (
            SenseKey::DATA_PROTECT,
            AdditionalSense::SPACE_ALLOCATION_FAILED,
            DiskError::NoSpace,
        ),
        (
            SenseKey::ILLEGAL_REQUEST,
            AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
            DiskError::Unsupported,
        ),
        (
            SenseKey::NOT_READY,
            AdditionalSense::MEDIUM_NOT_PRESENT_TRAY_OPEN,
            DiskError::NoMedium,
        ),
        (
            SenseKey::MEDIUM_ERROR,
            AdditionalSense::UNRECOVERED_READ_ERROR,
            DiskError::Device(Sense::new(
                SenseKey::MEDIUM_ERROR,
                AdditionalSense::UNRECOVERED_READ_ERROR,
            )),
        ),
    ] {
        let (count, error) = tries(CommandKind::Repeatable, check(key, additional));
        assert_eq!((count, error), (0, expected));
    }
}

#[test]
fn fault_45_contradictions_fail_at_once() {
    let error = CommandError::Contradictory {
        srb: SrbStatus::SUCCESS,
        scsi: ScsiStatus::CHECK_CONDITION,
    };
    assert_eq!(first(error), Decision::Fail(DiskError::Command(error)));
}
