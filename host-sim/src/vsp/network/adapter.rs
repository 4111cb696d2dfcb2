//! The device that the VMBus server offers.

use std::sync::Arc;

use thiserror::Error;
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vsc_net::wire::nvsp::Version;

use super::MAX_CHANNELS;
use super::channel::{NetworkChannel, Role};
use super::handle::NetworkHandle;
use super::identity::{MAX_ADAPTERS, instance};
use super::protocol::{Limits, Protocol};
use super::shared::{Policy, Shared};
use super::vlan::{InvalidVlan, VlanMode};
use crate::net::{MacAddress, NetworkBackend};
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, Vsp, VspChannel,
};

/// Name of adapters that are given none: the one that guests take as none of their own.
const DEFAULT_NAME: &str = "Network Adapter";

/// How an adapter is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Its instance, stable across reboots.
    pub instance: Guid,
    /// Its address.
    pub address: MacAddress,
    /// Newest protocol version that is accepted.
    pub highest_version: Version,
    /// Most sub-channels, at most 63; 0 for none.
    pub max_sub_channels: u16,
    /// Whether the guest may choose another address and send with any.
    pub allow_address_spoofing: bool,
    /// Whether large sends of version 1 are offered, as adapters of other makers do.
    pub large_send_v1: bool,
    /// How its port of the network treats VLAN tags.
    pub vlan: VlanMode,
    /// Its name in the guest.
    pub friendly_name: String,
}

impl NetworkOptions {
    /// An adapter with this identity and the newest of everything.
    #[must_use]
    pub fn new(instance: Guid, address: MacAddress) -> Self {
        Self {
            instance,
            address,
            highest_version: Version::V6_1,
            max_sub_channels: MAX_CHANNELS - 1,
            allow_address_spoofing: false,
            large_send_v1: false,
            vlan: VlanMode::Transparent,
            friendly_name: DEFAULT_NAME.into(),
        }
    }

    /// The adapter in a slot of a machine with this name: instance and address are generated, the same each time.
    ///
    /// # Errors
    /// A machine has slots 0 to 7.
    pub fn for_slot(machine: &str, slot: u8) -> Result<Self, ConfigError> {
        if slot >= MAX_ADAPTERS {
            return Err(ConfigError::Slot(slot));
        }
        Ok(Self::new(
            instance(machine, slot),
            MacAddress::generated(machine, slot),
        ))
    }
}

/// Why an adapter cannot be as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// There are only so many.
    #[error("there is no network adapter {0}: a machine has 0 to {last}", last = MAX_ADAPTERS - 1)]
    Slot(u8),
    /// The address is a group's, or zero.
    #[error(transparent)]
    Address(#[from] crate::net::mac::InvalidMac),
    /// Too many sub-channels.
    #[error("{0} sub-channels are more than {most}", most = MAX_CHANNELS - 1)]
    SubChannels(u16),
    /// A number is no VLAN's.
    #[error(transparent)]
    Vlan(#[from] InvalidVlan),
}

/// A synthetic network adapter.
pub struct NetworkAdapter {
    options: NetworkOptions,
    shared: Arc<Shared>,
}

impl NetworkAdapter {
    /// An adapter plugged into a back end, which nobody else may be plugged into.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        options: NetworkOptions,
        backend: Arc<dyn NetworkBackend>,
    ) -> Result<Self, ConfigError> {
        options.address.check()?;
        options.vlan.check()?;
        if options.max_sub_channels >= MAX_CHANNELS {
            return Err(ConfigError::SubChannels(options.max_sub_channels));
        }
        let policy = Policy {
            limits: Limits {
                highest_version: options.highest_version,
                max_sub_channels: options.max_sub_channels,
            },
            permanent_address: options.address,
            allows_spoofing: options.allow_address_spoofing,
            large_send_v1: options.large_send_v1,
            vlan: options.vlan.clone(),
            friendly_name: options.friendly_name.clone(),
        };
        Ok(Self {
            options,
            shared: Arc::new(Shared::new(policy, backend)),
        })
    }

    /// Access from outside.
    #[must_use]
    pub fn handle(&self) -> NetworkHandle {
        NetworkHandle {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Vsp for NetworkAdapter {
    fn offer(&self) -> OfferDescription {
        OfferDescription {
            max_sub_channels: self.options.max_sub_channels,
            ..OfferDescription::new(class::NETWORK, self.options.instance)
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
            let mut limits = self.shared.policy.limits;
            if !request.vmbus_version.has_channel_event_flags() {
                // Sub-channels came to the bus with 2.4, whatever the network protocol's version.
                limits.max_sub_channels = 0;
            }
            Role::primary(Protocol::new(limits), &self.shared)
        } else if index > self.options.max_sub_channels {
            return Err(OpenRefused::new(format!(
                "there is no sub-channel {index}, only {}",
                self.options.max_sub_channels
            )));
        } else if self.shared.state().is_none() || self.shared.open_channels().contains(&index) {
            return Err(OpenRefused::new(format!(
                "sub-channel {index} is open already, or the primary one is not"
            )));
        } else {
            Role::Sub(index)
        };
        let channel = NetworkChannel::new(role, Arc::clone(&self.shared), services);
        Ok(Box::new(channel))
    }
}

impl std::fmt::Debug for NetworkAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkAdapter")
            .field("options", &self.options)
            .field("backend", &self.shared.backend.describe())
            .finish_non_exhaustive()
    }
}
