//! The kernel finds Hyper-V and its bus.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Boot to a shell.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "boot",
    about: "Hyper-V detected, time from the reference TSC page, VMBus 5.3, a clean kernel log",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(30),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    let release = guest.sh("uname -r")?;
    ensure(release == context.kernel().release, || {
        format!("the guest runs {release}")
    })?;
    let cpus = guest.sh("nproc")?;
    ensure(cpus == context.cpus().to_string(), || {
        format!("the guest has {cpus} processors")
    })?;
    let clock = guest.sh("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    ensure(clock == "hyperv_clocksource_tsc_page", || {
        format!("the guest's time comes from {clock}")
    })?;
    let log = guest.sh("dmesg")?;
    for line in [
        "Hypervisor detected: Microsoft Hyper-V",
        "Vmbus version:5.3",
    ] {
        ensure(log.contains(line), || {
            format!("the kernel does not say \"{line}\"")
        })?;
    }
    let devices = guest.sh("ls /sys/bus/vmbus/devices | wc -l")?;
    ensure(devices != "0", || {
        "no device is on the guest's VMBus".to_owned()
    })?;
    context.note(format!("{devices} devices on the bus"));
    let uptime = guest.sh("cut -d' ' -f1 /proc/uptime")?;
    context.note(format!("{uptime} s from start to these questions"));
    Ok(())
}
