//! Two guests, each of its own `host-sim`, on one switch.

use std::time::Duration;

use super::network_tools::{
    adapter, answers, counter, interface, no_errors, ping, wait_for_carrier,
};
use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// A switch between two guests, with VLANs.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "switch",
    about: "two guests on a switch: ping, TCP both ways, VLAN tags and ports; one goes on when the other is killed",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(90),
    run,
};

/// The VLAN that 8021q of the first guest and a port of the second are in.
const VLAN: u16 = 7;
/// Of the TCP service in each guest.
const PORT: u16 = 5001;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let path = context.scratch().join("switch");
    let on_switch = |options: &str| format!("switch:{}{options}", path.display());
    let mut machine = context
        .machine()
        .arguments(["--nic", &on_switch(",mac=00:15:5d:00:00:01")]);
    machine.name = "first".to_owned();
    // Files of 256 MiB are on a file system in half of it.
    machine.mebibytes = 768;
    let mut first = context.start(&machine)?;
    let mut machine = context.machine().arguments([
        "--nic",
        &on_switch(",mac=00:15:5d:00:00:02"),
        "--nic",
        &on_switch(&format!(",mac=00:15:5d:00:00:03,vlan={VLAN}")),
    ]);
    machine.name = "second".to_owned();
    machine.mebibytes = 768;
    let mut second = context.start(&machine)?;
    let near = interface(&mut first, 0)?;
    let far = interface(&mut second, 0)?;
    first.sh(&format!("ip addr add 10.1.0.1/24 dev {near}"))?;
    second.sh(&format!("ip addr add 10.1.0.2/24 dev {far}"))?;
    ping(&mut first, &near, "10.1.0.2", 56)?;
    ping(&mut second, &far, "10.1.0.1", 1472)?;
    let mebibytes = context.mebibytes(4);
    for guest in [&mut first, &mut second] {
        serve(guest)?;
    }
    send(&mut first, "10.1.0.2", mebibytes)?;
    send(&mut second, "10.1.0.1", mebibytes)?;
    vlan(&mut first, &mut second, &near)?;
    for (guest, name) in [(&mut first, &near), (&mut second, &far)] {
        no_errors(guest, name, 0)?;
    }
    // The first one's host-sim has the switch. The second one's takes it over.
    drop(first);
    second.ctl_until(&["nic", "list"], |list| {
        list.as_array()
            .is_some_and(|list| list.iter().all(|nic| nic["is_link_up"] == true))
    })?;
    wait_for_carrier(&mut second, &far, true)?;
    ensure(!answers(&mut second, &far, "10.1.0.1")?, || {
        "a guest that was killed answers".to_owned()
    })?;
    frames_cross_again(&mut second, &far)?;
    no_errors(&mut second, &far, 0)
}

/// What one adapter of a guest sends arrives at the other, over the switch that its own host-sim has become.
fn frames_cross_again(guest: &mut Guest, from: &str) -> Result<(), Trouble> {
    let before = counter(&adapter(guest, 1)?, "received_broadcast")?;
    // Nobody has the address: the question for it goes to all that are in the VLAN.
    guest.sh(&format!(
        "ip link add link {from} name vlan type vlan id {VLAN} && ip addr add 10.9.0.1/24 dev vlan && ip link set vlan up
        (ping -q -i 0.5 -I vlan 10.9.0.2) > /dev/null 2>&1 &"
    ))?;
    guest
        .ctl_until(&["nic", "list"], |list| {
            counter(&list[1], "received_broadcast").is_ok_and(|count| count > before)
        })
        .map_err(|trouble| trouble.during("frames over the new switch"))?;
    guest.sh("killall ping && ip link del vlan").map(drop)
}

/// A TCP service that answers with the hash of what it is sent.
fn serve(guest: &mut Guest) -> Result<(), Trouble> {
    guest.sh(&format!(
        "nc -ll -p {PORT} -e sha256sum < /dev/null > /dev/null 2>&1 &"
    ))?;
    guest.wait_until(&format!("netstat -ltn | grep -q ':{PORT} '"))
}

/// Sends random bytes over TCP to the other guest.
fn send(from: &mut Guest, address: &str, mebibytes: u32) -> Result<(), Trouble> {
    let sums = from.sh(&format!(
        "dd if=/dev/urandom of=/tmp/data bs=1M count={mebibytes} 2> /dev/null; sha256sum < /tmp/data; nc {address} {PORT} < /tmp/data; rm /tmp/data"
    ))?;
    let sums: Vec<_> = sums.lines().collect();
    ensure(sums.len() == 2 && sums[0] == sums[1], || {
        format!("hashes of what was sent to {address} and of what arrived: {sums:?}")
    })
}

/// A guest that tags its packets itself reaches one whose port of the switch does so, and nobody else.
fn vlan(first: &mut Guest, second: &mut Guest, near: &str) -> Result<(), Trouble> {
    let inside = interface(second, 1)?;
    second.sh(&format!("ip addr add 10.7.0.2/24 dev {inside}"))?;
    let tagged = format!("{near}.{VLAN}");
    first.sh(&format!(
        "ip link add link {near} name {tagged} type vlan id {VLAN} && ip addr add 10.7.0.1/24 dev {tagged} && ip link set {tagged} up"
    ))?;
    ping(first, &tagged, "10.7.0.2", 56)?;
    ping(second, &inside, "10.7.0.1", 1472)?;
    send(first, "10.7.0.2", 4)?;
    send(second, "10.7.0.1", 4)?;
    for (guest, index, uses_tags) in [(&mut *first, 0, true), (&mut *second, 1, false)] {
        let adapter = adapter(guest, index)?;
        for name in ["vlan_sent", "vlan_received"] {
            let count = counter(&adapter, name)?;
            ensure((count != 0) == uses_tags, || {
                format!("adapter {index} has {count} {name}")
            })?;
        }
    }
    // The same network without the tag.
    first.sh(&format!(
        "ip link set {tagged} down; ip addr flush dev {tagged}; ip addr add 10.7.0.1/24 dev {near}"
    ))?;
    ensure(!answers(first, near, "10.7.0.2")?, || {
        format!("VLAN {VLAN} is reached without its tag")
    })
}
