//! The service over rings, with a guest that reads what it is told.

use ic_services::wire::BODY_OFFSET;

use super::*;
use crate::ic::testing::{Bench, Guest};
use crate::vmbus::vsp::NextPoll;

const V1: &[Version] = &[Version::new(1, 0)];
const V3: &[Version] = &[Version::new(3, 0)];
const V4: &[Version] = &[Version::new(4, 0), Version::new(3, 0)];
/// A time of day.
const NOON: u64 = 133_000_000_000_000_000;

struct Stage {
    clock: Arc<ManualWallClock>,
    device: TimeSync,
    handle: TimeSyncHandle,
    bench: Bench,
    guest: Guest,
}

fn stage(versions: &'static [Version]) -> Stage {
    let clock = Arc::new(ManualWallClock::new(NOON));
    let options = TimeSyncOptions {
        clock: clock.clone(),
        ..TimeSyncOptions::default()
    };
    let (mut device, handle) = TimeSync::new(options);
    assert_eq!(device.offer().interface, class::TIME_SYNC);
    let bench = Bench::open(&mut device);
    Stage {
        clock,
        device,
        handle,
        bench,
        guest: Guest::new(MessageType::TIME_SYNC, versions),
    }
}

impl Stage {
    /// What the guest is told until `until`, with the clocks in step.
    fn told(&mut self, until: u64) -> Vec<TimeMessage> {
        let mut told = Vec::new();
        loop {
            self.bench.run_now(&mut self.guest, |version, body| {
                let length = if version >= Version::new(4, 0) {
                    24
                } else {
                    28
                };
                assert_eq!(body.len(), length);
                told.push(TimeMessage::parse(version, body).unwrap());
                Status::OK
            });
            match self.bench.poll() {
                NextPoll::At(time) if time <= until => {
                    let passed = time - self.bench.now;
                    self.clock.set(self.clock.now() + passed);
                    self.bench.now = time;
                }
                _ => return told,
            }
        }
    }
}

// TS6h
#[test]
fn the_clock_is_set_once_and_then_sampled() {
    for versions in [V1, V3, V4] {
        let mut stage = stage(versions);
        let start = stage.bench.now;
        let told = stage.told(start + 12 * SECOND);
        assert_eq!(stage.handle.version(), Some(versions[0]));
        let flags: Vec<_> = told.iter().map(|message| message.flags).collect();
        assert_eq!(
            flags,
            [TimeFlags::SYNC, TimeFlags::SAMPLE, TimeFlags::SAMPLE]
        );
        for (index, message) in told.iter().enumerate() {
            let passed = 5 * SECOND * index as u64;
            assert_eq!(message.parent_time, NOON + passed);
            let reference = (versions == V4).then_some(start + passed);
            assert_eq!(message.reference_time, reference);
        }
        let status = stage.handle.status();
        assert_eq!((status.syncs, status.samples, status.answered), (1, 2, 3));
        assert_eq!(status.contact, Contact::Ok);
        assert_eq!(status.last_time, NOON + 10 * SECOND);
    }
}

#[test]
fn a_sync_can_be_forced() {
    let mut stage = stage(V4);
    stage.handle.force_sync();
    assert_eq!(stage.told(stage.bench.now).len(), 1);
    stage.handle.force_sync();
    let told = stage.told(stage.bench.now);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].flags, TimeFlags::SYNC);
    // While the guest is at a sample.
    stage.bench.now += 5 * SECOND;
    stage.clock.set(NOON + 5 * SECOND);
    stage.bench.poll();
    stage.handle.force_sync();
    let flags: Vec<_> = stage
        .told(stage.bench.now)
        .iter()
        .map(|told| told.flags)
        .collect();
    assert_eq!(flags, [TimeFlags::SAMPLE, TimeFlags::SYNC]);
}

#[test]
fn clocks_that_part_make_a_sync() {
    for (step, flags) in [
        (4 * SECOND as i64, TimeFlags::SAMPLE),
        (-4 * SECOND as i64, TimeFlags::SAMPLE),
        (6 * SECOND as i64, TimeFlags::SYNC),
        (-6 * SECOND as i64, TimeFlags::SYNC),
    ] {
        let mut stage = stage(V4);
        stage.told(stage.bench.now);
        stage.clock.set(NOON.wrapping_add_signed(step));
        let told = stage.told(stage.bench.now + 5 * SECOND);
        assert_eq!(told[0].flags, flags, "{step}");
    }
}

