//! What a host offers to its guest.

use std::sync::Arc;

use bitflags::bitflags;
use vmbus_core::version::ProtocolVersion;
use vsc_net::wire::nvsp::Version as NetworkVersion;
use vsc_storage::wire::Version as StorageVersion;

use crate::disk::{DiskImage, OnFull};
use crate::host_version::HostVersion;
use crate::ic::heartbeat::BEAT_INTERVAL;
use crate::net::NicArgument;
use crate::partition::device_memory::DeviceMemoryMapper;
use crate::vmbus::Execution;
use crate::vmbus::trace::BusObserver;
use crate::vsp::storage::executor::ExecutorFactory;
use crate::vsp::video::VideoOptions;

/// Most SCSI controllers, as on Hyper-V.
pub const MOST_CONTROLLERS: u8 = 4;

/// Where the guest finds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A logical unit of a SCSI controller.
    Scsi {
        /// 0 to 3.
        controller: u8,
        /// 0 to 63.
        lun: u8,
    },
    /// An accelerated IDE disk.
    Ide {
        /// Primary 0 or secondary 1.
        channel: u8,
        /// Master 0 or slave 1.
        device: u8,
    },
}

impl Place {
    /// A logical unit of the first SCSI controller.
    #[must_use]
    pub const fn lun(lun: u8) -> Self {
        Self::Scsi { controller: 0, lun }
    }
}

/// What is attached to a storage controller.
#[derive(Clone)]
pub enum StorageDevice {
    /// A disk.
    Disk {
        /// Its image.
        image: Arc<dyn DiskImage>,
        /// What becomes of writes for which the host has no space.
        on_full: OnFull,
    },
    /// An optical drive, on a SCSI controller only.
    Dvd {
        /// What is in it.
        medium: Option<Arc<dyn DiskImage>>,
    },
}

impl StorageDevice {
    /// A disk whose writes fail when the host has no space for them.
    #[must_use]
    pub fn disk(image: Arc<dyn DiskImage>) -> Self {
        Self::Disk {
            image,
            on_full: OnFull::Fail,
        }
    }
}

/// The screen that is offered.
#[derive(Clone)]
pub struct Screen {
    /// How it is.
    pub options: VideoOptions,
    /// Who shows the guest its memory.
    pub mapper: Arc<dyn DeviceMemoryMapper>,
}

bitflags! {
    /// Devices that are offered beside storage, heartbeat and shutdown.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Offers: u32 {
        /// Time synchronisation.
        const TIME_SYNC = 1;
        /// Key-value exchange.
        const KVP = 1 << 1;
        /// Backup.
        const VSS = 1 << 2;
        /// File copy.
        const FILE_COPY = 1 << 3;
        /// Keyboard.
        const KEYBOARD = 1 << 4;
        /// Mouse.
        const MOUSE = 1 << 5;
    }
}

/// What the host offers.
#[derive(Clone)]
pub struct HostOptions {
    /// The machine's name: what the guest is told, and what generated addresses follow from.
    pub name: String,
    /// The generation of hosts that this one is like, in its services' versions.
    pub generation: HostVersion,
    /// SCSI controllers, 1 to [`MOST_CONTROLLERS`].
    pub controllers: u8,
    /// What is attached to the storage controllers.
    pub storage: Vec<(Place, StorageDevice)>,
    /// The newest VMBus version that is accepted.
    pub newest_vmbus: ProtocolVersion,
    /// The newest storage protocol version that is accepted.
    pub newest_storage: StorageVersion,
    /// The newest network protocol version that is accepted.
    pub newest_network: NetworkVersion,
    /// Network adapters.
    pub nics: Vec<NicArgument>,
    /// Most sub-channels of each SCSI controller, and of network adapters that do not say otherwise.
    pub max_sub_channels: u16,
    /// Where storage commands are executed; on the channel's worker if `None`.
    pub executor: Option<ExecutorFactory>,
    /// Threads, or steps by the caller.
    pub execution: Execution,
    /// Who gets a record of the bus.
    pub observer: Option<Arc<dyn BusObserver>>,
    /// Time between heartbeats, in 100 ns units.
    pub heartbeat_interval: u64,
    /// Further devices, as far as the generation has them.
    pub offers: Offers,
    /// The screen, if there is one.
    pub screen: Option<Screen>,
}

impl Default for HostOptions {
    /// The newest host, without disks, adapters or a screen.
    fn default() -> Self {
        Self::like(HostVersion::Server2025)
    }
}

impl HostOptions {
    /// A host like those of a generation.
    #[must_use]
    pub fn like(generation: HostVersion) -> Self {
        Self {
            name: "guest".to_owned(),
            generation,
            controllers: 1,
            storage: Vec::new(),
            newest_vmbus: generation.newest_vmbus(),
            newest_storage: generation.newest_storage(),
            newest_network: generation.newest_network(),
            nics: Vec::new(),
            max_sub_channels: 64,
            executor: None,
            execution: Execution::Threaded,
            observer: None,
            heartbeat_interval: BEAT_INTERVAL,
            offers: Offers::all(),
            screen: None,
        }
    }
}
