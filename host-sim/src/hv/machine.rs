//! What every part of the shim works on: the guest's memory, its time, and the limits set for it.

use super::HvConfig;
use super::config::HvError;
use super::time::ReferenceTime;
use crate::memory::GuestMemory;

/// Shared, lock-free surroundings of partition and virtual processors.
pub(super) struct Machine {
    pub(super) config: HvConfig,
    pub(super) time: ReferenceTime,
}

impl Machine {
    pub(super) fn new(config: HvConfig) -> Result<Self, HvError> {
        config.check()?;
        let time = ReferenceTime::starting_now(config.clock.clone())?;
        Ok(Self { config, time })
    }

    pub(super) fn memory(&self) -> &GuestMemory {
        &self.config.memory
    }
}
