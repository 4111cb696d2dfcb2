//! `hv_vss_daemon` holds file systems still while the host takes a snapshot of their disk.

use std::time::Duration;

use super::daemons::{self, refused};
use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// A backup of a file system that is written to meanwhile.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "vss",
    about: "hv_vss_daemon freezes ext4 under a writer: the backup needs no repair and has all that was synced, the writer goes on; a daemon that is silent for a while does not matter",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// Writes numbered files, the content of each known from its number, and notes the last one that is surely on the disk.
const WRITER: &str = r#"#!/bin/sh
n=0
while [ -e /run/write ]; do
    n=$((n+1))
    yes "file $n" | head -c 20000 > /mnt/files/$n
    fsync /mnt/files/$n
    echo $n > /run/last.new
    mv /run/last.new /run/last
done
"#;

/// Tells whether the files up to a number hold what was written, below `/copy`.
const COMPLAIN: &str = "for n in $(seq 1 $last); do yes \"file $n\" | head -c 20000 | cmp -s - /copy/files/$n || echo $n; done";

fn run(context: &mut Context) -> Result<(), Trouble> {
    let system = context.empty_image("system", 64)?;
    let copy = context.scratch().join("backup");
    let copy = copy.to_string_lossy();
    let backup = ["vss", "backup", "--lun", "0", "--to", &copy];
    let machine = context.machine().disk(&system, &[]);
    let mut guest = context.start(&machine)?;
    let disk = guest.disk(0)?;
    guest.sh(&format!(
        "mkfs.ext4 -q -F /dev/{disk} && mount -t ext4 /dev/{disk} /mnt && mkdir /mnt/files /copy"
    ))?;
    refused(&guest, &["vss", "backup", "--lun", "0", "--to", &copy], "")?;
    ensure(!context.scratch().join("backup").exists(), || {
        "a backup that failed leaves a file".to_owned()
    })?;
    daemons::start(&mut guest, "hv_vss_daemon", "vss")?;
    guest.ctl(&["vss", "check"])?;

    guest.write_file("/run/writer", WRITER.as_bytes())?;
    guest.sh("touch /run/write; sh /run/writer > /dev/null 2>&1 &")?;
    guest.wait_until("[ \"$(cat /run/last 2>/dev/null || echo 0)\" -ge 5 ]")?;
    let before = last(&mut guest)?;
    guest.ctl(&backup)?;
    let after = last(&mut guest)?;
    guest.wait_until(&format!("[ $(cat /run/last) -gt $(({after}+2)) ]"))?;
    context.note(format!(
        "{before} files synced before the backup, {after} when it was there"
    ));
    refused(&guest, &backup, "File exists")?;
    check(&mut guest, &copy, before)?;

    // Whoever is thawed can be frozen again; a daemon that has gone cannot freeze.
    let second = context.scratch().join("second");
    let second = second.to_string_lossy();
    guest.ctl(&["vss", "backup", "--lun", "0", "--to", &second])?;
    silent_daemon(context, &mut guest)?;
    guest.sh("rm /run/write; killall hv_vss_daemon; sync")?;
    let third = context.scratch().join("third");
    let third = third.to_string_lossy();
    refused(
        &guest,
        &["vss", "backup", "--lun", "0", "--to", &third],
        "refused",
    )?;
    guest.sh("sleep 1; umount /mnt").map(|_| ())
}

/// A daemon that does not answer: after ten seconds Linux answers in its place that the guest cannot be backed up. When
/// the daemon goes on, so do backups.
fn silent_daemon(context: &Context, guest: &mut Guest) -> Result<(), Trouble> {
    let copy = context.scratch().join("silent");
    let path = copy.to_string_lossy();
    let backup = ["vss", "backup", "--lun", "0", "--to", &path];
    guest.sh("killall -STOP hv_vss_daemon")?;
    refused(guest, &backup, "refused")?;
    ensure(!copy.exists(), || {
        "a backup that came to nothing leaves a file".to_owned()
    })?;
    let before = last(guest)?;
    guest
        .wait_until(&format!("[ $(cat /run/last) -gt $(({before}+2)) ]"))
        .map_err(|trouble| trouble.during("the writer, without a backup"))?;
    guest.sh("killall -CONT hv_vss_daemon")?;
    let patient = [&backup[..], &["--freeze-timeout", "300"]].concat();
    guest.ctl(&patient)?;
    ensure(copy.exists(), || "the backup is not there".to_owned())
}

fn last(guest: &mut Guest) -> Result<u32, Trouble> {
    let last = guest.sh("cat /run/last")?;
    last.parse()
        .map_err(|_| Trouble::failed(format!("the writer's last file is {last:?}")))
}

/// Looks through the backup, which the guest gets as a disk of its own.
fn check(guest: &mut Guest, copy: &str, synced: u32) -> Result<(), Trouble> {
    guest.ctl(&["disk", "add", "--lun", "1", copy])?;
    let disk = guest.disk(1)?;
    let checked = guest.sh(&format!("e2fsck -f -n /dev/{disk} 2>&1"))?;
    ensure(!checked.contains("journal"), || {
        format!("the backup's journal is not empty: {checked}")
    })?;
    // Without a look into the journal: nothing may be there only.
    guest.sh(&format!("mount -t ext4 -o ro,noload /dev/{disk} /copy"))?;
    let wrong = guest.sh(&format!("last={synced}; {COMPLAIN}"))?;
    ensure(wrong.is_empty(), || {
        format!("of {synced} files that were synced, the backup lacks {wrong}")
    })?;
    guest.sh("umount /copy")?;
    guest.ctl(&["disk", "remove", "--lun", "1"]).map(|_| ())
}
