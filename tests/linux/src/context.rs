//! What a scenario works with.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use crate::guest::Guest;
use crate::kernel_log;
use crate::machine::{Files, Machine};
use crate::plan::{Job, Kernel, Plan, Program};
use crate::scenario::{Trouble, WHOLE_FACTOR};
use crate::watchdog::{self, Process, Watchdog};

/// How long a guest may be silent, on a real processor and on an emulated one.
const PATIENCE: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(90)];

/// One job's surroundings: folders, kernel, and all that it has started.
pub struct Context {
    job: Job,
    kernel: Kernel,
    host_sim: PathBuf,
    qemu: Option<Program>,
    passt: Option<Program>,
    slow: bool,
    whole: bool,
    logs: PathBuf,
    scratch: PathBuf,
    watchdog: Watchdog,
    machines: Vec<Files>,
    expected: Vec<String>,
    notes: Vec<String>,
}

impl Context {
    /// Makes the folders of a job and begins to count its time.
    ///
    /// # Errors
    /// The plan has no such kernel, or the folders cannot be made.
    pub fn new(plan: &Plan, job: &Job, limit: Duration) -> Result<Self, Trouble> {
        let kernel = plan.kernels.iter().find(|kernel| kernel.name == job.kernel);
        let kernel =
            kernel.ok_or_else(|| Trouble::failed(format!("no kernel is called {}", job.kernel)))?;
        let logs = plan.logs.join(job.to_string());
        // Short: the path of a socket has at most 107 bytes.
        let scratch = std::env::temp_dir().join(format!("viridian-{}", std::process::id()));
        for folder in [&logs, &scratch] {
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self {
            job: job.clone(),
            kernel: kernel.clone(),
            host_sim: plan.host_sim.clone(),
            qemu: plan.qemu.clone(),
            passt: plan.passt.clone(),
            slow: plan.slow,
            whole: plan.whole,
            logs,
            scratch,
            watchdog: Watchdog::start(limit),
            machines: Vec::new(),
            expected: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The job's number of virtual processors.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.job.cpus
    }

    /// The job's kernel.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The `host-sim` program.
    #[must_use]
    pub fn host_program(&self) -> &Path {
        &self.host_sim
    }

    /// A QEMU to measure beside it, if there is one.
    #[must_use]
    pub fn qemu(&self) -> Option<&Program> {
        self.qemu.as_ref()
    }

    /// A passt, if there is one.
    #[must_use]
    pub fn passt(&self) -> Option<&Program> {
        self.passt.as_ref()
    }

    /// The file for what a program of this name prints.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// How many MiB to move: `few` on an emulated processor, unless it is to move as much as a real one.
    #[must_use]
    pub fn mebibytes(&self, few: u32) -> u32 {
        if self.slow && !self.whole { few } else { 256 }
    }

    /// Whether guests run on an emulated processor. It may change how often things are done, never what is checked.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// A folder for images and sockets, empty at first and gone afterwards.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// How long a guest may be silent.
    #[must_use]
    pub fn patience(&self) -> Duration {
        PATIENCE[usize::from(self.slow)] * if self.whole { WHOLE_FACTOR } else { 1 }
    }

    /// The job's machine without anything on it, to be described further.
    #[must_use]
    pub fn machine(&self) -> Machine {
        Machine::new(self.cpus())
    }

    /// Starts a machine and waits for its shell.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&mut self, machine: &Machine) -> Result<Guest, Trouble> {
        let files = Files::of(&machine.name, &self.logs, &self.scratch);
        // A second start of the same machine: the sockets of the first are gone with it.
        let _ = std::fs::remove_file(&files.shell);
        let _ = std::fs::remove_file(&files.control);
        let arguments = machine.command_line(&self.kernel, &files);
        let mut host = Command::new(&self.host_sim);
        host.args(arguments);
        let process = self.spawn(&mut host, &files.host)?;
        self.machines.push(files.clone());
        Guest::wait_for_shell(process, files, &self.host_sim, self.patience())
    }

    /// Starts a program of the host's side. It ends with the calling thread, and with the job, at the latest. What it prints is appended to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, command: &mut Command, log: &Path) -> Result<Process, Trouble> {
        let log = File::options().create(true).append(true).open(log)?;
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: `set_pdeathsig` is one system call, which is allowed between fork and exec.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let child = command
            .spawn()
            .map_err(|error| Trouble::failed(format!("cannot start {name}: {error}")))?;
        Ok(self.watchdog.add(child))
    }

