//! What scenarios about networks share.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{Trouble, ensure};

/// The host in the network that `--nic user` makes.
pub(super) const PEER: &str = "10.0.2.2";

/// What `udhcpc` calls. Its `mask` is the number of bits.
const DHCP_SCRIPT: &str = "#!/bin/sh\n\
    case $1 in bound | renew) ip addr add $ip/$mask dev $interface; echo $ip;; esac\n";

/// An adapter as its `host-sim` describes it.
pub(super) fn adapter(guest: &Guest, index: u64) -> Result<Value, Trouble> {
    let list = guest.ctl(&["nic", "list"])?;
    let adapters = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let found = adapters.iter().find(|entry| entry["index"] == index);
    let found = found.ok_or_else(|| Trouble::failed(format!("no adapter {index}: {list}")))?;
    Ok(found.clone())
}

/// A counter of an adapter.
pub(super) fn counter(adapter: &Value, name: &str) -> Result<u64, Trouble> {
    let value = adapter["counters"][name].as_u64();
    value.ok_or_else(|| Trouble::failed(format!("the adapter has no counter {name}: {adapter}")))
}

/// The interface of the adapter with this number, by its address, once it is there; it is set up.
pub(super) fn interface(guest: &mut Guest, index: u64) -> Result<String, Trouble> {
    let adapter = adapter(guest, index)?;
    let address = adapter["address"].as_str().unwrap_or_default();
    let find = format!(
        "set -- $(cd /sys/class/net && grep -lix '{address}' */address); name=${{1%/*}}; [ -n \"$name\" ]"
    );
    guest
        .wait_until(&find)
        .map_err(|trouble| trouble.during(&format!("the interface with address {address}")))?;
    guest.sh(&format!("{find}; ip link set $name up; echo $name"))
}

/// Waits until an interface's link is up or down, for the guest's network stack too: that follows the driver up to
/// some seconds later, and drops what is sent until then.
pub(super) fn wait_for_carrier(
    guest: &mut Guest,
    interface: &str,
    is_up: bool,
) -> Result<(), Trouble> {
    let state = if is_up { "up" } else { "down" };
    // `ip` waits until the stack has done what follows from the state.
    guest.wait_until(&format!(
        "[ $(cat /sys/class/net/{interface}/operstate) = {state} ] && ip link show {interface} > /dev/null"
    ))
}

/// Gives an interface an address by DHCP. Returns the address.
pub(super) fn dhcp(guest: &mut Guest, interface: &str) -> Result<String, Trouble> {
    guest.write_file("/run/dhcp.sh", DHCP_SCRIPT.as_bytes())?;
    guest.sh(&format!(
        "chmod +x /run/dhcp.sh && udhcpc -i {interface} -s /run/dhcp.sh -n -q -t 10 -T 1 2> /dev/null"
    ))
}

/// Pings by way of an interface; each packet must come back.
pub(super) fn ping(
    guest: &mut Guest,
    interface: &str,
    target: &str,
    bytes: u32,
) -> Result<(), Trouble> {
    // The first one may have to wait for the neighbour's address.
    let ping = format!("ping -q -c 3 -i 0.2 -W 10 -s {bytes} -I {interface} {target}");
    let output = guest.run(&ping)?.stdout;
    let output = String::from_utf8_lossy(&output);
    if output.contains(" 0% packet loss") {
        return Ok(());
    }
    let there = guest.sh(&format!(
        "ip neigh; ethtool -S {interface} | grep -v ': 0$'; grep . /sys/class/net/{interface}/statistics/*"
    ))?;
    let here = guest.ctl(&["nic", "list"])?;
    Err(Trouble::failed(format!(
        "ping from {interface} to {target}: {output}\nthe guest says: {there}\nthe host says: {here}"
    )))
}

