//! What a host's block device says about its sectors.

use std::os::fd::AsRawFd as _;

use super::FileStorage;

nix::ioctl_read_bad!(logical_block_size, 0x1268, libc::c_int);
nix::ioctl_read_bad!(physical_block_size, 0x127B, libc::c_uint);

/// The logical sector size of a block device; `None` for files.
pub(super) fn logical_sector(storage: &FileStorage) -> Option<u32> {
    if !storage.is_block_device() {
        return None;
    }
    let mut size = 0;
    // SAFETY: BLKSSZGET stores an int through the pointer, which leads to one.
    unsafe { logical_block_size(storage.file().as_raw_fd(), &raw mut size) }.ok()?;
    u32::try_from(size).ok()
}

/// The physical sector size of a block device, if it is one that a disk can have; `None` for files.
pub(super) fn physical_sector(storage: &FileStorage) -> Option<u32> {
    if !storage.is_block_device() {
        return None;
    }
    let mut size = 0;
    // SAFETY: BLKPBSZGET stores an unsigned int through the pointer, which leads to one.
    unsafe { physical_block_size(storage.file().as_raw_fd(), &raw mut size) }.ok()?;
    (size.is_power_of_two() && size <= 32 << 10).then_some(size)
}
