//! A guest that the host orders to shut down does.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// An ordered shutdown.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "shutdown",
    about: "hv_utils takes the host's order and the guest powers off",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    guest.ctl_until(&["status"], |status| status["shutdown"] == "ready")?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))?;
    let console = guest.console();
    ensure(console.contains("reboot: Power down"), || {
        "the guest's kernel did not power off".to_owned()
    })
}
