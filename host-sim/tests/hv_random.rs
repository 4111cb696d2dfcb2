//! Random sequences of everything that a guest and the host's services can ask of the shim: no panic, no deadlock, and
//! what must hold always holds.

mod hv_support;

use hv_support::{Fixture, PAGES, TestPort};
use hypercall::call::Status;
use hypercall::cpuid::{Features, HypercallPrivileges, Privileges};
use hypercall::msr;
use proptest::prelude::*;

/// One thing that happens to the shim.
#[derive(Clone, Debug)]
enum Step {
    Read {
        vp: u32,
        msr: u32,
    },
    Write {
        vp: u32,
        msr: u32,
        value: u64,
    },
    Call {
        control: u64,
        input: u64,
        output: u64,
    },
    Poke {
        address: u64,
        bytes: Vec<u8>,
    },
    EmptySlots,
    Post {
        vp: u32,
        sint: u8,
        length: usize,
    },
    Signal {
        vp: u32,
        sint: u8,
        flag: u16,
    },
    Advance {
        units: u64,
    },
    SetTime {
        units: u64,
    },
    Poll,
    ResetVp {
        vp: u32,
    },
    Reset,
}

fn msr_number() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => prop::sample::select(vec![
            msr::GUEST_OS_ID, msr::HYPERCALL, msr::REFERENCE_TSC, msr::SCONTROL, msr::SIEFP, msr::SIMP, msr::EOM,
            msr::SINT0 + 2, msr::STIMER0_CONFIG, msr::STIMER0_COUNT, msr::STIMER1_CONFIG, msr::STIMER1_COUNT,
            msr::CRASH_P3, msr::CRASH_P4, msr::CRASH_CTL, msr::TSC_INVARIANT_CONTROL, msr::RESET,
        ]),
        1 => 0x4000_0000_u32..0x4000_0200,
        1 => any::<u32>(),
    ]
}

/// Values that mean something to some register, and some that do not.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..PAGES + 4, 0..4_u64).prop_map(|(frame, low)| frame << 12 | low),
        Just(1),
        Just(0),
        (0x10_u64..0x100, 0..8_u64).prop_map(|(vector, bits)| vector | bits << 16),
        (0..0x10_0000_u64).prop_map(|bits| bits & !0xE000),
        (0..5_000_u64),
        any::<u64>(),
    ]
}

fn control() -> impl Strategy<Value = u64> {
    let code = prop_oneof![
        prop::sample::select(vec![
            0x5C_u64, 0x5D, 0x50, 0x51, 0x08, 0x46, 0x8001, 0x8002, 0x02
        ]),
        0..0x1_0000_u64,
    ];
    let shape = prop_oneof![
        4 => Just(0),
        2 => Just(1 << 16),
        2 => (0..300_u64, 0..300_u64).prop_map(|(count, start)| count << 32 | start << 48),
        1 => any::<u64>().prop_map(|bits| bits & !0xFFFF),
    ];
    (code, shape).prop_map(|(code, shape)| code | shape)
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..PAGES + 1, 0..512_u64).prop_map(|(frame, word)| frame << 12 | word << 3),
        1 => any::<u64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let vp = 0..3_u32;
    prop_oneof![
        2 => (vp.clone(), msr_number()).prop_map(|(vp, msr)| Step::Read { vp, msr }),
        12 => (vp.clone(), msr_number(), value())
            .prop_map(|(vp, msr, value)| Step::Write { vp, msr, value }),
        4 => (control(), address(), address())
            .prop_map(|(control, input, output)| Step::Call { control, input, output }),
        2 => (address(), prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(address, bytes)| Step::Poke { address, bytes }),
        2 => Just(Step::EmptySlots),
        4 => (vp.clone(), 0..17_u8, 0..250_usize)
            .prop_map(|(vp, sint, length)| Step::Post { vp, sint, length }),
        3 => (vp.clone(), 0..17_u8, 0..2100_u16)
            .prop_map(|(vp, sint, flag)| Step::Signal { vp, sint, flag }),
        3 => (0..100_000_u64).prop_map(|units| Step::Advance { units }),
        1 => any::<u64>().prop_map(|units| Step::SetTime { units }),
        1 => Just(Step::Poll),
        1 => vp.prop_map(|vp| Step::ResetVp { vp }),
        1 => Just(Step::Reset),
    ]
}

