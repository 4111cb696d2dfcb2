//! What can be tried without privilege: CPUID, the counter, and the calling
//! convention against a page of our own.

use super::*;
use core::arch::naked_asm;

fn cpu() -> Cpu {
    // SAFETY: only methods that need no privilege are called in these tests.
    unsafe { Cpu::new() }
}

/// Behaves as a hypercall page may: returns a mix of its inputs and ruins every
/// register that it is allowed to.
#[unsafe(naked)]
unsafe extern "C" fn page() {
    naked_asm!(
        "lea rax, [rcx + 2 * rdx]",
        "lea rax, [rax + 4 * r8]",
        "mov rcx, -1",
        "mov rdx, -1",
        "mov r8, -1",
        "mov r9, -1",
        "mov r10, -1",
        "mov r11, -1",
        "ret",
    )
}

#[test]
fn parameters_go_in_and_the_result_comes_back() {
    let entry = NonNull::new(page as *mut u8).unwrap();
    // SAFETY: `page` keeps the convention of a hypercall page.
    let cpu = unsafe { cpu().with_hypercall_page(entry) };
    for round in 0..100u64 {
        // SAFETY: `page` touches no memory.
        let result = unsafe { cpu.hypercall(round, 10 * round, 1000) };
        assert_eq!(result, round + 20 * round + 4000);
    }
}

#[test]
fn without_a_page_no_call_is_made() {
    // SAFETY: nothing is called.
    let result = unsafe { cpu().hypercall(0x5C, 0, 0) };
    assert_eq!(
        CallResult::from_bits(result).status(),
        Status::INVALID_PARTITION_STATE
    );
}

#[test]
fn the_counter_advances_and_cpuid_answers() {
    let before = cpu().tsc();
    let vendor = cpu().cpuid(0, 0);
    assert!(vendor.eax >= 1);
    assert!(cpu().tsc() >= before);
}
