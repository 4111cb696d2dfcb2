//! The host's end: bus, controller, disks, and the unpleasant things that it can do.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use host_sim::disk::faulty::{Fault, Operation, Rule, When};
use host_sim::disk::{
    DiskError, DiskImage, FaultyDisk, MemoryStorage, RawDisk, RawOptions, StorageChange,
};
use host_sim::host::SCSI_INSTANCE;
use host_sim::ic::heartbeat::{BEAT_INTERVAL, Heartbeat, HeartbeatHandle};
use host_sim::partition::inproc::InprocPartition;
use host_sim::vmbus::server::{DeviceId, ServerConfig};
use host_sim::vmbus::{Execution as BusExecution, VmBus, Work};
use host_sim::vsp::scsi::UnitAttention;
use host_sim::vsp::storage::executor::{ExecutorFactory, SeededExecutor};
use host_sim::vsp::storage::{StorageController, StorageCounters, StorageHandle, StorageOptions};

use super::executor::Picked;
use super::plan::{Execution, Plan};
use crate::random::Random;

type Raw = RawDisk<MemoryStorage>;

/// One disk.
struct Lun {
    raw: Arc<Raw>,
    faulty: Arc<FaultyDisk>,
    plugged: bool,
    /// What the disk held when its recording began.
    start: Vec<u8>,
    /// Flushes, by their place in the recording, that a host makes when it closes a channel. They would hide those
    /// that it owes the guest, so a power cut comes before them.
    at_close: BTreeSet<usize>,
}

/// The host's end of a simulation.
pub struct Host {
    plan: Plan,
    random: Random,
    /// The bus, stepped.
    pub bus: VmBus,
    /// The commands that wait to be picked.
    pub picked: Picked,
    /// The heartbeat service.
    pub heartbeat: HeartbeatHandle,
    controller: Option<(DeviceId, StorageHandle)>,
    controllers: Vec<StorageHandle>,
    luns: Vec<Lun>,
}

impl Host {
    /// The devices of a plan, offered.
    ///
    /// # Panics
    /// The host refuses the plan.
    #[must_use]
    pub fn new(plan: &Plan, partition: &InprocPartition, random: Random) -> Self {
        let config = ServerConfig {
            newest: plan.vmbus,
            ..ServerConfig::new(plan.vp_count)
        };
        let bus = VmBus::new(
            partition.hv().clone(),
            partition.memory().clone(),
            config,
            BusExecution::Stepped,
            None,
        )
        .expect("a bus");
        let (device, heartbeat) = Heartbeat::new(BEAT_INTERVAL);
        bus.add_device(Box::new(device));
        let mut host = Self {
            plan: plan.clone(),
            random,
            bus,
            picked: Picked::default(),
            heartbeat,
            controller: None,
            controllers: Vec::new(),
            luns: Vec::new(),
        };
        for lun in 0..plan.luns {
            let disk = host.disk(lun, vec![0; plan.disk_bytes()]);
            host.luns.push(disk);
        }
        host.offer();
        host
    }

    fn disk(&mut self, lun: u8, content: Vec<u8>) -> Lun {
        let storage = MemoryStorage::from_bytes(&content);
        storage.start_recording();
        let options = RawOptions {
            logical_sector_size: self.plan.block_size,
            physical_sector_size: self.plan.block_size,
            read_only: false,
            identity: [lun + 1; 16],
            discard: true,
        };
        let raw = Arc::new(RawDisk::new(storage, options).expect("a disk"));
        let faulty = FaultyDisk::new(raw.clone(), self.random.next_u64());
        if self.plan.media_errors > 0 {
            let error = |operation| DiskError::Io {
                operation,
                offset: 0,
                kind: ErrorKind::Other,
                code: None,
            };
            let when = When::PerThousand(self.plan.media_errors);
            let torn = Fault::TornRandom(error("write"));
            faulty.add(Rule::new(Operation::Write, when, torn));
            let fail = Fault::Fail(error("read"));
            faulty.add(Rule::new(Operation::Read, when, fail));
        }
        Lun {
            raw,
            faulty: Arc::new(faulty),
            plugged: true,
            start: content,
            at_close: BTreeSet::new(),
        }
    }

    fn executor(&mut self) -> Option<ExecutorFactory> {
        match self.plan.execution {
            Execution::Inline => None,
            Execution::Delayed(longest) => {
                let seed = self.random.next_u64();
                Some(Arc::new(move |_| {
                    Box::new(SeededExecutor::new(seed, longest))
                }))
            }
            Execution::Picked => Some(self.picked.factory()),
        }
    }

    fn offer(&mut self) {
        let options = StorageOptions {
            max_transfer: self.plan.max_transfer,
            max_sub_channels: self.plan.sub_channels,
            highest_version: self.plan.storage,
            executor: self.executor(),
            ..StorageOptions::scsi(SCSI_INSTANCE)
        };
        let device = StorageController::new(options).expect("a controller");
        let handle = device.handle();
        for (lun, disk) in (0..).zip(&self.luns) {
            if disk.plugged {
                handle
                    .add_lun(lun, disk.faulty.clone())
                    .expect("a free LUN");
            }
        }
        let id = self.bus.add_device(Box::new(device));
        self.controllers.push(handle.clone());
        self.controller = Some((id, handle));
    }

    /// Whether the controller is offered.
    #[must_use]
    pub fn has_controller(&self) -> bool {
        self.controller.is_some()
    }

