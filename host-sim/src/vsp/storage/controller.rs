//! The device that the VMBus server offers.

use std::sync::Arc;

use thiserror::Error;
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vsc_storage::wire::Version;

use super::channel::{Role, StorageChannel};
use super::executor::ExecutorFactory;
use super::handle::StorageHandle;
use super::protocol::{Limits, Protocol};
use super::shared::{Observer, Shared};
use super::{DEFAULT_MAX_TRANSFER, MAX_TRANSFER_LIMIT};
use crate::memory::PAGE_SIZE;
use crate::vmbus::vsp::{
    ChannelServices, OFFER_ENUMERATE_DEVICE_INTERFACE, OfferDescription, OpenRefused, OpenRequest,
    Vsp, VspChannel,
};
use crate::vsp::scsi::{Addressing, UnitTable};

/// IDE offers: flag for an IDE disk, at offset 8 of the user-defined data.
const IDE_DEVICE: u32 = 2;

/// The instance of a partition's SCSI controller number `index`: the same each time that a guest is started.
#[must_use]
pub const fn scsi_instance(index: u8) -> Guid {
    let last = 0x7F_u8.wrapping_add(index);
    Guid::from_fields(
        0xBA61_63D9,
        0x04A1,
        0x4D29,
        [0xB6, 0x05, 0x72, 0xE2, 0xFF, 0xB1, 0xDC, last],
    )
}

/// How a controller is to be.
#[derive(Clone)]
pub struct StorageOptions {
    /// Whether it is a SCSI controller or one IDE disk.
    pub addressing: Addressing,
    /// Its instance, stable across reboots.
    pub instance: Guid,
    /// Most bytes of one command's transfer: a multiple of 4096, at most [`MAX_TRANSFER_LIMIT`].
    pub max_transfer: u32,
    /// Most sub-channels; 0 for an IDE disk.
    pub max_sub_channels: u16,
    /// Newest protocol version that is accepted.
    pub highest_version: Version,
    /// Where commands are executed; on the polling thread if `None`.
    pub executor: Option<ExecutorFactory>,
    /// Who is told of every command.
    pub observer: Option<Observer>,
}

impl StorageOptions {
    /// A SCSI controller with up to 64 sub-channels.
    #[must_use]
    pub const fn scsi(instance: Guid) -> Self {
        Self {
            addressing: Addressing::Scsi,
            instance,
            max_transfer: DEFAULT_MAX_TRANSFER,
            max_sub_channels: 64,
            highest_version: Version::Win10,
            executor: None,
            observer: None,
        }
    }

    /// An accelerated IDE disk in the place that the emulated one has. Its instance follows from that.
    #[must_use]
    pub fn ide(channel: u8, device: u8) -> Self {
        Self {
            addressing: Addressing::Ide { channel, device },
            instance: Guid::from_fields(channel.into(), device.into(), 0x8899, [0; 8]),
            max_sub_channels: 0,
            ..Self::scsi(Guid::ZERO)
        }
    }
}

/// Why a controller cannot be as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The largest transfer is 0, not a multiple of 4096, or too large.
    #[error(
        "a largest transfer of {bytes} bytes is not a multiple of 4096 up to {MAX_TRANSFER_LIMIT}"
    )]
    MaxTransfer {
        /// Bytes wanted.
        bytes: u32,
    },
    /// IDE has two channels with two devices each, and no sub-channels.
    #[error(
        "there is no IDE disk at channel {channel}, device {device}, with {sub_channels} sub-channels"
    )]
    Ide {
        /// Channel wanted.
        channel: u8,
        /// Device wanted.
        device: u8,
        /// Sub-channels wanted.
        sub_channels: u16,
    },
}

/// A synthetic SCSI controller, or an accelerated IDE disk.
pub struct StorageController {
    options: StorageOptions,
    shared: Arc<Shared>,
}

impl StorageController {
    /// A controller without disks; [`StorageHandle::add_lun`] adds them.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(options: StorageOptions) -> Result<Self, ConfigError> {
        let bytes = options.max_transfer;
        if bytes == 0 || !u64::from(bytes).is_multiple_of(PAGE_SIZE) || bytes > MAX_TRANSFER_LIMIT {
            return Err(ConfigError::MaxTransfer { bytes });
        }
        if let Addressing::Ide { channel, device } = options.addressing
            && (channel > 1 || device > 1 || options.max_sub_channels != 0)
        {
            return Err(ConfigError::Ide {
                channel,
                device,
                sub_channels: options.max_sub_channels,
            });
        }
        let limits = Limits {
            highest_version: options.highest_version,
            max_sub_channels: options.max_sub_channels,
            max_transfer: bytes,
        };
        Ok(Self {
            shared: Arc::new(Shared::new(
                limits,
                options.instance,
                UnitTable::new(options.addressing),
            )),
            options,
        })
    }

    /// Access from outside.
    #[must_use]
    pub fn handle(&self) -> StorageHandle {
        StorageHandle {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Vsp for StorageController {
    fn offer(&self) -> OfferDescription {
        let instance = self.options.instance;
        match self.options.addressing {
            Addressing::Scsi => OfferDescription {
                max_sub_channels: self.options.max_sub_channels,
                ..OfferDescription::new(class::SCSI, instance)
            },
            Addressing::Ide { channel, device } => {
                let mut offer = OfferDescription::new(class::IDE, instance);
                offer.flags = OFFER_ENUMERATE_DEVICE_INTERFACE;
                // Old guests read the disk's place from here, newer ones from the instance.
                offer.user_data[2] = channel;
                offer.user_data[3] = device;
                offer.user_data[8..12].copy_from_slice(&IDE_DEVICE.to_le_bytes());
                offer
            }
        }
    }

    fn open(
        &mut self,
        request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        let index = request.sub_channel_index;
        let role = if index == 0 {
            if self.shared.state().is_some() {
                return Err(OpenRefused::new("the primary channel is open already"));
            }
            let mut limits = self.shared.limits;
            if !request.vmbus_version.has_channel_event_flags() {
                // Sub-channels came to the bus with 2.4, whatever the storage protocol's version.
                limits.max_sub_channels = 0;
            }
            Role::Primary(Protocol::new(limits))
        } else if index > self.options.max_sub_channels {
            return Err(OpenRefused::new(format!(
                "there is no sub-channel {index}, only {}",
                self.options.max_sub_channels
            )));
        } else {
            Role::Sub(index)
        };
        let executor = self
            .options
            .executor
            .as_ref()
            .map(|factory| factory(services.waker.clone()));
        Ok(Box::new(StorageChannel::new(
            role,
            Arc::clone(&self.shared),
            executor,
            self.options.observer.clone(),
            services,
        )))
    }
}

impl std::fmt::Debug for StorageController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageController")
            .field("addressing", &self.options.addressing)
            .field("instance", &self.options.instance)
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}
