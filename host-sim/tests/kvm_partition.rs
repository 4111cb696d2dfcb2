//! KVM partitions with guests of a few instructions: exits, answers, counts, ends.

mod kvm_support;

use std::arch::global_asm;
use std::time::Duration;

use host_sim::boot::long_mode::{bare_entry, write_tables};
use host_sim::memory::GuestMemory;
use host_sim::partition::kvm::{
    ExitCounts, Failure, KvmConfig, KvmError, Outcome, Partition, Platform, Running, probe,
};
use kvm_support::{Machine, finish, machine, skip};

const RAM: u64 = 4 << 20;
const CODE: u64 = 0x8_0000;
/// Where guests leave 8 bytes of result for each processor and number.
const RESULTS: u64 = 0x9_0000;

// Position-independent guests, entered with the processor's index in RSI. Each ends by writing a status to port 0xF4.
global_asm!(
    ".pushsection .rodata.guests, \"a\"",
    // Counts processors in; the last one leaves. Result per processor: its VP index MSR.
    "guest_vp_index:",
    "mov ecx, 0x40000002",
    "rdmsr",
    "mov [rsi * 8 + 0x90000], eax",
    "lock dec dword ptr [0x91000]",
    "jnz 2f",
    "xor eax, eax",
    "out 0xF4, al",
    "2: hlt",
    "jmp 2b",
    // Sets guest identity and hypercall page (at 0xA0000), calls an unknown code, then code 8, through the page.
    "guest_hypercall:",
    "mov ecx, 0x40000000",
    "mov eax, 1",
    "mov edx, 0xFF000000",
    "wrmsr",
    "mov ecx, 0x40000001",
    "mov eax, 0xA0001",
    "xor edx, edx",
    "wrmsr",
    "mov rsp, 0x8F000",
    "mov r9, 0x99",
    "mov r12, 0xA0000",
    "mov ecx, 0x7FFF",
    "xor edx, edx",
    "xor r8, r8",
    "call r12",
    "mov [0x90000], rax",
    "mov ecx, 0x10008",
    "xor edx, edx",
    "call r12",
    "mov [0x90008], rax",
    "mov [0x90010], r9",
    "mov al, 7",
    "out 0xF4, al",
    // Writes to the read-only VP index without a table of exception handlers.
    "guest_refused_msr:",
    "mov ecx, 0x40000002",
    "wrmsr",
    "hlt",
    // 5 reads of nothing, 3 writes to nothing, 2 memory reads of nothing, 1 memory write, 4 console writes.
    "guest_count:",
    "mov ecx, 5",
    "2: in al, 0x60",
    "dec ecx",
    "jnz 2b",
    "movzx ebx, al",
    "mov [0x90000], ebx",
    "mov ecx, 3",
    "2: out 0x80, al",
    "dec ecx",
    "jnz 2b",
    "mov rdx, 0xD0000000",
    "mov eax, [rdx]",
    "mov [0x90008], eax",
    "mov eax, [rdx]",
    "mov [rdx], eax",
    "mov edx, 0x3F8",
    "mov al, 0x68",
    "out dx, al",
    "inc al",
    "out dx, al",
    "mov al, 0x21",
    "out dx, al",
    "mov al, 10",
    "out dx, al",
    "xor eax, eax",
    "out 0xF4, al",
    // For ever.
    "guest_spin:",
    "pause",
    "jmp guest_spin",
    "guest_sleep:",
    "cli",
    "hlt",
    "jmp guest_sleep",
    // An instruction that no processor has, without a handler.
    "guest_undefined:",
    "mov eax, 0x1234",
    "ud2",
    // Asks for a reset by the MSR for it.
    "guest_reset:",
    "mov ecx, 0x40000003",
    "mov eax, 1",
    "xor edx, edx",
    "wrmsr",
    "2: hlt",
    "jmp 2b",
    // 16 reads of the time-stamp counter.
    "guest_counter:",
    "xor ebx, ebx",
    "2: rdtsc",
    "mov [rbx * 8 + 0x90000], eax",
    "mov [rbx * 8 + 0x90004], edx",
    "inc ebx",
    "cmp ebx, 16",
    "jne 2b",
    "xor eax, eax",
    "out 0xF4, al",
    "guests_end:",
    ".popsection",
);

