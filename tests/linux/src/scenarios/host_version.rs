//! Hosts of all generations: a guest takes what each has. A scenario each, so that one that fails is tried again alone.

use std::time::Duration;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Windows Server 2008. Too old for Linux.
pub(super) const WINDOWS_2008: Scenario =
    scenario("host-version-2008", |context| boots(context, "2008", None));
/// Windows Server 2008 R2. Too old for Linux.
pub(super) const WINDOWS_2008R2: Scenario = scenario("host-version-2008r2", |context| {
    boots(context, "2008R2", None)
});
/// Windows Server 2012. Linux agrees on version 2.4 of the bus.
pub(super) const WINDOWS_2012: Scenario = scenario("host-version-2012", |context| {
    boots(context, "2012", Some("2.4"))
});
/// Windows Server 2012 R2. Linux agrees on version 3.0 of the bus.
pub(super) const WINDOWS_2012R2: Scenario = scenario("host-version-2012r2", |context| {
    boots(context, "2012R2", Some("3.0"))
});
/// Windows Server 2016. Linux agrees on version 4.0 of the bus.
pub(super) const WINDOWS_2016: Scenario = scenario("host-version-2016", |context| {
    boots(context, "2016", Some("4.0"))
});
/// Windows Server 2019. Linux agrees on version 5.2 of the bus.
pub(super) const WINDOWS_2019: Scenario = scenario("host-version-2019", |context| {
    boots(context, "2019", Some("5.2"))
});
/// Windows Server 2022. Linux agrees on version 5.3 of the bus.
pub(super) const WINDOWS_2022: Scenario = scenario("host-version-2022", |context| {
    boots(context, "2022", Some("5.3"))
});
/// Windows Server 2025. Linux agrees on version 5.3 of the bus.
pub(super) const WINDOWS_2025: Scenario = scenario("host-version-2025", |context| {
    boots(context, "2025", Some("5.3"))
});

const fn scenario(name: &'static str, run: fn(&mut Context) -> Result<(), Trouble>) -> Scenario {
    Scenario {
        name,
        about: "a guest boots on a host of this generation, with its disk and its network where the kernel knows the bus",
        kernels: CLOUD,
        cpus: &[1, 2],
        limit: Duration::from_secs(60),
        run,
    }
}

/// What the kernel says where it finds no bus that it knows: the bus's driver gives up, and what needs it.
const NO_BUS: [&str; 2] = [
    "insmod: can't insert '/modules/hv_vmbus.ko': Numerical argument out of domain",
    ".ko': unknown symbol in module, or unknown parameter",
];

/// Linux does without the backup service of Windows Server 2012, which is older than what it knows.
const NO_BACKUP: &str = "probe failed for device 2450ee40-33bf-4fbd-892e-9fb06e9214cf (-19)";

/// `bus` is the version of it that the guest and a host of this generation agree on; none where the guest's oldest is
/// newer than the host's newest.
fn boots(context: &mut Context, generation: &str, bus: Option<&str>) -> Result<(), Trouble> {
    let expected: &[&str] = match (generation, bus) {
        (_, None) => &NO_BUS,
        ("2012", _) => &[NO_BACKUP],
        _ => &[],
    };
    for line in expected {
        context.expect_line(*line);
    }
    let image = context.random_image("disk", 4, 5)?;
    let machine = context.machine().disk(&image, &["ro"]).arguments([
        "--host-version",
        generation,
        "--nic",
        "user",
    ]);
    let mut guest = context.start(&machine)?;
    match bus {
        Some(bus) => devices(&mut guest, bus, &sha256(&image, 4 << 20)?),
        None => nothing(&mut guest),
    }
}

/// Disk, network and heartbeat work.
fn devices(guest: &mut Guest, bus: &str, sum: &str) -> Result<(), Trouble> {
    let status = guest.ctl(&["status"])?;
    ensure(status["vmbus"] == bus, || {
        format!("the bus is {}, not {bus}", status["vmbus"])
    })?;
    let disk = guest.disk(0)?;
    let read = guest.sh(&format!("sha256sum < /dev/{disk} | cut -d' ' -f1"))?;
    ensure(read == sum, || "the disk has other bytes".to_owned())?;
    guest.wait_until("[ -e /sys/class/net/eth0 ]")?;
    guest.sh("ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up && ping -c 2 -w 20 10.0.2.2")?;
    guest.ctl_until(&["heartbeat"], |beat| beat["contact"] == "ok")?;
    let status = guest.ctl(&["status"])?;
    ensure(
        status["shutdown"] == "ready" && status["faults"] == 0,
        || format!("the host says {status}"),
    )
}

/// The guest and the host have no version of the bus in common: the kernel says so, and lives.
fn nothing(guest: &mut Guest) -> Result<(), Trouble> {
    let status = guest.ctl(&["status"])?;
    ensure(status["vmbus"].is_null(), || {
        format!("the bus is {}", status["vmbus"])
    })?;
    let console = guest.console();
    ensure(console.contains("Unable to connect to host"), || {
        "the kernel does not say that it has no bus".to_owned()
    })?;
    let devices = guest.sh("ls /sys/bus/vmbus/devices 2>/dev/null | wc -l")?;
    ensure(devices == "0", || {
        format!("{devices} devices are on the bus")
    })
}
