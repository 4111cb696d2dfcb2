//! Which ways of giving space back a host's block device has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

nix::ioctl_write_ptr_bad!(block_discard, 0x1277, [u64; 2]);

/// What a block device can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceLimits {
    /// Ranges can be made zeros without writing them.
    pub(super) zeroes: bool,
    /// Ranges can be forgotten; what they hold then is anybody's guess.
    pub(super) forgets: bool,
}

impl DeviceLimits {
    /// What the kernel says about an open block device; nothing where it says nothing.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let device = file.metadata()?.rdev();
        let directory = PathBuf::from(format!(
            "/sys/dev/block/{}:{}",
            libc::major(device),
            libc::minor(device)
        ));
        let is_positive = |name: &str| {
            // A partition's limits are those of its disk.
            let queue = ["queue", "../queue"].map(|queue| directory.join(queue).join(name));
            let text = queue
                .iter()
                .find_map(|path| std::fs::read_to_string(path).ok());
            text.is_some_and(|text| text.trim().parse::<u64>().is_ok_and(|limit| limit != 0))
        };
        Ok(Self {
            zeroes: is_positive("write_zeroes_max_bytes"),
            forgets: is_positive("discard_max_bytes"),
        })
    }
}

/// Has a block device forget a range.
pub(super) fn forget(file: &File, offset: u64, length: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two 64-bit numbers through the pointer, which leads to two. That the range's content
    // becomes undefined is what is asked for; it is on the device, whose memory is not ours.
    unsafe { block_discard(file.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

#[cfg(test)]
#[path = "../../../tests/skip/mod.rs"]
mod skip;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::skip::skip;
    use super::*;

    #[test]
    fn a_loop_device_tells_and_forgets() {
        let losetup = |arguments: &[&str]| {
            let output = Command::new("losetup").args(arguments).output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let path = image.path().to_str().unwrap();
        let Some(device) = losetup(&["--find", "--show", path]) else {
            return skip("loop devices", "there are none");
        };
        let open = File::options().read(true).write(true).open(&device);
        // While it is open, this only asks to free it when it is closed.
        losetup(&["--detach", &device]).unwrap();
        let open = open.unwrap();
        let both = DeviceLimits {
            zeroes: true,
            forgets: true,
        };
        assert_eq!(DeviceLimits::of(&open).unwrap(), both);
        forget(&open, 4096, 8192).unwrap();
        assert!(forget(&open, 1, 1).is_err(), "parts of sectors");
        // A file has no limits, and is nothing to forget ranges of.
        assert!(forget(image.as_file(), 0, 4096).is_err());
    }
}
