//! `host-sim run --kernel`: a stock kernel on a PC, booted again whenever it resets the machine.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_sim::boot::acpi::AcpiConfig;
use host_sim::boot::address_space::HOLE;
use host_sim::boot::linux::{Kernel, LinuxBoot};
use host_sim::host::Host;
use host_sim::hv::{CrashMessage, CrashReport, HvEvent};
use host_sim::memory::GuestMemory;
use host_sim::partition::kvm::{self, Failure, KvmConfig, Outcome, Partition, Platform, Running};
use host_sim::serial::Feeder;

use super::Error;
use super::arguments::{BackendChoice, RunOptions, Switch};
use super::setup;

/// How often the limit of the run is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the machine boots from, again after every reset. The files stay open, whatever becomes of their names, and are
/// not kept in memory.
struct Media {
    kernel: Medium,
    initrd: Option<Medium>,
}

/// One of the files.
struct Medium {
    what: &'static str,
    path: PathBuf,
    file: File,
}

impl Medium {
    fn open(path: &Path, what: &'static str) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| {
            Error::failed(format!(
                "cannot read the {what} '{}': {error}",
                path.display()
            ))
        })?;
        Ok(Self {
            what,
            path: path.to_owned(),
            file,
        })
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(|error| {
                Error::failed(format!(
                    "cannot read the {} '{}': {error}",
                    self.what,
                    self.path.display()
                ))
            })?;
        Ok(bytes)
    }
}

pub(super) fn run(options: &RunOptions) -> Result<(), Error> {
    if options.backend == BackendChoice::Inproc {
        return Err(Error::usage(
            "the in-process back end has no CPU to run a kernel",
        ));
    }
    let media = Media::read(options)?;
    let disks = setup::open_disks(&options.disks)?;
    let host_options = setup::host_options(options, &disks)?;
    let (mut partition, _feeders) = make(options)?;
    let host = match options.hyperv {
        Switch::Off => None,
        Switch::On => Some(
            Host::new(partition.hv(), partition.memory(), host_options).map_err(Error::failed)?,
        ),
    };
    let limit = options
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let result = loop {
        if let Err(error) = media.load(options, &mut partition) {
            break Err(error);
        }
        let mut running = match partition.start() {
            Ok(running) => running,
            Err(error) => break Err(Error::failed(error)),
        };
        let Some(outcome) = wait(&mut running, limit) else {
            running.stop();
            break Err(Error::failed("stopped by force: out of time"));
        };
        if options.no_reboot || !is_reset(&outcome) {
            break conclude(&outcome);
        }
        match &outcome {
            // The processor's registers are those of a reset by now.
            Outcome::Failed { vp, failure, .. } => {
                say!("host-sim: virtual processor {vp} {failure}; the guest boots again");
            }
            _ => say!("host-sim: {outcome}; it boots again"),
        }
        partition = match reset(running, host.as_ref()) {
            Ok(partition) => partition,
            Err(error) => break Err(error),
        };
    };
    if let Some(host) = host {
        host.bus.shut_down();
    }
    result
}

impl Media {
    fn read(options: &RunOptions) -> Result<Self, Error> {
        let path = options
            .kernel
            .as_deref()
            .ok_or_else(|| Error::usage("there is no kernel to boot"))?;
        let media = Self {
            kernel: Medium::open(path, "kernel")?,
            initrd: options
                .initrd
                .as_deref()
                .map(|path| Medium::open(path, "initial RAM disk"))
                .transpose()?,
        };
        // Whatever is wrong with the kernel is said before anything is made.
        media.kernel()?;
        Ok(media)
    }

    fn kernel(&self) -> Result<Kernel, Error> {
        Kernel::new(self.kernel.read()?).map_err(|error| {
            Error::failed(format!(
                "cannot boot '{}': {error}",
                self.kernel.path.display()
            ))
        })
    }

