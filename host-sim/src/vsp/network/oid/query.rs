//! Answers to queries.

use vsc_net::wire::ndis::{
    ConnectState, LinkState, ObjectHeader, Offload, OffloadEncapsulation, Oid, RssCapabilities,
};
use vsc_net::wire::rndis::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::MAX_MULTICAST;
use crate::vsp::network::control::Control;
use crate::vsp::network::offload::revision;
use crate::vsp::network::scaling::{CAPABILITIES, TABLE_ENTRIES};
use crate::vsp::network::settings::OffloadSettings;
use crate::vsp::network::shared::Shared;

const VENDOR_ID: u32 = 0x0000_155D;
const VENDOR_DESCRIPTION: &[u8] = b"Viridian network adapter\0";
/// Bytes that guests are told the adapter keeps in each direction.
const BUFFER_SPACE: u32 = 262_144;
/// COPY_LOOKAHEAD, TRANSFERS_NOT_PEND, NO_LOOPBACK, 8021P, 8021Q.
const MAC_OPTIONS: u32 = 0x0000_024D;
/// NDIS version that the adapter follows, in what is asked by old guests.
const DRIVER_VERSION: u16 = 0x0100;
/// Bytes of a name: 255 UTF-16 units and a zero.
const NAME_SIZE: usize = 512;

/// What can be asked.
const SUPPORTED: &[Oid] = &[
    Oid::GEN_SUPPORTED_LIST,
    Oid::GEN_HARDWARE_STATUS,
    Oid::GEN_MEDIA_SUPPORTED,
    Oid::GEN_MEDIA_IN_USE,
    Oid::GEN_MAXIMUM_LOOKAHEAD,
    Oid::GEN_MAXIMUM_FRAME_SIZE,
    Oid::GEN_LINK_SPEED,
    Oid::GEN_TRANSMIT_BUFFER_SPACE,
    Oid::GEN_RECEIVE_BUFFER_SPACE,
    Oid::GEN_TRANSMIT_BLOCK_SIZE,
    Oid::GEN_RECEIVE_BLOCK_SIZE,
    Oid::GEN_VENDOR_ID,
    Oid::GEN_VENDOR_DESCRIPTION,
    Oid::GEN_CURRENT_PACKET_FILTER,
    Oid::GEN_CURRENT_LOOKAHEAD,
    Oid::GEN_DRIVER_VERSION,
    Oid::GEN_VENDOR_DRIVER_VERSION,
    Oid::GEN_MAXIMUM_TOTAL_SIZE,
    Oid::GEN_PROTOCOL_OPTIONS,
    Oid::GEN_MAC_OPTIONS,
    Oid::GEN_MEDIA_CONNECT_STATUS,
    Oid::GEN_MAXIMUM_SEND_PACKETS,
    Oid::GEN_NETWORK_LAYER_ADDRESSES,
    Oid::GEN_MAX_LINK_SPEED,
    Oid::GEN_LINK_STATE,
    Oid::GEN_RNDIS_CONFIG_PARAMETER,
    Oid::GEN_XMIT_OK,
    Oid::GEN_RCV_OK,
    Oid::GEN_XMIT_ERROR,
    Oid::GEN_RCV_ERROR,
    Oid::GEN_RCV_NO_BUFFER,
    Oid::GEN_STATISTICS,
    Oid::GEN_DIRECTED_BYTES_XMIT,
    Oid::GEN_DIRECTED_FRAMES_XMIT,
    Oid::GEN_MULTICAST_BYTES_XMIT,
    Oid::GEN_MULTICAST_FRAMES_XMIT,
    Oid::GEN_BROADCAST_BYTES_XMIT,
    Oid::GEN_BROADCAST_FRAMES_XMIT,
    Oid::GEN_DIRECTED_BYTES_RCV,
    Oid::GEN_DIRECTED_FRAMES_RCV,
    Oid::GEN_MULTICAST_BYTES_RCV,
    Oid::GEN_MULTICAST_FRAMES_RCV,
    Oid::GEN_BROADCAST_BYTES_RCV,
    Oid::GEN_BROADCAST_FRAMES_RCV,
    Oid::GEN_RCV_CRC_ERROR,
    Oid::GEN_TRANSMIT_QUEUE_LENGTH,
    Oid::GEN_FRIENDLY_NAME,
    Oid::GEN_BYTES_RCV,
    Oid::GEN_BYTES_XMIT,
    Oid::GEN_RCV_DISCARDS,
    Oid::GEN_XMIT_DISCARDS,
    Oid::ETHERNET_PERMANENT_ADDRESS,
    Oid::ETHERNET_CURRENT_ADDRESS,
    Oid::ETHERNET_MULTICAST_LIST,
    Oid::ETHERNET_MAXIMUM_LIST_SIZE,
    Oid::ETHERNET_MAC_OPTIONS,
    Oid::ETHERNET_RCV_ERROR_ALIGNMENT,
    Oid::ETHERNET_XMIT_ONE_COLLISION,
    Oid::ETHERNET_XMIT_MORE_COLLISIONS,
];

