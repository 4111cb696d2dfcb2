//! Disks that fail, and a host without space.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Bad sectors, and a full host.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-fault",
    about: "a bad sector is a medium error and nothing else breaks; on a full host writes fail or wait, as wanted",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

const MIB: u64 = 1 << 20;

/// LUNs.
const BAD: u32 = 0;
const GOOD: u32 = 1;
const FAILS: u32 = 2;
const WAITS: u32 = 3;

/// The host's file system: its size, and what is taken of it by others.
const SPACE: u64 = 48 * MIB;
const BALLAST: u64 = 40 * MIB;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let bad = context.random_image("bad", 8, 0xbad)?;
    let good = context.random_image("good", 16, 0x900d)?;
    let space = SmallFileSystem::new(context)?;
    let image = |name: &str| -> Result<PathBuf, Trouble> {
        let path = space.folder.join(name);
        std::fs::File::create(&path)?.set_len(16 * MIB)?;
        Ok(path)
    };
    let (fails, waits) = (image("fails")?, image("waits")?);
    let machine = context
        .machine()
        .disk(&bad, &["ro"])
        .disk(&good, &["ro"])
        .disk(&fails, &["on-full=error"])
        .disk(&waits, &["on-full=pause"]);
    let mut guest = context.start(&machine)?;
    medium_error(context, &mut guest, &bad, &good)?;

    guest.sh("dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null")?;
    let data = guest.sh("sha256sum < /tmp/data | cut -d' ' -f1")?;
    let ballast = space.folder.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST as usize])?;
    write_fails(context, &mut guest, &good)?;
    write_waits(context, &mut guest, &waits, &data, &ballast)?;

    // Now there is room for the other disk, too.
    let disk = guest.disk(FAILS)?;
    guest.sh(&write(&disk))?;
    for image in [&fails, &waits] {
        ensure(sha256(image, 16 * MIB)? == data, || {
            format!("{} holds other bytes than the guest wrote", image.display())
        })?;
    }
    Ok(())
}

/// The script that writes the data to a disk.
fn write(disk: &str) -> String {
    format!("dd if=/tmp/data of=/dev/{disk} bs=64k conv=fsync")
}

fn read_whole(guest: &mut Guest, lun: u32, image: &Path) -> Result<(), Trouble> {
    let disk = guest.disk(lun)?;
    let there = guest.sh(&format!(
        "echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/{disk} | cut -d' ' -f1"
    ))?;
    let expected = sha256(image, std::fs::metadata(image)?.len())?;
    ensure(there == expected, || {
        format!("the guest reads other bytes from LUN {lun} than its image holds")
    })
}

fn medium_error(
    context: &mut Context,
    guest: &mut Guest,
    bad: &Path,
    good: &Path,
) -> Result<(), Trouble> {
    const SECTOR: u64 = 4321;
    let disk = guest.disk(BAD)?;
    context.expect_line(format!("dev {disk}, "));
    read_whole(guest, BAD, bad)?;
    let sector = SECTOR.to_string();
    guest.ctl(&["disk", "fault", "--lun", "0", "--sector", &sector])?;
    let read = |sector: u64| {
        format!(
            "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/{disk} of=/dev/null bs=512 count=1 skip={sector} iflag=direct"
        )
    };
    for near in [SECTOR - 1, SECTOR + 1] {
        guest.sh(&read(near))?;
    }
    let failed = guest.run(&read(SECTOR))?;
    ensure(failed.status != 0, || "a bad sector was read".to_owned())?;
    let said = format!("critical medium error, dev {disk}, sector {SECTOR} ");
    guest
        .sh(&format!("dmesg | grep -qF '{said}'"))
        .map_err(|_| Trouble::failed(format!("the kernel does not say {said:?}")))?;
    read_whole(guest, GOOD, good)?;
    guest.ctl(&["disk", "fault", "--lun", "0"])?;
    read_whole(guest, BAD, bad)
}

/// Without space, the guest sees an error, and the other disks go on.
fn write_fails(context: &mut Context, guest: &mut Guest, good: &Path) -> Result<(), Trouble> {
    let disk = guest.disk(FAILS)?;
    context.expect_line(format!("dev {disk}, "));
    let failed = guest.run(&write(&disk))?;
    ensure(failed.status != 0, || {
        "16 MiB were written where the host has 8".to_owned()
    })?;
    read_whole(guest, GOOD, good)
}

/// With `pause`, the write waits until there is space.
fn write_waits(
    context: &mut Context,
    guest: &mut Guest,
    image: &Path,
    data: &str,
    ballast: &Path,
) -> Result<(), Trouble> {
    let disk = guest.disk(WAITS)?;
    guest.sh(&format!(
        "({}; echo $? > /tmp/status) > /dev/null 2>&1 &",
        write(&disk)
    ))?;
    let waiting = guest.ctl_until(&["disk", "list"], |list| {
        list["controllers"][0]["waiting_for_space"].as_u64() > Some(0)
    })?;
    context.note(format!(
        "{} writes waited for space",
        waiting["controllers"][0]["waiting_for_space"]
    ));
    guest.sh("[ ! -e /tmp/status ]")?;
    std::fs::remove_file(ballast)?;
    guest.wait_until("[ -s /tmp/status ]")?;
    let status = guest.sh("cat /tmp/status")?;
    ensure(status == "0", || {
        format!("the write that waited ended with {status}")
    })?;
    ensure(sha256(image, 16 * MIB)? == data, || {
        "the image holds other bytes than the guest wrote".to_owned()
    })
}

/// A small file system of the host's, in a mount name space of this thread: nobody else sees it.
struct SmallFileSystem {
    folder: PathBuf,
}

impl SmallFileSystem {
    fn new(context: &Context) -> Result<Self, Trouble> {
        if !Uid::effective().is_root() {
            return Err(Trouble::Skipped(
                "only root can make a file system that is full".to_owned(),
            ));
        }
        let folder = context.scratch().join("small");
        std::fs::create_dir_all(&folder)?;
        let made = || -> nix::Result<()> {
            const NONE: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)?;
            let size = format!("size={SPACE}");
            let size = Some(size.as_str());
            mount(
                Some("small"),
                &folder,
                Some("tmpfs"),
                MsFlags::empty(),
                size,
            )
        };
        match made() {
            Ok(()) => Ok(Self { folder }),
            // Root of a container may not.
            Err(error) => Err(Trouble::Skipped(format!(
                "cannot mount a small file system: {error}"
            ))),
        }
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // It ends with this process, at the latest.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}
