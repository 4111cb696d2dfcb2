//! `hv_kvp_daemon` exchanges keys and values with the host, and addresses.

use std::time::Duration;

use serde_json::Value;

use super::daemons::{self, refused};
use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Keys, values, addresses.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "kvp",
    about: "hv_kvp_daemon: what the guest says of itself, keys both ways to their longest, addresses told and given",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// What a guest says about itself, in the order of Linux's daemon.
const AUTO: [&str; 10] = [
    "FullyQualifiedDomainName",
    "IntegrationServicesVersion",
    "NetworkAddressIPv4",
    "NetworkAddressIPv6",
    "OSBuildNumber",
    "OSName",
    "OSMajorVersion",
    "OSMinorVersion",
    "OSVersion",
    "ProcessorArchitecture",
];

/// Where the daemon looks for the program that gives an adapter addresses, which distributions write themselves: this
/// one keeps what it gets, and obeys.
const SET_ADDRESS: &str = r#"#!/bin/sh
[ -e /run/refuse ] && exit 1
cp "$1" /run/given
. "$1"
[ "$BOOTPROTO" = dhcp ] || ifconfig "$DEVICE" "$IPADDR0" netmask "$NETMASK0" up
"#;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine().arguments(["--nic", "none"]);
    let mut guest = context.start(&machine)?;
    refused(&guest, &["kvp", "list", "--pool", "auto"], "not ready")?;
    guest.sh("echo 'NAME=\"Stock Linux\"' > /etc/os-release; hostname stock-guest")?;
    daemons::start(&mut guest, "hv_kvp_daemon", "kvp")?;
    itself(context, &mut guest)?;
    from_host(&mut guest)?;
    longest(&mut guest)?;
    from_guest(&mut guest)?;
    addresses(&mut guest)
}

