//! The virtual machine: memory slots, in-kernel interrupt controllers, MSR exits.

use std::ffi::CStr;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use kvm_bindings::{
    CpuId, KVM_API_VERSION, KVM_CAP_X86_USER_SPACE_MSR, KVM_MAX_CPUID_ENTRIES,
    KVM_PIT_SPEAKER_DUMMY, kvm_enable_cap, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Kvm, MsrExitReason, VmFd};
use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};

use super::{KvmError, Platform, msr_filter};
use crate::boot::address_space::{HOLE, LOW_RAM_END};
use crate::memory::GuestMemory;

/// Most bytes of RAM of a [`Platform::Bare`] guest: addresses from here to 4 GiB are for devices.
pub const MOST_RAM: u64 = LOW_RAM_END;

/// Most virtual processors: an MSI's plain destination has eight bits, and 255 means all.
const MOST_PROCESSORS: u32 = 254;

/// Three pages that Intel's real-mode emulation needs, and one for its identity map; no guest address of ours.
const TASK_STATE_ADDRESS: usize = 0xFFFB_D000;
const IDENTITY_MAP_ADDRESS: u64 = 0xFFFB_C000;

/// The device.
pub(super) const DEVICE: &CStr = c"/dev/kvm";

/// Opens KVM and checks that it is what we need.
pub(super) fn open(device: &CStr) -> Result<Kvm, KvmError> {
    let path = || device.to_string_lossy().into_owned();
    let kvm = Kvm::new_with_path(device).map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => KvmError::Missing { path: path() },
        libc::EACCES | libc::EPERM => KvmError::Denied { path: path() },
        errno => KvmError::Open {
            path: path(),
            source: io::Error::from_raw_os_error(errno),
        },
    })?;
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        return Err(KvmError::NotKvm {
            path: path(),
            version,
        });
    }
    Ok(kvm)
}

/// A virtual machine without processors.
pub(super) struct Vm {
    pub(super) fd: Arc<VmFd>,
    pub(super) supported_cpuid: CpuId,
    /// Whether local APICs have a timer that is set to a moment of the time-stamp counter.
    pub(super) has_deadline_timer: bool,
}

impl Vm {
    /// Makes a machine with this memory, ready for `processor_count` processors.
    pub(super) fn new(
        kvm: &Kvm,
        memory: &GuestMemory,
        processor_count: u32,
        platform: Platform,
    ) -> Result<Self, KvmError> {
        require(kvm, Cap::Irqchip, "emulate interrupt controllers")?;
        require(kvm, Cap::SignalMsi, "deliver message-signalled interrupts")?;
        require(kvm, Cap::ImmediateExit, "be interrupted")?;
        require(kvm, Cap::X86UserSpaceMsr, "hand MSR accesses to user space")?;
        require(kvm, Cap::X86MsrFilter, "filter MSR accesses")?;
        let most = u32::try_from(kvm.get_max_vcpus())
            .unwrap_or(u32::MAX)
            .min(MOST_PROCESSORS);
        if !(1..=most).contains(&processor_count) {
            return Err(KvmError::ProcessorCount {
                asked: processor_count,
                most,
            });
        }
        let in_hole = |ram: std::ops::Range<u64>| ram.start < HOLE.end && HOLE.start < ram.end;
        if memory.ranges().any(in_hole) || (!platform.is_pc() && memory.size() > MOST_RAM) {
            return Err(KvmError::TooMuchMemory(memory.size()));
        }
        let fd = kvm
            .create_vm()
            .map_err(KvmError::refused("create a virtual machine"))?;
        fd.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            .map_err(KvmError::refused("place its identity map"))?;
        fd.set_tss_address(TASK_STATE_ADDRESS)
            .map_err(KvmError::refused("place its task state"))?;
        fd.create_irq_chip()
            .map_err(KvmError::refused("create interrupt controllers"))?;
        if platform.is_pc() {
            let timer = kvm_pit_config {
                flags: KVM_PIT_SPEAKER_DUMMY,
                ..kvm_pit_config::default()
            };
            fd.create_pit2(timer)
                .map_err(KvmError::refused("create an interval timer"))?;
        }
        add_memory(&fd, memory)?;
        let reasons = MsrExitReason::Inval | MsrExitReason::Unknown | MsrExitReason::Filter;
        fd.enable_cap(&kvm_enable_cap {
            cap: KVM_CAP_X86_USER_SPACE_MSR,
            args: [u64::from(reasons.bits()), 0, 0, 0],
            ..kvm_enable_cap::default()
        })
        .map_err(KvmError::refused("hand MSR accesses to user space"))?;
        msr_filter::install(&fd)?;
        let supported_cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::refused("tell its CPUID leaves"))?;
        Ok(Self {
            fd: Arc::new(fd),
            supported_cpuid,
            has_deadline_timer: kvm.check_extension(Cap::TscDeadlineTimer),
        })
    }
}

/// The machine as it is now: a reset replaces it, while those who raise interrupts stay.
pub(super) struct CurrentVm(RwLock<Arc<VmFd>>);

impl CurrentVm {
    pub(super) fn new(fd: Arc<VmFd>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(fd)))
    }

    pub(super) fn get(&self) -> Arc<VmFd> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, fd: Arc<VmFd>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fd;
    }
}

fn require(kvm: &Kvm, capability: Cap, what: &'static str) -> Result<(), KvmError> {
    if kvm.check_extension(capability) {
        Ok(())
    } else {
        Err(KvmError::Capability(what))
    }
}

/// Maps all of guest memory. The caller keeps a clone of `memory` for as long as the machine may run.
pub(super) fn add_memory(fd: &VmFd, memory: &GuestMemory) -> Result<(), KvmError> {
    for (slot, region) in (0..).zip(memory.regions().iter()) {
        let slot = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the region is mapped memory of that length, and whoever owns the machine keeps it mapped. Guest
        // memory is only ever touched as memory that others write.
        unsafe { fd.set_user_memory_region(slot) }
            .map_err(KvmError::refused("map guest memory"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kvm_is_told_apart() {
        assert!(matches!(
            open(c"/nonexistent/kvm"),
            Err(KvmError::Missing { .. })
        ));
        assert!(matches!(
            open(c"/dev/null"),
            Err(KvmError::NotKvm { version: -1, .. })
        ));
        assert!(matches!(open(c"/"), Err(KvmError::Open { .. })));
    }
}