fn apply(fixture: &Fixture, step: &Step) {
    let hv = &fixture.hv;
    match *step {
        Step::Read { vp, msr } => drop(hv.read_msr(vp, msr)),
        Step::Write { vp, msr, value } => {
            let before = hv.read_msr(vp, msr);
            let time = msr == msr::TIME_REF_COUNT;
            if hv.write_msr(vp, msr, value).is_err() && !time {
                assert_eq!(hv.read_msr(vp, msr), before, "a fault changes nothing");
            }
        }
        Step::Call {
            control,
            input,
            output,
        } => {
            let result = fixture.call(control, input, output);
            let count = (control >> 32 & 0xFFF) as u16;
            assert!(result.completed() <= count);
        }
        Step::Poke { address, ref bytes } => drop(fixture.memory.write(address, bytes)),
        Step::EmptySlots => {
            for sint in 0..16 {
                fixture.empty_slot(0, sint);
            }
            let _ = hv.write_msr(0, msr::EOM, 0);
        }
        Step::Post { vp, sint, length } => {
            let before = hv.message_queue_len(vp, sint);
            if hv.post_message(vp, sint, 1, &vec![7; length]).is_err() {
                assert_eq!(hv.message_queue_len(vp, sint), before);
            }
        }
        Step::Signal { vp, sint, flag } => drop(hv.signal_event(vp, sint, flag)),
        Step::Advance { units } => fixture.advance(units),
        Step::SetTime { units } => hv.set_reference_time(units),
        Step::Poll => hv.poll_message_queues(),
        Step::ResetVp { vp } => hv.reset_vp(vp),
        Step::Reset => hv.reset(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_leaves_the_shim_sound(steps in prop::collection::vec(step(), 1..80)) {
        let fixture = Fixture::with(|config| {
            config.message_queue_limit = 8;
            config.privileges |= Privileges::TSC_INVARIANT;
            config.features |= Features::HYPERCALL_LOCK | Features::SINT_POLLING;
            config.hypercall_privileges |= HypercallPrivileges::ACCESS_VP_REGISTERS
                | HypercallPrivileges::ACCESS_PARTITION_ID
                | HypercallPrivileges::EXTENDED_HYPERCALLS;
        });
        fixture.hv.set_event_sink(|_| {});
        let port = TestPort::new(Status::SUCCESS);
        fixture.hv.add_message_port(1, port.clone()).unwrap();
        fixture.hv.add_event_port(1, port).unwrap();
        fixture.install_hypercall_page();
        fixture.enable_synic(0);
        for step in &steps {
            apply(&fixture, step);
            let snapshot = fixture.hv.snapshot();
            for vp in &snapshot.virtual_processors {
                prop_assert!(vp.waiting_messages.iter().all(|&waiting| waiting <= 8 + 4));
                for &sint in &vp.sints {
                    prop_assert!(sint & 1 << 16 != 0 || sint & 0xFF >= 16);
                }
                for &(config, _) in &vp.timers {
                    let message_mode = config & 1 << 12 == 0;
                    prop_assert!(!(config & 1 != 0 && message_mode && config >> 16 & 0xF == 0));
                    prop_assert!(config & 0xFFFF_FFFF_FFF0_E000 == 0);
                }
            }
            if snapshot.guest_os_id == 0 {
                prop_assert!(!fixture.hv.is_hypercall_page_enabled());
            }
            // Vectors below 16 are never raised.
            prop_assert!(fixture.interrupts().iter().all(|&(vp, vector)| vp < 2 && vector >= 16));
        }
        // After a reset every page is the guest's again and a new guest comes up.
        fixture.hv.reset();
        fixture.install_hypercall_page();
        fixture.enable_synic(0);
        prop_assert_eq!(fixture.slot(0, 2), (0, 0, 0, 0));
        fixture.hv.post_message(0, 2, 1, b"new").unwrap();
        prop_assert_eq!(fixture.slot(0, 2), (1, 3, 0, b'n'));
    }
}
