//! The processors' CPUID: what KVM supports, with the hypervisor's leaves from the shim and the machine's own topology.

use std::ops::RangeInclusive;

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::vm::Vm;
use super::{KvmError, Platform};
use crate::hv::Hv;
use crate::hv::cpuid::{FIRST_LEAF, LAST_LEAF};

/// Leaves that belong to hypervisors. KVM's own there would be taken for the platform's.
const HYPERVISOR_LEAVES: RangeInclusive<u32> = 0x4000_0000..=0x4000_FFFF;

const HIGHEST: u32 = 0;
const FEATURES: u32 = 1;
const CACHES: u32 = 4;
const TOPOLOGY: u32 = 0xB;
const TOPOLOGY_V2: u32 = 0x1F;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const POWER_MANAGEMENT: u32 = 0x8000_0007;
const ADDRESS_SIZES: u32 = 0x8000_0008;
const NESTED_VIRTUALIZATION: u32 = 0x8000_000A;
const AMD_CACHES: u32 = 0x8000_001D;
const AMD_TOPOLOGY: u32 = 0x8000_001E;

/// Leaf 1, ECX.
const VMX: u32 = 1 << 5;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR_PRESENT: u32 = 1 << 31;
/// Leaf 1, EDX: several identifiers in the package.
const HYPER_THREADING: u32 = 1 << 28;
/// Leaf 0x80000001, ECX.
const CMP_LEGACY: u32 = 1 << 1;
const SVM: u32 = 1 << 2;
/// Leaf 0x80000007, EDX.
const INVARIANT_TSC: u32 = 1 << 8;

