//! `cargo xtask test`: everything that guards the main branch, from formatting to real virtual CPUs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use crate::fault_table::{FaultTable, passed_test};
use crate::run::{self, Error, cargo, check, say, show};
use crate::{e2e, guest, toolchain};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose names contain this, and skip the lints
    filter: Option<String>,
}

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: Vec<String>,
    failures: Vec<String>,
    faults: FaultTable,
}

impl Count {
    /// Takes note of the output of one run of tests.
    fn note(&mut self, lines: &[String]) {
        for line in lines {
            self.faults.note(line);
            if let Some(name) = failed_test(line) {
                self.failures.push(name.to_owned());
            }
            if let Some(result) = line.strip_prefix("test result: ") {
                self.passed += number_before(result, " passed");
                self.failed += number_before(result, " failed");
                self.ignored += number_before(result, " ignored");
            }
        }
        self.note_skips(lines);
    }

    /// A test that cannot run here says so, `skipped: NAME: why`, and returns: the harness then counts it as passed, and
    /// nothing shall pass by not running. One that leaves out a part only names itself as `part of NAME`.
    fn note_skips(&mut self, lines: &[String]) {
        let passed: BTreeSet<_> = lines.iter().filter_map(|line| passed_test(line)).collect();
        let mut seen = BTreeSet::new();
        for line in lines {
            let Some(skip) = line.trim().strip_prefix("skipped: ") else {
                continue;
            };
            let name = skip.split(": ").next().unwrap_or(skip);
            if !seen.insert(name) {
                continue;
            }
            self.skipped.push(skip.to_owned());
            if passed.contains(name) {
                self.passed = self.passed.saturating_sub(1);
                self.faults.forget(name);
            }
        }
    }
}

/// The test that this line says has failed.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

fn number_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let digits = text[..end].rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Runs the steps in order and prints how many tests ran, which were skipped and why.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let started = Instant::now();
    if options.filter.is_none() {
        lint()?;
    }
    say("setting up the bare-metal target and building the guest");
    let guest = guest::build()?;
    if options.filter.is_none() {
        say("building the embeddable crates for x86_64-unknown-none");
        toolchain::check_embeddable_crates()?;
    }
    let mut count = Count::default();
    let mut outcome = tests(options, &guest, &mut count);
    if options.filter.is_none() {
        outcome = outcome.and(models(&mut count));
        outcome = outcome.and(stock_kernels(&mut count));
    }
    count.faults.print();
    println!(
        "\nskipped for a missing facility of this machine: {}",
        count.skipped.len()
    );
    for skip in &count.skipped {
        println!("  {skip}");
    }
    for name in &count.failures {
        println!("failed: {name}");
    }
    println!("time: {} s", started.elapsed().as_secs());
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed,
        count.failed,
        count.ignored + count.skipped.len() as u64
    );
    outcome
}

fn lint() -> Result<(), Error> {
    say("formatting");
    check(cargo().args(["fmt", "--all", "--check"]))?;
    say("clippy, warnings denied");
    check(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    say("documentation, warnings denied");
    check(
        cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn tests(options: &Options, guest: &PathBuf, count: &mut Count) -> Result<(), Error> {
    say("the host's release build, for the tests that start it");
    check(cargo().args(["build", "--release", "--quiet", "-p", "host-sim"]))?;
    say("unit, property, in-process and virtual-CPU tests");
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = &options.filter {
        command.arg(filter);
    }
    command.env("VIRIDIAN_GUEST", guest).env(
        "VIRIDIAN_HOST_SIM",
        run::target_dir().join("release/host-sim"),
    );
    let shown = show(&mut command)?;
    count.note(&shown.lines);
    shown.outcome?;
    if options.filter.is_none() {
        say("the table of protocol versions, from the tests that have just run");
        check(cargo().args([
            "test",
            "--quiet",
            "-p",
            "e2e-tests",
            "--test",
            "versions",
            "--",
            "--nocapture",
        ]))?;
    }
    Ok(())
}

/// The `loom` models of the ring's hand-offs: every interleaving that the memory model allows.
fn models(count: &mut Count) -> Result<(), Error> {
    say("loom models of the ring");
    let shown = show(
        cargo()
            .args([
                "test",
                "--release",
                "-p",
                "vmbus-core",
                "--test",
                "loom_ring",
            ])
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", run::target_dir().join("loom")),
    )?;
    count.note(&shown.lines);
    shown.outcome
}

/// Stock Linux kernels as guests of the host.
fn stock_kernels(count: &mut Count) -> Result<(), Error> {
    say("stock Linux kernels as guests");
    let totals = e2e::run_all(&e2e::Options::sample())?;
    count.passed += totals.passed;
    count.failed += totals.failed;
    count.skipped.extend(totals.skipped);
    match totals.failed {
        0 => Ok(()),
        failed => Err(Error::new(format!("scenarios that failed: {failed}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut count = Count::default();
        count.note(&[
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out"
                .to_owned(),
            "test a::b ... FAILED".to_owned(),
            "test a::c ... ok".to_owned(),
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured".to_owned(),
            "skipped: kvm_boot: /dev/kvm is missing".to_owned(),
        ]);
        assert_eq!(
            (
                count.passed,
                count.failed,
                count.ignored,
                count.skipped.len()
            ),
            (15, 2, 1, 1)
        );
        assert_eq!(count.failures, ["a::b"]);
    }

    /// What a test cannot do here it says in a line of its own, and then the harness counts it as passed.
    #[test]
    fn nothing_passes_by_not_running() {
        let mut count = Count::default();
        count.note(
            &[
                "skipped: fault_90_interrupts: KVM: /dev/kvm is missing",
                "test fault_90_interrupts ... ok",
                "test fault_90_elsewhere ... ok",
                "skipped: part of transcripts: KVM: /dev/kvm is missing",
                "test transcripts ... ok",
                "skipped: qemu_agrees: qemu-img: not found",
                "skipped: qemu_agrees: qemu-img: not found",
                "test qemu_agrees ... ok",
                "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            ]
            .map(str::to_owned),
        );
        assert_eq!((count.passed, count.skipped.len()), (2, 3));
        let table = count.faults.covering(90);
        assert_eq!(table, ["fault_90_elsewhere"]);
    }
}
