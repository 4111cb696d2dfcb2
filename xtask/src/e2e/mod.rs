//! `cargo xtask e2e`: stock Debian kernels as guests of `host-sim`.
//!
//! Kernels, their modules and user space come from Debian's archive and stay in the cache. Guests run on this
//! machine's KVM where its processor has virtualisation. Elsewhere they run nested: QEMU emulates a processor that has
//! it, in a machine that holds nothing but KVM, `host-sim` and the program of the scenarios.

use std::path::{Path, PathBuf};

use linux_guest_tests::plan::{Job, Outcome};
use linux_guest_tests::scenarios;

use self::attempt::Report;
use self::carried::Carried;
use self::kernels::{SOURCES, Source, Store};
use self::place::{Guest, Nested, PAYLOAD_FOLDER, Place, Programs};
use crate::run::{self, Error, say};

mod attempt;
pub(crate) mod boot_cost;
mod carried;
mod cpio;
mod elf;
mod images;
mod kernels;
mod modules;
mod monitor;
mod place;
mod qemu;
mod rounds;
mod snapshot;
mod table;

/// The kernel of the outer machine.
const OUTER_KERNEL: &str = "6.1";

/// What `cargo xtask test` runs: what is known to pass, in the time that a test before each change may take.
const SAMPLE: [(&str, &str, u32); 14] = [
    ("boot", "6.1", 1),
    ("boot", "6.12", 2),
    ("disk", "6.12", 1),
    ("disk-hot", "6.1", 1),
    ("sub-channels", "6.1", 2),
    ("network-tap", "6.1", 1),
    ("input", "6.1", 1),
    ("heartbeat", "6.1", 1),
    ("shutdown", "6.12", 1),
    ("kvp", "6.12", 1),
    ("vss", "6.1", 1),
    ("file-copy", "6.1", 1),
    ("time-sync", "6.12", 1),
    ("control", "6.1", 2),
];

/// How often a scenario is tried where the processor is emulated.
const EMULATED_TRIES: u32 = 3;

/// What to run, and where.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Run only jobs (SCENARIO-KERNEL-CPUS) whose names contain one of these
    filters: Vec<String>,
    /// Run only on this kernel, such as 6.1 or 6.12, in all its flavours
    #[arg(long)]
    kernel: Option<String>,
    /// Run only with so many virtual processors
    #[arg(long)]
    cpus: Option<u32>,
    /// Keep the logs of scenarios that passed too
    #[arg(long)]
    keep: bool,
    /// Have guests of an emulated processor move as much data as others, which takes many minutes
    #[arg(long)]
    whole: bool,
    /// Run nested in QEMU even where KVM is real
    #[arg(long)]
    nested: bool,
    /// Run on this machine's KVM even where it emulates the processor
    #[arg(long, conflicts_with = "nested")]
    direct: bool,
    /// Run only what `cargo xtask test` runs
    #[arg(long)]
    sample: bool,
    /// How often a scenario may be tried until it passes; by default 3 where the processor is emulated, otherwise 1
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    tries: Option<u32>,
    /// List the scenarios and run nothing
    #[arg(long)]
    list: bool,
}

impl Options {
    /// What a change is tested with.
    pub(crate) fn sample() -> Self {
        Self {
            sample: true,
            ..Self::default()
        }
    }
}

/// How many scenarios had which outcome.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Could not be tried here: a line for each, with the reason.
    pub(crate) skipped: Vec<String>,
}

/// Runs scenarios and prints how they went.
///
/// # Errors
/// A scenario failed, or nothing could be built.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    if options.list {
        for scenario in scenarios::ALL {
            println!("{:14} {}", scenario.name, scenario.about);
            println!(
                "{:14} kernels {}; processors {:?}",
                "",
                scenario.kernels.join(", "),
                scenario.cpus
            );
        }
        return Ok(());
    }
    let totals = run_all(options)?;
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed,
        totals.failed,
        totals.skipped.len()
    );
    match totals.failed {
        0 => Ok(()),
        1 => Err(Error::new("one scenario failed")),
        count => Err(Error::new(format!("{count} scenarios failed"))),
    }
}

