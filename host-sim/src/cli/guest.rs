//! A guest that runs, on either back end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host_sim::boot::elf::{self, Image, Program};
use host_sim::hv::{Hv, HvEvent};
use host_sim::memory::GuestMemory;
use host_sim::partition::inproc::{InprocConfig, InprocPartition};
use host_sim::partition::kvm::{KvmConfig, Outcome, Partition, Platform, Running};
use host_sim::serial::{LineOutput, Output};
use hypercall::cpuid::Recommendations;

use super::crash::CrashPrinter;
use super::inproc_machine::InprocMachine;
use super::{Error, file};

/// What a guest is made of.
pub(super) struct GuestConfig<'a> {
    pub(super) image: &'a Image<'a>,
    pub(super) path: &'a Path,
    pub(super) cpus: u32,
    pub(super) pin: &'a [usize],
    /// What CPUID recommends besides the usual.
    pub(super) recommended: Recommendations,
    pub(super) memory: u64,
    pub(super) command_line: String,
    /// Called with each line that the guest prints.
    pub(super) on_console: Box<dyn Fn(&str) + Send + Sync>,
    /// Called with each line that the guest reports, before the guest goes on.
    pub(super) on_report: Box<dyn Fn(&str) + Send + Sync>,
}

/// How a guest's run ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) text: String,
    pub(super) is_clean: bool,
}

/// A partition with its guest loaded, not started.
pub(super) enum Prepared {
    Kvm(Box<Partition>),
    Inproc(Box<InprocGuest>),
}

pub(super) struct InprocGuest {
    partition: Arc<InprocPartition>,
    machine: InprocMachine,
}

/// A guest that runs.
pub(super) enum Started {
    Kvm(Box<Running>),
    Inproc {
        partition: Arc<InprocPartition>,
        ending: Arc<Mutex<Option<Ending>>>,
        stopped: AtomicBool,
    },
}

/// Makes the partition and loads the guest.
pub(super) fn prepare(backend: &str, config: GuestConfig<'_>) -> Result<Prepared, Error> {
    let GuestConfig {
        image,
        path,
        cpus,
        pin,
        recommended,
        memory,
        command_line,
        on_console,
        on_report,
    } = config;
    if backend == "inproc" {
        let twin = Program::linked_twin();
        if image.program.as_ref() != Some(&twin) {
            return Err(Error::usage(format!(
                "the in-process back end has no CPU to run '{}'; it runs {twin}, which is linked into this program",
                path.display()
            )));
        }
        if !recommended.is_empty() {
            return Err(Error::usage(
                "--recommend needs KVM: in process no processor caches translations or takes every interrupt",
            ));
        }
        if !pin.is_empty() {
            return Err(Error::usage(
                "--pin needs KVM: in process there are no virtual processors to stay anywhere",
            ));
        }
        let partition =
            InprocPartition::new(InprocConfig::threaded(memory, cpus)).map_err(Error::failed)?;
        let partition = Arc::new(partition);
        let machine = InprocMachine::new(&partition, command_line, on_console, on_report)
            .map_err(Error::failed)?;
        return Ok(Prepared::Inproc(Box::new(InprocGuest {
            partition,
            machine,
        })));
    }
    let memory = GuestMemory::new(memory)
        .map_err(|error| Error::failed(format!("no memory for the guest: {error}")))?;
    let line_output = |on_line: Box<dyn Fn(&str) + Send + Sync>| -> Output {
        Box::new(LineOutput::new(move |line: &str| on_line(line)))
    };
    let crashes = CrashPrinter::default();
    let config = KvmConfig {
        memory,
        vp_count: cpus,
        platform: Platform::Bare,
        console: line_output(on_console),
        report: line_output(on_report),
        on_event: Some(Arc::new(move |event| {
            if let HvEvent::Crash(report) = event {
                crashes.print(&report);
            }
        })),
    };
    let mut partition = Partition::with_hv(config, |hv| hv.recommendations |= recommended)
        .map_err(Error::failed)?;
    partition.pin(pin).map_err(Error::failed)?;
    partition
        .load_elf(image, &command_line)
        .map_err(|error| Error::failed(format!("cannot load '{}': {error}", path.display())))?;
    Ok(Prepared::Kvm(Box::new(partition)))
}

/// Reads a guest's file and checks that it is one.
pub(super) fn read_image(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path);
    let bytes = file.and_then(|file| file::read_to_end(&file, file::MOST_KERNEL));
    let bytes = bytes.map_err(|error| {
        Error::failed(format!(
            "cannot read the guest '{}': {error}",
            path.display()
        ))
    })?;
    elf::parse(&bytes)
        .map_err(|error| Error::failed(format!("'{}' is no guest: {error}", path.display())))?;
    Ok(bytes)
}

impl Prepared {
    pub(super) fn hv(&self) -> &Arc<Hv> {
        match self {
            Self::Kvm(partition) => partition.hv(),
            Self::Inproc(guest) => guest.partition.hv(),
        }
    }

    pub(super) fn memory(&self) -> &GuestMemory {
        match self {
            Self::Kvm(partition) => partition.memory(),
            Self::Inproc(guest) => guest.partition.memory(),
        }
    }

    pub(super) fn start(self) -> Result<Started, Error> {
        match self {
            Self::Kvm(partition) => partition
                .start()
                .map(|running| Started::Kvm(Box::new(running)))
                .map_err(Error::failed),
            Self::Inproc(guest) => {
                let InprocGuest { partition, machine } = *guest;
                let ending = Arc::new(Mutex::new(None));
                let result = Arc::clone(&ending);
                let run = move |_| {
                    let status = guest_image::program::run(&machine);
                    let end = Ending {
                        text: format!("the guest powered off with status {status}"),
                        is_clean: status == 0,
                    };
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
                };
                let watched = Arc::clone(&ending);
                let vp = partition.spawn_vp(0, run).map_err(Error::failed)?;
                std::thread::spawn(move || {
                    if vp.join().is_err() {
                        let end = Ending {
                            text: "the guest's program panicked".to_owned(),
                            is_clean: false,
                        };
                        *watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
                    }
                });
                Ok(Started::Inproc {
                    partition,
                    ending,
                    stopped: AtomicBool::new(false),
                })
            }
        }
    }
}

impl Started {
    /// Waits for the end, at most so long.
    pub(super) fn wait_for(&mut self, limit: Duration) -> Option<Ending> {
        match self {
            Self::Kvm(running) => running.wait_for(limit).map(|outcome| Ending {
                text: outcome.to_string(),
                is_clean: outcome == Outcome::PoweredOff { status: 0 },
            }),
            Self::Inproc { ending, .. } => {
                let deadline = Instant::now() + limit;
                loop {
                    let end = ending
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    if end.is_some() || Instant::now() >= deadline {
                        return end;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Stops the guest by force.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Kvm(running) => drop(running.stop()),
            Self::Inproc {
                partition, stopped, ..
            } => {
                if !stopped.swap(true, Ordering::AcqRel) {
                    partition.shutdown();
                }
            }
        }
    }
}
