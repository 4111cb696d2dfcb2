//! The bare-metal guest image on KVM: its machine's own tests.

mod kvm_support;

use host_sim::boot::elf::{self, Program};
use host_sim::boot::long_mode::LoadError;
use host_sim::partition::kvm::{Outcome, Running};
use kvm_support::{Machine, finish, image, machine, wait_until};

const RAM: u64 = 16 << 20;
const SYNIC_VECTOR: u8 = 0xF3;

fn loaded(test: &str, processors: u32) -> Option<Machine> {
    let bytes = image(test)?;
    let mut machine = machine(test, processors, RAM)?;
    let image = elf::parse(&bytes).unwrap();
    machine
        .partition
        .load_elf(&image, &format!("selftest={test}"))
        .unwrap();
    Some(machine)
}

struct Ended {
    outcome: Outcome,
    console: String,
    report: String,
    running: Running,
}

fn run(test: &str, processors: u32) -> Option<Ended> {
    let machine = loaded(test, processors)?;
    let mut running = machine.partition.start().unwrap();
    let outcome = finish(&mut running);
    Some(Ended {
        outcome,
        console: machine.console.text(),
        report: machine.report.text(),
        running,
    })
}

impl Ended {
    /// The report of a test that ended well.
    fn good(&self) -> &str {
        let good = Outcome::PoweredOff { status: 0 };
        assert_eq!(self.outcome, good, "{}\n{}", self.outcome, self.console);
        &self.report
    }
}

#[test]
fn the_image_tells_its_program() {
    let Some(bytes) = image("guest note") else {
        return;
    };
    let image = elf::parse(&bytes).unwrap();
    assert_eq!(image.program, Some(Program::linked_twin()));
}

#[test]
fn it_boots_and_powers_off() {
    for processors in [1, 2, 4] {
        let Some(ended) = run("boot", processors) else {
            return;
        };
        assert_eq!(
            ended.good(),
            format!("processors {processors}\nsum 499500\n")
        );
        assert_eq!(ended.console, "selftest boot\n");
        let counts = ended.running.exit_counts();
        assert_eq!((counts.power_off, counts.fatal), (1, 0));
    }
}

#[test]
fn other_processors_run_work() {
    let Some(ended) = run("smp", 3) else { return };
    assert_eq!(
        ended.good(),
        "others [(1, 1), (2, 2)]\nthere is no processor 3\n"
    );
}

#[test]
fn work_without_privileges_is_interrupted_and_comes_back() {
    let Some(ended) = run("user-mode", 2) else {
        return;
    };
    assert_eq!(
        ended.good(),
        "processor 0 levels 0 3 0 sum 499500 itself 0\nprocessor 1 levels 0 3 0 sum 499500 itself 1\n"
    );
}

#[test]
fn interrupts_wake_every_processor() {
    for processors in [1, 2] {
        let Some(machine) = loaded("interrupts,3", processors) else {
            return;
        };
        let sink = machine.partition.hv().config().interrupts.clone();
        let report = machine.report.clone();
        let mut running = machine.partition.start().unwrap();
        for vp in 0..processors {
            wait_until(|| report.text().contains(&format!("waiting {vp}\n")));
            for number in 1..=3 {
                sink.inject(vp, SYNIC_VECTOR);
                let line = format!("processor {vp} interrupt {number}\n");
                wait_until(|| report.text().contains(&line));
            }
        }
        assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
        assert!(report.text().ends_with("done\n"));
    }
}

#[test]
fn cpuid_shows_the_shim() {
    let Some(ended) = run("cpuid,40000000", 1) else {
        return;
    };
    let wanted = " 7263694d 666f736f 76482074\n";
    assert!(ended.good().ends_with(wanted), "{}", ended.report);
    let Some(ended) = run("cpuid,1", 1) else {
        return;
    };
    let ecx = ended.good().split(' ').nth(4).unwrap();
    assert_ne!(u32::from_str_radix(ecx, 16).unwrap() & 1 << 31, 0);
}

#[test]
fn fault_89_refused_msrs_are_general_protection_faults() {
    for (register, report) in [
        ("40000002", "read 40000002 0\nwrite 40000002 refused\n"),
        ("40000090", "read 40000090 10000\nwrite 40000090\n"),
        (
            "400000ff",
            "read 400000ff refused\nwrite 400000ff refused\n",
        ),
        ("40000105", "read 40000105"),
        (
            "400001ff",
            "read 400001ff refused\nwrite 400001ff refused\n",
        ),
        (
            "40001080",
            "read 40001080 refused\nwrite 40001080 refused\n",
        ),
        (
            "12345678",
            "read 12345678 refused\nwrite 12345678 refused\n",
        ),
    ] {
        let Some(ended) = run(&format!("msr,{register}"), 1) else {
            return;
        };
        assert!(ended.good().starts_with(report), "{}", ended.report);
    }
}

#[test]
fn memory_and_its_copy_routines_work() {
    let Some(ended) = run("memory", 1) else {
        return;
    };
    assert!(ended.good().starts_with("intact true"));
}

#[test]
fn the_idle_timer_wakes() {
    let Some(ended) = run("timer", 1) else { return };
    assert_eq!(ended.good(), "woken\n");
}

#[test]
fn a_panic_an_exception_and_an_exhausted_heap_are_printed_and_power_off() {
    for (test, status, text) in [
        ("panic", 101, "a panic on purpose"),
        ("exhaust", 101, "memory allocation of"),
        ("undefined", 128 + 6, "exception 6 error 0x0 at 0x2"),
        ("user-panic", 101, "a panic without privileges"),
        ("user-forbidden", 128 + 13, "exception 13 error 0x0 at 0x2"),
        ("fault", 128 + 14, "address 0x7fff00000000"),
        ("no such test", 2, "selftest"),
    ] {
        let Some(ended) = run(test, 2) else { return };
        assert_eq!(ended.outcome, Outcome::PoweredOff { status }, "{test}");
        assert!(ended.console.contains(text), "{test}: {}", ended.console);
    }
}

#[test]
fn a_triple_fault_is_told() {
    let Some(ended) = run("triple-fault", 1) else {
        return;
    };
    assert!(
        ended.outcome.to_string().contains("triple fault"),
        "{}",
        ended.outcome
    );
}

#[test]
fn a_sleeping_and_a_spinning_guest_are_stopped() {
    for (test, line) in [("sleep", "asleep\n"), ("spin", "spinning\n")] {
        let Some(machine) = loaded(test, 2) else {
            return;
        };
        let mut running = machine.partition.start().unwrap();
        wait_until(|| machine.report.text() == line);
        assert_eq!(running.stop(), Outcome::Stopped);
    }
}

#[test]
fn a_machine_too_small_or_a_command_line_too_long_is_refused() {
    let Some(bytes) = image("guest too small") else {
        return;
    };
    let image = elf::parse(&bytes).unwrap();
    let Some(mut small) = machine("guest too small", 1, 4 << 20) else {
        return;
    };
    let error = small.partition.load_elf(&image, "").unwrap_err();
    assert!(error.to_string().contains("give it more memory"), "{error}");
    let Some(mut machine) = machine("guest too small", 1, RAM) else {
        return;
    };
    let error = machine.partition.load_elf(&image, &" ".repeat(4097));
    assert_eq!(error, Err(LoadError::CommandLine(4097)));
}
