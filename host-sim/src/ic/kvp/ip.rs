//! IP information of a network adapter.

use std::net::{IpAddr, Ipv4Addr};

use ic_services::kvp::wire::binary_info::{
    BinaryInfo, BinaryInfoBody, CountError, Lists, MAX_ADDRESSES, MAX_DNS_SERVERS, MAX_GATEWAYS,
    Origin as WireOrigin,
};
use ic_services::kvp::wire::text_info::{TextInfo, parse_address, parse_prefix};
use ic_services::kvp::wire::{Families, IP_LENGTH, Operation};
use ic_services::text::{self, Text, TextError};
use serde::Serialize;
use thiserror::Error;
use vmbus_core::guid::Guid;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// Most addresses of both families that a text can hold.
const MAX_ENTRIES: usize = 1024;

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody says.
    #[default]
    Unknown,
    /// Not static: DHCP and the like.
    Other,
    /// Set by an administrator.
    Static,
}

/// An address of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the subnet's prefix, if it is known.
    pub prefix: Option<u8>,
    /// Where it comes from.
    pub origin: Origin,
}

/// What an adapter has, or is to have.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct IpInfo {
    /// Whether it speaks IPv4.
    pub v4: bool,
    /// Whether it speaks IPv6.
    pub v6: bool,
    /// Whether IPv4 addresses come from DHCP.
    pub dhcp_enabled: bool,
    /// Addresses.
    pub addresses: Vec<AdapterAddress>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub dns_servers: Vec<IpAddr>,
    /// Entries of a guest's answer that are no addresses.
    pub unreadable: u32,
}

/// Why IP information cannot be sent or understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IpInfoError {
    /// An address to set has no prefix, or one that is too long.
    #[error("{0} needs a prefix of its family's length at most")]
    Prefix(IpAddr),
    /// More entries than the message holds.
    #[error("{count} {list}, not {most} at most")]
    TooMany {
        /// Of what.
        list: &'static str,
        /// How many.
        count: usize,
        /// The message's room.
        most: usize,
    },
    /// The lists do not fit their fields, or a field of the answer is no text.
    #[error("IP information: {0}")]
    Text(TextError),
    /// The answer's counts are larger than its lists.
    #[error("IP information: {0}")]
    Count(CountError),
    /// The answer is too short, in bytes.
    #[error("IP information of {0} bytes is too short")]
    Short(usize),
}

/// Names an adapter, as a query does: by its MAC address, upper-case with colons.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02X}")).join(":")
}

/// Names an adapter, as an order does: by its instance, lower-case in braces.
pub(super) fn instance_text(instance: Guid) -> String {
    format!("{{{instance}}}")
}

/// Writes the name, which always fits.
fn write_id(id: &str, field: &mut [U16]) -> Result<(), IpInfoError> {
    text::write(id, field)
        .map(|_| ())
        .map_err(IpInfoError::Text)
}

/// The body of a message about an adapter. A query says nothing but the families it asks for.
pub(super) fn encode(
    operation: Operation,
    adapter_id: &str,
    info: &IpInfo,
    binary: bool,
) -> Result<Vec<u8>, IpInfoError> {
    let mut bytes = if binary {
        let mut wire = to_binary(info)?;
        write_id(adapter_id, &mut wire.adapter_id)?;
        BinaryInfoBody::new(operation, wire).as_bytes().to_vec()
    } else {
        let mut wire = to_text(operation, info)?;
        write_id(adapter_id, &mut wire.adapter_id)?;
        wire.as_bytes().to_vec()
    };
    bytes.resize(IP_LENGTH, 0);
    Ok(bytes)
}

/// What a guest's answer says.
pub(super) fn decode(body: &[u8], binary: bool) -> Result<IpInfo, IpInfoError> {
    let short = IpInfoError::Short(body.len());
    if binary {
        let (body, _) = BinaryInfoBody::ref_from_prefix(body).map_err(|_| short)?;
        from_binary(&body.info)
    } else {
        let (info, _) = TextInfo::ref_from_prefix(body).map_err(|_| short)?;
        from_text(info)
    }
}

fn families(info: &IpInfo) -> u8 {
    let mut families = Families::empty();
    families.set(Families::V4, info.v4);
    families.set(Families::V6, info.v6);
    families.bits()
}

