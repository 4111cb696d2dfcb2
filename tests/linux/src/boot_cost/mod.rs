//! A measurement, not a test: what a boot to init costs in time and memory, with `host-sim` and with QEMU on the same
//! machine.
//!
//! All boot the same kernel, initial file system and command line, in turns. Nothing is asserted about the figures.

mod monitor;
mod result;

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub use monitor::MEBIBYTES;
pub use result::{Boot, BootCost, Row};

use crate::context::Context;
use crate::scenario::{Scenario, Trouble};
use crate::smaps;
use crate::watchdog::Process;
use monitor::Monitor;

/// The line that init prints first. The initial file system's init must.
pub const MARKER: &str = "viridian: init runs";

/// How often each program boots, on a real processor and on an emulated one.
const ROUNDS: [u32; 2] = [10, 3];

/// Between two looks at the console. This is how exact the times are.
const STEPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];

/// The job that measures.
pub const MEASUREMENT: Scenario = Scenario {
    name: "boot-cost",
    about: "time to init and memory beyond guest RAM, beside QEMU",
    kernels: &["6.1"],
    cpus: &[1],
    limit: Duration::from_secs(90),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let slow = usize::from(context.is_slow());
    let qemu = context.qemu().cloned();
    let monitors = monitor::all(context.host_program(), qemu.as_ref());
    let mut rows: Vec<_> = monitors
        .iter()
        .map(|monitor| Row {
            monitor: monitor.name.to_owned(),
            boots: Vec::new(),
            trouble: None,
        })
        .collect();
    for _ in 0..ROUNDS[slow] {
        for (monitor, row) in monitors.iter().zip(&mut rows) {
            if row.trouble.is_some() && row.boots.is_empty() {
                // It does not start here: no need to wait for that again.
                continue;
            }
            match boot(context, monitor, STEPS[slow]) {
                Ok(boot) => row.boots.push(boot),
                Err(trouble) => row.trouble = Some(trouble.to_string()),
            }
        }
    }
    let ours = monitors.iter().zip(&rows).find(|(one, _)| one.is_ours());
    let failure = ours
        .filter(|(_, row)| row.boots.is_empty())
        .and_then(|(_, row)| row.trouble.clone());
    let cost = BootCost {
        rows,
        qemu_version: qemu.and_then(|program| version(&mut program.command())),
    };
    context.note(cost.note());
    failure.map_or(Ok(()), |reason| Err(Trouble::Failed(reason)))
}

/// Boots once, to init's line, and ends the program.
fn boot(context: &Context, monitor: &Monitor, step: Duration) -> Result<Boot, Trouble> {
    let log = context.log(monitor.name);
    let console = context.scratch().join("console");
    let _ = std::fs::remove_file(&console);
    let mut command = monitor.command(context.kernel(), &console);
    let started = Instant::now();
    let process = context.spawn(&mut command, &log)?;
    let measured = wait_for_line(&process, &console, &log, started + context.patience(), step)
        .and_then(|()| {
            let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
            let memory = memory_of(&process)?;
            Ok(Boot {
                milliseconds,
                beyond_kibibytes: memory.beyond,
            })
        });
    context.end(&process);
    measured
}

fn wait_for_line(
    process: &Process,
    console: &Path,
    log: &Path,
    deadline: Instant,
    step: Duration,
) -> Result<(), Trouble> {
    loop {
        let text = std::fs::read(console).unwrap_or_default();
        if has_marker(&text) {
            return Ok(());
        }
        let ended = process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()?;
        if let Some(status) = ended {
            return Err(Trouble::failed(format!(
                "it ended with {status} before init ran: {}",
                last_line(&std::fs::read(log).unwrap_or_default())
            )));
        }
        if Instant::now() >= deadline {
            return Err(Trouble::failed(format!(
                "init had not run in time; the console's last line: {}",
                last_line(&text)
            )));
        }
        std::thread::sleep(step);
    }
}

/// Whether the whole line is there, and its end: whatever firmware and kernel print before it.
fn has_marker(console: &[u8]) -> bool {
    let text = String::from_utf8_lossy(console);
    text.split_once(MARKER)
        .is_some_and(|(_, rest)| rest.starts_with(['\r', '\n']))
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(|| "nothing".to_owned(), |line| line.trim().to_owned())
}

fn memory_of(process: &Process) -> Result<smaps::Memory, Trouble> {
    let id = process.lock().unwrap_or_else(PoisonError::into_inner).id();
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps"))?;
    smaps::parse(&text, u64::from(MEBIBYTES) << 10)
        .map_err(|error| Trouble::failed(format!("its memory: {error}")))
}

/// The first line that a program prints about its version.
fn version(command: &mut std::process::Command) -> Option<String> {
    let output = command.arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::watchdog::Watchdog;

    #[test]
    fn only_a_whole_line_counts() {
        let line = format!("\u{1b}c\r\nSeaBIOS{MARKER}\r\n");
        assert!(has_marker(line.as_bytes()));
        assert!(!has_marker(&line.as_bytes()[..line.len() - 2]));
        assert!(!has_marker(b"\xff\xfe viridian: "));
    }

    #[test]
    fn an_early_end_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "first\nno KVM here\n\n").unwrap();
        let watchdog = Watchdog::start(Duration::from_secs(600));
        let process = watchdog.add(Command::new("false").spawn().unwrap());
        let far = Instant::now() + Duration::from_secs(600);
        let console = folder.path().join("console");
        let error = wait_for_line(&process, &console, &log, far, Duration::from_millis(1));
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("before init ran: no KVM here"), "{error}");
    }

    #[test]
    fn a_version_is_what_a_program_says_if_it_starts() {
        let says = version(Command::new("sh").args(["-c", "echo; exit 0"]));
        assert_eq!(says, None);
        let says = version(Command::new("sh").args(["-c", "echo Q 1; echo more"]));
        assert_eq!(says.as_deref(), Some("Q 1"));
        assert_eq!(version(&mut Command::new("/nowhere/qemu")), None);
    }
}
