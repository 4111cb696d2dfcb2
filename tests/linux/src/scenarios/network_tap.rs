//! A TAP interface: the host's own network stack at the other end, until the interface is deleted.

use std::time::Duration;

use nix::unistd::geteuid;

use super::network_tools::{PEER, dhcp, echo_with_offloads, interface, ip, ping, wait_for_carrier};
use crate::context::Context;
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
    echo_with_offloads(context, &mut guest, &name, [HOST; 2], mebibytes)?;
    ip(&["link", "delete", &tap])?;
    wait_for_carrier(&mut guest, &name, false)?;
    wait_for_carrier(&mut guest, &other, true)?;
    ping(&mut guest, &other, PEER, 56)?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))
}