/// What NDIS 6 adds.
const SUPPORTED_6: &[Oid] = &[
    Oid::OFFLOAD_ENCAPSULATION,
    Oid::TCP_OFFLOAD_CURRENT_CONFIG,
    Oid::TCP_OFFLOAD_PARAMETERS,
    Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
];

/// What NDIS 6.30 adds.
const SUPPORTED_6_30: &[Oid] = &[
    Oid::GEN_RECEIVE_SCALE_CAPABILITIES,
    Oid::GEN_RECEIVE_SCALE_PARAMETERS,
];

fn supported_list((major, minor): (u32, u32)) -> Result<Vec<u8>, Status> {
    let lists: &[&[Oid]] = match (major, minor) {
        (5, _) => &[SUPPORTED],
        (6, 0..30) => &[SUPPORTED, SUPPORTED_6],
        (6, _) => &[SUPPORTED, SUPPORTED_6, SUPPORTED_6_30],
        _ => return Err(Status::BAD_VERSION),
    };
    let oids = lists.iter().copied().flatten();
    Ok(oids.flat_map(|oid| oid.0.to_le_bytes()).collect())
}

/// Offloads in the revision that the guest knows, and not longer than it has room for.
fn offload(settings: &OffloadSettings, control: &Control, information: &[u8]) -> Vec<u8> {
    let mut newest = revision(control.settings.version);
    if let Ok((header, _)) = ObjectHeader::read_from_prefix(information) {
        let room = header.size.get();
        while newest > 1 && Offload::size_of_revision(newest) > room {
            newest -= 1;
        }
    }
    let (offload, length) = settings.wire().in_revision(newest);
    offload.as_bytes()[..length].to_vec()
}

fn friendly_name(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = name
        .encode_utf16()
        .take(NAME_SIZE / 2 - 1)
        .flat_map(u16::to_le_bytes)
        .collect();
    bytes.resize(NAME_SIZE, 0);
    bytes
}

fn connect_state(is_up: bool) -> ConnectState {
    if is_up {
        ConnectState::CONNECTED
    } else {
        ConnectState::DISCONNECTED
    }
}

