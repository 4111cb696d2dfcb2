//! What adapters are plugged into dies.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::network_tools::{PEER, adapter, dhcp, interface, ping, wait_for_carrier};
use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// The other ends of two adapters die, and the third does not notice.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "network-backend-death",
    about: "a switch and a passt die: link down in the guest, up with the next switch, and the other adapter goes on",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    // This process stands in for both: it accepts, and whatever is sent stays in the socket.
    let path = context.scratch().join("switch");
    let lock = File::create(context.scratch().join("switch.lock"))?;
    // Whoever has the lock is the switch.
    lock.lock()?;
    let switch = UnixListener::bind(&path)?;
    let passt_path = context.scratch().join("passt");
    let passt = UnixListener::bind(&passt_path)?;
    let machine = context.machine().arguments([
        "--nic",
        &format!("switch:{}", path.display()),
        "--nic",
        &format!("passt:{}", passt_path.display()),
        "--nic",
        "user",
    ]);
    let mut guest = context.start(&machine)?;
    let ports = [
        accept(&switch, context.patience())?,
        accept(&passt, context.patience())?,
    ];
    let mut names = Vec::new();
    for index in 0..3 {
        let name = interface(&mut guest, index)?;
        wait_for_carrier(&mut guest, &name, true)?;
        names.push(name);
    }
    dhcp(&mut guest, &names[2])?;
    // Packets are under way when it happens.
    guest.sh(&format!(
        "ip addr add 10.8.0.1/24 dev {0}; ip neigh add 10.8.0.2 lladdr 00:15:5d:00:00:02 dev {0} 2> /dev/null; (ping -q -i 0.01 -I {0} 10.8.0.2) > /dev/null 2>&1 &",
        names[0]
    ))?;
    drop(switch);
    drop(passt);
    drop(ports);
    for name in &names[..2] {
        wait_for_carrier(&mut guest, name, false).map_err(|trouble| trouble.during(name))?;
    }
    for index in 0..3 {
        let is_up = adapter(&guest, index)?["is_link_up"] == true;
        ensure(is_up == (index == 2), || {
            format!("the host says of adapter {index} that its link is up: {is_up}")
        })?;
    }
    wait_for_carrier(&mut guest, &names[2], true)?;
    ping(&mut guest, &names[2], PEER, 1000)?;
    // Now its host-sim may become the switch.
    drop(lock);
    wait_for_carrier(&mut guest, &names[0], true)?;
    ping(&mut guest, &names[2], PEER, 56)?;
    guest.sh("killall ping")?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))
}

/// The connection that `host-sim` makes, which it has made when its guest runs.
fn accept(listener: &UnixListener, patience: Duration) -> Result<UnixStream, Trouble> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + patience;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
