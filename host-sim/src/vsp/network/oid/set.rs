//! What guests set.

use vsc_net::wire::ndis::{
    ConfigParameter, OffloadEncapsulation, OffloadParameters, Oid, RssParameters,
};
use vsc_net::wire::rndis::{PacketFilter, Status};

use super::MAX_MULTICAST;
use crate::net::MacAddress;
use crate::vsp::network::control::Control;
use crate::vsp::network::offload::check_encapsulation;
use crate::vsp::network::scaling::Scaling;
use crate::vsp::network::shared::Shared;

/// Sets something; [`Status::NOT_SUPPORTED`] for what cannot be set.
pub(in crate::vsp::network) fn set(
    control: &mut Control,
    oid: Oid,
    information: &[u8],
    shared: &Shared,
) -> Status {
    match try_set(control, oid, information, shared) {
        Ok(()) => Status::SUCCESS,
        Err(status) => status,
    }
}

fn address(bytes: &[u8]) -> Result<MacAddress, Status> {
    let address = bytes.first_chunk().ok_or(Status::INVALID_LENGTH)?;
    let address = MacAddress(*address);
    if address.is_multicast() {
        Ok(address)
    } else {
        Err(Status::INVALID_DATA)
    }
}

fn try_set(
    control: &mut Control,
    oid: Oid,
    information: &[u8],
    shared: &Shared,
) -> Result<(), Status> {
    let channels = control.channels;
    let settings = &mut control.settings;
    match oid {
        Oid::GEN_CURRENT_PACKET_FILTER => {
            let word = information.first_chunk().ok_or(Status::INVALID_LENGTH)?;
            settings.filter = PacketFilter::from_bits_retain(u32::from_le_bytes(*word));
            Ok(())
        }
        // Nothing follows from them here.
        Oid::GEN_CURRENT_LOOKAHEAD | Oid::GEN_PROTOCOL_OPTIONS if information.len() < 4 => {
            Err(Status::INVALID_LENGTH)
        }
        Oid::GEN_CURRENT_LOOKAHEAD
        | Oid::GEN_PROTOCOL_OPTIONS
        | Oid::GEN_NETWORK_LAYER_ADDRESSES => Ok(()),
        Oid::ETHERNET_MULTICAST_LIST => {
            let (addresses, rest) = information.as_chunks::<6>();
            if !rest.is_empty() {
                return Err(Status::INVALID_LENGTH);
            }
            if addresses.len() > MAX_MULTICAST {
                return Err(Status::MULTICAST_FULL);
            }
            let list = addresses.iter().map(|bytes| address(bytes));
            settings.multicast = list.collect::<Result<_, _>>()?;
            Ok(())
        }
        Oid::ETHERNET_ADD_MULTICAST_ADDRESS => {
            let address = address(information)?;
            if !settings.multicast.contains(&address) {
                if settings.multicast.len() == MAX_MULTICAST {
                    return Err(Status::MULTICAST_FULL);
                }
                settings.multicast.push(address);
            }
            Ok(())
        }
        Oid::ETHERNET_DELETE_MULTICAST_ADDRESS => {
            let address = address(information)?;
            settings.multicast.retain(|other| *other != address);
            Ok(())
        }
        Oid::GEN_RNDIS_CONFIG_PARAMETER => configure(control, information, shared),
        Oid::GEN_RECEIVE_SCALE_PARAMETERS => {
            let parameters = RssParameters::parse(information).map_err(|error| {
                tracing::debug!(%error, "scaling refused");
                Status::INVALID_DATA
            })?;
            settings.scaling = Scaling::set(settings.scaling.as_ref(), &parameters, channels)?;
            Ok(())
        }
        Oid::TCP_OFFLOAD_PARAMETERS => {
            let parameters =
                OffloadParameters::parse(information).map_err(|_| Status::INVALID_LENGTH)?;
            settings
                .offloads
                .set(&parameters, shared.policy.large_send_v1)
        }
        Oid::OFFLOAD_ENCAPSULATION => {
            let wanted = OffloadEncapsulation::parse(information).ok_or(Status::INVALID_LENGTH)?;
            check_encapsulation(&wanted)
        }
        _ => Err(Status::NOT_SUPPORTED),
    }
}

/// A parameter by its name: the address, or an offload. Unknown ones are accepted and mean nothing.
fn configure(control: &mut Control, information: &[u8], shared: &Shared) -> Result<(), Status> {
    let parameter = ConfigParameter::parse(information).map_err(|_| Status::INVALID_DATA)?;
    if parameter.is_named(ConfigParameter::NETWORK_ADDRESS) {
        let address = parameter.address().map(MacAddress);
        let address = address
            .filter(|address| address.is_unicast())
            .ok_or(Status::INVALID_DATA)?;
        if address != control.settings.address && !shared.policy.allows_spoofing {
            return Err(Status::FAILURE);
        }
        control.settings.address = address;
        shared.set_address(address);
        return Ok(());
    }
    let digit = parameter.value().next().unwrap_or(0);
    control
        .settings
        .offloads
        .set_by_name(|name| parameter.is_named(name), digit)
        .unwrap_or(Ok(()))
}