/// Waits until the target answers at all, as after a change of the link: the stack may drop what is sent for some
/// seconds more, and then what waited for the neighbour's address.
pub(super) fn wait_for_answer(
    guest: &mut Guest,
    interface: &str,
    target: &str,
) -> Result<(), Trouble> {
    guest.wait_until(&format!(
        "ping -q -c 1 -W 2 -I {interface} {target} > /dev/null"
    ))
}

/// Whether the target answers a ping within two seconds.
pub(super) fn answers(guest: &mut Guest, interface: &str, target: &str) -> Result<bool, Trouble> {
    let ping = format!("ping -q -c 1 -W 2 -I {interface} {target}");
    Ok(guest.run(&ping)?.status == 0)
}

/// Neither end has counted an error of an adapter.
pub(super) fn no_errors(guest: &mut Guest, interface: &str, index: u64) -> Result<(), Trouble> {
    let counted = guest.sh(&format!(
        "cd /sys/class/net/{interface}/statistics && grep -v '^0$' *_errors collisions || true"
    ))?;
    ensure(counted.is_empty(), || {
        format!("{interface} has counted errors: {counted}")
    })?;
    let adapter = adapter(guest, index)?;
    for name in ["send_errors", "receive_errors", "malformed"] {
        let count = counter(&adapter, name)?;
        ensure(count == 0, || format!("adapter {index} has {count} {name}"))?;
    }
    Ok(())
}

/// A file of random bytes in the guest, to be sent.
pub(super) struct Data {
    bytes: u64,
    /// What the guest computed.
    sum: String,
}

/// Where it is.
const DATA: &str = "/tmp/data";

