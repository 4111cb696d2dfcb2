//! What the runner is told to do, and what it tells.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Marks the lines of standard output that are events. Kernel messages may stand before it on the same line.
const MARK: &str = "@@ ";

/// Time between two signs of the runner's life.
pub const LIFE_SIGN: Duration = Duration::from_secs(5);

/// Jobs, and the files that they need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The `host-sim` program.
    pub host_sim: PathBuf,
    /// A QEMU to measure beside it, if there is one.
    pub qemu: Option<Program>,
    /// A passt, if there is one.
    pub passt: Option<Program>,
    /// The kernels that the jobs name.
    pub kernels: Vec<Kernel>,
    /// What to run, in this order.
    pub jobs: Vec<Job>,
    /// Where the logs go: a folder for each job.
    pub logs: PathBuf,
    /// Whether logs of jobs that passed are kept too.
    pub keep: bool,
    /// Whether guests run on an emulated processor, some ten times slower than on a real one.
    pub slow: bool,
    /// Whether they move as much data as on a real processor nevertheless.
    pub whole: bool,
}

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its path, perhaps behind that of a dynamic loader, and the arguments that it always gets.
    pub words: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// The command that starts it, to be given more arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A kernel and its user space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// What jobs call it, such as `6.12`.
    pub name: String,
    /// The kernel's own idea of its release, such as `6.1.0-50-cloud-amd64`.
    pub release: String,
    /// The kernel's image.
    pub image: PathBuf,
    /// The initial file system: all that the guest has.
    pub initramfs: PathBuf,
}

/// One scenario on one kernel with so many virtual processors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The scenario's name.
    pub scenario: String,
    /// The kernel's name.
    pub kernel: String,
    /// Virtual processors.
    pub cpus: u32,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.scenario, self.kernel, self.cpus)
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All was as it must be.
    Passed,
    /// Something was not, and this says what.
    Failed(String),
    /// It could not run here, for this reason.
    Skipped(String),
}

/// Something that the runner tells while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A job begins. Its end is told within `limit_seconds`.
    Began {
        /// Which.
        job: Job,
        /// The longest that it may take.
        limit_seconds: u64,
    },
    /// A job is over.
    Ended {
        /// Which.
        job: Job,
        /// How it went.
        outcome: Outcome,
        /// How long it took.
        seconds: f64,
        /// Measurements and remarks.
        notes: Vec<String>,
    },
    /// The runner still runs. It tells this every [`LIFE_SIGN`], whatever its jobs do.
    Alive,
    /// All jobs are over.
    Done,
}

impl Event {
    /// The event as a line, without its end.
    ///
    /// # Panics
    /// Never: events hold nothing that JSON cannot.
    #[must_use]
    pub fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("an event is plain data");
        format!("{MARK}{json}")
    }

    /// The event that a line tells, if it tells one.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let (_, json) = line.split_once(MARK)?;
        serde_json::from_str(json.trim_end()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_a_line_with_noise_before_and_a_carriage_return_behind() {
        let event = Event::Ended {
            job: Job {
                scenario: "boot".to_owned(),
                kernel: "6.1".to_owned(),
                cpus: 2,
            },
            outcome: Outcome::Failed("line one\nline two: @@ ü".to_owned()),
            seconds: 1.5,
            notes: vec!["a \"note\"".to_owned()],
        };
        let line = format!("[    1.000] kvm: noise {}\r", event.line());
        assert_eq!(Event::from_line(&line), Some(event));
        assert_eq!(Event::from_line("@@ {\"began\":"), None);
        assert_eq!(Event::from_line("plain text"), None);
    }
}
