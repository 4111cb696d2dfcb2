//! Hosts of all generations: a guest takes what each has.

use std::time::Duration;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{Scenario, Trouble, ensure};

/// A boot for each generation.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "host-version",
    about: "a guest boots on each generation of hosts, with its disk and its network where the kernel knows the bus",
    kernels: &["6.1"],
    cpus: &[1, 2],
    limit: Duration::from_secs(120),
    run,
};

/// Generations, and the bus that Linux agrees on with each; none where its oldest is newer than the host's newest.
const GENERATIONS: [(&str, Option<&str>); 8] = [
    ("2008", None),
    ("2008R2", None),
    ("2012", Some("2.4")),
    ("2012R2", Some("3.0")),
    ("2016", Some("4.0")),
    ("2019", Some("5.2")),
    ("2022", Some("5.3")),
    ("2025", Some("5.3")),
];

/// What the kernel says where it finds no bus that it knows: the bus's driver gives up, and what needs it.
const NO_BUS: [&str; 2] = [
    "insmod: can't insert '/modules/hv_vmbus.ko': Numerical argument out of domain",
    ".ko': unknown symbol in module, or unknown parameter",
];

/// Linux does without the backup service of Windows Server 2012, which is older than what it knows.
const NO_BACKUP: &str = "probe failed for device 2450ee40-33bf-4fbd-892e-9fb06e9214cf (-19)";

fn run(context: &mut Context) -> Result<(), Trouble> {
    for line in NO_BUS {
        context.expect_line(line);
    }
    context.expect_line(NO_BACKUP);
    let image = context.random_image("disk", 4, 5)?;
    let sum = sha256(&image, 4 << 20)?;
    for (generation, bus) in GENERATIONS {
        let mut machine = context.machine().disk(&image, &["ro"]).arguments([
            "--host-version",
            generation,
            "--nic",
            "user",
        ]);
        machine.name = format!("host-{generation}");
        machine.mebibytes = 256;
        let mut guest = context.start(&machine)?;
        let result = match bus {
            Some(bus) => devices(&mut guest, bus, &sum),
            None => nothing(&mut guest),
        };
        result.map_err(|trouble| trouble.during(generation))?;
    }
    Ok(())
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