impl Data {
    /// Makes it. The guest needs twice as much memory: files are on a file system in half of it.
    pub(super) fn make(guest: &mut Guest, mebibytes: u32) -> Result<Self, Trouble> {
        let sum = guest.sh(&format!(
            "dd if=/dev/urandom of={DATA} bs=1M count={mebibytes} 2> /dev/null; sha256sum < {DATA}"
        ))?;
        Ok(Self {
            bytes: u64::from(mebibytes) << 20,
            sum: first_word(&sum).to_owned(),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends it to the discard service of the user network and asks its source service for as many bytes. All must
    /// arrive as they are. Returns the seconds that each took.
    pub(super) fn exchange(&self, guest: &mut Guest) -> Result<[f64; 2], Trouble> {
        let Self { bytes, sum } = self;
        let begin = Instant::now();
        let arrived = guest.sh(&format!("nc {PEER} 9 < {DATA}"))?;
        let sent = begin.elapsed();
        ensure(arrived == format!("{sum} {bytes}"), || {
            format!("of {bytes} bytes with hash {sum} arrived \"{arrived}\"")
        })?;
        let received = guest.sh(&format!("echo {bytes} | nc {PEER} 19 | sha256sum"))?;
        let there_and_back = begin.elapsed();
        ensure(first_word(&received) == source_digest(*bytes), || {
            format!("{bytes} bytes of the source service arrived with hash {received}")
        })?;
        Ok([sent, there_and_back - sent].map(|time| time.as_secs_f64()))
    }

    /// Removes it.
    pub(super) fn remove(self, guest: &mut Guest) -> Result<(), Trouble> {
        guest.sh(&format!("rm {DATA}")).map(drop)
    }
}

/// Runs `ip`, of iproute2 or busybox.
pub(super) fn ip(arguments: &[&str]) -> Result<(), Trouble> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| Trouble::failed(format!("ip: {error}")))?;
    ensure(output.status.success(), || {
        format!(
            "`ip {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        )
    })
}

/// Has the first adapter exchange bytes with this process, with its offloads and without them. `bound` is the address
/// that this process listens at, `reached` the one that the guest reaches it by.
pub(super) fn echo_with_offloads(
    context: &mut Context,
    guest: &mut Guest,
    interface: &str,
    [bound, reached]: [&str; 2],
    mebibytes: u32,
) -> Result<(), Trouble> {
    for state in ["on", "off"] {
        guest.sh(&format!(
            "ethtool -K {interface} rx {state} tx {state} sg {state} tso {state} gso {state} gro {state}"
        ))?;
        let before = adapter(guest, 0)?;
        let begin = Instant::now();
        echo(guest, [bound, reached], mebibytes, context.patience())
            .map_err(|trouble| trouble.during(&format!("offloads {state}")))?;
        context.note(format!(
            "offloads {state}: {mebibytes} MiB there and back in {:.1} s",
            begin.elapsed().as_secs_f64()
        ));
        let after = adapter(guest, 0)?;
        for counted in ["checksum_offloads", "large_sends"] {
            let grown = counter(&after, counted)? - counter(&before, counted)?;
            ensure((grown != 0) == (state == "on"), || {
                format!("offloads {state}: {counted} has grown by {grown}")
            })?;
        }
        no_errors(guest, interface, 0)?;
    }
    Ok(())
}

/// Sends random bytes to this process, and has them sent back on a connection of their own.
fn echo(
    guest: &mut Guest,
    [bound, reached]: [&str; 2],
    mebibytes: u32,
    patience: Duration,
) -> Result<(), Trouble> {
    let listener = TcpListener::bind((bound, 0))?;
    let port = listener.local_addr()?.port();
    let (tell, told) = channel();
    // Not joined: a guest that never connects would keep it for ever.
    std::thread::spawn(move || {
        // Nobody listens if the scenario has failed already.
        let _ = tell.send(serve(&listener));
    });
    // The guest closes its direction last. To one that has closed its own first, passt of 2023 repeats what it sends, for
    // ever.
    let sums = guest.sh(&format!(
        "dd if=/dev/urandom bs=1M count={mebibytes} 2> /dev/null | tee /tmp/data | nc {reached} {port}; sha256sum < /tmp/data; mkfifo /tmp/open; nc {reached} {port} 0<> /tmp/open | sha256sum; rm /tmp/data /tmp/open"
    ))?;
    let served = told.recv_timeout(patience);
    let (sum, length) =
        served.map_err(|_| Trouble::failed("the guest did not connect with the host twice"))??;
    let sums: Vec<_> = sums.lines().map(first_word).collect();
    ensure(length == (mebibytes as usize) << 20, || {
        format!("{length} bytes arrived at the host")
    })?;
    ensure(sums == [sum.as_str(); 2], || {
        format!("the guest sent and got back {sums:?}, the host had {sum}")
    })
}

/// Takes bytes on one connection and gives them back on the next. Returns their hash and number.
fn serve(listener: &TcpListener) -> std::io::Result<(String, usize)> {
    let mut bytes = Vec::new();
    listener.accept()?.0.read_to_end(&mut bytes)?;
    let (mut back, _) = listener.accept()?;
    back.write_all(&bytes)?;
    back.shutdown(Shutdown::Write)?;
    // Until the guest has read it all.
    back.read_to_end(&mut Vec::new())?;
    Ok((hexadecimal(&Sha256::digest(&bytes)), bytes.len()))
}

/// The hash of what the source service sends: this is its rule, as `host-sim`'s documentation has it.
fn source_digest(length: u64) -> String {
    let mut hash = Sha256::new();
    let mut piece = Vec::with_capacity(1 << 16);
    // Lengths are whole MiB.
    for block in 0..length >> 16 {
        let start = block << 16;
        piece.clear();
        piece.extend((start..start + (1 << 16)).map(|index: u64| {
            (index ^ (index >> 8).wrapping_mul(31) ^ (index >> 16).wrapping_mul(17)) as u8
        }));
        hash.update(&piece);
    }
    hexadecimal(&hash.finalize())
}

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text before the first white space.
pub(super) fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_hashed_as_its_rule_says() {
        // Computed with another program from the rule.
        assert_eq!(
            source_digest(1 << 20),
            "39a9f61314ebbeea2d9dba6f8630b42a57b3f92f281ec3440dfea2c222644e80"
        );
    }
}
