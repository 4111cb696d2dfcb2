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
    // Drivers then do their work in threads, which something more urgent can keep from running.
    let machine = context.machine().word("threadirqs");
    let mut guest = context.start(&machine)?;
    let beating = guest.ctl_until(&["heartbeat"], |beat| {
        beat["contact"] == "ok" && beat["answered"].as_u64() >= Some(2)
    })?;
    ensure(beating["wrong_sequence"] == 0, || {
        format!("the guest answers out of order: {beating}")
    })?;
    for line in ["stall", "Call Trace:", "blocked for more than"] {
        context.expect_line(line);
    }
    // The only processor has nothing but this to do from then on. A panic would not do: in it, Linux takes leave of
    // the bus.
    guest.sh(
        "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; (sleep 1; chrt -f 99 sh -c 'while :; do :; done') > /dev/null 2>&1 &",
    )?;
    let lost = guest.ctl_until(&["heartbeat"], |beat| beat["contact"] == "lost")?;
    context.note(format!("in the end: {lost}"));
    Ok(())
}
