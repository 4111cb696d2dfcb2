//! The guest's side of the SynIC against the host's side in the mock.

use super::*;
use crate::MsrFault;
use crate::call::{MessageType, Status};
use crate::mock::{Access, MockHyperV, discovery, frame_of};
use crate::msr::{self, SintRegister};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

mod flags;
mod messages;

const VECTOR: u8 = 0xF3;
const SINT: SintIndex = SintIndex::VMBUS;

/// A page that is never freed, dirty with what someone left there.
fn page() -> SynicPage {
    let page = Box::leak(Box::new(MessagePage::new()));
    for slot in &page.slots {
        slot.message_type.store(77, Ordering::Relaxed);
        slot.payload[29].store(u64::MAX, Ordering::Relaxed);
    }
    SynicPage {
        page_frame: frame_of(page),
        base: NonNull::from(page).cast(),
    }
}

fn pages() -> SynicPages {
    SynicPages {
        messages: page(),
        event_flags: page(),
    }
}

fn source() -> Source {
    Source::vmbus(VECTOR, &discovery())
}

fn enable(hv: &MockHyperV) -> Synic {
    // SAFETY: the pages are leaked, and the vector goes into a list.
    unsafe { Synic::enable(hv, pages(), source()) }.unwrap()
}

fn disable(hv: &MockHyperV, synic: &Synic) -> Result<(), MsrFault> {
    // SAFETY: the mock has one processor.
    unsafe { synic.disable(hv, SINT) }
}

/// Reads every message that can be had without another interrupt.
fn drain(hv: &MockHyperV, synic: &Synic) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| synic.read_message(hv, SINT).unwrap())
        .map(|message| message.payload().to_vec())
        .collect()
}

fn flags(synic: &Synic) -> Vec<u16> {
    let mut found = Vec::new();
    synic.scan_event_flags(SINT, |flag| found.push(flag));
    found
}

#[test]
fn the_layout_is_the_specifications() {
    let header = MessageHeader {
        message_type: U32::new(1),
        payload_size: 2,
        flags: 3,
        reserved: U16::ZERO,
        origin: U64::new(4),
    };
    let mut expected = [0; 16];
    expected[slot::TYPE] = 1;
    expected[slot::PAYLOAD_SIZE] = 2;
    expected[slot::FLAGS] = 3;
    expected[slot::ORIGIN] = 4;
    assert_eq!(header.as_bytes(), expected);
    assert_eq!(slot::offset(SINT), 0x200);
    assert_eq!(
        EventFlagPosition::of(SINT, 65),
        Some(EventFlagPosition {
            offset: 0x208,
            mask: 2
        })
    );
    assert_eq!(EventFlagPosition::of(SINT, 2048), None);
}

#[test]
fn registers_are_written_in_order_and_pages_are_zeroed() {
    let hv = MockHyperV::new();
    let pages = pages();
    // SAFETY: the pages are leaked.
    let synic = unsafe { Synic::enable(&hv, pages, source()) }.unwrap();
    assert_eq!(
        hv.take_writes(),
        [
            (msr::SIMP, pages.messages.page_frame << 12 | 1),
            (msr::SIEFP, pages.event_flags.page_frame << 12 | 1),
            (SINT.register(), 0xF3),
            (msr::SCONTROL, 1),
        ]
    );
    for slot in &synic.message_page().slots {
        assert_eq!(slot.message_type.load(Ordering::Relaxed), 0);
        assert!(slot.payload.iter().all(|w| w.load(Ordering::Relaxed) == 0));
    }
    assert_eq!(flags(&synic), []);
    disable(&hv, &synic).unwrap();
    assert_eq!(
        hv.take_writes(),
        [
            (SINT.register(), 0x100F3),
            (msr::SIMP, 0),
            (msr::SIEFP, 0),
            (msr::SCONTROL, 0),
        ]
    );
}

#[test]
fn reserved_bits_are_kept() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::SIMP, 0xABC << 12 | 0x5A4);
    hv.set_msr(msr::SIEFP, 0x248);
    hv.set_msr(msr::SCONTROL, 0xF0F0);
    let reserved = 0xFFFF_FFFF_FFE8_FF00;
    hv.set_msr(
        SINT.register(),
        SintRegister::RESET.bits() | reserved | 1 << 17,
    );
    let synic = enable(&hv);
    assert_eq!(hv.msr(msr::SIMP) & 0xFFF, 0x5A5);
    assert_eq!(hv.msr(msr::SIEFP) & 0xFFF, 0x249);
    assert_eq!(hv.msr(msr::SCONTROL), 0xF0F1);
    assert_eq!(hv.msr(SINT.register()), reserved | 0xF3);
    disable(&hv, &synic).unwrap();
    assert_eq!(hv.msr(msr::SIMP), 0x5A4);
    assert_eq!(hv.msr(msr::SCONTROL), 0xF0F0);
    assert_eq!(hv.msr(SINT.register()), reserved | 0x100F3);
}