unsafe extern "C" {
    static guest_vp_index: u8;
    static guest_hypercall: u8;
    static guest_refused_msr: u8;
    static guest_count: u8;
    static guest_spin: u8;
    static guest_sleep: u8;
    static guest_undefined: u8;
    static guest_reset: u8;
    static guest_counter: u8;
    static guests_end: u8;
}

/// The guest's code, and whatever follows it.
fn code(start: *const u8) -> Vec<u8> {
    let end = &raw const guests_end;
    // SAFETY: both labels are in one read-only section, the end after every start.
    unsafe { std::slice::from_raw_parts(start, end.offset_from(start).unsigned_abs()) }.to_vec()
}

fn load(machine: &mut Machine, guest: *const u8) {
    let memory = machine.partition.memory().clone();
    write_tables(&memory).unwrap();
    memory.write(CODE, &code(guest)).unwrap();
    machine.partition.set_entry(bare_entry(CODE));
}

fn result(running: &Running, index: u64) -> u64 {
    let mut bytes = [0; 8];
    let memory = &running.hv().config().memory;
    memory.read(RESULTS + index * 8, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn every_processor_starts_and_reads_its_index() {
    for count in [1, 2, 5] {
        let Some(mut machine) = machine("kvm vp index", count, RAM) else {
            return;
        };
        load(&mut machine, &raw const guest_vp_index);
        let memory = machine.partition.memory().clone();
        memory.write(0x9_1000, &count.to_le_bytes()).unwrap();
        let mut running = machine.partition.start().unwrap();
        assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
        for index in 0..u64::from(count) {
            assert_eq!(result(&running, index), index);
        }
        let counts = running.exit_counts_by_processor();
        assert!(counts.iter().all(|counts| counts.msr_read == 1));
        assert_eq!(running.exit_counts().power_off, 1);
    }
}

#[test]
fn the_hypercall_page_reaches_the_shim_and_changes_only_the_result() {
    let Some(mut machine) = machine("kvm hypercall", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_hypercall);
    let mut running = machine.partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 7 });
    assert_eq!(
        result(&running, 0),
        2,
        "an unknown code is INVALID_HYPERCALL_CODE"
    );
    assert_eq!(result(&running, 1), 0, "NotifyLongSpinWait succeeds");
    assert_eq!(result(&running, 2), 0x99, "other registers stay");
    let counts = running.exit_counts();
    assert_eq!((counts.hypercall, counts.msr_write), (2, 2));
    assert_eq!(counts.total(), 5);
}

#[test]
fn a_refused_msr_is_a_general_protection_fault_and_without_handler_the_end() {
    let Some(mut machine) = machine("kvm refused msr", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_refused_msr);
    let mut running = machine.partition.start().unwrap();
    let outcome = finish(&mut running);
    let Outcome::Failed {
        vp: 0,
        failure: Failure::TripleFault,
        ..
    } = outcome
    else {
        panic!("{outcome}");
    };
    let counts = running.exit_counts();
    assert_eq!((counts.msr_write, counts.fatal, counts.total()), (1, 1, 2));
}

#[test]
fn exits_are_counted_exactly_and_nowhere_reads_as_ones() {
    let Some(mut machine) = machine("kvm counts", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_count);
    let mut running = machine.partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
    assert_eq!(machine.console.text(), "hi!\n");
    assert_eq!(result(&running, 0), 0xFF);
    assert_eq!(result(&running, 1), 0xFFFF_FFFF);
    let wanted = ExitCounts {
        port_read: 5,
        port_write: 3,
        mmio_read: 2,
        mmio_write: 1,
        console: 4,
        power_off: 1,
        ..ExitCounts::default()
    };
    // The host may call a processor out at any time.
    let counts = ExitCounts {
        interrupted: 0,
        ..running.exit_counts()
    };
    assert_eq!(counts, wanted);
}

#[test]
fn running_and_sleeping_guests_are_stopped() {
    for guest in [&raw const guest_spin, &raw const guest_sleep] {
        let Some(mut machine) = machine("kvm stop", 2, RAM) else {
            return;
        };
        load(&mut machine, guest);
        let mut running = machine.partition.start().unwrap();
        assert_eq!(running.wait_for(Duration::from_millis(20)), None);
        assert_eq!(running.stop(), Outcome::Stopped);
        assert_eq!(running.stop(), Outcome::Stopped);
    }
}

