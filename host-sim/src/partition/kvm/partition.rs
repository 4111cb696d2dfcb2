//! A partition before it runs.

use std::sync::Arc;

use kvm_ioctls::VcpuFd;

use super::devices::Devices;
use super::exits::ExitCounters;
use super::interrupts::MsiSink;
use super::run::Processor;
use super::vm::{DEVICE, Vm, open};
use super::{KvmError, Running, clock, cpuid, registers};
use crate::boot::elf::Image;
use crate::boot::long_mode::{self, Entry, LoadError};
use crate::hv::{Hv, HvConfig, HvEvent};
use crate::memory::GuestMemory;
use crate::serial::Output;

/// Whom to tell of the shim's events.
pub(super) type OnEvent = Box<dyn Fn(HvEvent) + Send + Sync>;

/// What a partition is made of.
pub struct KvmConfig {
    /// The guest's RAM, at most [`MOST_RAM`](super::MOST_RAM) bytes.
    pub memory: GuestMemory,
    /// Virtual processors, 1 or more.
    pub vp_count: u32,
    /// Where the console's serial port sends.
    pub console: Output,
    /// Where the report channel's serial port sends.
    pub report: Output,
    /// Told of crash notifications and reset requests, on the virtual processor's thread. A reset request also ends the
    /// run, with [`Outcome::ResetRequested`](super::Outcome::ResetRequested).
    pub on_event: Option<OnEvent>,
}

/// A partition on KVM that has not started: make it, give it a guest, start it.
pub struct Partition {
    pub(super) hv: Arc<Hv>,
    pub(super) vm: Vm,
    pub(super) devices: Devices,
    pub(super) processors: Vec<Processor>,
    pub(super) on_event: Option<OnEvent>,
    entry: Option<Entry>,
}

impl Partition {
    /// Makes a partition with the shim's usual offers.
    ///
    /// # Errors
    /// [`KvmError`]: KVM is missing, forbidden or lacking, or the machine cannot be made.
    pub fn new(config: KvmConfig) -> Result<Self, KvmError> {
        Self::with_hv(config, |_| {})
    }

    /// Makes a partition whose shim is configured by `adjust`.
    ///
    /// # Errors
    /// As for [`new`](Self::new), or the shim's configuration is refused.
    pub fn with_hv(
        config: KvmConfig,
        adjust: impl FnOnce(&mut HvConfig),
    ) -> Result<Self, KvmError> {
        let kvm = open(DEVICE)?;
        let vm = Vm::new(&kvm, &config.memory, config.vp_count)?;
        let devices = Devices::new(&vm.fd, config.console, config.report)?;
        let processors = (0..config.vp_count)
            .map(|index| vm.fd.create_vcpu(u64::from(index)))
            .collect::<Result<Vec<VcpuFd>, _>>()
            .map_err(KvmError::refused("create a virtual processor"))?;

        let clock = clock::shared_clock(&kvm, &processors);
        let sink = Arc::new(MsiSink::new(Arc::clone(&vm.fd)));
        let mut hv_config = HvConfig::new(config.memory, clock, sink, config.vp_count);
        adjust(&mut hv_config);
        let hv = Hv::new(hv_config)?;

        let mut owned = Vec::new();
        for (index, fd) in (0..).zip(processors) {
            let leaves = cpuid::of_processor(&vm.supported_cpuid, &hv, index)?;
            fd.set_cpuid2(&leaves)
                .map_err(KvmError::refused("set CPUID leaves"))?;
            owned.push(Processor {
                index,
                fd,
                counters: Arc::new(ExitCounters::default()),
            });
        }
        Ok(Self {
            hv,
            vm,
            devices,
            processors: owned,
            on_event: config.on_event,
            entry: None,
        })
    }

    /// The shim: for the host's services to connect their ports to.
    #[must_use]
    pub fn hv(&self) -> &Arc<Hv> {
        &self.hv
    }

    /// The guest's RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.hv.config().memory
    }

    /// Loads our guest's image.
    ///
    /// # Errors
    /// [`LoadError`]: the image or its command line does not fit. The partition cannot be started then.
    pub fn load_elf(&mut self, image: &Image<'_>, command_line: &str) -> Result<(), LoadError> {
        let count = self.hv.config().vp_count;
        self.entry = None;
        self.entry = Some(long_mode::load(self.memory(), image, command_line, count)?);
        Ok(())
    }

    /// Has every processor enter at `entry`, in whose memory the caller has put tables and code.
    pub fn set_entry(&mut self, entry: Entry) {
        self.entry = Some(entry);
    }

    /// Starts all virtual processors, each on a thread of its own.
    ///
    /// # Errors
    /// [`KvmError`], for instance that no guest has been loaded; no processor runs then.
    pub fn start(self) -> Result<Running, KvmError> {
        let entry = self.entry.ok_or(KvmError::NoGuest)?;
        for processor in &self.processors {
            registers::set_entry(&processor.fd, processor.index, &entry)?;
            registers::make_runnable(&processor.fd)?;
        }
        Running::start(self)
    }
}
