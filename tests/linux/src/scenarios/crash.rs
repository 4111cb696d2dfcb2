//! A guest that panics tells the host why, and comes back.

use std::time::Duration;

use super::restart::Bus;
use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// A panic.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "crash",
    about: "a panic's parameters and last messages reach the host; the guest resets itself and has the same bus again",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(50),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    for line in ["Kernel panic", "Call Trace:"] {
        context.expect_line(line);
    }
    let disk = context.random_image("disk", 4, 3)?;
    let mut machine = context.machine().disk(&disk, &["ro"]);
    machine = machine.arguments(["--nic", "none"]);
    machine.reboots = true;
    let mut guest = context.start(&machine)?;
    let first = Bus::settled(&mut guest)?;
    let before = guest.boot_id()?;
    // The answer must be out before the kernel is gone.
    guest.sh("echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &")?;
    guest.wait_for_reboot(&before)?;
    let told = guest.host_output();
    let reports: Vec<_> = told
        .lines()
        .filter(|line| line.contains("reports a crash on virtual processor"))
        .collect();
    let [report] = reports[..] else {
        return Err(Trouble::failed(format!("reports of a crash: {reports:?}")));
    };
    context.note(report.to_owned());
    ensure(
        told.lines().any(|line| {
            line.starts_with("host-sim: crash:")
                && line.contains("Kernel panic - not syncing: sysrq triggered crash")
        }),
        || format!("the host does not tell the panic's message: {told}"),
    )?;
    first.check(&mut guest, "after the crash")
}