fn items(answer: &Value) -> Vec<(String, String)> {
    let items = answer["items"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items
        .map(|item| (text(&item["key"]), text(&item["value"]["text"])))
        .collect()
}

fn list(guest: &Guest, pool: &str) -> Result<Vec<(String, String)>, Trouble> {
    let answer = guest.ctl(&["kvp", "list", "--pool", pool])?;
    ensure(answer["end"] == "complete", || {
        format!("the list of {pool} does not end well: {answer}")
    })?;
    Ok(items(&answer))
}

fn get(guest: &Guest, pool: &str, key: &str) -> Result<String, Trouble> {
    let answer = guest.ctl(&["kvp", "get", "--pool", pool, "--key", key])?;
    let text = answer["value"]["text"].as_str();
    text.map(str::to_owned)
        .ok_or_else(|| Trouble::failed(format!("{key} has no text: {answer}")))
}

fn set(guest: &Guest, key: &str, value: &str) -> Result<(), Trouble> {
    let order = [
        "kvp", "set", "--pool", "external", "--key", key, "--value", value,
    ];
    guest.ctl(&order).map(|_| ())
}

/// The value of a key in a pool's file, as another program of the guest reads it.
fn in_file(guest: &mut Guest, pool: u8, index: usize) -> Result<(String, String), Trouble> {
    let mut field = |skip: usize, length: usize| {
        guest.sh(&format!(
            "dd if=/var/lib/hyperv/.kvp_pool_{pool} bs=512 skip={} count={} 2>/dev/null | tr -d '\\0'",
            index * 5 + skip,
            length
        ))
    };
    Ok((field(0, 1)?, field(1, 4)?))
}

fn itself(context: &mut Context, guest: &mut Guest) -> Result<(), Trouble> {
    let release = context.kernel().release.clone();
    let auto = list(guest, "auto")?;
    let keys: Vec<_> = auto.iter().map(|(key, _)| key.as_str()).collect();
    ensure(keys == AUTO, || {
        format!("the guest's own keys are {keys:?}")
    })?;
    for (key, expected) in [
        ("OSBuildNumber", release.as_str()),
        ("OSName", "Stock Linux"),
        ("ProcessorArchitecture", "x86_64"),
    ] {
        let value = get(guest, "auto", key)?;
        ensure(value == expected, || format!("{key} is {value:?}"))?;
    }
    refused(
        guest,
        &["kvp", "set", "--pool", "auto", "--key", "a", "--value", "b"],
        "auto",
    )
}

fn from_host(guest: &mut Guest) -> Result<(), Trouble> {
    // The host says who it is as soon as it can.
    guest.ctl_until(&["kvp", "list", "--pool", "auto-external"], |answer| {
        items(answer)
            .iter()
            .any(|(key, _)| key == "VirtualMachineName")
    })?;
    for (key, value) in [
        ("plain", "first"),
        ("Schlüssel-鍵", "Wert 🦀 値"),
        ("empty", ""),
    ] {
        set(guest, key, value)?;
        let got = get(guest, "external", key)?;
        ensure(got == value, || format!("{key} comes back as {got:?}"))?;
    }
    set(guest, "plain", "second")?;
    let pool = list(guest, "external")?;
    let expected = [
        ("plain", "second"),
        ("Schlüssel-鍵", "Wert 🦀 値"),
        ("empty", ""),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ensure(pool == expected, || format!("the pool holds {pool:?}"))?;
    let second = in_file(guest, 0, 1)?;
    ensure(second == expected[1], || {
        format!("the guest's programs read {second:?}")
    })?;
    for (key, _) in &expected {
        guest.ctl(&["kvp", "delete", "--pool", "external", "--key", key])?;
    }
    let pool = list(guest, "external")?;
    ensure(pool.is_empty(), || format!("the pool still holds {pool:?}"))?;
    for verb in ["delete", "get"] {
        let order = ["kvp", verb, "--pool", "external", "--key", "plain"];
        refused(guest, &order, "no such key")?;
    }
    Ok(())
}

/// A key has 255 characters and a value 1023 at most. Linux takes them, but gives out one less of each.
fn longest(guest: &mut Guest) -> Result<(), Trouble> {
    let (key, value) = ("k".repeat(255), "v".repeat(1023));
    set(guest, &key, &value)?;
    let stored = in_file(guest, 0, 0)?;
    ensure(stored == (key.clone(), value.clone()), || {
        format!(
            "the guest keeps {} and {} bytes",
            stored.0.len(),
            stored.1.len()
        )
    })?;
    guest.ctl(&["kvp", "delete", "--pool", "external", "--key", &key])?;
    let (key, value) = (&key[1..], &value[1..]);
    set(guest, key, value)?;
    let got = get(guest, "external", key)?;
    ensure(got == value, || {
        format!("{} characters of {} come back", got.len(), value.len())
    })?;
    guest.ctl(&["kvp", "delete", "--pool", "external", "--key", key])?;
    let too_long = "k".repeat(256);
    let order = [
        "kvp", "set", "--pool", "external", "--value", "v", "--key", &too_long,
    ];
    refused(guest, &order, "514 bytes")
}

/// A program of the guest writes where the daemon reads.
fn from_guest(guest: &mut Guest) -> Result<(), Trouble> {
    guest.sh("record() { head -c 2560 /dev/zero > /run/record
             printf %s \"$1\" | dd of=/run/record conv=notrunc 2>/dev/null
             printf %s \"$2\" | dd of=/run/record conv=notrunc bs=512 seek=1 2>/dev/null
             cat /run/record >> /var/lib/hyperv/.kvp_pool_1; }
         record state läuft; record crab 🦀")?;
    let pool = list(guest, "guest")?;
    let expected = [("state", "läuft"), ("crab", "🦀")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ensure(pool == expected, || {
        format!("the guest's pool holds {pool:?}")
    })
}

fn addresses(guest: &mut Guest) -> Result<(), Trouble> {
    guest.wait_until("[ -e /sys/class/net/eth0 ]")?;
    guest.sh(
        "ifconfig eth0 192.0.2.7 netmask 255.255.255.192 up; ip -6 addr add 2001:db8::7/64 dev eth0
         ip route add default via 192.0.2.1; echo nameserver 192.0.2.53 > /etc/resolv.conf",
    )?;
    let told = guest.ctl(&["kvp", "ip", "--nic", "0"])?;
    let has = |address: &str, prefix: u8| {
        let list = told["addresses"].as_array();
        list.is_some_and(|list| {
            list.iter()
                .any(|entry| entry["address"] == address && entry["prefix"] == prefix)
        })
    };
    ensure(
        has("192.0.2.7", 26)
            && has("2001:db8::7", 64)
            && told["gateways"] == serde_json::json!(["192.0.2.1"])
            && told["dns_servers"] == serde_json::json!(["192.0.2.53"])
            && told["dhcp_enabled"] == false
            && told["unreadable"] == 0,
        || format!("the guest tells of its adapter: {told}"),
    )?;
    let all = get(guest, "auto", "NetworkAddressIPv4")?;
    ensure(all == "192.0.2.7", || {
        format!("NetworkAddressIPv4 is {all:?}")
    })?;
    give(guest)
}

fn give(guest: &mut Guest) -> Result<(), Trouble> {
    let script = "/usr/libexec/hypervkvpd/hv_set_ifconfig";
    guest.write_file(script, SET_ADDRESS.as_bytes())?;
    guest.sh(&format!("chmod 755 {script}"))?;
    let order = [
        "kvp",
        "set-ip",
        "--nic",
        "0",
        "--address",
        "198.51.100.9",
        "--netmask",
        "24",
        "--gateway",
        "198.51.100.1",
        "--dns",
        "198.51.100.53",
    ];
    guest.ctl(&order)?;
    let mac = guest.sh("tr a-f A-F < /sys/class/net/eth0/address")?;
    let given = guest.sh("cat /run/given")?;
    for line in [
        &format!("HWADDR={mac}"),
        "DEVICE=eth0",
        "BOOTPROTO=none",
        "IPADDR0=198.51.100.9",
        "NETMASK0=255.255.255.0",
        "GATEWAY=198.51.100.1",
        "DNS1=198.51.100.53",
    ] {
        ensure(
            given.lines().any(|have| have.eq_ignore_ascii_case(line)),
            || format!("the guest is not told {line}: {given:?}"),
        )?;
    }
    let told = guest.ctl(&["kvp", "ip", "--nic", "0"])?;
    ensure(told["addresses"][0]["address"] == "198.51.100.9", || {
        format!("the guest has not taken the address: {told}")
    })?;
    guest.ctl(&["kvp", "set-ip", "--nic", "0", "--dhcp"])?;
    guest.sh("grep -qx BOOTPROTO=dhcp /run/given")?;
    guest.sh("touch /run/refuse")?;
    refused(guest, &order, "refused")?;
    refused(guest, &["kvp", "ip", "--nic", "5"], "5")
}
