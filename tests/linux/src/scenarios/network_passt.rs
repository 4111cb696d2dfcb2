//! The real passt: another program's DHCP and TCP at the other end, until it is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::network_tools::{
    PEER, adapter, dhcp, echo_with_offloads, interface, ip, ping, wait_for_carrier,
};
use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// An adapter on passt and one that outlives it.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "network-passt",
    about: "DHCP and TCP both ways with passt, offloads on and off; passt killed is a link down, and the other adapter goes on",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// The guest's address, and that of the router, by which it reaches the host. From the block for documentation, which
/// nobody uses.
const GUEST: &str = "198.51.100.2";
const ROUTER: &str = "198.51.100.1";

fn run(context: &mut Context) -> Result<(), Trouble> {
    let way_out = WayOut::new()?;
    let mut passt = Passt::start(context)?;
    let machine = context.machine().arguments([
        "--nic",
        &format!("passt:{}", passt.socket.display()),
        "--nic",
        "user",
    ]);
    let mut guest = context.start(&machine)?;
    let name = interface(&mut guest, 0)?;
    let other = interface(&mut guest, 1)?;
    wait_for_carrier(&mut guest, &name, true)?;
    let given = dhcp(&mut guest, &name)?;
    ensure(given == GUEST, || {
        format!("the address by passt's DHCP is {given:?}")
    })?;
    dhcp(&mut guest, &other)?;
    // Not the whole 256 MiB: what is fast here is not ours.
    let mebibytes = 4;
    echo_with_offloads(context, &mut guest, &name, ["127.0.0.1", ROUTER], mebibytes)?;
    passt.kill()?;
    wait_for_carrier(&mut guest, &name, false)?;
    let is_up = &adapter(&guest, 0)?["is_link_up"];
    ensure(*is_up == false, || {
        format!("the host says that the link is up: {is_up}")
    })?;
    wait_for_carrier(&mut guest, &other, true)?;
    ping(&mut guest, &other, PEER, 56)?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    let status = guest.wait_for_end()?;
    drop(way_out);
    ensure(status.success(), || format!("host-sim ended with {status}"))
}

/// passt as another process has started it. Dropping this kills it.
struct Passt {
    process: Child,
    socket: PathBuf,
}

impl Passt {
    fn start(context: &Context) -> Result<Self, Trouble> {
        let Some(program) = context.passt() else {
            return Err(Trouble::Skipped("there is no passt".to_owned()));
        };
        let socket = context.scratch().join("passt");
        let log = context.log("passt");
        let output = File::create(&log)?;
        let mut command = program.command();
        if geteuid().is_root() {
            // It would become nobody, who may not make a socket here.
            command.args(["--runas", "0"]);
        }
        command
            .args(["--foreground", "--ipv4-only", "--socket"])
            .arg(&socket)
            .args(["--address", GUEST, "--netmask", "24", "--gateway", ROUTER])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut passt = Self {
            process: command.spawn()?,
            socket,
        };
        let deadline = Instant::now() + context.patience();
        while !passt.socket.exists() {
            if let Some(status) = passt.process.try_wait()? {
                return Err(Trouble::failed(format!(
                    "passt ended with {status}: {}",
                    said(&log)
                )));
            }
            if Instant::now() > deadline {
                return Err(Trouble::failed(format!(
                    "passt makes no socket: {}",
                    said(&log)
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(passt)
    }

    /// Kills it, as a host without memory does.
    fn kill(&mut self) -> Result<(), Trouble> {
        let ended = self.process.try_wait()?;
        ensure(ended.is_none(), || {
            format!("passt has ended by itself: {ended:?}")
        })?;
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // Fails if it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// passt takes after an interface with a default route. On a machine that has none, this makes one that leads nowhere,
/// until it is dropped.
struct WayOut {
    is_ours: bool,
}

impl WayOut {
    const NAME: &str = "e2e-way-out";

    fn new() -> Result<Self, Trouble> {
        let routes = std::fs::read_to_string("/proc/net/route")?;
        // A line for each route: interface, destination and more.
        let has_default = routes
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some("00000000"));
        if has_default {
            return Ok(Self { is_ours: false });
        }
        if !geteuid().is_root() {
            let reason = "there is no default route, and only root may make one";
            return Err(Trouble::Skipped(reason.to_owned()));
        }
        ip(&["link", "add", Self::NAME, "type", "dummy"])?;
        let way_out = Self { is_ours: true };
        ip(&["addr", "add", "203.0.113.2/24", "dev", Self::NAME])?;
        ip(&["link", "set", Self::NAME, "up"])?;
        let gateway = ["via", "203.0.113.1", "dev", Self::NAME];
        ip(&[&["route", "add", "default"][..], &gateway].concat())?;
        Ok(way_out)
    }
}

impl Drop for WayOut {
    fn drop(&mut self) {
        if self.is_ours {
            // Its route goes with it.
            let _ = ip(&["link", "delete", Self::NAME]);
        }
    }
}
