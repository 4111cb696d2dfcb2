//! Where guests run: on this machine's KVM, or nested in a machine that QEMU emulates.

use std::path::{Path, PathBuf};
use std::process::Command;

use linux_guest_tests::plan::{Job, Kernel as PlannedKernel, Plan};
use serde::Deserialize;

use super::attempt::{self, Attempt, Report, Running};
use super::carried::Carried;
use super::cpio::{self, Tree};
use super::images;
use super::kernels::{Kernel, Store};
use super::monitor;
use super::qemu::{OuterFiles, Qemu};
use super::snapshot;
use crate::run::{self, Error, cargo, check, say};
use crate::toolchain::archive::cache_dir;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The outer machine's disks: what it reads, and what it gives back.
const PAYLOAD: &str = "payload";
const LOG_DISK: &str = "log-disk";

/// Where the outer machine has what it has read.
pub(super) const PAYLOAD_FOLDER: &str = "/payload";

/// When a run in an emulator had to be given up: what it told of its processors, and what its machine printed.
const EMULATOR_LOG: &str = "emulator.processors";
const OUTER_CONSOLE: &str = "emulator.console";

/// What the outer machine can give back.
const LOG_DISK_BYTES: u64 = 64 << 20;

/// The programs of a run, built statically: there are no libraries in the outer machine.
pub(crate) struct Programs {
    pub(crate) host_sim: PathBuf,
    pub(crate) runner: PathBuf,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// The build fails, as where the static C library is not installed.
    pub(crate) fn build() -> Result<Self, Error> {
        say("building host-sim and the scenarios, statically");
        let folder = run::target_dir().join("static");
        let mut command = cargo();
        command
            .args(["build", "--release", "--quiet", "--target", TARGET])
            .args(["-p", "host-sim", "-p", "linux-guest-tests", "--bins"])
            .arg("--target-dir")
            .arg(&folder)
            // Flags for other builds (of models, of fuzzers) are none of this one's.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                "-Ctarget-feature=+crt-static -Cstrip=debuginfo",
            );
        check(&mut command)?;
        let built = folder.join(TARGET).join("release");
        Ok(Self {
            host_sim: built.join("host-sim"),
            runner: built.join("linux-guest-tests"),
        })
    }
}

/// What `host-sim probe --json` says.
#[derive(Deserialize)]
struct Probe {
    usable: bool,
    #[serde(default)]
    emulates: bool,
}

/// Whether this machine's own KVM runs guests at the speed of its processor.
pub(crate) fn kvm_is_real(host_sim: &Path) -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_virtualisation = flags
        .lines()
        .find_map(|line| line.strip_prefix("flags"))
        .is_some_and(|line| {
            line.split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        });
    let probe = || {
        let output = Command::new(host_sim).args(["probe", "--json"]).output();
        let probe = output.ok().and_then(|output| {
            let read = serde_json::from_slice::<Probe>(&output.stdout);
            read.ok()
        });
        probe.is_some_and(|probe| probe.usable && !probe.emulates)
    };
    // The first guest after a long time may be slow to start.
    has_virtualisation && (probe() || probe())
}

/// A guest's kernel with its initial file system, packed.
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    pub(crate) initramfs: Vec<u8>,
}

/// A place that runs scenarios.
pub(crate) struct Place<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) guests: &'a [Guest],
    /// Where images, plans and logs go.
    pub(crate) folder: &'a Path,
    pub(crate) keep: bool,
    /// Whether slow guests move as much data as others.
    pub(crate) whole: bool,
    pub(crate) nested: Option<Nested>,
    /// A QEMU to measure beside `host-sim`.
    pub(crate) qemu: Option<Carried>,
    /// A passt for guests' networks.
    pub(crate) passt: Option<Carried>,
}

/// The outer machine.
pub(crate) struct Nested {
    qemu: Qemu,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// Where its state is kept, once there is one.
    state: PathBuf,
}