/// Runs scenarios, prints the table of their outcomes and counts them.
///
/// # Errors
/// Nothing could be built or started. Failed scenarios are counted, not errors.
pub(crate) fn run_all(options: &Options) -> Result<Totals, Error> {
    let jobs = jobs(options);
    if jobs.is_empty() {
        return Err(Error::new("no scenario is called so"));
    }
    let sources: Vec<_> = SOURCES
        .iter()
        .filter(|source| jobs.iter().any(|job| job.kernel == source.name))
        .collect();
    let programs = Programs::build()?;
    let folder = run::target_dir().join("e2e");
    let _turn = wait_for_turn()?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let nested = options.nested || !(options.direct || place::kvm_is_real(&programs.host_sim));
    let Prepared {
        guests,
        nested,
        passt,
    } = match prepare(&sources, nested, &folder) {
        Ok(prepared) => prepared,
        Err(error) => {
            let skip = |job: &Job| format!("stock Linux, {job}: {error}");
            println!("skipped: stock Linux guests: {error}");
            return Ok(Totals {
                skipped: jobs.iter().map(skip).collect(),
                ..Totals::default()
            });
        }
    };
    say(if nested.is_some() {
        "running stock kernels nested in QEMU: this machine's KVM is none or emulates"
    } else {
        "running stock kernels on this machine's KVM"
    });
    let place = Place {
        programs: &programs,
        guests: &guests,
        folder: &folder,
        keep: options.keep,
        whole: options.whole,
        nested,
        qemu: None,
        passt,
    };
    let mut tell = |report: &Report, lines: &[String]| progress(report, lines);
    let is_emulated = place.nested.is_some();
    let tries = options
        .tries
        .unwrap_or(if is_emulated { EMULATED_TRIES } else { 1 });
    let reports = rounds::run(jobs, is_emulated, tries as usize, &mut |jobs| {
        place.attempt(jobs, &mut tell)
    })?;
    summary(&reports, &place)
}

/// Waits until no other run uses the folder of images and logs. The turn ends with the file.
fn wait_for_turn() -> Result<std::fs::File, Error> {
    let lock = std::fs::File::create(run::target_dir().join("e2e.lock"))?;
    if lock.try_lock().is_err() {
        say("waiting for another run of these tests to end");
        lock.lock()?;
    }
    Ok(lock)
}