    fn load(&self, options: &RunOptions, partition: &mut Partition) -> Result<(), Error> {
        let acpi = AcpiConfig {
            vmbus: options.hyperv == Switch::On,
            ..AcpiConfig::new(options.cpus, partition.memory())
        };
        let initrd = self.initrd.as_ref().map(Medium::read).transpose()?;
        let boot = LinuxBoot {
            kernel: &self.kernel()?,
            initrd: initrd.as_deref(),
            command_line: &options.append,
            acpi: &acpi,
            efi: options.hyperv == Switch::On,
        };
        partition
            .load_linux(&boot)
            .map_err(|error| Error::failed(format!("cannot boot the kernel: {error}")))
    }
}

/// The machine with its serial lines connected, but nothing in its memory.
fn make(options: &RunOptions) -> Result<(Partition, [Feeder; 2]), Error> {
    let memory = GuestMemory::with_hole(options.memory.0, HOLE)
        .map_err(|error| Error::failed(format!("no memory for the guest: {error}")))?;
    let mut lines = [
        options.serial1.open().map_err(Error::failed)?,
        options.serial2.open().map_err(Error::failed)?,
    ];
    let [console, report] = lines.each_mut().map(|line| line.take_output());
    let partition = Partition::new(KvmConfig {
        memory,
        vp_count: options.cpus,
        platform: Platform::Pc {
            hypervisor: options.hyperv == Switch::On,
        },
        console,
        report,
        on_event: Some(Arc::new(|event| {
            if let HvEvent::Crash(report) = event {
                print_crash(&report);
            }
        })),
    })
    .map_err(Error::failed)?;
    let [first, second] = lines;
    let ports = partition.serial_ports();
    let feeders = [
        first.feed(&ports[0]).map_err(Error::failed)?,
        second.feed(&ports[1]).map_err(Error::failed)?,
    ];
    Ok((partition, feeders))
}

/// Waits for the end of the run; `None` if time is up before.
fn wait(running: &mut Running, limit: Option<Instant>) -> Option<Outcome> {
    loop {
        if let Some(outcome) = running.wait_for(LOOK) {
            return Some(outcome);
        }
        if limit.is_some_and(|limit| Instant::now() > limit) {
            return None;
        }
    }
}

/// Whether a real machine would begin anew.
fn is_reset(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::ResetRequested { .. }
            | Outcome::Failed {
                failure: Failure::TripleFault,
                ..
            }
    )
}

/// A machine as new, with the host's services as before.
fn reset(running: Running, host: Option<&Host>) -> Result<Partition, Error> {
    // No virtual processor runs by now; devices let go of the guest's memory before it is cleared.
    if let Some(host) = host
        && !host.bus.reset()
    {
        return Err(Error::failed(
            "cannot reset the guest: a device does not come to an end",
        ));
    }
    let partition = running.reset().map_err(Error::failed)?;
    partition
        .memory()
        .clear()
        .map_err(|error| Error::failed(format!("cannot clear the guest's memory: {error}")))?;
    Ok(partition)
}

fn conclude(outcome: &Outcome) -> Result<(), Error> {
    say!("host-sim: {outcome}");
    match outcome {
        Outcome::PoweredOff { status: 0 } | Outcome::ResetRequested { .. } => Ok(()),
        Outcome::Failed {
            failure: Failure::KvmInternal { .. },
            ..
        } if kvm::probe().is_ok_and(|probe| probe.emulates()) => Err(Error::failed(
            "the guest failed: this machine's KVM only emulates, and not every instruction of a stock kernel",
        )),
        _ => Err(Error::failed("the guest failed")),
    }
}

fn print_crash(report: &CrashReport) {
    let [p0, p1, p2, p3, p4] = report.parameters;
    eprintln!(
        "host-sim: the guest reports a crash on virtual processor {}: {p0:#x} {p1:#x} {p2:#x} {p3:#x} {p4:#x}",
        report.vp
    );
    match &report.message {
        None => {}
        Some(CrashMessage::Text(text)) => {
            for line in text.lines() {
                eprintln!("host-sim: crash: {line}");
            }
        }
        Some(CrashMessage::NotRam { address, length }) => eprintln!(
            "host-sim: its message of {length} bytes at {address:#x} is not in the guest's memory"
        ),
    }
}