impl Nested {
    /// Gets QEMU and makes the outer machine's initial file system.
    ///
    /// # Errors
    /// QEMU cannot be had, or the kernel lacks something.
    pub(crate) fn prepare(
        store: &mut Store,
        kernel: &Kernel,
        folder: &Path,
    ) -> Result<Self, Error> {
        let qemu = Qemu::get(store)?;
        let initramfs = folder.join("outer.cpio");
        let contents = images::outer(kernel)?;
        std::fs::write(&initramfs, &contents)?;
        let mut nested = Self {
            qemu,
            kernel: kernel.image.clone(),
            initramfs,
            state: PathBuf::new(),
        };
        let image = std::fs::read(&nested.kernel)?;
        // The folder's name stands for all the paths: they do not matter, and differ.
        let line = format!("{:?}", nested.command(Path::new("/")));
        let line = line.replace(&folder.display().to_string(), "");
        let identity = nested.qemu.identity()?;
        let parts: [&[u8]; 4] = [&identity, line.as_bytes(), &image, &contents];
        nested.state = snapshot::place(&cache_dir()?, &parts)?;
        Ok(nested)
    }

    /// The command that starts the machine with its disks in a folder.
    fn command(&self, folder: &Path) -> Command {
        self.qemu.outer(&OuterFiles {
            kernel: &self.kernel,
            initramfs: &self.initramfs,
            payload: &folder.join(PAYLOAD),
            logs: &folder.join(LOG_DISK),
        })
    }

    /// Makes the state if there is none yet. Without it each run takes some seconds more, and no less is tested.
    fn snapshot(&self, folder: &Path) {
        if self.state.is_file() {
            return;
        }
        if let Err(error) = snapshot::take(&mut self.command(folder), &self.state, folder) {
            say(&format!("going on without: {error}"));
        }
    }
}