/// The prefix of an address to be set.
fn prefix(entry: &AdapterAddress) -> Result<u8, IpInfoError> {
    let most = if entry.address.is_ipv4() { 32 } else { 128 };
    let prefix = entry.prefix.filter(|prefix| *prefix <= most);
    prefix.ok_or(IpInfoError::Prefix(entry.address))
}

fn mask(prefix: u8) -> Ipv4Addr {
    let zeros = 32 - u32::from(prefix.min(32));
    Ipv4Addr::from_bits(u32::MAX.checked_shl(zeros).unwrap_or_default())
}

fn to_text(operation: Operation, info: &IpInfo) -> Result<TextInfo, IpInfoError> {
    let mut wire = TextInfo::new(operation);
    wire.families = families(info);
    wire.dhcp_enabled = info.dhcp_enabled.into();
    let subnets = info.addresses.iter().map(|entry| {
        let prefix = prefix(entry)?;
        Ok(match entry.address {
            IpAddr::V4(_) => mask(prefix).to_string(),
            IpAddr::V6(_) => prefix.to_string(),
        })
    });
    let subnets = subnets.collect::<Result<Vec<_>, _>>()?;
    let addresses = info.addresses.iter().map(|entry| entry.address.to_string());
    write_list(addresses, &mut wire.addresses)?;
    write_list(subnets.into_iter(), &mut wire.subnets)?;
    let gateways = info.gateways.iter().map(IpAddr::to_string);
    write_list(gateways, &mut wire.gateways)?;
    let dns_servers = info.dns_servers.iter().map(IpAddr::to_string);
    write_list(dns_servers, &mut wire.dns_servers)?;
    Ok(wire)
}

fn write_list(entries: impl Iterator<Item = String>, field: &mut [U16]) -> Result<(), IpInfoError> {
    let list = entries.collect::<Vec<_>>().join(";");
    write_id(&list, field)
}

/// The entries of a guest's list, empty ones too, for two lists must stay in step.
fn entries(field: &[U16]) -> Result<Vec<String>, IpInfoError> {
    let list = Text::terminated(field).map_err(IpInfoError::Text)?;
    let list = list.to_string();
    Ok(list
        .split(';')
        .take(MAX_ENTRIES)
        .map(str::to_owned)
        .collect())
}

fn from_text(wire: &TextInfo) -> Result<IpInfo, IpInfoError> {
    let families = Families::from_bits_retain(wire.families);
    let mut info = IpInfo {
        v4: families.contains(Families::V4),
        v6: families.contains(Families::V6),
        dhcp_enabled: wire.dhcp_enabled != 0,
        ..IpInfo::default()
    };
    let mut unreadable = 0;
    let mut parse = |entry: &String| {
        let address = parse_address(entry);
        unreadable += u32::from(address.is_none() && !entry.trim().is_empty());
        address
    };
    let subnets = entries(&wire.subnets)?;
    for (index, entry) in entries(&wire.addresses)?.iter().enumerate() {
        let Some(address) = parse(entry) else {
            continue;
        };
        let subnet = subnets.get(index);
        info.addresses.push(AdapterAddress {
            address,
            prefix: subnet.and_then(|subnet| parse_prefix(subnet, address)),
            origin: Origin::Unknown,
        });
    }
    info.gateways = entries(&wire.gateways)?
        .iter()
        .filter_map(&mut parse)
        .collect();
    let dns_servers = entries(&wire.dns_servers)?;
    info.dns_servers = dns_servers.iter().filter_map(&mut parse).collect();
    info.unreadable = unreadable;
    Ok(info)
}

/// Writes items into a list of the message and returns their number.
fn fill<T: Copy>(
    name: &'static str,
    items: impl Iterator<Item = T>,
    list: &mut [T],
) -> Result<u32, IpInfoError> {
    let items: Vec<T> = items.collect();
    let too_many = IpInfoError::TooMany {
        list: name,
        count: items.len(),
        most: list.len(),
    };
    list.get_mut(..items.len())
        .ok_or(too_many)?
        .copy_from_slice(&items);
    u32::try_from(items.len()).map_err(|_| too_many)
}

fn v4(address: &IpAddr) -> Option<[u8; 4]> {
    match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: &IpAddr) -> Option<[u8; 16]> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address.octets()),
    }
}

const fn wire_origin(origin: Origin) -> WireOrigin {
    match origin {
        Origin::Unknown => WireOrigin::UNKNOWN,
        Origin::Other => WireOrigin::OTHER,
        Origin::Static => WireOrigin::STATIC,
    }
}

