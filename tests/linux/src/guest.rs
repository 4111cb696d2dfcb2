//! A guest that runs.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::Files;
use crate::scenario::Trouble;
use crate::shell::{Output, Shell, ShellError};
use crate::threads;
use crate::watchdog::{self, Process};

/// Between two looks at something that changes by itself.
const STEP: Duration = Duration::from_millis(50);

/// How long a request may be without an answer until it counts as lost, while a guest boots.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Prints what no two boots have in common.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// A guest, and the `host-sim` that runs it. Dropped, both are ended at once.
pub struct Guest {
    shell: Shell,
    process: Process,
    files: Files,
    host_sim: PathBuf,
    patience: Duration,
}

impl Guest {
    /// Waits for the shell of a guest that has just been started.
    ///
    /// # Errors
    /// `host-sim` ends, or the shell does not answer within `patience`.
    pub fn wait_for_shell(
        process: Process,
        files: Files,
        host_sim: &Path,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let ready = connect(&process, &files, patience).and_then(|mut shell| {
            let ready = shell.wait_until_ready(patience);
            ready.map_err(|error| Trouble::failed(format!("the guest's shell: {error}")))?;
            Ok(shell)
        });
        match ready {
            Ok(shell) => Ok(Self {
                shell,
                process,
                files,
                host_sim: host_sim.to_path_buf(),
                patience,
            }),
            Err(trouble) => {
                log_threads(&process, &files);
                watchdog::end(&process);
                Err(trouble)
            }
        }
    }

    /// Runs a script in the guest, whatever its exit status.
    ///
    /// # Errors
    /// No answer within the default patience, a minute on a real processor.
    pub fn run(&mut self, script: &str) -> Result<Output, Trouble> {
        self.run_within(script, self.patience)
    }

    /// Runs a script in the guest, whatever its exit status, with a limit of its own.
    ///
    /// # Errors
    /// No answer within the limit.
    pub fn run_within(&mut self, script: &str, limit: Duration) -> Result<Output, Trouble> {
        let output = self.shell.run(script, limit);
        if matches!(output, Err(ShellError::Silent(_))) {
            log_threads(&self.process, &self.files);
        }
        output.map_err(|error| Trouble::failed(format!("`{script}` in the guest: {error}")))
    }

