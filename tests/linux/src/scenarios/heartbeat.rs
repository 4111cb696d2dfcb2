//! `hv_utils` answers the host's heartbeats, until the guest stops.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// The heartbeat of a guest that lives, and of one that has stopped.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "heartbeat",
    about: "the host hears the guest's heart, and misses it when the guest has stopped",
    kernels: CLOUD,
    cpus: &[1, 2],
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
    // Halted, the kernel does nothing more, not even power off. A panic would not do: in it, Linux takes leave of the
    // bus.
    guest.sh("(sleep 1; halt -f) > /dev/null 2>&1 &")?;
    let lost = guest.ctl_until(&["heartbeat"], |beat| beat["contact"] == "lost")?;
    context.note(format!("in the end: {lost}"));
    Ok(())
}
