//! A partition before it runs.

use std::sync::Arc;

use hypercall::cpuid::Recommendations;
use kvm_ioctls::{Kvm, VcpuFd};

use super::devices::Devices;
use super::exits::ExitCounters;
use super::interrupts::MsiSink;
use super::run::Processor;
use super::tlb_flush::TlbFlush;
use super::vm::{CurrentVm, DEVICE, Vm, open};
use super::{
    KvmDeviceMemoryMapper, KvmError, Platform, Running, affinity, clock, cpuid, registers,
};
use crate::boot::elf::Image;
use crate::boot::linux::{LinuxBoot, LinuxEntry, LinuxError};
use crate::boot::long_mode::{self, Entry, LoadError};
use crate::hv::{Clock, Hv, HvConfig, HvEvent, TlbFlusher};
use crate::memory::GuestMemory;
use crate::serial::{Output, SerialPort};

/// Whom to tell of the shim's events.
pub(super) type OnEvent = Arc<dyn Fn(HvEvent) + Send + Sync>;

/// What a partition is made of.
pub struct KvmConfig {
    /// The guest's RAM. A [`Platform::Bare`] guest has at most [`MOST_RAM`](super::MOST_RAM) bytes, a PC as much as it
    /// likes outside of [`HOLE`](crate::boot::address_space::HOLE).
    pub memory: GuestMemory,
    /// Virtual processors, 1 or more.
    pub vp_count: u32,
    /// What the machine has besides.
    pub platform: Platform,
    /// Where the console's serial port (COM1) sends.
    pub console: Output,
    /// Where the report channel's serial port (COM2) sends.
    pub report: Output,
    /// Told of crash notifications and reset requests, on the virtual processor's thread. A reset request also ends the
    /// run, with [`Outcome::ResetRequested`](super::Outcome::ResetRequested).
    pub on_event: Option<OnEvent>,
}

/// What the boot processor, or every processor, begins with.
#[derive(Clone, Copy)]
enum Start {
    /// Every processor enters our guest.
    Everyone(Entry),
    /// The boot processor enters a kernel; the others wait.
    BootProcessor(LinuxEntry),
}

/// A partition on KVM that has not started: make it, give it a guest, start it.
pub struct Partition {
    pub(super) hv: Arc<Hv>,
    pub(super) vm: Vm,
    pub(super) current_vm: Arc<CurrentVm>,
    pub(super) mapper: Arc<KvmDeviceMemoryMapper>,
    pub(super) platform: Platform,
    pub(super) devices: Arc<Devices>,
    pub(super) processors: Vec<Processor>,
    /// For the flush hypercalls, if the guest is recommended to make them.
    pub(super) tlb_flush: Option<Arc<TlbFlush>>,
    pub(super) on_event: Option<OnEvent>,
    start: Option<Start>,
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
        let platform = config.platform;
        let Machine {
            vm,
            processors,
            clock,
        } = machine(&config.memory, config.vp_count, platform)?;
        let current_vm = CurrentVm::new(Arc::clone(&vm.fd));
        let mapper = KvmDeviceMemoryMapper::new(Arc::clone(&current_vm), &config.memory);
        let mut devices = Devices::new(config.console, config.report)?;
        if platform.is_pc() {
            devices = devices.with_pc(Arc::clone(&current_vm));
        }
        devices.connect(&vm.fd)?;

