//! Network adapters as operators write them: `NETWORK[,OPTION...]`.

use std::str::FromStr;

use super::mac::MacAddress;
use super::option::BackendOption;

/// An adapter that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicArgument {
    /// What it is plugged into.
    pub backend: BackendOption,
    /// Its address; generated if `None`.
    pub address: Option<MacAddress>,
    /// The VLAN of its port, whose tags the guest does not see.
    pub vlan: Option<u16>,
    /// Most queues; one for each processor if `None`.
    pub queues: Option<u16>,
    /// The guest may choose another address.
    pub spoofing: bool,
}

impl FromStr for NicArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let backend = words.next().unwrap_or_default();
        let mut nic = Self {
            backend: backend.parse().map_err(|error| format!("{error}"))?,
            address: None,
            vlan: None,
            queues: None,
            spoofing: false,
        };
        for word in words {
            let wrong = |what: &str| format!("`{word}`: {what}");
            match word.split_once('=') {
                None if word == "spoofing" => nic.spoofing = true,
                Some(("mac", text)) => {
                    let address: MacAddress =
                        text.parse().map_err(|error| wrong(&format!("{error}")))?;
                    let address = address
                        .check()
                        .map_err(|error| wrong(&format!("{error}")))?;
                    nic.address = Some(address);
                }
                Some(("vlan", text)) => {
                    let vlan = text.parse().ok().filter(|vlan| (1..=4094).contains(vlan));
                    nic.vlan = Some(vlan.ok_or_else(|| wrong("VLANs are 1 to 4094"))?);
                }
                Some(("queues", text)) => {
                    let queues = text.parse().ok().filter(|queues| (1..=64).contains(queues));
                    nic.queues = Some(queues.ok_or_else(|| wrong("there are 1 to 64"))?);
                }
                _ => {
                    return Err(format!(
                        "unknown option `{word}`; there are mac=ADDRESS, vlan=N, queues=N and spoofing"
                    ));
                }
            }
        }
        Ok(nic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read() {
        let nic: NicArgument = "tap:tap0,mac=00:15:5d:01:02:03,vlan=7,queues=2,spoofing"
            .parse()
            .unwrap();
        assert_eq!(nic.backend, BackendOption::Tap("tap0".into()));
        assert_eq!(
            nic.address,
            Some(MacAddress([0x00, 0x15, 0x5D, 0x01, 0x02, 0x03]))
        );
        assert_eq!(
            (nic.vlan, nic.queues, nic.spoofing),
            (Some(7), Some(2), true)
        );
        assert!("user".parse::<NicArgument>().is_ok());
        for text in [
            "",
            "ethernet",
            "user,mac=01:00:5e:00:00:01",
            "user,mac=x",
            "user,vlan=0",
            "user,vlan=4095",
            "user,queues=0",
            "user,queues=65",
            "user,speed=9",
        ] {
            assert!(text.parse::<NicArgument>().is_err(), "{text}");
        }
    }
}
