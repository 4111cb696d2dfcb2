//! Installing and removing the hypercall page.

use super::*;
use crate::mock::{Access, MockHyperV};

const IDENTITY: GuestOsId = GuestOsId::DEFAULT;

fn try_install(hv: &MockHyperV, identity: GuestOsId) -> Result<(), InstallError> {
    // SAFETY: the mock writes no page.
    unsafe { install(hv, identity, 0x123) }
}

fn try_remove(hv: &MockHyperV) -> Result<(), MsrFault> {
    // SAFETY: no hypercalls are made.
    unsafe { remove(hv) }
}

#[test]
fn identity_first_then_the_page_then_a_look() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::HYPERCALL, 0xAB4);
    try_install(&hv, IDENTITY).unwrap();
    assert_eq!(
        hv.take_log(),
        [
            Access::Write(msr::GUEST_OS_ID, IDENTITY.bits()),
            Access::Read(msr::HYPERCALL),
            Access::Write(msr::HYPERCALL, 0x123AB5),
            Access::Read(msr::HYPERCALL),
        ]
    );
    try_remove(&hv).unwrap();
    assert_eq!(hv.msr(msr::HYPERCALL), 0xAB4);
    assert_eq!(hv.msr(msr::GUEST_OS_ID), 0);
}

#[test]
fn without_identity_nothing_is_written() {
    let hv = MockHyperV::new();
    assert_eq!(
        try_install(&hv, GuestOsId::NONE),
        Err(InstallError::NoIdentity)
    );
    assert_eq!(hv.take_log(), []);
}

#[test]
fn enabling_without_identity_reads_back_disabled() {
    let hv = MockHyperV::new();
    // SAFETY: the mock writes no page.
    unsafe { hv.write_msr(msr::HYPERCALL, 0x123001) }.unwrap();
    assert_eq!(hv.msr(msr::HYPERCALL), 0x123000);
}

#[test]
fn a_hypervisor_that_ignores_the_page_is_noticed() {
    for ignored in [msr::HYPERCALL, msr::GUEST_OS_ID] {
        let hv = MockHyperV::new();
        hv.ignore_writes(ignored);
        let error = try_install(&hv, IDENTITY).unwrap_err();
        assert!(matches!(error, InstallError::Refused { register } if !register.is_enabled()));
        assert_eq!(hv.msr(msr::GUEST_OS_ID), 0);
    }
}

#[test]
fn fault_89_a_refused_page_is_a_typed_error() {
    for register in [msr::HYPERCALL, msr::GUEST_OS_ID] {
        let hv = MockHyperV::new();
        hv.refuse_writes(register);
        assert_eq!(
            try_install(&hv, IDENTITY),
            Err(InstallError::Fault(MsrFault { msr: register }))
        );
        assert_eq!(hv.msr(msr::GUEST_OS_ID), 0);
        assert_eq!(hv.msr(msr::HYPERCALL) & 1, 0);
    }
}

#[test]
fn a_locked_register_is_used_as_it_is_or_not_at_all() {
    let hv = MockHyperV::new();
    hv.set_msr(msr::HYPERCALL, 0x123003);
    assert_eq!(try_install(&hv, IDENTITY), Ok(()));
    hv.set_msr(msr::HYPERCALL, 0x124003);
    assert!(matches!(
        try_install(&hv, IDENTITY),
        Err(InstallError::Locked { register }) if register.page_frame() == 0x124
    ));
    // Its removal faults, and the identity is withdrawn nevertheless.
    assert_eq!(
        try_remove(&hv),
        Err(MsrFault {
            msr: msr::HYPERCALL
        })
    );
    assert_eq!(hv.msr(msr::GUEST_OS_ID), 0);
}
