//! The host's services for one partition: a bus with the usual devices, whatever runs the guest.

mod adapters;
mod disks;
mod options;
mod services;

use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use vmbus_core::guid::Guid;

use crate::hv::Hv;
use crate::ic::kvp::KvpError;
use crate::memory::GuestMemory;
use crate::vmbus::server::ServerConfig;
use crate::vmbus::{BusError, VmBus};
use crate::vsp::storage::{ConfigError, scsi_instance};
use crate::vsp::video::VideoError;

pub use adapters::{AdapterError, Adapters};
pub use disks::{DiskChangeError, Disks};
pub use options::{HostOptions, MOST_CONTROLLERS, Offers, Place, Screen, StorageDevice};
pub use services::Services;

/// The first SCSI controller's instance, the same in every partition: it is part of no other.
pub const SCSI_INSTANCE: Guid = scsi_instance(0);

/// The host cannot be set up as wanted.
#[derive(Debug, Error)]
pub enum HostError {
    /// The bus can't be connected.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A storage controller can't be as wanted.
    #[error(transparent)]
    Controller(#[from] ConfigError),
    /// A disk can't have its place.
    #[error(transparent)]
    Disk(#[from] DiskChangeError),
    /// The machine's name does not fit key-value exchange.
    #[error("the machine's name: {0}")]
    Name(#[from] KvpError),
    /// A network adapter can't be had.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// There is no screen.
    #[error(transparent)]
    Screen(#[from] VideoError),
}

impl From<crate::vsp::storage::LunError> for HostError {
    fn from(error: crate::vsp::storage::LunError) -> Self {
        Self::Disk(error.into())
    }
}

/// The services of one partition.
pub struct Host {
    /// The machine's name.
    pub name: String,
    /// The bus.
    pub bus: VmBus,
    /// Storage controllers and disks.
    pub disks: Disks,
    /// Network adapters.
    pub adapters: Adapters,
    /// Integration services, keyboard, mouse and screen.
    pub services: Services,
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
        mut options: HostOptions,
    ) -> Result<Self, HostError> {
        let (disks, controllers) = Disks::new(&mut options)?;
        let (services, devices) = Services::new(&options)?;
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
        for controller in controllers {
            bus.add_device(Box::new(controller));
        }
        for device in devices {
            bus.add_device(device);
        }
        let adapters = Adapters::new(
            bus.clone(),
            options.name.clone(),
            options.newest_network,
            options.max_sub_channels.saturating_add(1).min(64),
        );
        let host = Self {
            name: options.name,
            bus,
            disks,
            adapters,
            services,
        };
        for nic in &options.nics {
            // Without its adapters the bus is not to stay, with its thread and ports.
            if let Err(error) = host.adapters.add(nic) {
                host.bus.shut_down();
                return Err(error.into());
            }
        }
        Ok(host)
    }

    /// The machine is reset: every channel is closed without a word, and the devices are as at its start. `false` if
    /// one of them does not come to an end; the guest's memory is then not free.
    #[must_use]
    pub fn reset(&self) -> bool {
        let is_quiet = self.bus.reset();
        self.adapters.reset();
        is_quiet
    }

    /// What has crossed so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let bus = self.bus.snapshot();
        let disks = self.disks.controllers().iter().chain(self.disks.ide());
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
        let attached = (Place::lun(0), StorageDevice::disk(image));
        let options = HostOptions {
            storage: vec![attached.clone(), attached],
            ..HostOptions::default()
        };
        let refused = Host::new(&hv, &memory, options);
        assert!(matches!(refused, Err(HostError::Disk(_))));
        let host = Host::new(&hv, &memory, HostOptions::default());
        host.expect("the first try has left its ports")
            .bus
            .shut_down();
    }
}
