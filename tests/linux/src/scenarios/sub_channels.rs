//! `hv_storvsc` with several processors spreads its requests over sub-channels.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Storage with sub-channels.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "sub-channels",
    about: "hv_storvsc opens sub-channels and every one of them carries requests",
    kernels: CLOUD,
    cpus: &[2],
    limit: Duration::from_secs(30),
    run,
};

/// The interface of synthetic SCSI controllers.
const CONTROLLER: &str = "{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}";

fn run(context: &mut Context) -> Result<(), Trouble> {
    let image = context.random_image("source", 16, 0xca7)?;
    let machine = context
        .machine()
        .disk(&image, &["ro"])
        .arguments(["--io-threads", "3"])
        // As delivered, the driver wants a sub-channel for each four processors.
        .word("hv_storvsc.storvsc_vcpus_per_sub_channel=1");
    let mut guest = context.start(&machine)?;
    let disk = guest.disk(0)?;
    let device = guest.sh(&format!(
        "cd /sys/bus/vmbus/devices && grep -lx '{CONTROLLER}' */class_id | cut -d/ -f1 | head -n1"
    ))?;
    let channels = format!("/sys/bus/vmbus/devices/{device}/channels");
    let count = guest.sh(&format!("ls {channels} | wc -l"))?;
    ensure(count == context.cpus().to_string(), || {
        format!("the controller has {count} channels")
    })?;
    let interrupts = format!("cat {channels}/*/interrupts");
    let before = numbers(&guest.sh(&interrupts)?)?;
    for cpu in 0..context.cpus() {
        guest.sh(&format!(
            "echo 3 > /proc/sys/vm/drop_caches; taskset -c {cpu} dd if=/dev/{disk} of=/dev/null bs=64k 2>/dev/null"
        ))?;
    }
    let after = numbers(&guest.sh(&interrupts)?)?;
    let idle = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before >= after);
    ensure(idle.count() == 0, || {
        format!("interrupts of the channels were {before:?} and are {after:?}: one carries nothing")
    })?;
    context.note(format!("interrupts of the channels: {after:?}"));
    Ok(())
}

fn numbers(text: &str) -> Result<Vec<u64>, Trouble> {
    let number = |word: &str| {
        let read = word.parse();
        read.map_err(|_| Trouble::failed(format!("`{word}` is no count of interrupts")))
    };
    text.split_whitespace().map(number).collect()
}