fn to_binary(info: &IpInfo) -> Result<BinaryInfo, IpInfoError> {
    const { assert!(MAX_ADDRESSES == MAX_DNS_SERVERS && MAX_GATEWAYS < MAX_ADDRESSES) };
    let mut wire = BinaryInfo::EMPTY;
    wire.families = families(info);
    wire.dhcp_enabled = info.dhcp_enabled.into();
    let (mut masks, mut prefixes, mut origins) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for entry in &info.addresses {
        let prefix = prefix(entry)?;
        let [v4_origins, v6_origins] = &mut origins;
        if entry.address.is_ipv4() {
            masks.push(mask(prefix).octets());
            v4_origins.push(wire_origin(entry.origin));
        } else {
            prefixes.push(u32::from(prefix).into());
            v6_origins.push(wire_origin(entry.origin));
        }
    }
    let addresses = || info.addresses.iter().map(|entry| &entry.address);
    let (gateways, dns) = (&info.gateways, &info.dns_servers);
    let w = &mut wire;
    w.v4_address_count = fill(
        "IPv4 addresses",
        addresses().filter_map(v4),
        &mut w.v4_addresses,
    )?
    .into();
    w.v6_address_count = fill(
        "IPv6 addresses",
        addresses().filter_map(v6),
        &mut w.v6_addresses,
    )?
    .into();
    fill("IPv4 subnets", masks.into_iter(), &mut w.v4_subnets)?;
    fill("IPv6 prefixes", prefixes.into_iter(), &mut w.v6_prefixes)?;
    w.v4_gateway_count = fill(
        "IPv4 gateways",
        gateways.iter().filter_map(v4),
        &mut w.v4_gateways,
    )?
    .into();
    w.v6_gateway_count = fill(
        "IPv6 gateways",
        gateways.iter().filter_map(v6),
        &mut w.v6_gateways,
    )?
    .into();
    w.v4_dns_count = fill("IPv4 DNS servers", dns.iter().filter_map(v4), &mut w.v4_dns)?.into();
    w.v6_dns_count = fill("IPv6 DNS servers", dns.iter().filter_map(v6), &mut w.v6_dns)?.into();
    fill("origins", origins.into_iter().flatten(), &mut w.origins)?;
    Ok(wire)
}

fn from_binary(wire: &BinaryInfo) -> Result<IpInfo, IpInfoError> {
    let lists = wire.lists().map_err(IpInfoError::Count)?;
    let families = Families::from_bits_retain(wire.families);
    let mut info = IpInfo {
        v4: families.contains(Families::V4),
        v6: families.contains(Families::V6),
        dhcp_enabled: wire.dhcp_enabled != 0,
        ..IpInfo::default()
    };
    info.addresses = binary_addresses(&lists);
    let v4 = |list: &[[u8; 4]]| list.iter().copied().map(IpAddr::from).collect::<Vec<_>>();
    let v6 = |list: &[[u8; 16]]| list.iter().copied().map(IpAddr::from).collect::<Vec<_>>();
    info.gateways = [v4(lists.v4_gateways), v6(lists.v6_gateways)].concat();
    info.dns_servers = [v4(lists.v4_dns), v6(lists.v6_dns)].concat();
    Ok(info)
}

fn binary_addresses(lists: &Lists<'_>) -> Vec<AdapterAddress> {
    let v4 = lists.v4_addresses.iter().zip(lists.v4_subnets);
    let v4 = v4.map(|(address, mask)| {
        let address = IpAddr::from(*address);
        let mask = Ipv4Addr::from(*mask).to_string();
        (address, parse_prefix(&mask, address))
    });
    let v6 = lists.v6_addresses.iter().zip(lists.v6_prefixes);
    let v6 = v6.map(|(address, prefix)| {
        let prefix = u8::try_from(prefix.get()).ok();
        (
            IpAddr::from(*address),
            prefix.filter(|prefix| *prefix <= 128),
        )
    });
    let all = v4.chain(v6).zip(lists.origins);
    all.map(|((address, prefix), origin)| AdapterAddress {
        address,
        prefix,
        origin: match *origin {
            WireOrigin::OTHER => Origin::Other,
            WireOrigin::STATIC => Origin::Static,
            _ => Origin::Unknown,
        },
    })
    .collect()
}

#[cfg(test)]
#[path = "ip_tests.rs"]
mod tests;
