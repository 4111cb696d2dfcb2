//! What is given back, and in which order.

use super::*;
use crate::assist;
use crate::mock::{MockHyperV, discovery};
use crate::vp_index;
use std::vec::Vec;

/// Everything enabled that can be.
fn running() -> MockHyperV {
    let hv = MockHyperV::new();
    for (register, value) in [
        (msr::GUEST_OS_ID, 0xFF << 56),
        (msr::HYPERCALL, 0x1001),
        (msr::REFERENCE_TSC, 0x2001),
        (msr::VP_ASSIST_PAGE, 0x3001),
        (msr::SIMP, 0x4000),
        (msr::SIEFP, 0x5001),
        (msr::STIMER2_CONFIG, 0x1ED9),
        (msr::STIMER2_COUNT, 99),
        (msr::SINT0 + 5, 0xF3),
    ] {
        hv.set_msr(register, value);
    }
    hv
}

#[test]
fn a_virtual_processor_gives_everything_back() {
    let hv = running();
    // SAFETY: nothing of the mock is in use.
    unsafe { virtual_processor(&hv, &discovery()) }.unwrap();
    assert_eq!(hv.msr(msr::STIMER2_CONFIG), 0);
    assert_eq!(hv.msr(msr::STIMER2_COUNT), 0);
    assert_eq!(hv.msr(msr::SINT0 + 5), 0x100F3);
    for register in [msr::SIMP, msr::SIEFP, msr::SCONTROL, msr::VP_ASSIST_PAGE] {
        assert_eq!(hv.msr(register), 0);
    }
    let order: Vec<u32> = hv.take_writes().iter().map(|write| write.0).collect();
    let place = |register| order.iter().position(|seen| *seen == register).unwrap();
    assert!(place(msr::STIMER3_CONFIG) < place(msr::SINT0));
    assert!(place(msr::SINT15) < place(msr::SIMP));
    assert!(place(msr::SIMP) < place(msr::SIEFP));
    assert!(place(msr::SIEFP) < place(msr::SCONTROL));
}

#[test]
fn the_partition_gives_everything_back() {
    let hv = running();
    // SAFETY: nothing of the mock is in use.
    unsafe { partition(&hv, &discovery()) }.unwrap();
    assert_eq!(
        hv.take_writes(),
        [
            (msr::REFERENCE_TSC, 0),
            (msr::HYPERCALL, 0),
            (msr::GUEST_OS_ID, 0)
        ]
    );
}

#[test]
fn registers_without_privilege_are_not_touched() {
    let hv = running();
    let mut discovery = discovery();
    discovery.privileges = Privileges::MANDATORY;
    // SAFETY: nothing of the mock is in use.
    unsafe {
        virtual_processor(&hv, &discovery).unwrap();
        assert_eq!(hv.take_log(), []);
        partition(&hv, &discovery).unwrap();
    }
    assert_eq!(
        hv.take_writes(),
        [(msr::HYPERCALL, 0), (msr::GUEST_OS_ID, 0)]
    );
}

#[test]
fn fault_89_teardown_goes_on_past_faults() {
    let hv = running();
    hv.refuse(msr::STIMER0_COUNT);
    hv.refuse(msr::REFERENCE_TSC);
    // SAFETY: nothing of the mock is in use.
    unsafe {
        assert_eq!(
            virtual_processor(&hv, &discovery()),
            Err(MsrFault {
                msr: msr::STIMER0_COUNT
            })
        );
        assert_eq!(
            partition(&hv, &discovery()),
            Err(MsrFault {
                msr: msr::REFERENCE_TSC
            })
        );
    }
    assert_eq!(hv.msr(msr::STIMER2_CONFIG), 0);
    assert_eq!(hv.msr(msr::SIEFP), 0);
    assert_eq!(hv.msr(msr::HYPERCALL), 0);
    assert_eq!(hv.msr(msr::GUEST_OS_ID), 0);
}

#[test]
fn the_assist_page_comes_and_goes() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::VP_ASSIST_PAGE, 0x10);
    // SAFETY: the mock writes no page.
    unsafe { assist::enable(&hv, 0x77) }.unwrap();
    assert_eq!(hv.msr(msr::VP_ASSIST_PAGE), 0x77011);
    assist::disable(&hv).unwrap();
    assert_eq!(hv.msr(msr::VP_ASSIST_PAGE), 0x10);
}

#[test]
fn the_index_is_read_on_the_processor_itself() {
    for index in [0, 3, 255] {
        let hv = MockHyperV::new();
        hv.set_msr(msr::VP_INDEX, index);
        assert_eq!(vp_index(&hv), Ok(index as u32));
    }
    let hv = MockHyperV::new();
    hv.refuse(msr::VP_INDEX);
    assert_eq!(vp_index(&hv), Err(MsrFault { msr: msr::VP_INDEX }));
}
