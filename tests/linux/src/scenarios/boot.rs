//! The kernel finds Hyper-V and its bus.

use std::time::{Duration, SystemTime};

use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// The kernels that other scenarios do not use: those of the general flavour, and a 32-bit one.
const OTHERS: &[&str] = &["6.1-generic", "6.12-generic", "6.1-i386"];

/// Boot to a shell.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "boot",
    about: "Hyper-V detected, time from the reference TSC page, an alarm of the clock, VMBus 5.3, a clean kernel log",
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

/// A guest that knows nothing of Hyper-V needs no more than a PC.
pub(super) const PLAIN: Scenario = Scenario {
    name: "boot-plain",
    about: "on a host without Hyper-V the kernel boots to its console and powers off",
    run: run_plain,
    ..SCENARIO
};

/// What insmod says of the drivers where there is no Hyper-V.
const NO_HYPERV: [&str; 2] = [
    "insmod: can't insert '/modules/hv_vmbus.ko': No such device",
    ".ko': unknown symbol in module, or unknown parameter",
];

fn run_plain(context: &mut Context) -> Result<(), Trouble> {
    for line in NO_HYPERV {
        context.expect_line(line);
    }
    let mut machine = context.machine();
    machine.is_plain = true;
    let mut guest = context.start(&machine)?;
    let told = guest.sh(
        "nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; sleep 1; date +%s",
    )?;
    let told: Vec<_> = told.lines().collect();
    let [cpus, clock, time] = told[..] else {
        return Err(Trouble::failed(format!("the guest answers {told:?}")));
    };
    ensure(cpus == context.cpus().to_string(), || {
        format!("the guest has {cpus} processors")
    })?;
    ensure(!clock.contains("hyperv"), || {
        format!("the guest's time comes from {clock}")
    })?;
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since_epoch.map_or(0, |time| time.as_secs());
    ensure(
        time.parse().is_ok_and(|time: u64| time.abs_diff(now) < 60),
        || format!("the guest's clock says {time}, the host's {now}"),
    )?;
    alarm(&mut guest)?;
    let console = guest.console();
    ensure(
        console.contains("Run /init") && !console.contains("Hypervisor detected"),
        || "the kernel has detected a hypervisor".to_owned(),
    )?;
    context.note(format!("time from {clock}"));
    // No answer comes to this.
    guest.sh("(sleep 1; poweroff -f) > /dev/null 2>&1 &")?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))
}

/// The real-time clock's alarm interrupts.
fn alarm(guest: &mut Guest) -> Result<(), Trouble> {
    let clock = "/sys/class/rtc/rtc0";
    let name = guest.sh(&format!("cat {clock}/name"))?;
    ensure(name.starts_with("rtc_cmos"), || {
        format!("the guest's clock is {name}")
    })?;
    let count = "awk '/rtc0$/ { for (n = 2; n <= NF; n++) if ($n ~ /^[0-9]+$/) sum += $n } END { print sum + 0 }' /proc/interrupts";
    let before = guest.sh(count)?;
    guest.sh(&format!("echo +2 > {clock}/wakealarm"))?;
    // The file is empty when the alarm is over.
    guest
        .wait_until(&format!(
            "[ -z \"$(cat {clock}/wakealarm)\" ] && [ $({count}) -gt {before} ]"
        ))
        .map_err(|trouble| trouble.during("the clock's alarm"))
}

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
    alarm(&mut guest)?;
    context.note(format!(
        "{devices} devices on the bus; the shell answered {uptime} s after the kernel's start"
    ));
    Ok(())
}
