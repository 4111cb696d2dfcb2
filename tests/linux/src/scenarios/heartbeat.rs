//! `hv_utils` answers the host's heartbeats, until the guest stops.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// The heartbeat of a guest that lives, and of one that has stopped.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "heartbeat",
    about: "the host hears the guest's heart, and misses it when the guest has stopped",
    kernels: CLOUD,
    cpus: &[1],
    limit: Duration::from_secs(60),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    context.host_must_know("ctl", "heartbeat")?;
    let machine = context.machine().arguments(["--name", "heartbeat"]);
    let mut guest = context.start(&machine)?;
    guest.sh("test -d /sys/bus/vmbus/drivers/hv_utils || test -d /sys/module/hv_utils")?;
    wait_for(context, "ok")?;
    stop(&mut guest)?;
    wait_for(context, "lost")
}

/// Stops the guest as a whole, as a crashed kernel would: it spins with its interrupts off.
fn stop(guest: &mut Guest) -> Result<(), Trouble> {
    guest.sh("echo 1 > /proc/sys/kernel/sysrq; echo 0 > /proc/sys/kernel/panic")?;
    // The answer comes first, then the panic, after which nothing resets the machine.
    guest.sh("(sleep 1; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &")?;
    Ok(())
}

fn wait_for(context: &mut Context, state: &str) -> Result<(), Trouble> {
    if state == "lost" {
        for line in ["Kernel panic", "Call Trace:", "sysrq", "BUG:", "Oops"] {
            context.expect_line(line);
        }
    }
    let deadline = Instant::now() + context.patience();
    loop {
        let answer = context.host_sim(&["ctl", "heartbeat", "heartbeat"])?;
        if answer.to_ascii_lowercase().contains(state) {
            return Ok(());
        }
        ensure(Instant::now() < deadline, || {
            format!("the heartbeat is {}, not {state}", answer.trim_end())
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