/// Answers a query; an error for what cannot be asked.
pub(in crate::vsp::network) fn query(
    control: &mut Control,
    oid: Oid,
    information: &[u8],
    shared: &Shared,
) -> Result<Vec<u8>, Status> {
    let settings = &control.settings;
    let word = |value: u32| Ok(value.to_le_bytes().to_vec());
    // Longer counters for who has room for them.
    let counter = |value: u64| {
        Ok(if information.len() >= 8 {
            value.to_le_bytes().to_vec()
        } else {
            (value as u32).to_le_bytes().to_vec()
        })
    };
    let speed = || shared.backend.link().speed;
    let payload = settings.mtu - 14;
    match oid {
        Oid::GEN_SUPPORTED_LIST => supported_list(control.ndis_version),
        Oid::GEN_HARDWARE_STATUS
        | Oid::GEN_MEDIA_SUPPORTED
        | Oid::GEN_MEDIA_IN_USE
        | Oid::GEN_RCV_CRC_ERROR
        | Oid::GEN_TRANSMIT_QUEUE_LENGTH
        | Oid::ETHERNET_MAC_OPTIONS
        | Oid::ETHERNET_RCV_ERROR_ALIGNMENT
        | Oid::ETHERNET_XMIT_ONE_COLLISION
        | Oid::ETHERNET_XMIT_MORE_COLLISIONS => word(0),
        Oid::GEN_MAXIMUM_LOOKAHEAD | Oid::GEN_MAXIMUM_FRAME_SIZE | Oid::GEN_CURRENT_LOOKAHEAD => {
            word(payload)
        }
        Oid::GEN_MAXIMUM_TOTAL_SIZE
        | Oid::GEN_TRANSMIT_BLOCK_SIZE
        | Oid::GEN_RECEIVE_BLOCK_SIZE => word(settings.mtu),
        Oid::GEN_LINK_SPEED => word(u32::try_from(speed() / 100).unwrap_or(u32::MAX)),
        Oid::GEN_TRANSMIT_BUFFER_SPACE | Oid::GEN_RECEIVE_BUFFER_SPACE => word(BUFFER_SPACE),
        Oid::GEN_VENDOR_ID => word(VENDOR_ID),
        Oid::GEN_VENDOR_DESCRIPTION => Ok(VENDOR_DESCRIPTION.to_vec()),
        Oid::GEN_CURRENT_PACKET_FILTER => word(settings.filter.bits()),
        Oid::GEN_DRIVER_VERSION => Ok(DRIVER_VERSION.to_le_bytes().to_vec()),
        Oid::GEN_VENDOR_DRIVER_VERSION => word(DRIVER_VERSION.into()),
        Oid::GEN_MAC_OPTIONS => word(MAC_OPTIONS),
        Oid::GEN_MEDIA_CONNECT_STATUS => {
            let is_up = shared.is_link_up();
            control.link.know(is_up);
            word(u32::from(!is_up))
        }
        Oid::GEN_MAXIMUM_SEND_PACKETS => word(u32::MAX),
        Oid::GEN_RECEIVE_SCALE_CAPABILITIES => {
            // Before the guest has asked for sub-channels it is to know how many it may ask for.
            let queues = u32::from(shared.policy.limits.max_sub_channels) + 1;
            let capabilities = RssCapabilities::new(CAPABILITIES, queues, TABLE_ENTRIES);
            Ok(capabilities.as_bytes().to_vec())
        }
        Oid::GEN_MAX_LINK_SPEED => Ok([speed(), speed()].as_bytes().to_vec()),
        Oid::GEN_LINK_STATE => {
            let is_up = shared.is_link_up();
            control.link.know(is_up);
            let state = LinkState::new(connect_state(is_up), speed());
            Ok(state.as_bytes().to_vec())
        }
        Oid::GEN_FRIENDLY_NAME => Ok(friendly_name(&shared.policy.friendly_name)),
        Oid::GEN_STATISTICS => {
            let statistics = shared.counters().statistics(shared.backend.dropped());
            Ok(statistics.as_bytes().to_vec())
        }
        Oid::ETHERNET_PERMANENT_ADDRESS => Ok(shared.policy.permanent_address.0.to_vec()),
        Oid::ETHERNET_CURRENT_ADDRESS => Ok(settings.address.0.to_vec()),
        Oid::ETHERNET_MULTICAST_LIST => Ok(settings
            .multicast
            .iter()
            .flat_map(|address| address.0)
            .collect()),
        Oid::ETHERNET_MAXIMUM_LIST_SIZE => word(MAX_MULTICAST as u32),
        Oid::OFFLOAD_ENCAPSULATION => Ok(OffloadEncapsulation::ethernet().as_bytes().to_vec()),
        Oid::TCP_OFFLOAD_CURRENT_CONFIG => Ok(offload(&settings.offloads, control, information)),
        Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES => {
            let possible = OffloadSettings::all(shared.policy.large_send_v1);
            Ok(offload(&possible, control, information))
        }
        _ => {
            let counters = shared.counters();
            counter(match oid {
                Oid::GEN_XMIT_OK => counters.sent(),
                Oid::GEN_RCV_OK => counters.received(),
                Oid::GEN_XMIT_ERROR => counters.send_errors,
                Oid::GEN_RCV_ERROR => counters.receive_errors,
                // Frames wait for a section; where they wait for that there may be no room for more.
                Oid::GEN_RCV_NO_BUFFER => shared.backend.dropped(),
                Oid::GEN_DIRECTED_BYTES_XMIT => counters.sent_unicast_bytes,
                Oid::GEN_DIRECTED_FRAMES_XMIT => counters.sent_unicast,
                Oid::GEN_MULTICAST_BYTES_XMIT => counters.sent_multicast_bytes,
                Oid::GEN_MULTICAST_FRAMES_XMIT => counters.sent_multicast,
                Oid::GEN_BROADCAST_BYTES_XMIT => counters.sent_broadcast_bytes,
                Oid::GEN_BROADCAST_FRAMES_XMIT => counters.sent_broadcast,
                Oid::GEN_DIRECTED_BYTES_RCV => counters.received_unicast_bytes,
                Oid::GEN_DIRECTED_FRAMES_RCV => counters.received_unicast,
                Oid::GEN_MULTICAST_BYTES_RCV => counters.received_multicast_bytes,
                Oid::GEN_MULTICAST_FRAMES_RCV => counters.received_multicast,
                Oid::GEN_BROADCAST_BYTES_RCV => counters.received_broadcast_bytes,
                Oid::GEN_BROADCAST_FRAMES_RCV => counters.received_broadcast,
                Oid::GEN_BYTES_RCV => counters.received_bytes(),
                Oid::GEN_BYTES_XMIT => counters.sent_bytes(),
                Oid::GEN_RCV_DISCARDS => counters
                    .receive_discards
                    .saturating_add(shared.backend.dropped()),
                Oid::GEN_XMIT_DISCARDS => counters.send_discards,
                _ => return Err(Status::NOT_SUPPORTED),
            })
        }
    }
}