// TS7h
#[test]
fn a_channel_opened_again_gets_a_sync() {
    let mut stage = stage(V4);
    stage.told(stage.bench.now + 6 * SECOND);
    stage.bench.close();
    assert_eq!(stage.handle.status().contact, Contact::None);
    stage.bench = Bench::open(&mut stage.device);
    stage.guest = Guest::new(MessageType::TIME_SYNC, V4);
    let told = stage.told(stage.bench.now);
    assert_eq!(told[0].flags, TimeFlags::SYNC);
}

#[test]
fn a_sync_that_the_guest_refuses_is_repeated() {
    let mut stage = stage(V4);
    let mut flags = Vec::new();
    let until = stage.bench.now + 11 * SECOND;
    stage.bench.run(&mut stage.guest, until, |version, body| {
        flags.push(TimeMessage::parse(version, body).unwrap().flags);
        if flags.len() == 1 {
            Status::FAIL
        } else {
            Status::OK
        }
    });
    assert_eq!(flags[..2], [TimeFlags::SYNC, TimeFlags::SYNC]);
    assert_eq!(stage.handle.status().refused, 1);
}

#[test]
fn time_is_taken_when_there_is_room() {
    let mut stage = stage(V4);
    stage.bench.poll();
    let mut negotiation = stage.bench.read().unwrap();
    stage.guest.answer(&mut negotiation, |_, _| Status::OK);
    stage.bench.write(&negotiation);
    stage.bench.fill();
    stage.bench.poll();
    assert_eq!(stage.handle.status().syncs, 0);
    stage.clock.set(NOON + 3 * SECOND);
    stage.bench.now += 3 * SECOND;
    while stage.bench.read().is_some() {}
    stage.bench.poll();
    let payload = stage.bench.read().unwrap();
    let told = TimeMessage::parse(Version::new(4, 0), &payload[BODY_OFFSET..]).unwrap();
    assert_eq!(told.parent_time, NOON + 3 * SECOND);
    assert_eq!(told.reference_time, Some(stage.bench.now));
    assert_eq!(told.flags, TimeFlags::SYNC);
    assert_eq!(stage.handle.status().syncs, 1);
}

#[test]
fn silence_is_lost_contact_until_the_answer() {
    let mut stage = stage(V4);
    stage.told(stage.bench.now);
    stage.bench.now += 5 * SECOND;
    let NextPoll::At(lost_at) = stage.bench.poll() else {
        panic!("the host waits for nothing");
    };
    assert_eq!(lost_at, stage.bench.now + 10 * SECOND);
    stage.bench.now = lost_at;
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal, "not asked again");
    assert_eq!(stage.handle.status().contact, Contact::Lost);
    stage.told(stage.bench.now);
    assert_eq!(stage.handle.status().contact, Contact::Ok);
}

#[test]
fn fault_78_any_time_can_be_told() {
    for offset in [i64::MIN, i64::MAX, -(NOON as i64), -(NOON as i64) - 1, 1] {
        let mut stage = stage(V4);
        stage.handle.set_offset(offset);
        let told = stage.told(stage.bench.now + 6 * SECOND);
        assert_eq!(told[0].parent_time, NOON.wrapping_add_signed(offset));
        stage.handle.set_offset(0);
        let told = stage.told(stage.bench.now + 6 * SECOND);
        assert_eq!(
            told[0].flags,
            if offset == 1 {
                TimeFlags::SAMPLE
            } else {
                TimeFlags::SYNC
            }
        );
    }
}

#[test]
fn fault_76_a_guest_that_answers_unasked_fails_the_service() {
    let mut stage = stage(V4);
    stage.told(stage.bench.now);
    let mut answer = vec![1, 0, 0, 0, 20, 0, 0, 0];
    answer.resize(BODY_OFFSET, 0);
    answer[12] = 4;
    answer[25] = 5;
    stage.bench.write(&answer);
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal);
    assert_eq!(stage.handle.status().contact, Contact::Failed);
    stage.handle.force_sync();
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal);
    assert!(
        stage.bench.read().is_none(),
        "nothing more until it opens again"
    );
}

#[test]
fn the_system_clock_runs_in_this_century() {
    let now = SystemWallClock.now();
    // 2024-01-01 and 2100-01-01.
    assert!((133_485_408_000_000_000..157_469_184_000_000_000).contains(&now));
}
