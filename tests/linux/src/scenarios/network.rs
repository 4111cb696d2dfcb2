//! `hv_netvsc` on the user network: addresses, transfers with and without offloads, queues, MTU, link, hot add.

use std::time::Duration;

use super::network_tools::{
    Data, PEER, adapter, answers, counter, dhcp, interface, no_errors, ping, wait_for_answer,
    wait_for_carrier,
};
use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// One adapter, and a second that comes and goes.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "network",
    about: "DHCP, ping, TCP both ways with and without offloads, queues, MTU 9000, link flap, adapter hot add and remove",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(90),
    run,
};

/// What `ethtool -K` turns off and on.
const OFFLOADS: &[&str] = &["rx", "tx", "sg", "tso", "gso", "gro"];

fn run(context: &mut Context) -> Result<(), Trouble> {
    let mut machine = context
        .machine()
        .arguments(["--nic", "user,mac=00:15:5d:6e:65:74"]);
    machine.mebibytes = 1024;
    let mut guest = context.start(&machine)?;
    let first = interface(&mut guest, 0)?;
    let mac = guest.sh(&format!("cat /sys/class/net/{first}/address"))?;
    ensure(mac == "00:15:5d:6e:65:74", || {
        format!("the guest's address is {mac}")
    })?;
    let driver = guest.sh(&format!(
        "basename $(readlink /sys/class/net/{first}/device/driver)"
    ))?;
    ensure(driver == "hv_netvsc", || format!("the driver is {driver}"))?;
    let given = dhcp(&mut guest, &first)?;
    ensure(given.starts_with("10.0.2."), || {
        format!("the address by DHCP is {given:?}")
    })?;
    ping(&mut guest, &first, PEER, 56)?;
    let mebibytes = context.mebibytes(2);
    let data = Data::make(&mut guest, mebibytes)?;
    for offloads in [true, false] {
        let state = on_off(offloads);
        let [there, back] = transfer_with(&mut guest, &first, offloads, &data)
            .map_err(|trouble| trouble.during(&format!("offloads {state}")))?;
        context.note(format!(
            "offloads {state}: {mebibytes} MiB there in {there:.1} s, back and hashed in {back:.1} s"
        ));
    }
    data.remove(&mut guest)?;
    set_offloads(&mut guest, &first, true)?;
    let queues = queues(&mut guest, &first, context.cpus())?;
    context.note(format!("packets of the queues: {queues}"));
    packets_agree(&mut guest, &first)?;
    large_packets(&mut guest, &first).map_err(|trouble| trouble.during("MTU 9000"))?;
    link(&mut guest, &first).map_err(|trouble| trouble.during("link down and up"))?;
    second_adapter(&mut guest).map_err(|trouble| trouble.during("the second adapter"))?;
    ping(&mut guest, &first, PEER, 56)?;
    no_errors(&mut guest, &first, 0)
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn set_offloads(guest: &mut Guest, interface: &str, is_on: bool) -> Result<(), Trouble> {
    let state = on_off(is_on);
    let words: Vec<_> = OFFLOADS
        .iter()
        .map(|name| format!("{name} {state}"))
        .collect();
    guest.sh(&format!("ethtool -K {interface} {}", words.join(" ")))?;
    // What is asked for may be refused silently.
    let features = guest.sh(&format!("ethtool -k {interface}"))?;
    for name in [
        "rx-checksumming",
        "tx-checksumming",
        "tcp-segmentation-offload",
    ] {
        ensure(features.contains(&format!("{name}: {state}")), || {
            format!("{name} is not {state}: {features}")
        })?;
    }
    Ok(())
}

fn transfer_with(
    guest: &mut Guest,
    interface: &str,
    offloads: bool,
    data: &Data,
) -> Result<[f64; 2], Trouble> {
    set_offloads(guest, interface, offloads)?;
    let before = adapter(guest, 0)?;
    let seconds = data.exchange(guest)?;
    let after = adapter(guest, 0)?;
    let grown = |name: &str| -> Result<u64, Trouble> {
        Ok(counter(&after, name)? - counter(&before, name)?)
    };
    for name in ["sent_unicast_bytes", "received_unicast_bytes"] {
        let bytes = grown(name)?;
        ensure(bytes > data.bytes(), || {
            format!("{name} has grown by {bytes} only")
        })?;
    }
    for name in ["checksum_offloads", "large_sends"] {
        let count = grown(name)?;
        ensure((count != 0) == offloads, || {
            format!("{name} has grown by {count}")
        })?;
    }
    no_errors(guest, interface, 0)?;
    Ok(seconds)
}

/// With several processors, each has a queue of its own that is in use.
fn queues(guest: &mut Guest, interface: &str, cpus: u32) -> Result<String, Trouble> {
    let channels = guest.sh(&format!(
        "ls /sys/class/net/{interface}/device/channels | wc -l"
    ))?;
    ensure(channels == cpus.to_string(), || {
        format!("the adapter has {channels} channels")
    })?;
    let open = adapter(guest, 0)?["channels"]
        .as_array()
        .map(Vec::len)
        .unwrap_or_default();
    ensure(open == cpus as usize, || {
        format!("the host has {open} channels open")
    })?;
    // A connection stays in the queue that its ports choose: so many are in the same one once in 2^39 times.
    let counts = guest.sh(&format!(
        "for n in $(seq 40); do echo 1000 | nc {PEER} 19 > /dev/null; done; ethtool -S {interface} | grep -E '[rt]x_queue_[0-9]+_packets' | tr -d ' '"
    ))?;
    let counts = counts.replace('\n', " ");
    let idle = counts.split(' ').any(|count| count.ends_with(":0"));
    ensure(!idle && !counts.is_empty(), || {
        format!("a queue has nothing to do: {counts}")
    })?;
    Ok(counts)
}

/// Both ends have counted the same packets, once none is under way.
fn packets_agree(guest: &mut Guest, interface: &str) -> Result<(), Trouble> {
    let received = |guest: &mut Guest| -> Result<(u64, u64), Trouble> {
        let adapter = adapter(guest, 0)?;
        let mut host = 0;
        for name in [
            "received_unicast",
            "received_multicast",
            "received_broadcast",
        ] {
            host += counter(&adapter, name)?;
        }
        let there = guest.sh(&format!(
            "cat /sys/class/net/{interface}/statistics/rx_packets"
        ))?;
        Ok((there.parse().unwrap_or_default(), host))
    };
    let mut counts = (0, 1);
    // A late acknowledgement or advertisement may come between the two looks.
    for _ in 0..10 {
        counts = received(guest)?;
        if counts.0 == counts.1 {
            return Ok(());
        }
    }
    Err(Trouble::failed(format!(
        "the guest has received {} packets, the host says {}",
        counts.0, counts.1
    )))
}

/// MTU 9000: a large packet passes in one piece.
fn large_packets(guest: &mut Guest, interface: &str) -> Result<(), Trouble> {
    guest.sh(&format!("ip link set {interface} mtu 9000"))?;
    wait_for_carrier(guest, interface, true)?;
    let before = adapter(guest, 0)?;
    ensure(before["mtu"] == 9014, || {
        format!("the guest sets MTU 9000, the host knows {}", before["mtu"])
    })?;
    ping(guest, interface, PEER, 8972)?;
    let after = adapter(guest, 0)?;
    for direction in ["sent", "received"] {
        let grown = |what: &str| -> Result<u64, Trouble> {
            let name = format!("{direction}_unicast{what}");
            Ok(counter(&after, &name)? - counter(&before, &name)?)
        };
        let (frames, bytes) = (grown("")?, grown("_bytes")?);
        // Three of them, and perhaps a word about neighbours.
        ensure(bytes >= 3 * 9014 && frames <= 10, || {
            format!("{frames} frames with {bytes} bytes were {direction}")
        })?;
    }
    let data = Data::make(guest, 4)?;
    data.exchange(guest)?;
    data.remove(guest)?;
    guest.sh(&format!("ip link set {interface} mtu 1500"))?;
    wait_for_carrier(guest, interface, true)?;
    wait_for_answer(guest, interface, PEER)?;
    ping(guest, interface, PEER, 56).map_err(|trouble| trouble.during("back at 1500"))
}

/// The cable goes out and comes back.
fn link(guest: &mut Guest, interface: &str) -> Result<(), Trouble> {
    guest.ctl(&["nic", "link", "0", "down"])?;
    wait_for_carrier(guest, interface, false)?;
    ensure(!answers(guest, interface, PEER)?, || {
        "a ping passes while the link is down".to_owned()
    })?;
    guest.ctl(&["nic", "link", "0", "up"])?;
    wait_for_carrier(guest, interface, true)?;
    wait_for_answer(guest, interface, PEER)?;
    ping(guest, interface, PEER, 56)
}

/// A second adapter comes, works and goes.
fn second_adapter(guest: &mut Guest) -> Result<(), Trouble> {
    let added = guest.ctl(&["nic", "add", "user"])?;
    let index = added["index"]
        .as_u64()
        .ok_or_else(|| Trouble::failed(format!("the new adapter's number is {added}")))?;
    let name = interface(guest, index)?;
    wait_for_carrier(guest, &name, true)?;
    dhcp(guest, &name)?;
    ping(guest, &name, PEER, 1000)?;
    no_errors(guest, &name, index)?;
    guest.ctl(&["nic", "remove", &index.to_string()])?;
    guest.wait_until(&format!("[ ! -e /sys/class/net/{name} ]"))?;
    let left = guest.ctl(&["nic", "list"])?;
    ensure(left.as_array().map(Vec::len) == Some(1), || {
        format!("the host still has {left}")
    })
}
