//! The kernel finds Hyper-V and its bus.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// The kernels that other scenarios do not use: those of the general flavour, and a 32-bit one.
const OTHERS: &[&str] = &["6.1-generic", "6.12-generic", "6.1-i386"];

/// Boot to a shell.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "boot",
    about: "Hyper-V detected, time from the reference TSC page, VMBus 5.3, a clean kernel log",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(30),
    run,
};

/// The same with other kernels.
pub(super) const OTHER_KERNELS: Scenario = Scenario {
    name: "boot-others",
    about: "the same with kernels of the general flavour and of 32 bits",
    kernels: OTHERS,
    cpus: &[1],
    ..SCENARIO
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    let told = guest.sh(
        "uname -r; nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; ls /sys/bus/vmbus/devices | wc -l; cut -d' ' -f1 /proc/uptime",
    )?;
    let told: Vec<_> = told.lines().collect();
    let [release, cpus, clock, devices, uptime] = told[..] else {
        return Err(Trouble::failed(format!("the guest answers {told:?}")));
    };
    ensure(release == context.kernel().release, || {
        format!("the guest runs {release}")
    })?;
    ensure(cpus == context.cpus().to_string(), || {
        format!("the guest has {cpus} processors")
    })?;
    ensure(clock == "hyperv_clocksource_tsc_page", || {
        format!("the guest's time comes from {clock}")
    })?;
    guest.has_said(&[
        "Hypervisor detected: Microsoft Hyper-V",
        "Vmbus version:5.3",
    ])?;
    ensure(devices != "0", || {
        "no device is on the guest's VMBus".to_owned()
    })?;
    context.note(format!(
        "{devices} devices on the bus; the shell answered {uptime} s after the kernel's start"
    ));
    Ok(())
}