impl Place<'_> {
    /// Where the logs are afterwards.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Starts the runner with these jobs and follows it to its end.
    ///
    /// # Errors
    /// Files cannot be written or the runner cannot be started.
    pub(crate) fn attempt(
        &self,
        jobs: &[Job],
        tell: &mut dyn FnMut(&Report, &[String]),
    ) -> Result<Attempt, Error> {
        std::fs::create_dir_all(self.logs())?;
        for job in jobs {
            set_aside(&self.logs().join(job.to_string()))?;
        }
        match &self.nested {
            None => self.attempt_here(jobs, tell),
            Some(nested) => self.attempt_nested(nested, jobs, tell),
        }
    }

    fn plan(&self, jobs: &[Job], files: &Path, host_sim: &Path, logs: &Path) -> Plan {
        let kernels = self.guests.iter().map(|guest| PlannedKernel {
            name: guest.kernel.name.clone(),
            release: guest.kernel.release.clone(),
            image: files.join(image_name(&guest.kernel)),
            initramfs: files.join(initramfs_name(&guest.kernel)),
        });
        Plan {
            host_sim: host_sim.to_path_buf(),
            qemu: self.qemu.as_ref().map(|qemu| qemu.program.clone()),
            passt: self.passt.as_ref().map(|passt| passt.program.clone()),
            kernels: kernels.collect(),
            jobs: jobs.to_vec(),
            logs: logs.to_path_buf(),
            keep: self.keep,
            slow: self.nested.is_some(),
            whole: self.whole,
        }
    }

    fn attempt_here(
        &self,
        jobs: &[Job],
        tell: &mut dyn FnMut(&Report, &[String]),
    ) -> Result<Attempt, Error> {
        for guest in self.guests {
            let image = self.folder.join(image_name(&guest.kernel));
            std::fs::copy(&guest.kernel.image, image)?;
            let initramfs = self.folder.join(initramfs_name(&guest.kernel));
            std::fs::write(initramfs, &guest.initramfs)?;
        }
        let plan = self.plan(jobs, self.folder, &self.programs.host_sim, &self.logs());
        let plan_file = self.folder.join("plan.json");
        std::fs::write(&plan_file, json(&plan)?)?;
        let mut command = Command::new(&self.programs.runner);
        let mut running = Running::start(command.arg(plan_file), &self.runner_log())?;
        Ok(attempt::follow(&mut running, false, tell))
    }

    fn attempt_nested(
        &self,
        nested: &Nested,
        jobs: &[Job],
        tell: &mut dyn FnMut(&Report, &[String]),
    ) -> Result<Attempt, Error> {
        let payload = self.folder.join(PAYLOAD);
        std::fs::write(&payload, self.payload(jobs)?)?;
        let log_disk = self.folder.join(LOG_DISK);
        // From nothing: a disk of an earlier attempt must not be read as this one's.
        std::fs::File::create(&log_disk)?.set_len(LOG_DISK_BYTES)?;
        nested.snapshot(self.folder);
        let mut command = nested.command(self.folder);
        let restored = nested.state.is_file();
        if restored {
            snapshot::restore(&mut command, &nested.state)?;
        }
        let socket = monitor::listen(&mut command, self.folder);
        let mut running = Running::start(&mut command, &self.runner_log())?;
        let attempt = attempt::follow(&mut running, restored, tell);
        if let (Some(_), Some(job)) = (&attempt.stopped, &attempt.interrupted) {
            let folder = self.logs().join(job.to_string());
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(EMULATOR_LOG), monitor::processors(&socket))?;
            std::fs::copy(self.runner_log(), folder.join(OUTER_CONSOLE))?;
        }
        drop(running);
        let logs = std::fs::read(&log_disk)?;
        std::fs::remove_file(&log_disk)?;
        std::fs::remove_file(&payload)?;
        if restored && attempt.reports.is_empty() && attempt.interrupted.is_none() {
            // Perhaps it is the state that is bad.
            let _ = std::fs::remove_file(&nested.state);
        }
        // After an early end nothing is on it.
        if attempt.stopped.is_none()
            && let Err(error) = cpio::unpack(&logs, &self.logs())
        {
            say(&format!("the logs did not come out whole: {error}"));
        }
        Ok(attempt)
    }

    /// An archive of all that the outer machine needs.
    fn payload(&self, jobs: &[Job]) -> Result<Vec<u8>, Error> {
        let files = Path::new(PAYLOAD_FOLDER);
        let plan = self.plan(jobs, files, &files.join("host-sim"), Path::new("/logs"));
        let mut tree = Tree::default();
        for carried in [&self.qemu, &self.passt].into_iter().flatten() {
            tree.add(carried.tree.clone(), "");
        }
        tree.file("plan.json", json(&plan)?);
        tree.file("host-sim", std::fs::read(&self.programs.host_sim)?);
        tree.file("linux-guest-tests", std::fs::read(&self.programs.runner)?);
        for guest in self.guests {
            let image = std::fs::read(&guest.kernel.image)?;
            tree.file(&image_name(&guest.kernel), image);
            tree.file(&initramfs_name(&guest.kernel), guest.initramfs.clone());
        }
        tree.pack()
    }

    fn runner_log(&self) -> PathBuf {
        self.folder.join("runner.log")
    }
}

/// Gives the logs of an earlier try a name of their own.
fn set_aside(folder: &Path) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let name = |number: u32| PathBuf::from(format!("{}.try-{number}", folder.display()));
    let number = (1..).find(|&number| !name(number).exists());
    Ok(std::fs::rename(folder, name(number.unwrap_or(1)))?)
}

fn image_name(kernel: &Kernel) -> String {
    format!("{}.kernel", kernel.name)
}

fn initramfs_name(kernel: &Kernel) -> String {
    format!("{}.initramfs", kernel.name)
}

fn json(plan: &Plan) -> Result<Vec<u8>, Error> {
    serde_json::to_vec_pretty(plan).map_err(|error| Error::new(error.to_string()))
}
