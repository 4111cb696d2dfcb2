//! Where video RAM is.

use std::sync::Arc;

use thiserror::Error;

use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::partition::device_memory::{DeviceMemory, DeviceMemoryMapper, MapError};

/// Why the guest's place for video RAM is refused.
#[derive(Debug, Error)]
pub(super) enum PlaceError {
    #[error("address {0:#x} is not page-aligned")]
    Misaligned(u64),
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Video RAM that the guest sees: the device's own, mapped, or a block of the guest's RAM.
pub(super) enum VideoMemory {
    Mapped {
        address: u64,
        memory: Arc<DeviceMemory>,
        mapper: Arc<dyn DeviceMemoryMapper>,
    },
    Ram {
        address: u64,
        ram: GuestMemory,
    },
}

impl VideoMemory {
    /// Video RAM at the guest's address. A guest may as well draw into its own RAM, if all of it is RAM.
    pub(super) fn place(
        address: u64,
        memory: &Arc<DeviceMemory>,
        mapper: &Arc<dyn DeviceMemoryMapper>,
        ram: &GuestMemory,
    ) -> Result<Self, PlaceError> {
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(PlaceError::Misaligned(address));
        }
        // At most 256 MiB.
        if ram.slice(address, memory.size() as usize).is_ok() {
            let ram = ram.clone();
            return Ok(Self::Ram { address, ram });
        }
        mapper.map(address, memory)?;
        Ok(Self::Mapped {
            address,
            memory: Arc::clone(memory),
            mapper: Arc::clone(mapper),
        })
    }

    /// Guest-physical address.
    pub(super) const fn address(&self) -> u64 {
        match self {
            Self::Mapped { address, .. } | Self::Ram { address, .. } => *address,
        }
    }

    /// Copies bytes out; `false` if they are not within video RAM.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        match self {
            Self::Mapped { memory, .. } => memory.read(offset, into).is_ok(),
            Self::Ram { address, ram } => address
                .checked_add(offset)
                .is_some_and(|address| ram.read(address, into).is_ok()),
        }
    }
}

impl Drop for VideoMemory {
    fn drop(&mut self) {
        if let Self::Mapped {
            address, mapper, ..
        } = self
            && let Err(error) = mapper.unmap(*address)
        {
            // The guest keeps seeing memory that nobody looks at; nothing else is harmed.
            tracing::warn!(address = *address, %error, "video RAM stays mapped");
        }
    }
}
