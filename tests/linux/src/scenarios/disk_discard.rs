//! Space that the guest gives up comes back to the host.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Discard on a dynamic VHD and on a raw image.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-discard",
    about: "a dynamic VHD and a raw image grow when written and shrink with blkdiscard and fstrim",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

const MIB: u64 = 1 << 20;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let vhd = context.scratch().join("disk.vhd");
    let vhd_text = vhd.display().to_string();
    context.host_sim(&["create", &vhd_text, "--size", "64M"])?;
    let raw = context.empty_image("raw", 64)?;
    let machine = context.machine().disk(&vhd, &[]).disk(&raw, &[]);
    let mut guest = context.start(&machine)?;
    for (lun, image) in [(0, &vhd), (1, &raw)] {
        let disk = guest.disk(lun)?;
        let empty = allocated(image)?;
        ensure(empty < MIB, || {
            format!("LUN {lun} takes {empty} bytes before it is written")
        })?;
        guest.sh(&format!(
            "dd if=/dev/urandom of=/tmp/data bs=1M count=24 2>/dev/null; dd if=/tmp/data of=/dev/{disk} bs=1M seek=8 conv=fsync 2>/dev/null"
        ))?;
        let full = allocated(image)?;
        ensure((24 * MIB..30 * MIB).contains(&full), || {
            format!("LUN {lun} takes {full} bytes with 24 MiB written")
        })?;

        // Some in the middle: it reads as zeros, and what is around it stays.
        guest.sh(&format!(
            "blkdiscard -o $((16<<20)) -l $((8<<20)) /dev/{disk} && echo 3 > /proc/sys/vm/drop_caches"
        ))?;
        let less = allocated(image)?;
        // Blocks of a VHD begin in the middle of one of the host's: a little of each stays.
        ensure(less <= full - 8 * MIB + (64 << 10), || {
            format!("LUN {lun} takes {less} bytes of {full} after 8 MiB were discarded")
        })?;
        guest.sh(&format!(
            "dd if=/dev/zero of=/tmp/data bs=1M count=8 seek=8 conv=notrunc 2>/dev/null; dd if=/dev/{disk} of=/tmp/back bs=1M skip=8 count=24 2>/dev/null; cmp /tmp/data /tmp/back"
        ))?;

        guest.sh(&format!("blkdiscard /dev/{disk}"))?;
        let none = allocated(image)?;
        ensure(none < MIB, || {
            format!("LUN {lun} takes {none} bytes after all was discarded")
        })?;

        // A file system gives back what its files leave.
        guest.sh(&format!(
            "mkfs.ext4 -q -F -E nodiscard /dev/{disk} && mount -t ext4 /dev/{disk} /mnt && cp /tmp/back /mnt/file && sync"
        ))?;
        let full = allocated(image)?;
        guest.sh("rm /mnt/file && sync && fstrim /mnt && umount /mnt")?;
        let trimmed = allocated(image)?;
        ensure(trimmed + 16 * MIB < full, || {
            format!("LUN {lun} takes {trimmed} bytes of {full} after fstrim")
        })?;
        guest.sh(&format!("e2fsck -f -n /dev/{disk}"))?;
        context.note(format!(
            "LUN {lun}: {empty} bytes on the host, {full} with files, {trimmed} after fstrim"
        ));
    }
    guest.ctl(&["quit"])?;
    guest.wait_for_end()?;
    context.host_sim(&["check", &vhd_text])?;
    Ok(())
}

/// Bytes that a file takes on the host.
fn allocated(file: &Path) -> Result<u64, Trouble> {
    Ok(std::fs::metadata(file)?.blocks() * 512)
}