/// CPUID of one processor.
pub(super) fn of_processor(
    vm: &Vm,
    hv: &Hv,
    index: u32,
    platform: Platform,
) -> Result<CpuId, KvmError> {
    let shows_hypervisor = platform.shows_hypervisor();
    let machine = Machine {
        count: hv.config().vp_count,
        index,
        has_deadline_timer: vm.has_deadline_timer,
        // Not before the guest has asked for it (spec 01, section 8.4), and CPUID cannot change while it runs.
        hides_invariant_tsc: platform.is_pc() && shows_hypervisor,
        is_pc: platform.is_pc(),
    };
    let mut entries = machine.leaves(vm.supported_cpuid.as_slice());
    for function in FIRST_LEAF..=LAST_LEAF {
        if let Some(leaf) = hv.cpuid(function, 0).filter(|_| shows_hypervisor) {
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

/// What the leaves say besides KVM's: one package of single-threaded cores, whatever the host's processor has.
struct Machine {
    count: u32,
    index: u32,
    has_deadline_timer: bool,
    hides_invariant_tsc: bool,
    is_pc: bool,
}

impl Machine {
    /// Bits of an APIC identifier that tell cores apart.
    fn core_bits(&self) -> u32 {
        self.count.next_power_of_two().ilog2()
    }

    fn leaves(&self, supported: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
        let mut entries: Vec<_> = supported
            .iter()
            .filter(|entry| !HYPERVISOR_LEAVES.contains(&entry.function))
            .copied()
            .collect();
        for entry in &mut entries {
            self.adjust(entry);
        }
        if self.is_pc {
            self.describe_topology(&mut entries);
        }
        entries
    }

    fn adjust(&self, entry: &mut kvm_cpuid_entry2) {
        match entry.function {
            FEATURES => {
                entry.ecx |= HYPERVISOR_PRESENT;
                // Initial APIC identifier and number of identifiers in the package.
                entry.ebx &= 0x0000_FFFF;
                entry.ebx |= self.index << 24 | self.count.min(0xFF) << 16;
                if self.is_pc {
                    // Nested guests would need more of the shim than there is.
                    entry.ecx &= !VMX;
                    entry.ecx |= if self.has_deadline_timer {
                        TSC_DEADLINE
                    } else {
                        0
                    };
                    entry.edx = with_bit(entry.edx, HYPER_THREADING, self.count > 1);
                }
            }
            TOPOLOGY | TOPOLOGY_V2 => self.set_topology(entry),
            _ if !self.is_pc => {}
            // Cores in the package, less one; a cache of level 3 is everybody's, others each one's own.
            CACHES if entry.eax & 0x1F != 0 => {
                let level = entry.eax >> 5 & 0x7;
                let sharing = if level >= 3 { self.id_range() - 1 } else { 0 };
                entry.eax &= 0x0000_3FFF;
                entry.eax |= sharing.min(0xFFF) << 14 | (self.id_range() - 1).min(0x3F) << 26;
            }
            EXTENDED_FEATURES => {
                entry.ecx &= !SVM;
                // Only AMD's processors know the bit, which others reserve.
                if self.count == 1 {
                    entry.ecx &= !CMP_LEGACY;
                }
            }
            POWER_MANAGEMENT if self.hides_invariant_tsc => entry.edx &= !INVARIANT_TSC,
            ADDRESS_SIZES if entry.ecx & 0xF0FF != 0 || self.count > 1 => {
                entry.ecx &= !0xF0FF;
                entry.ecx |= self.core_bits() << 12 | (self.count - 1).min(0xFF);
            }
            NESTED_VIRTUALIZATION => {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
            }
            AMD_CACHES if entry.eax & 0x1F != 0 => {
                let level = entry.eax >> 5 & 0x7;
                let sharing = if level >= 3 { self.count - 1 } else { 0 };
                entry.eax &= 0x0000_3FFF;
                entry.eax |= sharing.min(0xFFF) << 14;
            }
            AMD_TOPOLOGY => {
                // Identifier; core with one thread; node 0 of one.
                (entry.eax, entry.ebx, entry.ecx) = (self.index, self.index & 0xFF, 0);
            }
            _ => {}
        }
    }

    /// Identifiers that the package has room for.
    fn id_range(&self) -> u32 {
        1 << self.core_bits()
    }

    fn set_topology(&self, entry: &mut kvm_cpuid_entry2) {
        const THREADS: u32 = 1;
        const CORES: u32 = 2;
        (entry.eax, entry.ebx, entry.ecx) = match entry.index {
            0 => (0, 1, THREADS << 8),
            1 => (self.core_bits(), self.count, CORES << 8 | 1),
            level => (0, 0, level),
        };
        entry.edx = self.index;
    }

    /// Some KVMs give no leaf for the topology, others the host's: each level is written anew.
    fn describe_topology(&self, entries: &mut Vec<kvm_cpuid_entry2>) {
        entries.retain(|entry| !matches!(entry.function, TOPOLOGY | TOPOLOGY_V2));
        for entry in entries.iter_mut() {
            if entry.function == HIGHEST {
                // The newer leaf says nothing that the older one does not.
                entry.eax = entry.eax.max(TOPOLOGY);
            }
        }
        for index in 0..3 {
            let mut entry = kvm_cpuid_entry2 {
                function: TOPOLOGY,
                index,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                ..kvm_cpuid_entry2::default()
            };
            self.set_topology(&mut entry);
            entries.push(entry);
        }
    }
}

fn with_bit(value: u32, bit: u32, set: bool) -> u32 {
    if set { value | bit } else { value & !bit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(count: u32, index: u32) -> Machine {
        Machine {
            count,
            index,
            has_deadline_timer: true,
            hides_invariant_tsc: true,
            is_pc: true,
        }
    }

    fn entry(function: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..kvm_cpuid_entry2::default()
        }
    }

    fn leaf(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> [u32; 4] {
        let found: Vec<_> = entries
            .iter()
            .filter(|entry| entry.function == function && entry.index == index)
            .collect();
        assert_eq!(found.len(), 1, "{function:#x}.{index}");
        [found[0].eax, found[0].ebx, found[0].ecx, found[0].edx]
    }

    #[test]
    fn every_way_to_tell_the_topology_says_the_same() {
        let host = [
            entry(HIGHEST, [7, 0, 0, 0]),
            entry(FEATURES, [0, 0xFF10_0800, VMX, 0]),
            entry(CACHES, [0xFC00_C163, 0, 0, 0]),
            entry(TOPOLOGY, [1, 8, 0x100, 77]),
            entry(EXTENDED_FEATURES, [0, 0, SVM | CMP_LEGACY, 0]),
            entry(POWER_MANAGEMENT, [0, 0, 0, INVARIANT_TSC]),
            entry(ADDRESS_SIZES, [0x3030, 0, 0x700F, 0]),
            entry(AMD_TOPOLOGY, [99, 0x1FF, 0x303, 0]),
            entry(0x4000_0000, [1, 2, 3, 4]),
        ];
        let leaves = machine(3, 2).leaves(&host);
        assert_eq!(leaf(&leaves, HIGHEST, 0)[0], TOPOLOGY);
        let [_, ebx, ecx, edx] = leaf(&leaves, FEATURES, 0);
        assert_eq!(ebx, 0x0203_0800);
        assert_eq!(ecx, HYPERVISOR_PRESENT | TSC_DEADLINE);
        assert_eq!(edx, HYPER_THREADING);
        assert_eq!(leaf(&leaves, TOPOLOGY, 0), [0, 1, 0x100, 2]);
        assert_eq!(leaf(&leaves, TOPOLOGY, 1), [2, 3, 0x201, 2]);
        assert_eq!(leaf(&leaves, TOPOLOGY, 2), [0, 0, 2, 2]);
        assert_eq!(leaf(&leaves, EXTENDED_FEATURES, 0)[2], CMP_LEGACY);
        assert_eq!(leaf(&leaves, POWER_MANAGEMENT, 0)[3], 0);
        assert_eq!(leaf(&leaves, ADDRESS_SIZES, 0)[2], 0x2002);
        assert_eq!(leaf(&leaves, AMD_TOPOLOGY, 0)[..3], [2, 2, 0]);
        assert_eq!(leaf(&leaves, CACHES, 0)[0], 3 << 26 | 3 << 14 | 0x163);
        assert!(leaves.iter().all(|entry| entry.function != 0x4000_0000));
    }

    #[test]
    fn one_processor_is_alone() {
        let host = [
            entry(FEATURES, [0, 0, 0, HYPER_THREADING]),
            entry(EXTENDED_FEATURES, [0, 0, CMP_LEGACY, 0]),
        ];
        let leaves = machine(1, 0).leaves(&host);
        assert_eq!(leaf(&leaves, FEATURES, 0)[3], 0);
        assert_eq!(leaf(&leaves, EXTENDED_FEATURES, 0)[2], 0);
        assert_eq!(leaf(&leaves, TOPOLOGY, 1)[..3], [0, 1, 0x201]);
    }
}
