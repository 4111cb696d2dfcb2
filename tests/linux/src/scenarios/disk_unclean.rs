//! What was written durably outlives the machine.

use std::time::Duration;

use crate::context::Context;
use crate::guest::Guest;
use crate::machine::Machine;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Machines that end without warning, and in order.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-unclean",
    about: "ext4 after the machine was stopped under load replays its journal and is clean, and needs none after a shutdown",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// What the kernel says when it replays a journal.
const REPLAY: &str = "recovery complete";

fn run(context: &mut Context) -> Result<(), Trouble> {
    let image = context.empty_image("system", 64)?;
    let machine = context.machine().disk(&image, &[]);

    let mut guest = context.start(&machine)?;
    let disk = guest.disk(0)?;
    guest.sh(&format!(
        "mkfs.ext4 -q -F /dev/{disk} && mount -t ext4 /dev/{disk} /mnt"
    ))?;
    load(&mut guest)?;
    // The marker's data and name are durable when this returns; the load goes on.
    guest.sh(
        "dd if=/dev/urandom of=/tmp/marker bs=64k count=8 2>/dev/null && dd if=/tmp/marker of=/mnt/marker bs=64k conv=fsync 2>/dev/null",
    )?;
    let marker = guest.sh("sha256sum < /tmp/marker")?;
    let files = guest.sh("cat /tmp/files")?;
    guest.ctl(&["quit"])?;
    guest.wait_for_end()?;
    drop(guest);

    let mut guest = start_named(context, &machine, "after-quit")?;
    let disk = guest.disk(0)?;
    mount(&mut guest, &disk)?;
    ensure(replayed(&mut guest)?, || {
        "no journal was replayed after the stop".to_owned()
    })?;
    let found = guest.sh("sha256sum < /mnt/marker")?;
    ensure(found == marker, || {
        "the file that was synced is not what it was".to_owned()
    })?;
    guest.sh(&format!("umount /mnt && e2fsck -f -n /dev/{disk}"))?;
    mount(&mut guest, &disk)?;
    load(&mut guest)?;
    guest.sh("touch /tmp/stop")?;
    guest.wait_until("[ -e /tmp/stopped ]")?;
    guest.sh("umount /mnt")?;
    guest.ctl_until(&["status"], |status| status["shutdown"] == "ready")?;
    guest.ctl(&["shutdown", "--wait", "30"])?;
    guest.wait_for_end()?;
    drop(guest);

    let mut guest = start_named(context, &machine, "after-shutdown")?;
    let disk = guest.disk(0)?;
    guest.sh(&format!("e2fsck -f -n /dev/{disk}"))?;
    mount(&mut guest, &disk)?;
    ensure(!replayed(&mut guest)?, || {
        "a journal was replayed after an orderly shutdown".to_owned()
    })?;
    let found = guest.sh("sha256sum < /mnt/marker; umount /mnt")?;
    ensure(found == marker, || {
        "the file that was synced is not what it was".to_owned()
    })?;
    context.note(format!("stopped after {files} files of the load"));
    Ok(())
}

fn start_named(context: &mut Context, machine: &Machine, name: &str) -> Result<Guest, Trouble> {
    let mut machine = machine.clone();
    name.clone_into(&mut machine.name);
    context.start(&machine)
}

fn mount(guest: &mut Guest, disk: &str) -> Result<(), Trouble> {
    guest.sh(&format!("mount -t ext4 /dev/{disk} /mnt"))?;
    Ok(())
}

/// Whether the kernel says that it replayed a journal.
fn replayed(guest: &mut Guest) -> Result<bool, Trouble> {
    Ok(guest.run(&format!("dmesg | grep -qF '{REPLAY}'"))?.status == 0)
}

/// Makes, renames and removes files on `/mnt` in the background until `/tmp/stop` is there.
fn load(guest: &mut Guest) -> Result<(), Trouble> {
    guest.write_file(
        "/tmp/load",
        b"cd /mnt; n=0; rm -f /tmp/stop /tmp/stopped
          while [ ! -e /tmp/stop ]; do
              dd if=/dev/urandom of=new bs=16k count=$((n % 16 + 1))
              mv new $((n % 64)); rm -f $(((n + 32) % 64))
              [ $((n % 8)) = 0 ] && sync
              n=$((n+1)); echo $n > /tmp/files
          done; cd /; touch /tmp/stopped",
    )?;
    guest.sh("rm -f /tmp/files; sh /tmp/load > /dev/null 2>&1 &")?;
    guest.wait_until("[ \"$(cat /tmp/files)\" -ge 20 ]")
}