    /// Runs `host-sim` with other arguments to its end, as `host-sim check` is. Returns what it printed.
    ///
    /// # Errors
    /// It fails: its exit status and standard error are told.
    pub fn host_sim(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let output = Command::new(&self.host_sim)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Trouble::failed(format!(
            "`host-sim {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))
    }

    /// Keeps a measurement or remark for the results.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Kernel lines with this text are no trouble: the scenario provokes them.
    pub fn expect_line(&mut self, text: impl Into<String>) {
        self.expected.push(text.into());
    }

    /// Makes an image in the scratch folder, with bytes that nobody could guess and a seed repeats.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn random_image(&self, name: &str, mebibytes: u32, seed: u64) -> Result<PathBuf, Trouble> {
        let path = self.scratch.join(name);
        let mut file = File::create(&path)?;
        let mut state = seed | 1;
        let mut block = vec![0_u8; 1 << 20];
        for _ in 0..mebibytes {
            for word in block.chunks_exact_mut(8) {
                // xorshift64: fast, and no block is like another.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&block)?;
        }
        Ok(path)
    }

    /// This program as an image of a disk, to be run in the guest.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn own_program(&self) -> Result<PathBuf, Trouble> {
        let path = self.scratch.join("own-program");
        std::fs::copy(std::env::current_exe()?, &path)?;
        let file = File::options().write(true).open(&path)?;
        file.set_len(file.metadata()?.len().next_multiple_of(4096))?;
        Ok(path)
    }

    /// Makes an image of zeros in the scratch folder, which takes no room yet.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn empty_image(&self, name: &str, mebibytes: u32) -> Result<PathBuf, Trouble> {
        let path = self.scratch.join(name);
        File::create(&path)?.set_len(u64::from(mebibytes) << 20)?;
        Ok(path)
    }

    /// Ends all that still runs and looks through the kernels' messages. Takes what the scenario came to and returns
    /// what that means, with the notes.
    pub fn finish(mut self, result: Result<(), Trouble>) -> (Result<(), Trouble>, Vec<String>) {
        let notes = std::mem::take(&mut self.notes);
        let _ = std::fs::remove_dir_all(&self.scratch);
        let mut reasons = Vec::new();
        if self.watchdog.expired() {
            reasons.push("the time was up".to_owned());
        }
        match result {
            Ok(()) => {}
            Err(Trouble::Failed(reason)) => reasons.push(reason),
            skipped => return (skipped, notes),
        }
        reasons.extend(
            self.machines
                .iter()
                .filter_map(|files| self.complaint(files)),
        );
        if reasons.is_empty() {
            (Ok(()), notes)
        } else {
            (Err(Trouble::Failed(reasons.join("; "))), notes)
        }
    }

    /// What a kernel complained about.
    fn complaint(&self, files: &Files) -> Option<String> {
        let log = std::fs::read(&files.console).unwrap_or_default();
        let bad = kernel_log::bad_lines(&String::from_utf8_lossy(&log), &self.expected);
        let first = bad.first()?;
        let more = match bad.len() {
            1 => String::new(),
            count => format!(" (and {} more lines)", count - 1),
        };
        Some(format!("the kernel says: {first}{more}"))
    }

    /// Ends a process that [`Context::spawn`] started, and waits for it.
    pub fn end(&self, process: &Process) {
        watchdog::end(process);
    }
}

/// The SHA-256 of a file's first bytes, in hexadecimal digits.
///
/// # Errors
/// The file cannot be read or is shorter.
pub fn sha256(file: &Path, bytes: u64) -> Result<String, Trouble> {
    let mut file = File::open(file)?.take(bytes);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        hash.update(&buffer[..length]);
    }
    if total < bytes {
        return Err(Trouble::failed(format!(
            "the image has {total} bytes instead of {bytes}"
        )));
    }
    let digits = hash.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_a_short_file_is_an_error() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(Path::new("/dev/null"), 0).unwrap(), empty);
        assert!(sha256(Path::new("/dev/null"), 1).is_err());
    }
}
