//! `hv_utils` answers the host's heartbeats, until the guest stops.

use std::time::Duration;

use crate::context::Context;
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
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    let beating = guest.ctl_until(&["heartbeat"], |beat| {
        beat["contact"] == "ok" && beat["answered"].as_u64() >= Some(2)
    })?;
    ensure(beating["wrong_sequence"] == 0, || {
        format!("the guest answers out of order: {beating}")
    })?;
    for line in ["sysrq", "Kernel panic", "Call Trace:", "BUG:", "Oops"] {
        context.expect_line(line);
    }
    // The panic comes after the answer. It halts the machine: nothing resets it.
    guest.sh(
        "echo 0 > /proc/sys/kernel/panic; echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &",
    )?;
    let lost = guest.ctl_until(&["heartbeat"], |beat| beat["contact"] == "lost")?;
    context.note(format!("in the end: {lost}"));
    Ok(())
}