    /// Runs a script that must succeed in the guest. Returns its output without white space at the end.
    ///
    /// # Errors
    /// It fails, or there is no answer.
    pub fn sh(&mut self, script: &str) -> Result<String, Trouble> {
        let output = self.run(script)?;
        if output.status == 0 {
            return Ok(output.text());
        }
        Err(Trouble::failed(format!(
            "`{script}` in the guest ended with {}: {} {}",
            output.status,
            output.text(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))
    }

    /// Writes a file in the guest. Serial lines are slow: some kilobytes are fine, megabytes are not.
    ///
    /// # Errors
    /// As for [`Guest::sh`].
    pub fn write_file(&mut self, path: &str, contents: &[u8]) -> Result<(), Trouble> {
        self.sh(&format!(": > {path}"))?;
        for part in contents.chunks(2048) {
            let coded = crate::shell::encode(part);
            self.sh(&format!("echo {coded} | base64 -d >> {path}"))?;
        }
        Ok(())
    }

    /// The name of a disk's device, such as `sdb`, once it is there: by its LUN, since names are given in the order of
    /// discovery, which differs from boot to boot. With several controllers, it is the first that has the LUN.
    ///
    /// # Errors
    /// It is not there within the default patience.
    pub fn disk(&mut self, lun: u32) -> Result<String, Trouble> {
        let find = format!(
            "set -- /sys/bus/scsi/devices/*:0:0:{lun}/block/*; name=${{1##*/}}; [ -b /dev/$name ]"
        );
        self.wait_until(&find)
            .map_err(|trouble| trouble.during(&format!("LUN {lun}")))?;
        self.sh(&format!("{find}; echo $name"))
    }

    /// Runs a script in the guest again and again until it succeeds.
    ///
    /// # Errors
    /// It does not within the default patience.
    pub fn wait_until(&mut self, script: &str) -> Result<(), Trouble> {
        // One request, instead of one for each look: the serial line is slow.
        let tries = self.patience.as_secs() * 5;
        let looped = format!(
            "n=0; until {{ {script}; }}; do n=$((n+1)); [ $n -lt {tries} ] || exit 111; sleep 0.2; done"
        );
        let output = self.run_within(&looped, self.patience * 2)?;
        if output.status == 0 {
            return Ok(());
        }
        Err(Trouble::failed(format!(
            "`{script}` did not become true in the guest: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))
    }

    /// Gives `host-sim` an order, as `host-sim ctl NAME ORDER...` does. Returns its answer.
    ///
    /// # Errors
    /// It refuses: what it says is told.
    pub fn ctl(&self, order: &[&str]) -> Result<Value, Trouble> {
        let what = format!("`host-sim ctl … {}`", order.join(" "));
        let output = Command::new(&self.host_sim)
            .arg("ctl")
            .arg(&self.files.control)
            .args(order)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(Trouble::failed(format!(
                "{what} ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            )));
        }
        // Some orders have nothing to answer.
        if output.stdout.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        let answer = serde_json::from_slice(&output.stdout);
        answer.map_err(|error| Trouble::failed(format!("{what} answers no JSON: {error}")))
    }

    /// Gives an order again and again until its answer pleases.
    ///
    /// # Errors
    /// It refuses, or no answer pleases within the default patience.
    pub fn ctl_until(
        &self,
        order: &[&str],
        pleases: impl Fn(&Value) -> bool,
    ) -> Result<Value, Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            let answer = self.ctl(order)?;
            if pleases(&answer) {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err(Trouble::failed(format!(
                    "`host-sim ctl … {}` still answers {answer}",
                    order.join(" ")
                )));
            }
            std::thread::sleep(STEP * 4);
        }
    }

    /// What tells this boot of the kernel from all others.
    ///
    /// # Errors
    /// As for [`Guest::sh`].
    pub fn boot_id(&mut self) -> Result<String, Trouble> {
        self.sh(BOOT_ID)
    }

    /// Waits until the shell is served by another boot than `before`, as after a reset.
    ///
    /// # Errors
    /// It is not within twice the default patience: the old kernel must end, and the new one begin.
    pub fn wait_for_reboot(&mut self, before: &str) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience * 2;
        while Instant::now() < deadline {
            // Requests to a kernel that ends or begins are lost.
            match self.shell.run(BOOT_ID, LOST_AFTER) {
                Ok(output) if output.status == 0 && output.text() != before => return Ok(()),
                Ok(_) => std::thread::sleep(STEP),
                Err(ShellError::Silent(_)) => {}
                // What a kernel had not said to its end is mixed with what the next one says.
                Err(ShellError::Nonsense(_)) => {}
                Err(error) => {
                    return Err(Trouble::failed(format!("the guest's shell: {error}")));
                }
            }
            if let Some(status) = ended(&self.process)? {
                return Err(Trouble::failed(format!(
                    "host-sim ended with {status} instead of a new boot"
                )));
            }
        }
        Err(Trouble::failed("the guest did not boot again"))
    }

    /// Waits for the end of `host-sim`, as after a power-off.
    ///
    /// # Errors
    /// It goes on for longer than the default patience.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus, Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = ended(&self.process)? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(Trouble::failed(format!(
                    "the guest had not ended after {} s",
                    self.patience.as_secs()
                )));
            }
            std::thread::sleep(STEP);
        }
    }

    /// Fails unless the kernel has printed all of these.
    ///
    /// # Errors
    /// It has not: the first one that is missing is told.
    pub fn has_said(&self, texts: &[&str]) -> Result<(), Trouble> {
        let console = self.console();
        match texts.iter().find(|text| !console.contains(**text)) {
            None => Ok(()),
            Some(missing) => Err(Trouble::failed(format!(
                "the kernel does not say \"{missing}\""
            ))),
        }
    }

    /// All that the kernel has printed so far.
    #[must_use]
    pub fn console(&self) -> String {
        text_of(&self.files.console)
    }

    /// All that `host-sim` has printed so far.
    #[must_use]
    pub fn host_output(&self) -> String {
        text_of(&self.files.host)
    }

    /// The files and sockets of the machine.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The number of the `host-sim` process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        watchdog::end(&self.process);
    }
}

/// Appends to the log of `host-sim` what it is doing, twice, so that one sees what moves.
fn log_threads(process: &Process, files: &Files) {
    let id = process.lock().unwrap_or_else(PoisonError::into_inner).id();
    for _ in 0..2 {
        let text = threads::describe(id);
        let log = File::options().append(true).open(&files.host);
        // Without the log, there is nobody to tell.
        let _ = log.and_then(|mut log| log.write_all(text.as_bytes()));
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn text_of(file: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
}

fn ended(process: &Process) -> Result<Option<ExitStatus>, Trouble> {
    let mut child = process.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(child.try_wait()?)
}

/// Connects to the shell's socket, which `host-sim` makes.
fn connect(process: &Process, files: &Files, patience: Duration) -> Result<Shell, Trouble> {
    let deadline = Instant::now() + patience;
    loop {
        match UnixStream::connect(&files.shell) {
            Ok(stream) => return Ok(Shell::new(stream)?),
            Err(error) if Instant::now() >= deadline => {
                return Err(Trouble::failed(format!(
                    "host-sim opens no socket for COM2: {error}"
                )));
            }
            Err(_) => {}
        }
        if let Some(status) = ended(process)? {
            let output = text_of(&files.host);
            let last = output.lines().last().unwrap_or("it printed nothing");
            return Err(Trouble::failed(format!(
                "host-sim ended with {status}: {last}"
            )));
        }
        std::thread::sleep(STEP);
    }
}
