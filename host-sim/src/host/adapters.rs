//! The network adapters of one host, also while the guest runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use vmbus_core::guid::Guid;
use vsc_net::wire::nvsp::Version;

use crate::net::{BackendError, NicArgument};
use crate::vmbus::VmBus;
use crate::vmbus::server::DeviceId;
use crate::vsp::network::{
    ConfigError, MAX_ADAPTERS, NetworkAdapter, NetworkHandle, NetworkOptions, VlanMode,
};

/// Why the adapters were not changed.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// All slots are taken.
    #[error("a machine has {MAX_ADAPTERS} network adapters at most")]
    Full,
    /// There is none.
    #[error("there is no network adapter {0}")]
    Absent(u8),
    /// The adapter can't be as wanted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What it is to be plugged into can't be had.
    #[error("no network: {0}")]
    Backend(#[from] BackendError),
}

/// An adapter on the bus.
struct Plugged {
    device: DeviceId,
    instance: Guid,
    handle: NetworkHandle,
}

/// All network adapters, by slot.
pub struct Adapters {
    bus: VmBus,
    machine: String,
    newest: Version,
    queues: u16,
    slots: Mutex<BTreeMap<u8, Plugged>>,
}

impl Adapters {
    /// None yet. Each has so many queues at most, and versions up to the newest.
    pub(super) fn new(bus: VmBus, machine: String, newest: Version, queues: u16) -> Self {
        Self {
            bus,
            machine,
            newest,
            queues,
            slots: Mutex::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u8, Plugged>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plugs an adapter into the first slot that is free and tells the guest; returns the slot's number.
    ///
    /// # Errors
    /// [`AdapterError`].
    pub fn add(&self, nic: &NicArgument) -> Result<u8, AdapterError> {
        let mut slots = self.slots();
        let slot = (0..MAX_ADAPTERS)
            .find(|slot| !slots.contains_key(slot))
            .ok_or(AdapterError::Full)?;
        let mut options = NetworkOptions::for_slot(&self.machine, slot)?;
        if let Some(address) = nic.address {
            options.address = address;
        }
        if let Some(vlan) = nic.vlan {
            options.vlan = VlanMode::Access(vlan);
        }
        options.highest_version = self.newest;
        options.max_sub_channels = nic.queues.unwrap_or(self.queues).saturating_sub(1);
        options.allow_address_spoofing = nic.spoofing;
        let instance = options.instance;
        let adapter = NetworkAdapter::new(options, nic.backend.open()?)?;
        let handle = adapter.handle();
        let device = self.bus.add_device(Box::new(adapter));
        slots.insert(
            slot,
            Plugged {
                device,
                instance,
                handle,
            },
        );
        Ok(slot)
    }

    /// Pulls an adapter out and tells the guest.
    ///
    /// # Errors
    /// [`AdapterError::Absent`].
    pub fn remove(&self, slot: u8) -> Result<(), AdapterError> {
        let plugged = self.slots().remove(&slot);
        let plugged = plugged.ok_or(AdapterError::Absent(slot))?;
        self.bus.remove_device(plugged.device);
        Ok(())
    }

    /// An adapter.
    ///
    /// # Errors
    /// [`AdapterError::Absent`].
    pub fn get(&self, slot: u8) -> Result<NetworkHandle, AdapterError> {
        let slots = self.slots();
        let plugged = slots.get(&slot).ok_or(AdapterError::Absent(slot))?;
        Ok(plugged.handle.clone())
    }

    /// The instance of an adapter, by which guests know it.
    ///
    /// # Errors
    /// [`AdapterError::Absent`].
    pub fn instance(&self, slot: u8) -> Result<Guid, AdapterError> {
        let slots = self.slots();
        let plugged = slots.get(&slot).ok_or(AdapterError::Absent(slot))?;
        Ok(plugged.instance)
    }

    /// All adapters with their slots.
    #[must_use]
    pub fn list(&self) -> Vec<(u8, NetworkHandle)> {
        let slots = self.slots();
        let pairs = slots.iter();
        pairs
            .map(|(slot, plugged)| (*slot, plugged.handle.clone()))
            .collect()
    }

    /// What a reset of the machine does to its adapters: each has its own address again.
    pub(super) fn reset(&self) {
        for plugged in self.slots().values() {
            plugged.handle.reset_address();
        }
    }
}
