//! One start of the program that runs scenarios, and what it tells, line by line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use linux_guest_tests::plan::{Event, Job, Outcome};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::run::Error;

/// The outer machine's start and its copying of the payload, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What jobs may take beyond their own limit, which the runner enforces.
const GRACE: Duration = Duration::from_secs(90);

/// How long a runner that has begun may be silent. It tells that it is alive every [`LIFE_SIGN`]; only an emulator
/// that hangs keeps it from that for so long. What the outer kernel prints does not count: it complains of processors
/// that are stuck for as long as they are.
///
/// [`LIFE_SIGN`]: linux_guest_tests::plan::LIFE_SIGN
const SILENCE: Duration = Duration::from_secs(60);

/// A line of the outer machine: it waits for us to have it go on.
pub(crate) const READY: &str = "@ready";

/// Its answer when it does.
const STARTED: &str = "@started";

/// How often it is told to go on, until it answers: what is sent to a machine that is only being restored is lost.
const NUDGE: Duration = Duration::from_millis(500);

/// What became of a job.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) job: Job,
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
    pub(crate) notes: Vec<String>,
}

/// What an attempt left.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// Jobs that are over.
    pub(crate) reports: Vec<Report>,
    /// The job in the middle of which everything stopped.
    pub(crate) interrupted: Option<Job>,
    /// Why everything stopped, or `None` if all jobs were run.
    pub(crate) stopped: Option<String>,
}

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum Silence {
    /// It prints nothing, but goes on.
    Goes(&'static str),
    /// It has ended.
    Ended(&'static str),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Goes(text) | Self::Ended(text)) = self;
        f.write_str(text)
    }
}

/// A process whose end is ours too, with the lines that it prints.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it with its standard streams on pipes. Its lines also go to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?);
        // SAFETY: `set_pdeathsig` is one system call, which is allowed between fork and exec.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = command
            .spawn()
            .map_err(|error| Error::new(format!("cannot start {name}: {error}")))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n') {
                    let Ok(line) = line else { return };
                    let line = String::from_utf8_lossy(&line);
                    let line = line.trim_end_matches('\r').to_owned();
                    // A full disk must not stop the run.
                    let _ = writeln!(log, "{line}");
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, lines })
    }

    /// The next line, or why there is none.
    pub(crate) fn line(&self, deadline: Instant) -> Result<String, Silence> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => Silence::Goes("nothing was heard of it any more"),
            RecvTimeoutError::Disconnected => Silence::Ended("it ended before its time"),
        })
    }

    /// Sends a line to its standard input.
    ///
    /// # Errors
    /// It reads no more.
    pub(crate) fn send(&mut self, line: &str) -> Result<(), Error> {
        let stdin = self.child.stdin.as_mut();
        let stdin = stdin.ok_or_else(|| Error::new("the process has no standard input"))?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// Waits for its end by itself, a little.
    pub(crate) fn wait(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows a started runner to its end. `waits` says that it may already be waiting for us. `tell` hears of each job
/// that is over, with the lines that came before.
pub(crate) fn follow(
    running: &mut Running,
    waits: bool,
    tell: &mut dyn FnMut(&Report, &[String]),
) -> Attempt {
    follow_within(running, waits, SILENCE, tell)
}

fn follow_within(
    running: &mut Running,
    mut waits: bool,
    silence: Duration,
    tell: &mut dyn FnMut(&Report, &[String]),
) -> Attempt {
    let mut attempt = Attempt::default();
    let mut deadline = Instant::now() + START_LIMIT;
    // When the runner last told something, once it has begun.
    let mut heard = None;
    let mut lines = Vec::new();
    loop {
        if waits {
            // If it does not read this, it stays silent, and the deadline tells.
            let _ = running.send("go");
        }
        let until = match (waits, heard) {
            (true, _) => deadline.min(Instant::now() + NUDGE),
            (false, Some(heard)) => deadline.min(heard + silence),
            (false, None) => deadline,
        };
        let line = match running.line(until) {
            Ok(line) => line,
            Err(Silence::Goes(_)) if waits && Instant::now() < deadline => continue,
            Err(reason) => {
                attempt.stopped = Some(reason.to_string());
                return attempt;
            }
        };
        let event = Event::from_line(&line);
        if event.is_some() {
            heard = Some(Instant::now());
        }
        match event {
            Some(Event::Began { job, limit_seconds }) => {
                deadline = Instant::now() + Duration::from_secs(limit_seconds) + GRACE;
                attempt.interrupted = Some(job);
                lines.clear();
            }
            Some(Event::Ended {
                job,
                outcome,
                seconds,
                notes,
            }) => {
                deadline = Instant::now() + GRACE;
                attempt.interrupted = None;
                let report = Report {
                    job,
                    outcome,
                    seconds,
                    notes,
                };
                tell(&report, &lines);
                attempt.reports.push(report);
            }
            Some(Event::Alive) => {}
            Some(Event::Done) => {
                running.wait(GRACE);
                return attempt;
            }
            None if line.contains(READY) => waits = true,
            None if line.contains(STARTED) => waits = false,
            None => lines.push(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        Job {
            scenario: name.to_owned(),
            kernel: "6.1".to_owned(),
            cpus: 1,
        }
    }

    fn began(name: &str) -> String {
        let event = Event::Began {
            job: job(name),
            limit_seconds: 1,
        };
        event.line()
    }

    fn ended(name: &str) -> String {
        let event = Event::Ended {
            job: job(name),
            outcome: Outcome::Passed,
            seconds: 1.0,
            notes: Vec::new(),
        };
        event.line()
    }

    /// Follows a shell that prints lines after it was told to go on.
    fn attempt(lines: &[String]) -> (Attempt, Vec<String>) {
        attempt_with(lines, "", SILENCE)
    }

    /// The same with a command after the lines.
    fn attempt_with(lines: &[String], last: &str, silence: Duration) -> (Attempt, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "echo {READY}; read go; [ $go = go ] || exit 1; echo {STARTED}; cat <<'END'\n{}\nEND\n{last}",
            lines.join("\n")
        );
        let mut running = Running::start(
            Command::new("sh").args(["-c", &script]),
            &folder.path().join("log"),
        )
        .unwrap();
        let mut told = Vec::new();
        let attempt = follow_within(&mut running, false, silence, &mut |report, lines| {
            told.push(format!("{} {}", report.job, lines.join(",")));
        });
        (attempt, told)
    }

    #[test]
    fn all_jobs_are_followed_to_the_end() {
        let lines = [
            began("a"),
            "more".to_owned(),
            ended("a"),
            began("b"),
            ended("b"),
            Event::Done.line(),
        ];
        let (attempt, told) = attempt(&lines);
        assert_eq!(told, ["a-6.1-1 more", "b-6.1-1 "]);
        assert_eq!(attempt.reports.len(), 2);
        assert!(attempt.stopped.is_none() && attempt.interrupted.is_none());
    }

    #[test]
    fn an_early_end_names_the_job_in_its_middle() {
        let (attempt, _) = attempt(&[began("a"), ended("a"), began("b")]);
        assert_eq!(attempt.reports.len(), 1);
        assert_eq!(attempt.interrupted, Some(job("b")));
        assert!(attempt.stopped.is_some());
    }

    #[test]
    fn a_runner_without_signs_of_life_is_given_up_long_before_its_limit() {
        let event = Event::Began {
            job: job("a"),
            limit_seconds: 3600,
        };
        let began = Instant::now();
        let (attempt, _) = attempt_with(
            &[event.line()],
            "exec sleep 3600",
            Duration::from_millis(200),
        );
        assert!(began.elapsed() < Duration::from_secs(600));
        assert_eq!(attempt.interrupted, Some(job("a")));
        assert_eq!(
            attempt.stopped.as_deref(),
            Some("nothing was heard of it any more")
        );
    }

    #[test]
    fn what_the_kernel_prints_is_no_sign_of_life() {
        let last = "while sleep 0.05; do echo 'watchdog: BUG: soft lockup'; done";
        let (attempt, _) = attempt_with(&[began("a")], last, Duration::from_millis(300));
        assert_eq!(attempt.interrupted, Some(job("a")));
        assert!(attempt.stopped.is_some());
    }

    #[test]
    fn signs_of_life_are_enough() {
        let lines = [began("a"), Event::Alive.line()];
        let alive = Event::Alive.line();
        let last = format!(
            "for i in 1 2 3 4 5 6; do sleep 0.5; echo '{alive}'; done; cat <<'END'\n{}\n{}\nEND",
            ended("a"),
            Event::Done.line()
        );
        let (attempt, _) = attempt_with(&lines, &last, Duration::from_millis(2500));
        assert_eq!(attempt.stopped, None);
        assert_eq!(attempt.reports.len(), 1);
    }

    #[test]
    fn a_process_ends_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; exec sleep 600"]);
        let running = Running::start(&mut command, &log).unwrap();
        let line = running.line(Instant::now() + Duration::from_secs(60));
        assert_eq!(line.unwrap(), "started");
        assert!(matches!(
            running.line(Instant::now()),
            Err(Silence::Goes(_))
        ));
        let id = running.child.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
