//! Discovery against scripted leaves.

use super::*;
use crate::{CpuidResult, MsrFault, Processor};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::ToString;
use std::sync::Mutex;
use std::vec::Vec;

struct Leaves {
    leaves: BTreeMap<u32, CpuidResult>,
    asked: Mutex<Vec<u32>>,
}

impl Leaves {
    fn hyper_v() -> Self {
        let mut this = Self {
            leaves: BTreeMap::new(),
            asked: Mutex::default(),
        };
        this.set(1, 0, 0, HYPERVISOR_PRESENT, 0);
        let [ebx, ecx, edx] = VENDOR_REGISTERS;
        this.set(LEAF_VENDOR, LEAF_HARDWARE, ebx, ecx, edx);
        this.set(LEAF_INTERFACE, INTERFACE_HV1, 0, 0, 0);
        this.set(LEAF_VERSION, 20348, 10 << 16 | 2, 7, 3 << 24 | 4);
        this.set(LEAF_FEATURES, 0x0A6E, 0x30, 0, 0x0008_0500);
        this.set(LEAF_RECOMMENDATIONS, 0x220, SPIN_RETRIES_NEVER, 46, 0);
        this.set(LEAF_LIMITS, 240, 64, 0, 0);
        this
    }

    fn set(&mut self, leaf: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) {
        self.leaves.insert(leaf, CpuidResult { eax, ebx, ecx, edx });
    }

    fn with(mut self, leaf: u32, change: impl FnOnce(&mut CpuidResult)) -> Self {
        change(self.leaves.entry(leaf).or_default());
        self
    }
}

// SAFETY: nothing is done that memory safety could rest on.
unsafe impl Processor for Leaves {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        assert_eq!(subleaf, 0);
        self.asked.lock().unwrap().push(leaf);
        self.leaves.get(&leaf).copied().unwrap_or_default()
    }
    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        Err(MsrFault { msr })
    }
    unsafe fn write_msr(&self, msr: u32, _: u64) -> Result<(), MsrFault> {
        Err(MsrFault { msr })
    }
    unsafe fn hypercall(&self, _: u64, _: u64, _: u64) -> u64 {
        panic!("discovery makes no hypercall")
    }
    fn tsc(&self) -> u64 {
        0
    }
}

#[test]
fn a_host_is_read_completely() {
    let found = Discovery::read(&Leaves::hyper_v()).unwrap();
    assert_eq!(found.version.to_string(), "10.2.20348-7-3.4");
    assert_eq!(
        found.privileges,
        Privileges::TIME_REF_COUNT
            | Privileges::SYNIC
            | Privileges::STIMER
            | Privileges::HYPERCALL
            | Privileges::VP_INDEX
            | Privileges::REFERENCE_TSC
            | Privileges::FREQUENCY
    );
    assert_eq!(
        found.features,
        Features::FREQUENCY | Features::CRASH | Features::DIRECT_STIMERS
    );
    assert_eq!(found.spin_retries, None);
    assert_eq!(found.physical_address_bits, Some(46));
    assert_eq!(found.max_virtual_processors, Some(240));
    assert_eq!(found.isolation, None);
    assert!(found.has_frequency_msrs() && found.supports_vmbus());
    assert!(!found.recommends_auto_eoi());
}

#[test]
fn the_vendor_registers_spell_the_vendor() {
    let bytes: Vec<u8> = VENDOR_REGISTERS
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert_eq!(bytes, VENDOR);
    assert_eq!(&INTERFACE_HV1.to_le_bytes(), b"Hv#1");
}

#[test]
fn bare_metal_is_refused_before_any_hypervisor_leaf_is_read() {
    let machine = Leaves::hyper_v().with(1, |leaf| leaf.ecx = !HYPERVISOR_PRESENT);
    assert_eq!(Discovery::read(&machine), Err(NotHyperV::NoHypervisor));
    assert_eq!(*machine.asked.lock().unwrap(), [1]);
}