#[test]
fn a_stop_handle_ends_the_run_from_elsewhere_and_outlives_it() {
    let Some(mut machine) = machine("kvm stop handle", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_sleep);
    let mut running = machine.partition.start().unwrap();
    let handle = running.stop_handle();
    let stopper = std::thread::spawn(move || {
        handle.stop();
        handle
    });
    assert_eq!(finish(&mut running), Outcome::Stopped);
    drop(running);
    stopper.join().unwrap().stop();
}

#[test]
fn a_partition_without_a_guest_does_not_start() {
    if let Some(machine) = machine("kvm no guest", 1, RAM) {
        let error = machine.partition.start().err().unwrap();
        assert_eq!(error.to_string(), "no guest has been loaded");
    }
}

#[test]
fn machines_of_impossible_shape_are_refused() {
    for (vp_count, text) in [(0, "0 virtual processors"), (100_000, "100000 virtual")] {
        let config = KvmConfig {
            memory: GuestMemory::new(RAM).unwrap(),
            vp_count,
            platform: Platform::Bare,
            console: Box::new(std::io::sink()),
            report: Box::new(std::io::sink()),
            on_event: None,
        };
        match Partition::new(config) {
            Err(KvmError::Missing { .. } | KvmError::Denied { .. } | KvmError::Capability(_)) => {
                skip("kvm shapes", "KVM cannot be used");
            }
            Err(error) => assert!(error.to_string().starts_with(text), "{error}"),
            Ok(_) => panic!("{vp_count} processors"),
        }
    }
}

#[test]
fn a_dropped_partition_stops() {
    let Some(mut machine) = machine("kvm drop", 2, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_spin);
    drop(machine.partition.start().unwrap());
}

#[test]
fn a_failed_guest_is_reported_with_its_registers() {
    let Some(mut machine) = machine("kvm failure", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_undefined);
    let mut running = machine.partition.start().unwrap();
    let outcome = finish(&mut running);
    let Outcome::Failed {
        failure: Failure::TripleFault,
        ..
    } = &outcome
    else {
        panic!("{outcome}");
    };
    assert!(outcome.to_string().contains("triple fault"));
}

#[test]
fn a_reset_request_ends_the_run() {
    let Some(mut machine) = machine("kvm reset", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_reset);
    let mut running = machine.partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::ResetRequested { vp: 0 });
}

#[test]
fn the_shim_and_the_guest_have_the_same_counter() {
    let Some(mut machine) = machine("kvm counter", 1, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_counter);
    let clock = machine.partition.hv().config().clock.clone();
    if !clock.guest_reads_it() {
        skip(
            "kvm counter",
            "KVM does not tell the guest's counter offset",
        );
        return;
    }
    let before = clock.tsc();
    let mut running = machine.partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
    let mut last = before;
    for index in 0..16 {
        let read = result(&running, index);
        assert!(last <= read, "{last} {read}");
        last = read;
    }
    assert!(last <= clock.tsc());
}

#[test]
fn fault_90_interrupts_to_offline_and_missing_processors_are_dropped() {
    let Some(mut machine) = machine("kvm offline interrupts", 2, RAM) else {
        return;
    };
    load(&mut machine, &raw const guest_sleep);
    let sink = machine.partition.hv().config().interrupts.clone();
    let storm = || {
        for vp in [0, 1, 2, 255, 256, u32::MAX] {
            for vector in [0, 15, 16, 0xF3, 255] {
                sink.inject(vp, vector);
            }
        }
    };
    storm();
    let mut running = machine.partition.start().unwrap();
    storm();
    assert_eq!(running.wait_for(Duration::from_millis(20)), None);
    assert_eq!(running.stop(), Outcome::Stopped);
    storm();
}

#[test]
fn the_probe_measures_a_speed() {
    match probe() {
        Ok(probe) => assert!(probe.mips > 0.01 && probe.mips < 1e6, "{probe:?}"),
        Err(why) => skip("kvm probe", &why.to_string()),
    }
}
