//! Device memory in the guest-physical address space, by memory slots.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;

use super::KvmError;
use super::vm::CurrentVm;
use crate::boot::address_space::{LOW_MMIO, high_mmio};
use crate::memory::GuestMemory;
use crate::partition::device_memory::{
    DeviceMemory, DeviceMemoryMap, DeviceMemoryMapper, MapError,
};

/// Slots from here on are for device memory; RAM has those below.
const FIRST_SLOT: u32 = 16;
/// Pieces of device memory that may be mapped at once.
const MOST_MAPPINGS: usize = 16;

struct State {
    map: DeviceMemoryMap,
    /// The guest-physical address that each slot is used for.
    slots: [Option<u64>; MOST_MAPPINGS],
}

/// Maps device memory into the guest of one partition. A reset of the partition keeps what is mapped.
pub struct KvmDeviceMemoryMapper {
    vm: Arc<CurrentVm>,
    state: Mutex<State>,
}

impl KvmDeviceMemoryMapper {
    /// For the machine with this RAM: the windows are those that its ACPI tables name.
    pub(super) fn new(vm: Arc<CurrentVm>, memory: &GuestMemory) -> Arc<Self> {
        let windows = vec![LOW_MMIO, high_mmio(memory.end())];
        Arc::new(Self {
            vm,
            state: Mutex::new(State {
                map: DeviceMemoryMap::new(windows, memory.ranges().collect()),
                slots: [None; MOST_MAPPINGS],
            }),
        })
    }

    /// Maps everything into a machine that replaces the former one and is the current one from now on.
    pub(super) fn move_to(&self, fd: &Arc<VmFd>) -> Result<(), KvmError> {
        // Under the lock, so that no mapping is made in the old machine meanwhile.
        let state = self.lock();
        for (address, memory) in state.map.mappings() {
            let Some(slot) = state.slot_of(Some(address)) else {
                continue;
            };
            set_slot(fd, slot, address, Some(memory))
                .map_err(KvmError::refused("map device memory"))?;
        }
        self.vm.replace(Arc::clone(fd));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot_of(&self, address: Option<u64>) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == address)
    }
}

impl DeviceMemoryMapper for KvmDeviceMemoryMapper {
    fn map(&self, guest_address: u64, memory: &Arc<DeviceMemory>) -> Result<(), MapError> {
        let mut state = self.lock();
        state.map.check(guest_address, memory)?;
        let slot = state.slot_of(None).ok_or_else(|| {
            MapError::Hypervisor(io::Error::other(format!(
                "{MOST_MAPPINGS} pieces of device memory are mapped already"
            )))
        })?;
        set_slot(&self.vm.get(), slot, guest_address, Some(memory)).map_err(refused)?;
        state.map.insert(guest_address, memory)?;
        state.slots[slot] = Some(guest_address);
        Ok(())
    }

    fn unmap(&self, guest_address: u64) -> Result<(), MapError> {
        let mut state = self.lock();
        let not_mapped = MapError::NotMapped {
            address: guest_address,
        };
        let slot = state.slot_of(Some(guest_address)).ok_or(not_mapped)?;
        set_slot(&self.vm.get(), slot, guest_address, None).map_err(refused)?;
        state.slots[slot] = None;
        state.map.remove(guest_address)?;
        Ok(())
    }
}

fn refused(error: kvm_ioctls::Error) -> MapError {
    MapError::Hypervisor(io::Error::from_raw_os_error(error.errno()))
}

/// Fills a slot with memory, or empties it.
fn set_slot(
    fd: &VmFd,
    slot: usize,
    guest_phys_addr: u64,
    memory: Option<&Arc<DeviceMemory>>,
) -> Result<(), kvm_ioctls::Error> {
    let region = kvm_userspace_memory_region {
        slot: FIRST_SLOT + slot as u32,
        flags: 0,
        guest_phys_addr,
        memory_size: memory.map_or(0, |memory| memory.size()),
        userspace_addr: memory.map_or(0, |memory| memory.host_address().as_ptr() as u64),
    };
    // SAFETY: the memory is mapped in this process for as long as it lives, and `State` keeps it alive while the slot
    // refers to it; nothing makes Rust references to it.
    unsafe { fd.set_user_memory_region(region) }
}
