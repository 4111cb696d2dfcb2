//! `host-sim run --kernel`: a stock kernel on a PC, booted again whenever it resets the machine.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_sim::boot::acpi::AcpiConfig;
use host_sim::boot::address_space::HOLE;
use host_sim::boot::linux::{Kernel, LinuxBoot};
use host_sim::control::ControlServer;
use host_sim::display::rfb::{Console, RfbOptions, RfbServer};
use host_sim::display::screen::{Keys, Pointing};
use host_sim::host::{Host, Screen};
use host_sim::hv::{Hv, HvEvent};
use host_sim::memory::GuestMemory;
use host_sim::output::Standard;
use host_sim::partition::device_memory::DeviceMemoryMapper;
use host_sim::partition::kvm::{self, Failure, KvmConfig, Outcome, Partition, Platform, Running};
use host_sim::serial::Feeder;
use host_sim::vsp::video::VideoOptions;

use super::Error;
use super::arguments::{BackendChoice, Recommend, RunOptions, Switch};
use super::backend::choose;
use super::control::{self, Orders};
use super::crash::CrashPrinter;
use super::{file, setup};

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
    /// Most bytes that it may have.
    most: u64,
}

impl Medium {
    fn open(path: &Path, what: &'static str, most: u64) -> Result<Self, Error> {
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
            most,
        })
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file::read_to_end(file, self.most))
            .map_err(|error| {
                Error::failed(format!(
                    "cannot read the {} '{}': {error}",
                    self.what,
                    self.path.display()
                ))
            })
    }
}

pub(super) fn run(options: &RunOptions) -> Result<(), Error> {
    if options.backend == BackendChoice::Inproc {
        return Err(Error::usage(
            "the in-process back end has no CPU to run a kernel",
        ));
    }
    if options.hyperv == Switch::Off {
        check_plain(options)?;
    }
    let media = Media::read(options)?;
    if options.backend == BackendChoice::Auto {
        let backend = choose(BackendChoice::Auto)?;
        if backend.name != "kvm" {
            // Kernels made for such a processor may run nevertheless.
            eprintln!(
                "host-sim: {}; stock kernels use instructions that are not emulated",
                backend.reason
            );
        }
    }
    let disks = setup::open_disks(&options.disks)?;
    let mut host_options = setup::host_options(options, &disks)?;
    let (mut partition, _feeders) = make(options)?;
    host_options.screen = options.screen.map(|megabytes| Screen {
        options: VideoOptions::like(options.host_version, megabytes),
        mapper: Arc::clone(partition.device_memory()) as Arc<dyn DeviceMemoryMapper>,
    });
    let host = match options.hyperv {
        Switch::Off => None,
        Switch::On => {
            let host = Host::new(partition.hv(), partition.memory(), host_options);
            Some(Arc::new(host.map_err(Error::failed)?))
        }
    };
    let orders = Orders::new(true);
    let served = host
        .as_ref()
        .map(|host| serve(options, host, partition.hv(), &orders))
        .transpose();
    let _served = match served {
        Ok(served) => served,
        Err(error) => {
            if let Some(host) = host {
                host.bus.shut_down();
            }
            return Err(error);
        }
    };
    let limit = options
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let result = loop {
        if let Err(error) = media.load(options, &mut partition) {
            break Err(error);
        }
        if let Err(error) = partition.pin(&options.pin) {
            break Err(Error::failed(error));
        }
        let mut running = match partition.start() {
            Ok(running) => running,
            Err(error) => break Err(Error::failed(error)),
        };
        match wait(&mut running, limit, &orders) {
            End::Itself(outcome) if options.no_reboot || !is_reset(&outcome) => {
                break conclude(&outcome);
            }
            // The processor's registers are those of a reset by now.
            End::Itself(Outcome::Failed { vp, failure, .. }) => {
                announce!("host-sim: virtual processor {vp} {failure}; the guest boots again");
            }
            End::Itself(outcome) => announce!("host-sim: {outcome}; it boots again"),
            End::Reset => {
                running.stop();
                announce!("host-sim: the guest was reset; it boots again");
            }
            End::Quit => {
                Standard::end_by_order();
                running.stop();
                announce!("host-sim: stopped by order");
                break Ok(());
            }
            End::OutOfTime => {
                Standard::end_by_order();
                running.stop();
                break Err(Error::failed("stopped by force: out of time"));
            }
        }
        partition = match reset(running, host.as_deref()) {
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
            kernel: Medium::open(path, "kernel", file::MOST_KERNEL)?,
            initrd: options
                .initrd
                .as_deref()
                .map(|path| Medium::open(path, "initial RAM disk", options.memory.0))
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
        let kernel = self.kernel()?;
        let boot = LinuxBoot {
            kernel: &kernel,
            initrd: initrd.as_deref(),
            command_line: &options.append,
            acpi: &acpi,
            efi: options.hyperv == Switch::On,
        };
        partition
            .load_linux(&boot)
            .map_err(|error| Error::failed(format!("cannot boot the kernel: {error}")))?;
        drop((kernel, initrd));
        give_memory_back();
        Ok(())
    }
}

/// Gives freed memory back to the system. Kernel and RAM disk are tens of MiB, which the C library would keep for a use
/// that never comes.
fn give_memory_back() {
    // SAFETY: the function has no conditions.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Refuses what a PC without Hyper-V cannot have, before any file is opened.
fn check_plain(options: &RunOptions) -> Result<(), Error> {
    let needs = [
        ("--recommend", !options.recommend.is_empty()),
        ("--disk", !options.disks.is_empty()),
        ("--nic", !options.nics.is_empty()),
        ("--screen", options.screen.is_some()),
        ("--vnc", options.vnc.is_some()),
        ("--name", options.name.is_some()),
    ];
    match needs.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Error::usage(format!(
            "{name} needs --hyperv on: a plain PC has nothing for it"
        ))),
        None => Ok(()),
    }
}

