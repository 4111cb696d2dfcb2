//! `hv_storvsc` moves bytes and holds a file system.

use std::time::{Duration, Instant};

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Read, write and a file system.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk",
    about: "a disk read and written whole, SHA-256 equal at both ends; ext4 made, filled and checked",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    // An emulated processor would need more than a minute for 256 MiB.
    let mebibytes = context.mebibytes(64);
    let source = context.random_image("source", mebibytes, 0x5eed)?;
    let target = context.empty_image("target", mebibytes)?;
    let system = context.empty_image("system", 128)?;
    let mut machine = context
        .machine()
        .disk(&source, &["ro"])
        .disk(&target, &[])
        .disk(&system, &[]);
    machine.mebibytes = 1024;
    let mut guest = context.start(&machine)?;
    let (read, written, system) = (guest.disk(0)?, guest.disk(1)?, guest.disk(2)?);
    let sizes = guest.sh(&format!(
        "cd /sys/block; cat {read}/size {read}/ro {written}/ro"
    ))?;
    let expected = format!("{}\n1\n0", u64::from(mebibytes) * 2048);
    ensure(sizes == expected, || {
        format!("size and protection of the disks are {sizes:?}, not {expected:?}")
    })?;
    let bytes = u64::from(mebibytes) << 20;

    let begin = Instant::now();
    let there = first_word(&guest.sh(&format!("sha256sum /dev/{read}"))?);
    let reading = begin.elapsed();
    ensure(there == sha256(&source, bytes)?, || {
        "the guest reads other bytes than the image holds".to_owned()
    })?;

    let begin = Instant::now();
    // By way of a file, so that the disk is written in large pieces.
    let there = first_word(&guest.sh(&format!(
        "dd if=/dev/urandom of=/tmp/data bs=1M count={mebibytes} 2>/dev/null && dd if=/tmp/data of=/dev/{written} bs=1M conv=fsync 2>/dev/null && sha256sum /tmp/data && rm /tmp/data"
    ))?);
    let writing = begin.elapsed();
    ensure(there == sha256(&target, bytes)?, || {
        "the image holds other bytes than the guest wrote".to_owned()
    })?;
    context.note(format!(
        "{mebibytes} MiB read and hashed in {:.1} s, written and hashed in {:.1} s",
        reading.as_secs_f64(),
        writing.as_secs_f64()
    ));
    file_system(&mut guest, &format!("/dev/{system}"))
}

/// Makes ext4, fills it, checks it, and finds the files again.
fn file_system(guest: &mut Guest, device: &str) -> Result<(), Trouble> {
    let mount = format!("mount -t ext4 {device} /mnt");
    guest.sh(&format!("mkfs.ext4 -q -F {device} && {mount}"))?;
    guest.sh(
        "cp -r /lib /mnt/lib && for n in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/$n bs=64k count=$((n*8)) 2>/dev/null; done",
    )?;
    let before = guest.sh("cd /mnt && find . -type f | sort | xargs sha256sum | sha256sum")?;
    guest.sh(&format!(
        "umount /mnt && e2fsck -f -n {device} && echo 3 > /proc/sys/vm/drop_caches"
    ))?;
    guest.sh(&mount)?;
    let after = guest.sh("cd /mnt && find . -type f | sort | xargs sha256sum | sha256sum")?;
    guest.sh("cd / && umount /mnt")?;
    ensure(before == after, || {
        "files changed between two mounts".to_owned()
    })
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
