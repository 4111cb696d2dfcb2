//! Disks of all kinds: large sectors, IDE, DVD.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::iso9660;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Disks that are no plain SCSI disks, and who they say they are.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-formats",
    about: "a disk with 4 KiB sectors, an IDE disk and a DVD work, DVDs are changed, and all keep their identity",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// The LUN of an IDE disk: the only one that its controller has.
const IDE: u32 = 0;
const LARGE_SECTORS: u32 = 1;
const VHD: u32 = 2;
const DRIVE: u32 = 3;

/// Size of the IDE disk in MiB.
const IDE_SIZE: u32 = 8;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let ide = context.random_image("ide", IDE_SIZE, 0x1de)?;
    let large = context.empty_image("large", 64)?;
    let vhd = context.scratch().join("disk.vhd");
    context.host_sim(&["create", &vhd.display().to_string(), "--size", "16M"])?;
    let first = dvd(context, "FIRST", b"what is on the first\n")?;
    let second = dvd(context, "SECOND", b"and on the second\n")?;
    let mut machine = context
        .machine()
        .disk(&ide, &["ide"])
        .disk(&large, &["sector=4096", "lun=1"])
        .disk(&vhd, &["lun=2"])
        .disk(&first, &["dvd", "lun=3"]);

    let mut guest = context.start(&machine)?;
    large_sectors(&mut guest)?;
    ide_disk(&mut guest, &ide)?;
    optical_drive(&mut guest, &second)?;
    let before = identities(&mut guest)?;
    guest.ctl(&["quit"])?;
    guest.wait_for_end()?;
    drop(guest);

    "again".clone_into(&mut machine.name);
    let mut guest = context.start(&machine)?;
    let after = identities(&mut guest)?;
    ensure(before == after, || {
        format!("disks were called {before:?} and after another boot {after:?}")
    })?;
    let disk = guest.disk(LARGE_SECTORS)?;
    guest.sh(&format!(
        "mount -t ext4 /dev/{disk} /mnt && cd /mnt && sha256sum -c sum && cd / && umount /mnt"
    ))?;
    context.note(format!("identities: {}", before.join(", ")));
    Ok(())
}

/// An image for a drive, with a file that is short and one that is not.
fn dvd(context: &Context, label: &str, text: &[u8]) -> Result<PathBuf, Trouble> {
    let path = context.scratch().join(format!("{label}.iso"));
    let filler = text.repeat(50_000);
    let image = iso9660::image(label, &[("TEXT.TXT", text), ("MUCH.TXT", &filler)]);
    std::fs::write(&path, image)?;
    Ok(path)
}

fn large_sectors(guest: &mut Guest) -> Result<(), Trouble> {
    let disk = guest.disk(LARGE_SECTORS)?;
    let told = guest.sh(&format!(
        "cd /sys/block/{disk}; cat queue/logical_block_size queue/physical_block_size size"
    ))?;
    ensure(told == "4096\n4096\n131072", || {
        format!("sectors and size of the disk are {told:?}")
    })?;
    guest.sh(&format!(
        "mkfs.ext4 -q -F /dev/{disk} && mount -t ext4 /dev/{disk} /mnt && dd if=/dev/urandom of=/mnt/file bs=64k count=128 2>/dev/null && cd /mnt && sha256sum file > sum && cd / && umount /mnt && e2fsck -f -n /dev/{disk}"
    ))?;
    Ok(())
}

fn ide_disk(guest: &mut Guest, image: &Path) -> Result<(), Trouble> {
    let disk = guest.disk(IDE)?;
    let there = guest.sh(&format!("sha256sum < /dev/{disk} | cut -d' ' -f1"))?;
    let bytes = u64::from(IDE_SIZE) << 20;
    ensure(there == sha256(image, bytes)?, || {
        "the guest reads other bytes from the IDE disk than the image holds".to_owned()
    })?;
    let written = guest.sh(&format!(
        "dd if=/dev/urandom of=/tmp/data bs=1M count={IDE_SIZE} 2>/dev/null && dd if=/tmp/data of=/dev/{disk} bs=1M conv=fsync 2>/dev/null && sha256sum < /tmp/data | cut -d' ' -f1"
    ))?;
    ensure(written == sha256(image, bytes)?, || {
        "the IDE disk's image holds other bytes than the guest wrote".to_owned()
    })
}

fn optical_drive(guest: &mut Guest, second: &Path) -> Result<(), Trouble> {
    let drive = guest.disk(DRIVE)?;
    let lun = DRIVE.to_string();
    ensure(drive.starts_with("sr"), || {
        format!("the DVD drive is called {drive}")
    })?;
    let mount = format!("mount -t iso9660 -o ro /dev/{drive} /mnt");
    let look = "cat /mnt/text.txt; uniq /mnt/much.txt; wc -l < /mnt/much.txt";
    let told = guest.sh(&format!("{mount} && {look}"))?;
    let expected = "what is on the first\nwhat is on the first\n50000";
    ensure(told == expected, || format!("the first DVD holds {told:?}"))?;

    // While it is mounted, the drive is locked.
    let refused = guest.ctl(&["dvd", "eject", "--lun", &lun]);
    let refusal = refused.err().map(|trouble| trouble.to_string());
    ensure(
        refusal.as_ref().is_some_and(|text| text.contains("locked")),
        || format!("a mounted DVD was ejected: {refusal:?}"),
    )?;
    guest.sh(&format!("{look} > /dev/null && umount /mnt"))?;
    guest.ctl(&["dvd", "eject", "--lun", &lun])?;
    let empty = guest.run(&mount)?;
    ensure(empty.status != 0, || {
        "an empty drive was mounted".to_owned()
    })?;
    let why = String::from_utf8_lossy(&empty.stderr).into_owned();
    ensure(why.contains("No medium"), || {
        format!("an empty drive says {why:?}")
    })?;

    let second = second.display().to_string();
    guest.ctl(&["dvd", "insert", "--lun", &lun, &second])?;
    let told = guest.sh(&format!("{mount} && {look}; umount /mnt"))?;
    let expected = "and on the second\nand on the second\n50000";
    ensure(told == expected, || {
        format!("the second DVD holds {told:?}")
    })
}

/// What the disks call themselves, by LUN. The drive's INQUIRY claims no version of SCSI, and Linux asks such a device
/// for no identity.
fn identities(guest: &mut Guest) -> Result<Vec<String>, Trouble> {
    let mut identities = Vec::new();
    for lun in [IDE, LARGE_SECTORS, VHD] {
        let disk = guest.disk(lun)?;
        let identity = guest.sh(&format!("cat /sys/block/{disk}/device/wwid"))?;
        ensure(
            identity.len() > 8 && !identities.contains(&identity),
            || format!("LUN {lun} is called {identity:?}, others {identities:?}"),
        )?;
        identities.push(identity);
    }
    Ok(identities)
}
