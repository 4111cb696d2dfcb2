//! The processors' CPUID: what KVM supports, with the hypervisor's leaves from the shim.

use std::ops::RangeInclusive;

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

use super::KvmError;
use crate::hv::Hv;
use crate::hv::cpuid::{FIRST_LEAF, LAST_LEAF};

/// Leaves that belong to hypervisors. KVM's own there would be taken for the platform's.
const HYPERVISOR_LEAVES: RangeInclusive<u32> = 0x4000_0000..=0x4000_FFFF;

const FEATURES: u32 = 1;
const HYPERVISOR_PRESENT: u32 = 1 << 31;
const TOPOLOGY: u32 = 0xB;
const TOPOLOGY_V2: u32 = 0x1F;

/// CPUID of one processor.
pub(super) fn of_processor(supported: &CpuId, hv: &Hv, index: u32) -> Result<CpuId, KvmError> {
    let processor_count = hv.config().vp_count;
    let mut entries: Vec<_> = supported
        .as_slice()
        .iter()
        .filter(|entry| !HYPERVISOR_LEAVES.contains(&entry.function))
        .copied()
        .collect();
    for entry in &mut entries {
        match entry.function {
            FEATURES => {
                entry.ecx |= HYPERVISOR_PRESENT;
                // Initial APIC identifier and number of identifiers in the package.
                entry.ebx &= 0x0000_FFFF;
                entry.ebx |= index << 24 | processor_count.min(0xFF) << 16;
            }
            TOPOLOGY | TOPOLOGY_V2 => set_topology(entry, processor_count, index),
            _ => {}
        }
    }
    for function in FIRST_LEAF..=LAST_LEAF {
        if let Some(leaf) = hv.cpuid(function, 0) {
            entries.push(kvm_cpuid_entry2 {
                function,
                eax: leaf.eax,
                ebx: leaf.ebx,
                ecx: leaf.ecx,
                edx: leaf.edx,
                ..kvm_cpuid_entry2::default()
            });
        }
    }
    CpuId::from_entries(&entries).map_err(|_| KvmError::Capability("hold all CPUID leaves"))
}

/// One package of single-threaded cores, whatever the host's processor has.
fn set_topology(entry: &mut kvm_cpuid_entry2, processor_count: u32, index: u32) {
    const THREADS: u32 = 1;
    const CORES: u32 = 2;
    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
        0 => (0, 1, THREADS << 8),
        1 => (
            processor_count.next_power_of_two().ilog2(),
            processor_count,
            CORES << 8 | 1,
        ),
        level => (0, 0, level),
    };
    entry.edx = index;
}
