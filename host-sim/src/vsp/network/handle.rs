//! An operator's access to an adapter in use.

use std::sync::Arc;

use serde::Serialize;
use vsc_net::wire::nvsp::Version;

use super::counters::NetworkCounters;
use super::protocol::State;
use super::settings::OffloadSettings;
use super::shared::Shared;
use crate::net::MacAddress;

/// An adapter at one moment, for inspection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkSnapshot {
    /// How far the guest's negotiation has come; `None` while the primary channel is closed.
    pub state: Option<State>,
    /// The protocol version in force, as "6.1".
    pub version: Option<String>,
    /// Whether the guest has initialised RNDIS: frames pass.
    pub is_operational: bool,
    /// What it is plugged into.
    pub backend: String,
    /// Whether the operator has the cable plugged in.
    pub is_cable_in: bool,
    /// Whether frames can pass: the cable is in and the back end's link up.
    pub is_link_up: bool,
    /// Bit/s.
    pub link_speed: u64,
    /// The address in use.
    pub address: MacAddress,
    /// The address that the adapter was made with.
    pub permanent_address: MacAddress,
    /// Bytes of the longest frame, without a VLAN tag.
    pub mtu: u32,
    /// Which frames the guest wants, as it says it.
    pub filter: u32,
    /// Offloads in force.
    pub offloads: OffloadSettings,
    /// Whether receive-side scaling is on.
    pub has_scaling: bool,
    /// Indices of the open channels, ascending; 0 is the primary one.
    pub channels: Vec<u16>,
    /// Sections of the receive buffer, and how many of them the guest has.
    pub receive_sections: Option<(u32, u32)>,
    /// Frames for the guest that the back end had no room for.
    pub backend_dropped: u64,
    /// What has been done.
    pub counters: NetworkCounters,
}

/// Access to an adapter from outside of the server: any thread, any time. Cheap to clone; outlives the adapter
/// harmlessly.
#[derive(Clone)]
pub struct NetworkHandle {
    pub(super) shared: Arc<Shared>,
}

impl NetworkHandle {
    /// Plugs the cable in or out. Frames under way are lost, and the guest is told: at most once a second, what it was
    /// told last is what is true.
    pub fn set_link(&self, is_in: bool) {
        self.shared.set_cable(is_in);
    }

    /// Tells the guest that it may be in another network, so that it asks for addresses anew.
    pub fn announce_network_change(&self) {
        self.shared.note_network_change();
    }

    /// Whether frames can pass: the cable is in and the back end's link up.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.shared.is_link_up()
    }

    /// What the adapter has done.
    #[must_use]
    pub fn counters(&self) -> NetworkCounters {
        self.shared.counters()
    }

    /// How far the guest's negotiation has come; `None` while the primary channel is closed.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.shared.state()
    }

    /// The protocol version in force.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.shared.version()
    }

    /// The address in use.
    #[must_use]
    pub fn address(&self) -> MacAddress {
        self.shared.address()
    }

    /// Gives the adapter its own address back, as the reset of its machine does.
    pub fn reset_address(&self) {
        self.shared
            .set_address(self.shared.policy.permanent_address);
    }

    /// Indices of the channels that are open, ascending; 0 is the primary one.
    #[must_use]
    pub fn open_channels(&self) -> Vec<u16> {
        self.shared.open_channels()
    }

    /// All of it at once.
    #[must_use]
    pub fn snapshot(&self) -> NetworkSnapshot {
        let shared = &self.shared;
        let (settings, _) = shared.settings();
        let buffers = shared.buffers();
        let receive_sections = buffers
            .receive
            .as_ref()
            .map(|buffer| (buffer.section_count, buffer.pool().outstanding()));
        drop(buffers);
        NetworkSnapshot {
            state: shared.state(),
            version: shared.version().map(|version| version.to_string()),
            is_operational: settings.is_operational,
            backend: shared.backend.describe(),
            is_cable_in: shared.is_cable_in(),
            is_link_up: shared.is_link_up(),
            link_speed: shared.backend.link().speed,
            address: settings.address,
            permanent_address: shared.policy.permanent_address,
            mtu: settings.mtu,
            filter: settings.filter.bits(),
            offloads: settings.offloads,
            has_scaling: settings.scaling.is_some(),
            channels: shared.open_channels(),
            receive_sections,
            backend_dropped: shared.backend.dropped(),
            counters: shared.counters(),
        }
    }
}

impl std::fmt::Debug for NetworkHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkHandle")
            .field("address", &self.address())
            .field("state", &self.state())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