#[test]
fn automatic_eoi_follows_the_recommendation() {
    let mut discovery = discovery();
    assert!(!Source::vmbus(VECTOR, &discovery).auto_eoi);
    discovery.recommendations = crate::cpuid::Recommendations::empty();
    assert!(Source::vmbus(VECTOR, &discovery).auto_eoi);
}

#[test]
fn the_initial_state_of_the_global_switch_does_not_matter() {
    for initial in [0, 1] {
        let hv = MockHyperV::new();
        hv.set_msr(msr::SCONTROL, initial);
        enable(&hv);
        assert!(hv.take_writes().contains(&(msr::SCONTROL, 1)));
    }
}

#[test]
fn bad_arguments_change_nothing() {
    let hv = MockHyperV::new();
    let good = pages();
    let try_with = |pages, source| {
        // SAFETY: the pages are leaked.
        unsafe { Synic::enable(&hv, pages, source) }.unwrap_err()
    };
    let mut pages = good;
    // SAFETY: within the page.
    pages.messages.base = unsafe { pages.messages.base.add(8) };
    assert!(matches!(
        try_with(pages, source()),
        EnableError::Misaligned { .. }
    ));
    let mut pages = good;
    pages.event_flags.page_frame = pages.messages.page_frame;
    assert!(matches!(
        try_with(pages, source()),
        EnableError::SamePage { .. }
    ));
    let low = Source {
        vector: 15,
        ..source()
    };
    assert_eq!(try_with(good, low), EnableError::Vector { vector: 15 });
    assert_eq!(hv.take_log(), []);
}

#[test]
fn fault_86_every_mix_of_masked_polling_and_auto_eoi() {
    for mix in 0..8 {
        let hv = MockHyperV::new();
        let (masked, polling, auto_eoi) = (mix & 1 != 0, mix & 2 != 0, mix & 4 != 0);
        let synic = enable(&hv);
        let source = Source {
            polling,
            auto_eoi,
            ..source()
        };
        // SAFETY: the vector goes into a list.
        unsafe { unmask(&hv, source) }.unwrap();
        if masked {
            mask(&hv, SINT).unwrap();
        }
        let register = SintRegister::from_bits(hv.msr(SINT.register()));
        assert_eq!(register.is_masked(), masked);
        assert_eq!(register.is_polling(), polling);
        assert_eq!(register.is_auto_eoi(), auto_eoi);
        assert_eq!(register.vector(), VECTOR);

        hv.send(SINT, MessageType::VMBUS, b"m");
        let signalled = hv.signal(SINT, 3);
        let interrupts = hv.take_interrupts().len();
        if masked {
            assert_eq!(signalled, Status::INVALID_SYNIC_STATE);
        } else {
            assert_eq!(signalled, Status::SUCCESS);
        }
        assert_eq!(interrupts, if masked || polling { 0 } else { 2 });
        // With or without interrupt, polling finds what there is.
        assert_eq!(drain(&hv, &synic), [b"m".to_vec()]);
        assert_eq!(flags(&synic).len(), usize::from(!masked));

        // A message that came while masked is found by polling after unmasking.
        mask(&hv, SINT).unwrap();
        hv.send(SINT, MessageType::VMBUS, b"n");
        // SAFETY: the vector goes into a list.
        unsafe { unmask(&hv, source) }.unwrap();
        assert_eq!(hv.take_interrupts(), []);
        assert_eq!(drain(&hv, &synic), [b"n".to_vec()]);
    }
}

#[test]
fn fault_89_each_refused_register_is_a_typed_error() {
    for register in [msr::SIMP, msr::SIEFP, SINT.register(), msr::SCONTROL] {
        let hv = MockHyperV::new();
        hv.refuse_writes(register);
        // SAFETY: the pages are leaked.
        let error = unsafe { Synic::enable(&hv, pages(), source()) }.unwrap_err();
        assert_eq!(
            error,
            EnableError::Fault {
                fault: MsrFault { msr: register },
                pages_released: true
            }
        );
        assert!(error.to_string().contains("general protection fault"));
        assert_eq!(hv.msr(msr::SIMP) & 1, 0);
        assert_eq!(hv.msr(msr::SIEFP) & 1, 0);
        assert_eq!(hv.msr(SINT.register()) & 1 << 16, 1 << 16);
    }
}

#[test]
fn fault_89_a_vector_below_16_faults() {
    let hv = MockHyperV::new();
    let low = Source {
        vector: 15,
        ..source()
    };
    assert_eq!(
        // SAFETY: the mock refuses the vector.
        unsafe { unmask(&hv, low) },
        Err(MsrFault {
            msr: SINT.register()
        })
    );
}

#[test]
fn fault_89_disabling_goes_on_past_faults() {
    let hv = MockHyperV::new();
    let synic = enable(&hv);
    hv.refuse(msr::SIMP);
    assert_eq!(disable(&hv, &synic), Err(MsrFault { msr: msr::SIMP }));
    assert_eq!(hv.msr(msr::SIEFP), 0);
    assert_eq!(hv.msr(msr::SCONTROL), 0);
    assert_eq!(hv.msr(SINT.register()) & 1 << 16, 1 << 16);
}
