//! A TAP interface: the host's own network stack at the other end, until the interface is deleted.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use super::network_tools::{
    PEER, adapter, counter, dhcp, first_word, hexadecimal, interface, no_errors, ping,
    wait_for_carrier,
};
use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// An adapter on a TAP interface and one that outlives it.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "network-tap",
    about: "TCP both ways with the host's network stack, its offloads on and off; the TAP interface deleted is a link down",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(90),
    run,
};

/// The host's address, and that of the guest. From the block for documentation, which nobody uses.
const HOST: &str = "192.0.2.1";
const GUEST: &str = "192.0.2.2";

fn run(context: &mut Context) -> Result<(), Trouble> {
    if !geteuid().is_root() {
        let reason = "only root may make TAP interfaces";
        return Err(Trouble::Skipped(reason.to_owned()));
    }
    if let Err(error) = std::fs::File::open("/dev/net/tun") {
        return Err(Trouble::Skipped(format!("/dev/net/tun: {error}")));
    }
    // Names have at most 15 bytes.
    let tap = format!("e2e{}", std::process::id());
    let mut machine =
        context
            .machine()
            .arguments(["--nic", &format!("tap:{tap}"), "--nic", "user"]);
    // Files of 256 MiB are on a file system in half of it.
    machine.mebibytes = 768;
    let mut guest = context.start(&machine)?;
    ip(&["addr", "add", &format!("{HOST}/24"), "dev", &tap])?;
    ip(&["link", "set", &tap, "up"])?;
    let name = interface(&mut guest, 0)?;
    let other = interface(&mut guest, 1)?;
    wait_for_carrier(&mut guest, &name, true)?;
    guest.sh(&format!("ip addr add {GUEST}/24 dev {name}"))?;
    dhcp(&mut guest, &other)?;
    ping(&mut guest, &name, HOST, 1472)?;
    let mebibytes = context.mebibytes(4);
    for state in ["on", "off"] {
        guest.sh(&format!(
            "ethtool -K {name} rx {state} tx {state} sg {state} tso {state} gso {state} gro {state}"
        ))?;
        let before = adapter(&guest, 0)?;
        let begin = Instant::now();
        echo(&mut guest, mebibytes, context.patience()).map_err(|trouble| trouble.during(state))?;
        context.note(format!(
            "offloads {state}: {mebibytes} MiB there and back in {:.1} s",
            begin.elapsed().as_secs_f64()
        ));
        let after = adapter(&guest, 0)?;
        for counted in ["checksum_offloads", "large_sends"] {
            let grown = counter(&after, counted)? - counter(&before, counted)?;
            ensure((grown != 0) == (state == "on"), || {
                format!("offloads {state}: {counted} has grown by {grown}")
            })?;
        }
        no_errors(&mut guest, &name, 0)?;
    }
    ip(&["link", "delete", &tap])?;
    wait_for_carrier(&mut guest, &name, false)?;
    wait_for_carrier(&mut guest, &other, true)?;
    ping(&mut guest, &other, PEER, 56)?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))
}

/// Runs `ip`, of iproute2 or busybox.
fn ip(arguments: &[&str]) -> Result<(), Trouble> {
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

/// Sends random bytes to this process, and has them sent back on a connection of their own.
fn echo(guest: &mut Guest, mebibytes: u32, patience: Duration) -> Result<(), Trouble> {
    let listener = TcpListener::bind((HOST, 0))?;
    let port = listener.local_addr()?.port();
    let (tell, told) = channel();
    // Not joined: a guest that never connects would keep it for ever.
    std::thread::spawn(move || {
        // Nobody listens if the scenario has failed already.
        let _ = tell.send(serve(&listener));
    });
    let sums = guest.sh(&format!(
        "dd if=/dev/urandom bs=1M count={mebibytes} 2> /dev/null | tee /tmp/data | nc {HOST} {port}; sha256sum < /tmp/data; nc {HOST} {port} < /dev/null | sha256sum; rm /tmp/data"
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
