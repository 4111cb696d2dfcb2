//! Register sequences of timers.

use super::*;
use crate::mock::{MockHyperV, discovery};
use crate::msr;
use proptest::prelude::*;
use zerocopy::IntoBytes;

const DIRECT: Expiry = Expiry::Direct { vector: 0xED };

fn index(number: u8) -> TimerIndex {
    TimerIndex::new(number).unwrap()
}

#[test]
fn each_arming_is_one_write() {
    let hv = MockHyperV::new();
    let timer = Stimer::one_shot(&hv, TimerIndex::FIRST, DIRECT).unwrap();
    assert_eq!(
        hv.take_writes(),
        [(msr::STIMER0_COUNT, 0), (msr::STIMER0_CONFIG, 0x1ED9)]
    );
    timer.arm(&hv, 12345).unwrap();
    assert_eq!(hv.take_writes(), [(msr::STIMER0_COUNT, 12345)]);
    timer.disarm(&hv).unwrap();
    assert_eq!(hv.take_writes(), [(msr::STIMER0_COUNT, 0)]);
    timer.stop(&hv).unwrap();
    assert_eq!(
        hv.take_writes(),
        [(msr::STIMER0_COUNT, 0), (msr::STIMER0_CONFIG, 0)]
    );
}

#[test]
fn a_periodic_timer_gets_its_period_last() {
    let hv = MockHyperV::new();
    let expiry = Expiry::Message {
        sint: SintIndex::VMBUS,
    };
    let period = NonZeroU64::new(100_000).unwrap();
    let timer = Stimer::periodic(&hv, index(3), expiry, period, true).unwrap();
    assert_eq!(timer.index(), index(3));
    assert_eq!(
        hv.take_writes(),
        [
            (msr::STIMER3_COUNT, 0),
            (msr::STIMER3_CONFIG, 2 << 16 | 0b1110),
            (msr::STIMER3_COUNT, 100_000)
        ]
    );
}

#[test]
fn direct_mode_is_chosen_where_there_is_one() {
    let mut discovery = discovery();
    let choose = |discovery: &_| Expiry::choose(discovery, 0xED, SintIndex::VMBUS);
    assert_eq!(choose(&discovery), DIRECT);
    discovery.features.remove(Features::DIRECT_STIMERS);
    assert_eq!(
        choose(&discovery),
        Expiry::Message {
            sint: SintIndex::VMBUS
        }
    );
}

#[test]
fn fault_87_stimer_deadline_in_the_past_and_at_zero() {
    let hv = MockHyperV::new();
    let timer = Stimer::one_shot(&hv, TimerIndex::FIRST, DIRECT).unwrap();
    hv.take_writes();
    // Zero would stop the timer, and whoever waits would wait for ever.
    timer.arm(&hv, 0).unwrap();
    timer.arm(&hv, 1).unwrap();
    timer.arm(&hv, u64::MAX).unwrap();
    assert_eq!(
        hv.take_writes(),
        [0, 1, u64::MAX].map(|count| (msr::STIMER0_COUNT, count.max(1)))
    );
}

#[test]
fn fault_87_stimer_that_could_never_fire_is_refused() {
    let hv = MockHyperV::new();
    let expiry = Expiry::Message {
        sint: SintIndex::INTERCEPT,
    };
    let period = NonZeroU64::MIN;
    assert_eq!(
        Stimer::one_shot(&hv, TimerIndex::FIRST, expiry),
        Err(StimerError::SourceZero)
    );
    assert_eq!(
        Stimer::periodic(&hv, TimerIndex::FIRST, expiry, period, false),
        Err(StimerError::SourceZero)
    );
    let expiry = Expiry::Direct { vector: 15 };
    assert_eq!(
        Stimer::one_shot(&hv, TimerIndex::FIRST, expiry),
        Err(StimerError::Vector { vector: 15 })
    );
    assert_eq!(hv.take_writes(), []);
}

#[test]
fn fault_87_stimer_count_left_behind_does_not_fire() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::STIMER0_CONFIG, 0x1ED9);
    hv.set_msr(msr::STIMER0_COUNT, 5);
    Stimer::one_shot(&hv, TimerIndex::FIRST, DIRECT).unwrap();
    assert_eq!(hv.msr(msr::STIMER0_COUNT), 0);
    assert_eq!(hv.take_writes()[0], (msr::STIMER0_COUNT, 0));
}

#[test]
fn fault_89_refused_registers_are_typed_errors() {
    for register in [msr::STIMER1_CONFIG, msr::STIMER1_COUNT] {
        let hv = MockHyperV::new();
        hv.refuse(register);
        let fault = MsrFault { msr: register };
        assert_eq!(
            Stimer::one_shot(&hv, index(1), DIRECT),
            Err(StimerError::Fault(fault))
        );
        assert_eq!(switch_off(&hv, index(1)), Err(fault));
    }
}

#[test]
fn expiry_messages_are_told_from_garbage() {
    let message = TimerMessage {
        timer_index: U32::new(2),
        reserved: U32::ZERO,
        expiration_time: U64::new(100),
        delivery_time: U64::new(103),
    };
    let parsed = TimerMessage::parse(message.as_bytes()).unwrap();
    assert_eq!(parsed, message);
    assert_eq!(parsed.timer(), Some(index(2)));
    for length in 0..24 {
        assert_eq!(TimerMessage::parse(&message.as_bytes()[..length]), None);
    }
    for number in [4, 256, u32::MAX] {
        let stranger = TimerMessage {
            timer_index: U32::new(number),
            ..message
        };
        assert_eq!(TimerMessage::parse(stranger.as_bytes()), None);
    }
}

proptest! {
    #[test]
    fn any_payload_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..240)) {
        if let Some(message) = TimerMessage::parse(&payload) {
            prop_assert!(payload.len() >= 24 && message.timer().is_some());
        }
    }
}