        let sink = Arc::new(MsiSink::new(Arc::clone(&current_vm), config.vp_count));
        let mut hv_config = HvConfig::new(config.memory, clock, sink, config.vp_count);
        let tlb_flush = Arc::new(TlbFlush::new(config.vp_count));
        hv_config.flusher = Some(Arc::clone(&tlb_flush) as Arc<dyn TlbFlusher>);
        hv_config.vp_assist_page = platform.is_pc();
        adjust(&mut hv_config);
        let hv = Hv::new(hv_config)?;
        let flushes = hv
            .config()
            .recommendations
            .contains(Recommendations::REMOTE_FLUSH);
        let processors = prepared(&hv, &vm, processors, platform)?;
        Ok(Self {
            hv,
            vm,
            current_vm,
            mapper,
            platform,
            devices: Arc::new(devices),
            processors,
            tlb_flush: flushes.then_some(tlb_flush),
            on_event: config.on_event,
            start: None,
        })
    }

    /// The partition after a reset: a new machine around the same memory, shim and devices. No processor runs.
    pub(super) fn after_reset(
        hv: Arc<Hv>,
        current_vm: Arc<CurrentVm>,
        mapper: Arc<KvmDeviceMemoryMapper>,
        platform: Platform,
        devices: Arc<Devices>,
        on_event: Option<OnEvent>,
        tlb_flush: Option<Arc<TlbFlush>>,
    ) -> Result<Self, KvmError> {
        hv.reset();
        let config = hv.config();
        // The shim keeps its clock: time goes on, and the counters of the new processors are the same.
        let Machine { vm, processors, .. } = machine(&config.memory, config.vp_count, platform)?;
        devices.disconnect(&current_vm.get())?;
        mapper.move_to(&vm.fd)?;
        devices.reset();
        devices.connect(&vm.fd)?;
        let processors = prepared(&hv, &vm, processors, platform)?;
        Ok(Self {
            hv,
            vm,
            current_vm,
            mapper,
            platform,
            devices,
            processors,
            tlb_flush,
            on_event,
            start: None,
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

    /// COM1 (0) and COM2 (1): for giving the guest something to read. They stay the same when the partition is reset.
    #[must_use]
    pub fn serial_ports(&self) -> &[Arc<SerialPort>; 2] {
        self.devices.serial()
    }

    /// For devices with memory that the guest sees. It stays the same when the partition is reset.
    #[must_use]
    pub fn device_memory(&self) -> &Arc<KvmDeviceMemoryMapper> {
        &self.mapper
    }

    /// Loads our guest's image.
    ///
    /// # Errors
    /// [`LoadError`]: the image or its command line does not fit. The partition cannot be started then.
    pub fn load_elf(&mut self, image: &Image<'_>, command_line: &str) -> Result<(), LoadError> {
        let count = self.hv.config().vp_count;
        self.start = None;
        let entry = long_mode::load(self.memory(), image, command_line, count)?;
        self.set_entry(entry);
        Ok(())
    }

    /// Loads a kernel that speaks Linux's boot protocol or PVH. Memory must be zero, as it is when new.
    ///
    /// # Errors
    /// [`LinuxError`]: what is to be loaded is wrong or does not fit. The partition cannot be started then.
    pub fn load_linux(&mut self, boot: &LinuxBoot<'_>) -> Result<(), LinuxError> {
        self.start = None;
        let loaded = boot.load(self.memory())?;
        self.start = Some(Start::BootProcessor(loaded.entry));
        Ok(())
    }

    /// Has every processor enter at `entry`, in whose memory the caller has put tables and code.
    pub fn set_entry(&mut self, entry: Entry) {
        self.start = Some(Start::Everyone(entry));
    }

    /// Keeps each virtual processor on one of these processors of the machine, in turn. A partition that is reset is to
    /// be told again.
    ///
    /// # Errors
    /// [`KvmError::NoSuchProcessor`]: this process may not run on one of them. Nothing has changed then.
    pub fn pin(&mut self, places: &[usize]) -> Result<(), KvmError> {
        for &place in places {
            affinity::check(place)?;
        }
        for (processor, &place) in self.processors.iter_mut().zip(places.iter().cycle()) {
            processor.place = Some(place);
        }
        Ok(())
    }

    /// Starts all virtual processors, each on a thread of its own.
    ///
    /// # Errors
    /// [`KvmError`], for instance that no guest has been loaded; no processor runs then.
    pub fn start(self) -> Result<Running, KvmError> {
        match self.start.ok_or(KvmError::NoGuest)? {
            Start::Everyone(entry) => {
                for processor in &self.processors {
                    registers::set_entry(&processor.fd, processor.index, &entry)?;
                    registers::make_runnable(&processor.fd)?;
                }
            }
            Start::BootProcessor(entry) => {
                if let Some(first) = self.processors.first() {
                    registers::set_linux_entry(&first.fd, &entry)?;
                    registers::make_runnable(&first.fd)?;
                }
            }
        }
        Running::start(self)
    }
}

/// A machine with its processors.
struct Machine {
    vm: Vm,
    processors: Vec<VcpuFd>,
    /// What the processors' counters show.
    clock: Arc<dyn Clock>,
}

fn machine(memory: &GuestMemory, count: u32, platform: Platform) -> Result<Machine, KvmError> {
    let kvm: Kvm = open(DEVICE)?;
    let vm = Vm::new(&kvm, memory, count, platform)?;
    let processors = (0..count)
        .map(|index| vm.fd.create_vcpu(u64::from(index)))
        .collect::<Result<Vec<VcpuFd>, _>>()
        .map_err(KvmError::refused("create a virtual processor"))?;
    let clock = clock::shared_clock(&kvm, &processors);
    Ok(Machine {
        vm,
        processors,
        clock,
    })
}

/// Gives the processors their features and what firmware would have set.
fn prepared(
    hv: &Hv,
    vm: &Vm,
    processors: Vec<VcpuFd>,
    platform: Platform,
) -> Result<Vec<Processor>, KvmError> {
    let mut prepared = Vec::new();
    for (index, fd) in (0..).zip(processors) {
        let leaves = cpuid::of_processor(vm, hv, index, platform)?;
        fd.set_cpuid2(&leaves)
            .map_err(KvmError::refused("set CPUID leaves"))?;
        if platform.is_pc() {
            registers::set_firmware_state(&fd)?;
        }
        prepared.push(Processor {
            index,
            fd,
            counters: Arc::new(ExitCounters::default()),
            place: None,
        });
    }
    Ok(prepared)
}