/// The machine with its serial lines connected, but nothing in its memory.
fn make(options: &RunOptions) -> Result<(Partition, [Feeder; 2]), Error> {
    let recommended = Recommend::recommendations(&options.recommend);
    let memory = GuestMemory::with_hole(options.memory.0, HOLE)
        .map_err(|error| Error::failed(format!("no memory for the guest: {error}")))?;
    let mut lines = [
        options.serial1.open().map_err(Error::failed)?,
        options.serial2.open().map_err(Error::failed)?,
    ];
    let [console, report] = lines.each_mut().map(|line| line.take_output());
    let crashes = CrashPrinter::default();
    let config = KvmConfig {
        memory,
        vp_count: options.cpus,
        platform: Platform::Pc {
            hypervisor: options.hyperv == Switch::On,
        },
        console,
        report,
        on_event: Some(Arc::new(move |event| {
            if let HvEvent::Crash(report) = event {
                crashes.print(&report);
            }
        })),
    };
    let partition = Partition::with_hv(config, |hv| hv.recommendations |= recommended)
        .map_err(Error::failed)?;
    let [first, second] = lines;
    let ports = partition.serial_ports();
    let feeders = [
        first.feed(&ports[0]).map_err(Error::failed)?,
        second.feed(&ports[1]).map_err(Error::failed)?,
    ];
    Ok((partition, feeders))
}

/// How a guest's time ends.
enum End {
    Itself(Outcome),
    Reset,
    Quit,
    OutOfTime,
}

/// Waits for the guest's end, or for an order to end it.
fn wait(running: &mut Running, limit: Option<Instant>, orders: &Orders) -> End {
    loop {
        if let Some(outcome) = running.wait_for(LOOK) {
            return End::Itself(outcome);
        }
        if orders.is_quit() {
            return End::Quit;
        }
        if orders.take_reset() {
            return End::Reset;
        }
        if orders.take_button() {
            // Without effect if the guest does not listen.
            let _ = running.press_power_button();
        }
        if limit.is_some_and(|limit| Instant::now() > limit) {
            return End::OutOfTime;
        }
    }
}

/// Serves the machine's control socket and its screen, as far as they are wanted, until this is dropped.
fn serve(
    options: &RunOptions,
    host: &Arc<Host>,
    hv: &Arc<Hv>,
    orders: &Arc<Orders>,
) -> Result<(Option<ControlServer>, Option<RfbServer>), Error> {
    let control = control::serve(options.name.as_deref(), host, hv, orders)?;
    let Some((address, video)) = options.vnc.as_ref().zip(host.services.video.as_ref()) else {
        return Ok((control, None));
    };
    let rfb = RfbOptions {
        address: address.clone(),
        name: host.name.clone(),
    };
    let keyboard = host.services.keyboard.clone();
    let mouse = host.services.mouse.clone();
    let console = Console {
        screen: Arc::new(video.clone()),
        keys: keyboard.map(|keyboard| Arc::new(keyboard) as Arc<dyn Keys>),
        pointing: mouse.map(|mouse| Arc::new(mouse) as Arc<dyn Pointing>),
    };
    let server = RfbServer::start(&rfb, console).map_err(Error::failed)?;
    announce!("host-sim: the screen is at {}", server.address());
    Ok((control, Some(server)))
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
        && !host.reset()
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
    announce!("host-sim: {outcome}");
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