    /// Takes the controller away.
    pub fn rescind(&mut self) {
        if let Some((id, _)) = self.controller.take() {
            self.bus.remove_device(id);
        }
    }

    /// Whether the controller can be offered again: nothing of the old one is at work any more, and the guest has
    /// been told that it is gone (or is about to be, before it hears of the new one).
    #[must_use]
    pub fn can_reoffer(&self) -> bool {
        let old = SCSI_INSTANCE.to_string();
        self.controller.is_none()
            && self.is_closed()
            && self
                .bus
                .snapshot()
                .server
                .channels
                .iter()
                .all(|channel| channel.instance != old || channel.phase == "rescinded")
    }

    /// Whether no controller has a channel open.
    fn is_closed(&self) -> bool {
        self.controllers
            .iter()
            .all(|controller| controller.open_channels().is_empty())
    }

    /// Offers the controller again.
    pub fn reoffer(&mut self) {
        self.offer();
    }

    /// The power fails while nobody uses the disks: of what was not flushed, some is lost. Returns what the disks
    /// hold afterwards.
    ///
    /// # Panics
    /// A channel of a controller is open.
    pub fn cut_power(&mut self) -> Vec<Vec<u8>> {
        assert!(self.is_closed());
        let mut contents = Vec::new();
        for lun in 0..self.plan.luns {
            let old = &self.luns[usize::from(lun)];
            let changes = old.raw.storage().recorded();
            let plugged = old.plugged;
            let mut content = old.start.clone();
            let last_flush = (0..changes.len())
                .rfind(|place| {
                    changes[*place] == StorageChange::Flush && !old.at_close.contains(place)
                })
                .map_or(0, |place| place + 1);
            let share = self.random.pick(&[0, 0, 300, 900]);
            for (index, change) in changes.iter().enumerate() {
                self.replay(&mut content, change, index < last_flush, share);
            }
            let mut disk = self.disk(lun, content.clone());
            disk.plugged = plugged;
            self.luns[usize::from(lun)] = disk;
            contents.push(content);
        }
        contents
    }

    /// Repeats a change block by block, leaving out some of it unless it is durable.
    fn replay(&mut self, content: &mut [u8], change: &StorageChange, durable: bool, share: u64) {
        let block = self.plan.block_size as usize;
        let (offset, bytes) = match change {
            StorageChange::Write { offset, data } => (*offset, data.clone()),
            StorageChange::Punch { offset, length } => {
                (*offset, vec![0; usize::try_from(*length).expect("small")])
            }
            StorageChange::SetSize(_) | StorageChange::Flush => return,
        };
        let at = usize::try_from(offset).expect("small");
        for (place, from) in content[at..].chunks_mut(block).zip(bytes.chunks(block)) {
            if durable || self.random.per_thousand(share) {
                place.copy_from_slice(from);
            }
        }
    }

    /// Does one thing on the bus.
    pub fn step(&mut self, work: Work) {
        let counts = |host: &Self| -> Vec<usize> {
            let count = |lun: &Lun| lun.raw.storage().recorded_count();
            host.luns.iter().map(count).collect()
        };
        let before = counts(self);
        self.bus.step(work);
        if work == Work::Effect {
            // Effects execute no commands: whatever reaches a disk is the flush of a channel that closes.
            let after = counts(self);
            for (lun, (before, after)) in self.luns.iter_mut().zip(before.into_iter().zip(after)) {
                lun.at_close.extend(before..after);
            }
        }
    }

    /// LUNs that are plugged in (or not).
    #[must_use]
    pub fn luns(&self, plugged: bool) -> Vec<u8> {
        (0..self.plan.luns)
            .filter(|lun| self.luns[usize::from(*lun)].plugged == plugged)
            .collect()
    }

    /// Pulls a disk out.
    pub fn unplug(&mut self, lun: u8) {
        self.luns[usize::from(lun)].plugged = false;
        if let Some((_, handle)) = &self.controller {
            drop(handle.remove_lun(lun).expect("a plugged disk"));
        }
    }

    /// Puts a disk back.
    pub fn plug(&mut self, lun: u8) {
        let disk = &mut self.luns[usize::from(lun)];
        disk.plugged = true;
        if let Some((_, handle)) = &self.controller {
            handle
                .add_lun(lun, disk.faulty.clone())
                .expect("a free LUN");
        }
    }

    /// Makes a disk report a unit attention.
    pub fn raise(&mut self, lun: u8) {
        let attention = self.random.pick(&[
            UnitAttention::CapacityChanged,
            UnitAttention::ParametersChanged,
            UnitAttention::ReportedLunsChanged,
        ]);
        if let Some((_, handle)) = &self.controller {
            handle.raise(lun, attention).expect("a plugged disk");
        }
    }

    /// No media errors from here on.
    pub fn calm_down(&self) {
        for lun in &self.luns {
            lun.faulty.clear();
        }
    }

    /// What a disk holds.
    #[must_use]
    pub fn content(&self, lun: u8) -> Vec<u8> {
        self.luns[usize::from(lun)].raw.storage().to_bytes()
    }

    /// What each controller has counted, in the order in which they were offered.
    #[must_use]
    pub fn counters(&self) -> Vec<StorageCounters> {
        self.controllers
            .iter()
            .map(StorageHandle::counters)
            .collect()
    }

    /// Blocks of a disk, as the host sees it.
    #[must_use]
    pub fn sectors(&self, lun: u8) -> u64 {
        self.luns[usize::from(lun)].raw.info().sectors()
    }
}
