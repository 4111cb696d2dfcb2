//! Keys, values and addresses.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::{ControlError, ErrorKind, Machine, device, done, json};
use crate::control::request::KvpRequest;
use crate::ic::Pending;
use crate::ic::kvp::{AdapterAddress, IpInfo, KvpHandle, Origin, Value};

impl Machine {
    fn key_values(&self) -> Result<&KvpHandle, ControlError> {
        device(self.host.services.kvp.as_ref(), "key-value exchange")
    }

    pub(super) fn kvp(&self, request: KvpRequest) -> Result<Json, ControlError> {
        let service = self.key_values()?;
        match request {
            // By a walk, which all guests understand.
            KvpRequest::Get { pool, key } => {
                let value = service.find(pool, &key).and_then(Pending::wait)?;
                Ok(json!({"key": key, "value": json(&value)?}))
            }
            KvpRequest::Set { pool, key, value } => {
                let value = Value::Text(value);
                service.set(pool, &key, &value).and_then(Pending::wait)?;
                Ok(done())
            }
            KvpRequest::Delete { pool, key } => {
                service.delete(pool, &key).and_then(Pending::wait)?;
                Ok(done())
            }
            KvpRequest::List { pool } => json(&service.list(pool).and_then(Pending::wait)?),
            KvpRequest::Ip { nic } => {
                let address = self.adapter(nic)?.address();
                json(&service.ip_info(address.0).and_then(Pending::wait)?)
            }
            KvpRequest::SetIp {
                nic,
                dhcp,
                address,
                netmask,
                gateway,
                dns,
            } => {
                let has =
                    |is: fn(&IpAddr) -> bool| address.iter().chain(&gateway).chain(&dns).any(is);
                let info = IpInfo {
                    v4: dhcp || has(IpAddr::is_ipv4),
                    v6: has(IpAddr::is_ipv6),
                    dhcp_enabled: dhcp,
                    addresses: addresses(&address, &netmask)?,
                    gateways: gateway,
                    dns_servers: dns,
                    unreadable: 0,
                };
                let instance = self.adapter_instance(nic)?;
                service
                    .set_ip_info(instance, &info)
                    .and_then(Pending::wait)?;
                Ok(done())
            }
        }
    }
}

/// Pairs addresses with their netmasks or prefixes.
fn addresses(
    addresses: &[IpAddr],
    netmasks: &[String],
) -> Result<Vec<AdapterAddress>, ControlError> {
    if addresses.len() != netmasks.len() {
        return Err(ControlError::new(
            ErrorKind::Invalid,
            format!(
                "{} addresses and {} netmasks: each address needs one",
                addresses.len(),
                netmasks.len()
            ),
        ));
    }
    let pairs = addresses.iter().zip(netmasks);
    pairs
        .map(|(&address, netmask)| {
            let prefix = prefix(address, netmask).ok_or_else(|| {
                ControlError::new(
                    ErrorKind::Invalid,
                    format!("`{netmask}` is no netmask or prefix for {address}"),
                )
            })?;
            Ok(AdapterAddress {
                address,
                prefix: Some(prefix),
                origin: Origin::Static,
            })
        })
        .collect()
}

/// Length of the prefix that a text names: as a number, or as a netmask of IPv4.
fn prefix(address: IpAddr, text: &str) -> Option<u8> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(prefix) = text.parse() {
        return (prefix <= most).then_some(prefix);
    }
    let mask: std::net::Ipv4Addr = text.parse().ok().filter(|_| address.is_ipv4())?;
    let bits = mask.to_bits();
    // Ones, then zeros, and nothing else.
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks_and_prefixes_are_read() {
        let v4 = IpAddr::from([10, 0, 0, 2]);
        let v6: IpAddr = "fe80::1".parse().unwrap();
        for (address, text, expected) in [
            (v4, "255.255.255.0", Some(24)),
            (v4, "0.0.0.0", Some(0)),
            (v4, "255.255.255.255", Some(32)),
            (v4, "255.0.255.0", None),
            (v4, "24", Some(24)),
            (v4, "33", None),
            (v4, "", None),
            (v6, "64", Some(64)),
            (v6, "129", None),
            (v6, "255.255.255.0", None),
        ] {
            assert_eq!(prefix(address, text), expected, "{address} {text}");
        }
        assert!(addresses(&[v4], &[]).is_err());
    }
}
