//! The service over rings, with a guest that freezes and thaws as it is told.

use ic_services::wire::{BODY_OFFSET, Status};
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::FromBytes;

use super::*;
use crate::ic::testing::{Bench, Guest};
use crate::vmbus::vsp::NextPoll;

const V4: &[Version] = &[Version::new(4, 0)];
const V5: &[Version] = &[Version::new(5, 0)];
const V7: &[Version] = &[Version::new(7, 0), Version::new(5, 0)];
const CHECK: u8 = 2;
const FREEZE: u8 = 5;
const THAW: u8 = 6;

struct Stage {
    device: Vss,
    handle: VssHandle,
    bench: Bench,
    guest: Guest,
    /// What the guest was told.
    told: Vec<u8>,
    /// What it refuses.
    refuses: Vec<u8>,
    /// Flags in its answer to a check.
    flags: u32,
}

fn stage(versions: &'static [Version]) -> Stage {
    let offered = [4, 5, 6, 7].map(|major| Version::new(major, 0)).to_vec();
    let (mut device, handle) = Vss::new(VssOptions {
        versions: ServiceVersions::new(vec![Version::new(3, 0)], offered).unwrap(),
        ..VssOptions::default()
    });
    assert_eq!(device.offer().interface, class::VSS);
    let bench = Bench::open(&mut device);
    let mut stage = Stage {
        device,
        handle,
        bench,
        guest: Guest::new(MessageType::VSS, versions),
        told: Vec::new(),
        refuses: Vec::new(),
        flags: 5,
    };
    stage.run(0);
    stage
}

fn act(told: &mut Vec<u8>, refuses: &[u8], flags: u32, body: &mut [u8]) -> Status {
    let operation = body[0];
    told.push(operation);
    match operation {
        FREEZE => assert_eq!(body.len(), 6260),
        7 => assert_eq!(body.len(), 12_500),
        _ => assert_eq!(body.len(), 12),
    }
    if matches!(operation, 2 | 3) {
        body[8..12].copy_from_slice(&flags.to_le_bytes());
    }
    if refuses.contains(&operation) {
        Status::FAIL
    } else {
        Status::OK
    }
}

impl Stage {
    /// Lets both work for so many units of time.
    fn run(&mut self, time: u64) {
        let until = self.bench.now + time;
        let (told, refuses, flags) = (&mut self.told, &self.refuses, self.flags);
        self.bench.run(&mut self.guest, until, |_, body| {
            act(told, refuses, flags, body)
        });
    }

    fn outcome<T>(
        &mut self,
        request: Result<Pending<T, VssError>, VssError>,
    ) -> Result<T, VssError> {
        let mut answer = request?;
        self.run(0);
        answer.take().expect("an outcome")
    }

    fn freeze(&mut self) -> Result<(), VssError> {
        let request = self.handle.freeze(&FreezeRequest::default());
        self.outcome(request)
    }

    fn thaw(&mut self) -> Result<(), VssError> {
        let request = self.handle.thaw();
        self.outcome(request)
    }

    fn check(&mut self) -> Result<HotBackup, VssError> {
        let request = self.handle.check();
        self.outcome(request)
    }
}

fn refused() -> VssError {
    RequestError::Refused(0x8000_4005).into()
}

#[test]
fn checked_frozen_and_thawed_at_every_version() {
    for versions in [V5, V7] {
        let mut stage = stage(versions);
        assert_eq!(stage.handle.link(), Link::Ready(versions[0]));
        for flags in [5, 0, 7] {
            stage.flags = flags;
            assert_eq!(stage.check(), Ok(HotBackup(flags)));
        }
        let request = stage.handle.direct_mapped_info();
        assert_eq!(stage.outcome(request), Ok(7));
        assert_eq!(stage.freeze(), Ok(()));
        assert_eq!(stage.handle.phase(), Phase::Frozen);
        assert_eq!(stage.thaw(), Ok(()));
        assert_eq!(stage.handle.phase(), Phase::Thawed);
        let request = stage.handle.complete();
        assert_eq!(stage.outcome(request), Ok(()));
        assert_eq!(stage.told, [2, 2, 2, 3, 5, 6, 4]);
    }
}

#[test]
fn what_a_version_lacks_is_refused() {
    let mut stage = stage(V4);
    assert_eq!(stage.check(), Ok(HotBackup(5)));
    let lacking = VssError::Request(RequestError::NotInVersion(Version::new(4, 0)));
    assert_eq!(stage.freeze(), Err(lacking));
    let (_, handle) = Vss::new(VssOptions::default());
    let not_ready = VssError::Request(RequestError::NotReady);
    assert_eq!(handle.check().err(), Some(not_ready));
    let request = FreezeRequest::default();
    assert_eq!(handle.freeze(&request).err(), Some(not_ready));
    let failed = handle.backup(&request, || panic!("not frozen"));
    assert_eq!(failed, Err(BackupError::Check(not_ready)));
}