#[test]
fn each_gate_names_what_it_found() {
    let cases = [
        (
            Leaves::hyper_v().with(LEAF_VENDOR, |leaf| leaf.eax = 0x4000_0004),
            NotHyperV::LeafRange {
                max_leaf: 0x4000_0004,
            },
        ),
        (
            Leaves::hyper_v().with(LEAF_VENDOR, |leaf| leaf.eax = 0x4001_0000),
            NotHyperV::LeafRange {
                max_leaf: 0x4001_0000,
            },
        ),
        (
            Leaves::hyper_v().with(LEAF_VENDOR, |leaf| {
                (leaf.ebx, leaf.ecx, leaf.edx) = (0x4B4D_564B, 0x564B_4D56, 0x4D)
            }),
            NotHyperV::Vendor {
                vendor: *b"KVMKVMKVM\0\0\0",
            },
        ),
        (
            Leaves::hyper_v().with(LEAF_INTERFACE, |leaf| leaf.eax = 0),
            NotHyperV::Interface { signature: 0 },
        ),
        (
            Leaves::hyper_v().with(LEAF_FEATURES, |leaf| leaf.eax = !(1 << 6)),
            NotHyperV::Privileges {
                missing: Privileges::VP_INDEX,
            },
        ),
        (
            Leaves::hyper_v().with(LEAF_FEATURES, |leaf| leaf.eax = 0),
            NotHyperV::Privileges {
                missing: Privileges::MANDATORY,
            },
        ),
    ];
    for (machine, reason) in cases {
        assert_eq!(Discovery::read(&machine), Err(reason), "{reason}");
        assert!(!reason.to_string().is_empty());
    }
    assert_eq!(
        NotHyperV::Vendor {
            vendor: *b"KVMKVMKVM\0\0\0"
        }
        .to_string(),
        "hypervisor of another vendor, \"KVMKVMKVM\\x00\\x00\\x00\""
    );
}

#[test]
fn the_borders_of_the_leaf_range_are_accepted() {
    for max_leaf in [MAX_LEAF_LOWEST, MAX_LEAF_HIGHEST] {
        let machine = Leaves::hyper_v().with(LEAF_VENDOR, |leaf| leaf.eax = max_leaf);
        assert_eq!(Discovery::read(&machine).unwrap().max_leaf, max_leaf);
    }
}

#[test]
fn isolation_is_read_only_where_it_has_a_meaning() {
    let isolated = |max_leaf, privileges| {
        Leaves::hyper_v()
            .with(LEAF_VENDOR, |leaf| leaf.eax = max_leaf)
            .with(LEAF_FEATURES, |leaf| leaf.ebx = privileges)
            .with(LEAF_ISOLATION, |leaf| {
                leaf.eax = 1;
                leaf.ebx = 2 | 1 << 5 | 46 << 6;
            })
    };
    let read = |machine| Discovery::read(&machine).unwrap().isolation;
    assert_eq!(
        read(isolated(LEAF_ISOLATION, 1 << 22)),
        Some(Isolation {
            paravisor: true,
            kind: IsolationKind::SNP,
            shared_boundary_bit: Some(46),
        })
    );
    assert_eq!(read(isolated(LEAF_ISOLATION, 0)), None);
    assert_eq!(read(isolated(LEAF_HARDWARE, 1 << 22)), None);
}

proptest! {
    #[test]
    fn unknown_bits_survive(eax: u32, ebx in 0u32..1 << 22, edx: u32, hints: u32) {
        let eax = eax | 3 << 5;
        let machine = Leaves::hyper_v()
            .with(LEAF_FEATURES, |leaf| (leaf.eax, leaf.ebx, leaf.edx) = (eax, ebx, edx))
            .with(LEAF_RECOMMENDATIONS, |leaf| leaf.eax = hints);
        let found = Discovery::read(&machine).unwrap();
        prop_assert_eq!(found.privileges.bits(), eax);
        prop_assert_eq!(found.hypercall_privileges.bits(), ebx);
        prop_assert_eq!(found.features.bits(), edx);
        prop_assert_eq!(found.recommendations.bits(), hints);
    }
}
