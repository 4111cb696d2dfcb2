//! The order of writes of a crash report.

use super::*;
use crate::mock::MockHyperV;

fn parameters(values: [u64; 5]) -> impl Iterator<Item = (u32, u64)> {
    PARAMETERS.into_iter().zip(values)
}

#[test]
fn the_control_register_comes_last() {
    let hv = MockHyperV::new();
    report(&hv, [1, 2, 3, 4, 5]).unwrap();
    let writes = hv.take_writes();
    assert!(parameters([1, 2, 3, 4, 5]).eq(writes[..5].iter().copied()));
    assert_eq!(writes[5..], [(msr::CRASH_CTL, 1 << 63)]);
}

#[test]
fn a_text_is_reported_where_the_host_takes_one() {
    let hv = MockHyperV::new();
    // SAFETY: the mock reads no text.
    unsafe { report_message(&hv, [1, 2, 3], 0x7000, 5000) }.unwrap();
    let writes = hv.take_writes();
    assert!(parameters([1, 2, 3, 0x7000, 4096]).eq(writes[..5].iter().copied()));
    assert_eq!(writes[5..], [(msr::CRASH_CTL, 3 << 62)]);
    hv.set_msr(msr::CRASH_CTL, 1 << 63);
    assert_eq!(supported(&hv), Ok(CrashControl::NOTIFY));
    // SAFETY: the mock reads no text.
    unsafe { report_message(&hv, [1, 2, 3], 0x7000, 7) }.unwrap();
    assert_eq!(hv.take_writes()[5..], [(msr::CRASH_CTL, 1 << 63)]);
}

#[test]
fn fault_89_without_crash_registers_nothing_is_triggered() {
    for register in PARAMETERS {
        let hv = MockHyperV::new();
        hv.refuse(register);
        let fault = Err(MsrFault { msr: register });
        assert_eq!(report(&hv, [0; 5]), fault);
        assert!(
            hv.take_writes()
                .iter()
                .all(|write| write.0 != msr::CRASH_CTL)
        );
    }
}

#[test]
fn the_pre_os_environment_is_three_bits() {
    assert_eq!(
        CrashControl::from_bits_retain(5 << 58 | 1 << 63).pre_os_id(),
        5
    );
    assert_eq!(CrashControl::NO_CRASH_DUMP.pre_os_id(), 0);
}
