//! Which MSR accesses leave the kernel: the whole synthetic range.

use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};

use super::KvmError;

/// A bitmap of zeroes: every MSR of the range is denied to KVM, so that it exits to us.
const DENIED: [u8; 64] = [0; 64];

const fn range(base: u32, msr_count: u32) -> MsrFilterRange<'static> {
    MsrFilterRange {
        flags: MsrFilterRangeFlags::READ.union(MsrFilterRangeFlags::WRITE),
        base,
        msr_count,
        bitmap: &DENIED,
    }
}

/// Everything that Hyper-V defines, its nested SynIC included.
const ALL: [MsrFilterRange<'static>; 2] = [range(0x4000_0000, 512), range(0x4000_1080, 32)];

/// Where a KVM takes no more than this, the rest are MSRs that it does not know, which exit just as well.
const LEAST: [MsrFilterRange<'static>; 1] = [range(0x4000_0000, 256)];

/// Installs the filter; before any processor runs.
pub(super) fn install(fd: &VmFd) -> Result<(), KvmError> {
    fd.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ALL)
        .or_else(|_| fd.set_msr_filter(MsrFilterDefaultAction::ALLOW, &LEAST))
        .map_err(KvmError::refused("filter MSR accesses"))
}
