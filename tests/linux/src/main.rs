//! `linux-guest-tests PLAN`: runs the plan's jobs and tells what becomes of each. In a guest, `linux-guest-tests --draw`
//! draws a picture, see [`linux_guest_tests::draw`], and `linux-guest-tests --remap` moves pages, see
//! [`linux_guest_tests::remap`].
//!
//! The exit status is 0 when all jobs were run, whatever their outcome, 1 when the plan makes no sense.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use linux_guest_tests::boot_cost;
use linux_guest_tests::context::Context;
use linux_guest_tests::placement::spare_the_first_processor;
use linux_guest_tests::plan::{Event, Job, LIFE_SIGN, Outcome, Plan};
use linux_guest_tests::scenario::{Scenario, Trouble};
use linux_guest_tests::scenarios;

/// How much of a log is shown with a failure, for those who have no logs afterwards.
const LAST_LINES: usize = 40;

/// What this program does in a guest, given the words of its command line.
type InGuest = fn(&[OsString]) -> std::io::Result<()>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let first = words.next();
    let in_guest: Option<InGuest> = match first.as_deref().and_then(OsStr::to_str) {
        Some("--draw") => Some(linux_guest_tests::draw::draw),
        Some("--remap") => Some(linux_guest_tests::remap::remap),
        _ => None,
    };
    if let Some(run) = in_guest {
        let words: Vec<_> = words.collect();
        return match run(&words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("linux-guest-tests: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(path) = first else {
        eprintln!("usage: linux-guest-tests PLAN");
        return ExitCode::FAILURE;
    };
    let read = std::fs::read(&path).map_err(|error| error.to_string());
    let plan: Plan = match read
        .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()))
    {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("linux-guest-tests: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    if plan.slow
        && let Err(error) = spare_the_first_processor()
    {
        eprintln!("linux-guest-tests: all processors are used: {error}");
    }
    // Ends with the process.
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(LIFE_SIGN);
            tell(&Event::Alive);
        }
    });
    for job in &plan.jobs {
        let measurement = Some(&boot_cost::MEASUREMENT);
        let measurement = measurement.filter(|measurement| measurement.name == job.scenario);
        let Some(scenario) = scenarios::named(&job.scenario).or(measurement) else {
            eprintln!("linux-guest-tests: no scenario is called {}", job.scenario);
            return ExitCode::FAILURE;
        };
        run(&plan, job, scenario);
    }
    tell(&Event::Done);
    ExitCode::SUCCESS
}

fn tell(event: &Event) {
    // Nobody listens any more: then nobody misses it.
    let _ = writeln!(std::io::stdout(), "{}", event.line());
}

fn run(plan: &Plan, job: &Job, scenario: &Scenario) {
    let limit = scenario.limit(plan);
    tell(&Event::Began {
        job: job.clone(),
        limit_seconds: limit.as_secs(),
    });
    let started = Instant::now();
    let (result, notes) = match Context::new(plan, job, limit) {
        Ok(mut context) => {
            let run = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&mut context)));
            let run = run.unwrap_or_else(|_| Err(Trouble::failed("the scenario panicked")));
            context.finish(run)
        }
        Err(trouble) => (Err(trouble), Vec::new()),
    };
    let outcome = match result {
        Ok(()) => Outcome::Passed,
        Err(Trouble::Failed(reason)) => Outcome::Failed(reason),
        Err(Trouble::Skipped(reason)) => Outcome::Skipped(reason),
    };
    let logs = plan.logs.join(job.to_string());
    if matches!(outcome, Outcome::Failed(_)) {
        show_logs(&logs);
    } else if !plan.keep {
        let _ = std::fs::remove_dir_all(&logs);
    }
    tell(&Event::Ended {
        job: job.clone(),
        outcome,
        seconds: started.elapsed().as_secs_f64(),
        notes,
    });
}

/// The ends of a job's logs.
fn show_logs(folder: &std::path::Path) {
    let Ok(files) = std::fs::read_dir(folder) else {
        return;
    };
    for file in files.flatten() {
        let Ok(bytes) = std::fs::read(file.path()) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "-- the end of {}:", file.path().display());
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            let _ = writeln!(out, "   {}", line.trim_end());
        }
    }
}