/// What to run: scenarios in their order, on each kernel, with each number of processors.
fn jobs(options: &Options) -> Vec<Job> {
    let wanted_kernel = |name: &str| {
        let wanted = options.kernel.as_deref();
        wanted.is_none_or(|wanted| {
            let rest = name.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let mut jobs = Vec::new();
    for scenario in scenarios::ALL {
        let mut of_scenario = Vec::new();
        for kernel in scenario.kernels.iter().filter(|name| wanted_kernel(name)) {
            for cpus in scenario.cpus {
                if options.cpus.is_none_or(|wanted| wanted == *cpus) {
                    of_scenario.push(Job {
                        scenario: scenario.name.to_owned(),
                        kernel: (*kernel).to_owned(),
                        cpus: *cpus,
                    });
                }
            }
        }
        if options.sample {
            of_scenario.retain(|job| {
                let job = (job.scenario.as_str(), job.kernel.as_str(), job.cpus);
                SAMPLE.contains(&job)
            });
        }
        if !options.filters.is_empty() {
            of_scenario.retain(|job| {
                let name = job.to_string();
                let mut filters = options.filters.iter();
                filters.any(|part| name.contains(part.as_str()))
            });
        }
        jobs.extend(of_scenario);
    }
    jobs
}

/// All files that are not ours.
struct Prepared {
    guests: Vec<Guest>,
    nested: Option<Nested>,
    passt: Option<Carried>,
}

/// Gets them.
fn prepare(sources: &[&Source], nested: bool, folder: &Path) -> Result<Prepared, Error> {
    let mut store = Store::open()?;
    let mut guests = Vec::new();
    for source in sources {
        let kernel = store
            .kernel(source)
            .map_err(|error| Error::new(format!("kernel {}: {error}", source.name)))?;
        let initramfs = images::guest(&kernel)
            .map_err(|error| Error::new(format!("kernel {}: {error}", source.name)))?;
        guests.push(Guest { kernel, initramfs });
    }
    let passt = if nested {
        Carried::passt_packed(&mut store, Path::new(PAYLOAD_FOLDER))
    } else {
        Carried::passt_here(&mut store)
    };
    // One scenario needs it, and says so.
    let passt = passt
        .inspect_err(|error| say(&format!("going on without passt: {error}")))
        .ok();
    if !nested {
        return Ok(Prepared {
            guests,
            nested: None,
            passt,
        });
    }
    let outer = SOURCES
        .iter()
        .find(|source| source.name == OUTER_KERNEL)
        .ok_or_else(|| Error::new("no kernel for the outer machine"))?;
    let kernel = store.kernel(outer)?;
    let nested = Nested::prepare(&mut store, &kernel, folder)?;
    Ok(Prepared {
        guests,
        nested: Some(nested),
        passt,
    })
}

/// Says how a job went, as soon as it is over.
fn progress(report: &Report, lines: &[String]) {
    let job = &report.job;
    let what = format!("{} on {} ×{}", job.scenario, job.kernel, job.cpus);
    match &report.outcome {
        Outcome::Passed => say(&format!("{what}: ok, {:.1} s", report.seconds)),
        Outcome::Skipped(reason) => say(&format!("{what}: skipped: {reason}")),
        Outcome::Failed(reason) => {
            say(&format!("{what}: FAILED: {reason}"));
            for line in lines {
                eprintln!("   {line}");
            }
        }
    }
    for note in &report.notes {
        eprintln!("   {note}");
    }
}

fn summary(reports: &[Report], place: &Place<'_>) -> Result<Totals, Error> {
    println!("\nstock Linux kernels as guests:\n");
    print!("{}", table::text(reports));
    println!();
    let mut totals = Totals::default();
    for report in reports {
        match &report.outcome {
            Outcome::Passed => totals.passed += 1,
            Outcome::Failed(reason) => {
                totals.failed += 1;
                println!("FAILED {}: {reason}", report.job);
            }
            Outcome::Skipped(reason) => {
                let line = format!("stock Linux, {}: {reason}", report.job);
                println!("skipped: {line}");
                totals.skipped.push(line);
            }
        }
        for note in report
            .notes
            .iter()
            .filter(|note| note.starts_with("tried again"))
        {
            println!("{}: {note}", report.job);
        }
    }
    let results: PathBuf = place.folder.join("results.json");
    table::write_json(reports, &results)?;
    println!("results: {}", results.display());
    if totals.failed > 0 || place.keep {
        println!("logs: {}", place.logs().display());
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_jobs() {
        let all = jobs(&Options::default());
        assert!(all.len() > 10);
        let some = jobs(&Options {
            filters: vec!["boot-6".to_owned()],
            kernel: Some("6.1".to_owned()),
            cpus: Some(2),
            ..Options::default()
        });
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].to_string(), "boot-6.1-2");
        let named = jobs(&Options {
            filters: vec!["switch-6.12-2".to_owned(), "boot-6.1-".to_owned()],
            ..Options::default()
        });
        let named: Vec<_> = named.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["boot-6.1-1", "boot-6.1-2", "switch-6.12-2"]);
        let sample = jobs(&Options::sample());
        assert_eq!(sample.len(), SAMPLE.len(), "all of them exist");
        let none = jobs(&Options {
            kernel: Some("6".to_owned()),
            ..Options::default()
        });
        assert!(none.is_empty());
    }
}
