//! The host's services for one partition: a bus with the usual devices, whatever runs the guest.

use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use vmbus_core::guid::Guid;
use vmbus_core::version::ProtocolVersion;
use vsc_storage::wire::Version as StorageVersion;

use crate::disk::DiskImage;
use crate::hv::Hv;
use crate::ic::heartbeat::{BEAT_INTERVAL, Heartbeat, HeartbeatHandle};
use crate::ic::shutdown::{Shutdown, ShutdownHandle};
use crate::memory::GuestMemory;
use crate::vmbus::server::ServerConfig;
use crate::vmbus::trace::BusObserver;
use crate::vmbus::{BusError, Execution, VmBus};
use crate::vsp::storage::executor::ExecutorFactory;
use crate::vsp::storage::{
    ConfigError, LunError, StorageController, StorageHandle, StorageOptions,
};

/// The SCSI controller's instance, the same in every partition: it is part of no other.
pub const SCSI_INSTANCE: Guid = Guid::from_fields(
    0xba61_63d9,
    0x04a1,
    0x4d29,
    [0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f],
);

/// Where the guest finds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A LUN of the SCSI controller, 0 to 63.
    Scsi(u8),
    /// An accelerated IDE disk.
    Ide {
        /// Primary 0 or secondary 1.
        channel: u8,
        /// Master 0 or slave 1.
        device: u8,
    },
}

/// What the host offers.
#[derive(Clone)]
pub struct HostOptions {
    /// Disks and their places.
    pub disks: Vec<(Place, Arc<dyn DiskImage>)>,
    /// The newest VMBus version that is accepted.
    pub newest_vmbus: ProtocolVersion,
    /// The newest storage protocol version that is accepted.
    pub newest_storage: StorageVersion,
    /// Most sub-channels of the SCSI controller.
    pub max_sub_channels: u16,
    /// Where storage commands are executed; on the channel's worker if `None`.
    pub executor: Option<ExecutorFactory>,
    /// Threads, or steps by the caller.
    pub execution: Execution,
    /// Who gets a record of the bus.
    pub observer: Option<Arc<dyn BusObserver>>,
    /// Time between heartbeats, in 100 ns units.
    pub heartbeat_interval: u64,
}

impl Default for HostOptions {
    /// No disks, the newest versions, threads.
    fn default() -> Self {
        Self {
            disks: Vec::new(),
            newest_vmbus: ProtocolVersion::V6_0,
            newest_storage: StorageVersion::Win10,
            max_sub_channels: 64,
            executor: None,
            execution: Execution::Threaded,
            observer: None,
            heartbeat_interval: BEAT_INTERVAL,
        }
    }
}

/// The host cannot be set up as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// The bus can't be connected.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A controller can't be as wanted.
    #[error(transparent)]
    Controller(#[from] ConfigError),
    /// A disk can't have its place.
    #[error(transparent)]
    Lun(#[from] LunError),
}

/// The services of one partition.
pub struct Host {
    /// The bus.
    pub bus: VmBus,
    /// The SCSI controller.
    pub scsi: StorageHandle,
    /// The accelerated IDE disks, in the order of the options.
    pub ide: Vec<StorageHandle>,
    /// Whether the guest answers.
    pub heartbeat: HeartbeatHandle,
    /// Orders to the guest.
    pub shutdown: ShutdownHandle,
}

/// Exact counts of what crossed between guest and host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// SignalEvent hypercalls of the guest for its channels.
    pub guest_signals: u64,
    /// Event flags that the host set for channels.
    pub host_interrupts: u64,
    /// Storage commands completed.
    pub storage_commands: u64,
}

impl Host {
    /// Connects the services to a partition.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn new(
        hv: &Arc<Hv>,
        memory: &GuestMemory,
        options: HostOptions,
    ) -> Result<Self, HostError> {
        let storage = |wanted: StorageOptions| {
            StorageController::new(StorageOptions {
                highest_version: options.newest_storage,
                executor: options.executor.clone(),
                ..wanted
            })
        };
        let controller = storage(StorageOptions {
            max_sub_channels: options.max_sub_channels,
            ..StorageOptions::scsi(SCSI_INSTANCE)
        })?;
        let scsi = controller.handle();
        let (mut ide, mut ide_disks) = (Vec::new(), Vec::new());
        for (place, image) in options.disks {
            match place {
                Place::Scsi(lun) => scsi.add_lun(lun, image)?,
                Place::Ide { channel, device } => {
                    let disk = storage(StorageOptions::ide(channel, device))?;
                    disk.handle().add_lun(0, image)?;
                    ide.push(disk.handle());
                    ide_disks.push(disk);
                }
            }
        }
        // The bus comes after all that may fail: its thread and ports stay until it is shut down.
        let config = ServerConfig {
            newest: options.newest_vmbus,
            ..ServerConfig::new(hv.config().vp_count)
        };
        let bus = VmBus::new(
            Arc::clone(hv),
            memory.clone(),
            config,
            options.execution,
            options.observer,
        )?;
        for disk in ide_disks {
            bus.add_device(Box::new(disk));
        }
        bus.add_device(Box::new(controller));
        let (device, heartbeat) = Heartbeat::new(options.heartbeat_interval);
        bus.add_device(Box::new(device));
        let (device, shutdown) = Shutdown::new();
        bus.add_device(Box::new(device));
        Ok(Self {
            bus,
            scsi,
            ide,
            heartbeat,
            shutdown,
        })
    }

    /// What has crossed so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let bus = self.bus.snapshot();
        let disks = std::iter::once(&self.scsi).chain(&self.ide);
        Traffic {
            guest_signals: bus.closed_signals
                + bus.open.iter().map(|channel| channel.signals).sum::<u64>(),
            host_interrupts: bus.closed_interrupts
                + bus
                    .open
                    .iter()
                    .map(|channel| channel.interrupts)
                    .sum::<u64>(),
            storage_commands: disks.map(|disk| disk.counters().commands).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{OpenOptions, open};
    use crate::hv::{HvConfig, InterruptSink, ManualClock};

    struct NoInterrupts;

    impl InterruptSink for NoInterrupts {
        fn inject(&self, _vp: u32, _vector: u8) {}
    }

    #[test]
    fn a_host_that_cannot_be_set_up_leaves_nothing_behind() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let clock = Arc::new(ManualClock::default());
        let config = HvConfig::new(memory.clone(), clock, Arc::new(NoInterrupts), 1);
        let hv = Hv::new(config).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let image = open(file.path(), &OpenOptions::default()).unwrap();
        let place = Place::Scsi(0);
        let options = HostOptions {
            disks: vec![(place, Arc::clone(&image)), (place, image)],
            ..HostOptions::default()
        };
        let refused = Host::new(&hv, &memory, options);
        assert!(matches!(refused, Err(HostError::Lun(_))));
        let host = Host::new(&hv, &memory, HostOptions::default());
        host.expect("the first try has left its ports")
            .bus
            .shut_down();
    }
}
