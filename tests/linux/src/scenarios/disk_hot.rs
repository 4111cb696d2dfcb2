//! Disks come and go while the guest works with others.

use std::time::Duration;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Hot add and remove, and a second controller.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-hot",
    about: "disks added and removed under I/O, idle and in use, on two controllers",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// Size of the images in MiB.
const SIZE: u32 = 16;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let base = context.empty_image("base", SIZE)?;
    let first = context.random_image("first", SIZE, 1)?;
    let second = context.random_image("second", SIZE, 2)?;
    let third = context.random_image("third", SIZE, 3)?;
    let machine = context
        .machine()
        .disk(&base, &[])
        .disk(&first, &["ro", "controller=1", "lun=7"])
        .arguments(["--controllers", "2"]);
    let mut guest = context.start(&machine)?;
    let base = guest.disk(0)?;
    start_load(&mut guest, &base)?;

    let on_second = guest.disk(7)?;
    same(&mut guest, &on_second, &first)?;
    ensure(
        host_of(&mut guest, &on_second)? != host_of(&mut guest, &base)?,
        || "the disk of the second controller is on the first".to_owned(),
    )?;

    // Added and read while the other disk works, then removed idle.
    add(&guest, 0, 3, &second)?;
    let added = guest.disk(3)?;
    same(&mut guest, &added, &second)?;
    ensure(
        host_of(&mut guest, &added)? == host_of(&mut guest, &base)?,
        || "the disk is on another controller than it was added to".to_owned(),
    )?;
    remove(&guest, 0, 3)?;
    gone(&mut guest, &added)?;

    // Another one in its place, removed while it is read: the reader ends with an error.
    add(&guest, 0, 3, &third)?;
    let added = guest.disk(3)?;
    same(&mut guest, &added, &third)?;
    context.expect_line(format!("dev {added}"));
    guest.sh(&format!(
        "(while :; do echo 1 > /proc/sys/vm/drop_caches; echo round >> /tmp/rounds; dd if=/dev/{added} of=/dev/null bs=64k || break; done; echo over > /tmp/over) > /dev/null 2> /tmp/reader &"
    ))?;
    guest.wait_until("[ -s /tmp/rounds ]")?;
    remove(&guest, 0, 3)?;
    gone(&mut guest, &added)?;
    guest.wait_until("[ -e /tmp/over ]")?;

    // The second controller's disks come and go, too.
    remove(&guest, 1, 7)?;
    gone(&mut guest, &on_second)?;
    add(&guest, 1, 12, &second)?;
    let added = guest.disk(12)?;
    same(&mut guest, &added, &second)?;
    remove(&guest, 1, 12)?;
    gone(&mut guest, &added)?;

    let rounds = end_load(&mut guest)?;
    context.note(format!("{rounds} rounds of the other disk meanwhile"));
    Ok(())
}

/// Has the guest write a disk and read it back, again and again.
fn start_load(guest: &mut Guest, disk: &str) -> Result<(), Trouble> {
    guest.write_file(
        "/tmp/load",
        format!(
            "cd /tmp; rounds=0
             while [ ! -e stop ]; do
                 dd if=/dev/urandom of=written bs=64k count=16
                 dd if=written of=/dev/{disk} bs=64k conv=fsync || touch failed
                 echo 1 > /proc/sys/vm/drop_caches
                 dd if=/dev/{disk} of=read bs=64k count=16 || touch failed
                 cmp written read || touch failed
                 rounds=$((rounds+1)); echo $rounds > rounds.other
             done; touch stopped"
        )
        .as_bytes(),
    )?;
    guest.sh("sh /tmp/load > /dev/null 2>&1 &")?;
    guest.wait_until("[ -s /tmp/rounds.other ]")
}

/// Ends the load. Returns how many rounds there were.
fn end_load(guest: &mut Guest) -> Result<String, Trouble> {
    guest.sh("touch /tmp/stop")?;
    guest.wait_until("[ -e /tmp/stopped ]")?;
    guest
        .sh("[ ! -e /tmp/failed ]")
        .map_err(|trouble| trouble.during("the disk that stayed failed"))?;
    guest.sh("cat /tmp/rounds.other")
}

fn add(guest: &Guest, controller: u8, lun: u8, image: &std::path::Path) -> Result<(), Trouble> {
    let (controller, lun) = (controller.to_string(), lun.to_string());
    let image = format!("{},ro", image.display());
    guest.ctl(&[
        "disk",
        "add",
        "--controller",
        &controller,
        "--lun",
        &lun,
        &image,
    ])?;
    Ok(())
}

fn remove(guest: &Guest, controller: u8, lun: u8) -> Result<(), Trouble> {
    let (controller, lun) = (controller.to_string(), lun.to_string());
    guest.ctl(&["disk", "remove", "--controller", &controller, "--lun", &lun])?;
    Ok(())
}

/// The disk has the image's size and bytes.
fn same(guest: &mut Guest, disk: &str, image: &std::path::Path) -> Result<(), Trouble> {
    let told = guest.sh(&format!(
        "cat /sys/block/{disk}/size; sha256sum < /dev/{disk} | cut -d' ' -f1"
    ))?;
    let expected = format!(
        "{}\n{}",
        u64::from(SIZE) * 2048,
        sha256(image, u64::from(SIZE) << 20)?
    );
    ensure(told == expected, || {
        format!("{disk} has size and sum {told:?}, not {expected:?}")
    })
}

/// The disk's SCSI host, such as `host1`.
fn host_of(guest: &mut Guest, disk: &str) -> Result<String, Trouble> {
    guest.sh(&format!(
        "readlink -f /sys/block/{disk}/device | grep -o 'host[0-9]*' | head -n1"
    ))
}

fn gone(guest: &mut Guest, disk: &str) -> Result<(), Trouble> {
    let removed = format!("[ ! -e /sys/block/{disk} ] && [ ! -e /dev/{disk} ]");
    guest
        .wait_until(&removed)
        .map_err(|trouble| trouble.during(&format!("{disk} was removed")))
}