// VS6h
#[test]
fn a_guest_that_refuses_to_freeze_is_thawed() {
    let mut stage = stage(V5);
    stage.refuses = vec![FREEZE];
    assert_eq!(stage.freeze(), Err(refused()));
    assert_eq!(stage.told, [FREEZE, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
    stage.refuses.clear();
    assert_eq!(stage.freeze(), Ok(()));
    assert_eq!(stage.thaw(), Ok(()));
}

// VS6h
#[test]
fn fault_82_who_does_not_answer_the_freeze_is_thawed_when_he_listens_again() {
    let mut stage = stage(V5);
    let mut freeze = stage.handle.freeze(&FreezeRequest::default()).unwrap();
    assert_eq!(
        stage.bench.poll(),
        NextPoll::At(stage.bench.now + FREEZE_TIMEOUT)
    );
    stage.bench.now += FREEZE_TIMEOUT;
    stage.bench.poll();
    assert_eq!(freeze.take(), Some(Err(RequestError::TimedOut.into())));
    assert_eq!(stage.handle.phase(), Phase::ThawOwed);
    let refused = stage.handle.freeze(&FreezeRequest::default()).err();
    assert_eq!(refused, Some(RequestError::NotReady.into()));
    // It answers the freeze late, then the negotiation, and is thawed.
    stage.run(0);
    assert_eq!(stage.told, [FREEZE, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
}

#[test]
fn fault_82_the_time_to_freeze_can_be_chosen_within_limits() {
    for (chosen, expected) in [(5 * SECOND, 5 * SECOND), (u64::MAX, LONGEST)] {
        let mut stage = stage(V5);
        let request = FreezeRequest {
            timeout: Some(chosen),
            ..FreezeRequest::default()
        };
        let mut freeze = stage.handle.freeze(&request).unwrap();
        let due = stage.bench.now + expected;
        assert_eq!(stage.bench.poll(), NextPoll::At(due));
        stage.bench.now = due;
        stage.bench.poll();
        assert_eq!(freeze.take(), Some(Err(RequestError::TimedOut.into())));
    }
}

#[test]
fn fault_82_nobody_stays_frozen() {
    let mut stage = stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    let frozen_at = stage.bench.now;
    stage.run(THAW_AFTER - 1);
    assert_eq!(stage.handle.phase(), Phase::Frozen);
    assert_eq!(stage.bench.poll(), NextPoll::At(frozen_at + THAW_AFTER));
    stage.run(THAW_AFTER);
    assert_eq!(stage.told, [FREEZE, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
    assert_eq!(stage.handle.extend(1), Err(VssError::FrozenTooLong));
    assert_eq!(stage.thaw(), Err(VssError::FrozenTooLong));
    assert_eq!(stage.thaw(), Err(VssError::NotFrozen));
    assert_eq!(stage.handle.extend(1), Err(VssError::NotFrozen));
}

#[test]
fn the_time_frozen_can_be_extended_to_a_limit() {
    let mut stage = stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    let frozen_at = stage.bench.now;
    stage.handle.extend(THAW_AFTER).unwrap();
    assert_eq!(stage.bench.poll(), NextPoll::At(frozen_at + 2 * THAW_AFTER));
    stage.handle.extend(u64::MAX).unwrap();
    assert_eq!(stage.bench.poll(), NextPoll::At(frozen_at + LONGEST));
    assert_eq!(stage.thaw(), Ok(()));
}

#[test]
fn fault_82_freeze_while_frozen_and_thaw_without_freeze_are_refused() {
    let mut stage = stage(V5);
    assert_eq!(stage.thaw(), Err(VssError::NotFrozen));
    let mut freeze = stage.handle.freeze(&FreezeRequest::default()).unwrap();
    let again = stage.handle.freeze(&FreezeRequest::default()).err();
    assert_eq!(again, Some(VssError::AlreadyFrozen));
    assert_eq!(stage.handle.thaw().err(), Some(RequestError::Busy.into()));
    stage.run(0);
    assert_eq!(freeze.take(), Some(Ok(())));
    assert_eq!(stage.freeze(), Err(VssError::AlreadyFrozen));
    assert_eq!(stage.thaw(), Ok(()));
}

#[test]
fn fault_82_a_guest_that_does_not_thaw_is_told_again_but_not_for_ever() {
    let mut stage = stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    stage.refuses = vec![THAW];
    assert_eq!(stage.thaw(), Err(refused()));
    assert_eq!(stage.handle.phase(), Phase::Frozen);
    stage.run(10 * THAW_AFTER);
    assert_eq!(stage.told, [FREEZE, THAW, THAW, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
    // Nor one that never answers.
    let mut stage = self::stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    let mut thaws = 0;
    for _ in 0..10 {
        stage.bench.now += REQUEST_TIMEOUT;
        stage.bench.poll();
        while let Some(mut payload) = stage.bench.read() {
            if payload[12] == 0 {
                stage.guest.answer(&mut payload, |_, _| Status::OK);
                stage.bench.write(&payload);
                stage.bench.poll();
            } else {
                thaws += 1;
            }
        }
    }
    assert_eq!((thaws, stage.handle.phase()), (3, Phase::Thawed));
}

#[test]
fn fault_83_a_guest_that_went_away_frozen_is_thawed_when_it_comes_back() {
    let mut stage = stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    stage.bench.close();
    assert_eq!(stage.handle.phase(), Phase::ThawOwed);
    assert_eq!(stage.handle.link(), Link::Closed);
    stage.bench = Bench::open(&mut stage.device);
    stage.guest = Guest::new(MessageType::VSS, V5);
    stage.run(0);
    assert_eq!(stage.told, [FREEZE, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
    assert_eq!(stage.thaw(), Err(RequestError::Abandoned.into()));
}

#[test]
fn fault_76_a_guest_that_breaks_the_protocol_while_frozen() {
    let mut stage = stage(V5);
    assert_eq!(stage.freeze(), Ok(()));
    stage.bench.write(&[0; 40]);
    stage.bench.poll();
    assert!(matches!(stage.handle.link(), Link::Failed(_)));
    assert_eq!(stage.handle.phase(), Phase::ThawOwed);
    assert_eq!(stage.thaw(), Err(RequestError::Abandoned.into()));
    assert_eq!(stage.thaw(), Err(RequestError::NotReady.into()));
}

#[test]
fn fault_75_short_answers() {
    let mut stage = stage(V5);
    let mut check = stage.handle.check().unwrap();
    stage.bench.poll();
    let mut payload = stage.bench.read().unwrap();
    stage.guest.answer(&mut payload, |_, _| Status::OK);
    payload[18..20].copy_from_slice(&11u16.to_le_bytes());
    stage.bench.write(&payload);
    stage.bench.poll();
    let short = RequestError::ShortAnswer(11);
    assert_eq!(check.take(), Some(Err(short.into())));
}

#[test]
fn snapshots_are_recovered_by_guests_that_can() {
    let mut stage = stage(V5);
    let disk = Lun {
        bus: BusType::SCSI,
        lun: 3,
        ..Lun::NONE
    };
    let request = FreezeRequest {
        auto_recovery: true,
        disks: vec![disk],
        ..FreezeRequest::default()
    };
    for flags in [None, Some(5), Some(0)] {
        if let Some(flags) = flags {
            stage.flags = flags;
            stage.check().unwrap();
        }
        let refused = stage.handle.auto_recover(&request, &[disk]).err();
        assert_eq!(refused, Some(VssError::NoAutoRecovery));
    }
    stage.flags = 1;
    stage.check().unwrap();
    // 12 KiB of data are not enough for 12,500 bytes.
    let too_large = stage.handle.auto_recover(&request, &[disk]);
    assert_eq!(stage.outcome(too_large), Err(RequestError::TooLarge.into()));
    assert_eq!(stage.freeze(), Ok(()), "the service goes on");
    let many = stage.handle.auto_recover(&request, &[disk; 261]).err();
    assert_eq!(many, Some(VssError::TooManyDisks(261)));

    let mut stage = self::stage(V5);
    stage.bench.close();
    stage.bench = Bench::open_with_pages(&mut stage.device, 8);
    stage.guest = Guest::new(MessageType::VSS, V5);
    stage.flags = 1;
    stage.run(0);
    stage.check().unwrap();
    let recovered = stage.handle.auto_recover(&request, &[disk]);
    assert_eq!(stage.outcome(recovered), Ok(()));
    assert_eq!(stage.told, [CHECK, 7]);
}

// VS8g
#[test]
fn a_freeze_says_what_is_wanted() {
    let mut stage = stage(V5);
    let disk = Lun {
        bus: BusType::SCSI,
        controller: class::SCSI,
        lun: 63,
        ..Lun::NONE
    };
    let request = FreezeRequest {
        backup_type: 9,
        auto_recovery: true,
        shared_disks: true,
        disks: vec![disk; 260],
        timeout: None,
    };
    let _answer = stage.handle.freeze(&request).unwrap();
    stage.bench.poll();
    let payload = stage.bench.read().unwrap();
    let freeze = Freeze::ref_from_prefix(&payload[BODY_OFFSET..]).unwrap().0;
    assert_eq!((freeze.backup_type.get(), freeze.flags.get()), (9, 3));
    assert_eq!(freeze.luns().unwrap(), [disk; 260]);
    let too_many = FreezeRequest {
        disks: vec![disk; 261],
        ..request
    };
    let refused = stage.handle.freeze(&too_many).err();
    assert_eq!(refused, Some(VssError::TooManyDisks(261)));
}

/// Runs a stage's guest while `operator` waits for it elsewhere.
fn beside<T: Send>(stage: &mut Stage, operator: impl FnOnce(VssHandle) -> T + Send) -> T {
    let (handle, ended) = (stage.handle.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| operator(handle)));
            ended.store(true, Ordering::Release);
            result
        });
        while !ended.load(Ordering::Acquire) {
            stage.run(0);
            std::thread::yield_now();
        }
        // What was asked for at the end.
        stage.run(0);
        match worker.join().expect("panics are caught") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[test]
fn a_backup_copies_what_is_frozen() {
    let mut stage = stage(V5);
    let copied = beside(&mut stage, |handle| {
        let snapshot = || {
            assert_eq!(handle.phase(), Phase::Frozen);
            handle.extend(THAW_AFTER).unwrap();
            "copy"
        };
        handle.backup(&FreezeRequest::default(), snapshot)
    });
    assert_eq!(copied, Ok("copy"));
    assert_eq!(stage.told, [CHECK, FREEZE, THAW]);
    assert_eq!(stage.handle.phase(), Phase::Thawed);
}

#[test]
fn a_backup_does_not_trust_what_somebody_else_has_thawed() {
    for freeze_again in [false, true] {
        let mut stage = stage(V5);
        let failed = beside(&mut stage, |handle| {
            let snapshot = || {
                handle.thaw().unwrap().wait().unwrap();
                if freeze_again {
                    let again = handle.freeze(&FreezeRequest::default());
                    again.unwrap().wait().unwrap();
                }
            };
            handle.backup(&FreezeRequest::default(), snapshot)
        });
        assert_eq!(failed, Err(BackupError::Thaw(VssError::NotFrozen)));
        let phase = stage.handle.phase();
        assert_eq!(
            phase == Phase::Frozen,
            freeze_again,
            "it is somebody else's"
        );
    }
}

#[test]
fn a_backup_that_takes_too_long_is_not_trusted() {
    let mut stage = stage(V5);
    let (frozen, thawed) = (AtomicBool::new(false), AtomicBool::new(false));
    let handle = stage.handle.clone();
    let result = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            handle.backup(&FreezeRequest::default(), || {
                frozen.store(true, Ordering::Release);
                while !thawed.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            })
        });
        while !worker.is_finished() {
            // Time passes when the snapshot has begun.
            let time = if frozen.load(Ordering::Acquire) {
                THAW_AFTER
            } else {
                0
            };
            stage.run(time);
            thawed.store(stage.told.contains(&THAW), Ordering::Release);
            std::thread::yield_now();
        }
        worker.join().unwrap()
    });
    assert_eq!(result, Err(BackupError::Thaw(VssError::FrozenTooLong)));
    assert_eq!(stage.told, [CHECK, FREEZE, THAW]);
}

#[test]
fn a_backup_that_fails_thaws() {
    for (refuses, error, told) in [
        (CHECK, BackupError::Check(refused()), &[CHECK][..]),
        (
            FREEZE,
            BackupError::Freeze(refused()),
            &[CHECK, FREEZE, THAW],
        ),
        (THAW, BackupError::Thaw(refused()), &[CHECK, FREEZE, THAW]),
    ] {
        let mut stage = stage(V5);
        stage.refuses = vec![refuses];
        let failed = beside(&mut stage, |handle| {
            handle.backup(&FreezeRequest::default(), || assert_eq!(refuses, THAW))
        });
        assert_eq!(failed, Err(error));
        assert_eq!(stage.told, told);
    }
    // A snapshot that panics.
    let mut stage = stage(V5);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        beside(&mut stage, |handle| {
            handle.backup(&FreezeRequest::default(), || panic!("the disk is gone"))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(stage.told, [CHECK, FREEZE, THAW]);
}
