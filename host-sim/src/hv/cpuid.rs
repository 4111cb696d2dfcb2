//! The hypervisor's CPUID leaves, the same on every virtual processor.

use hypercall::CpuidResult;
use hypercall::cpuid::{
    INTERFACE_HV1, LEAF_FEATURES, LEAF_HARDWARE, LEAF_INTERFACE, LEAF_LIMITS, LEAF_RECOMMENDATIONS,
    LEAF_VENDOR, LEAF_VERSION, VENDOR_REGISTERS,
};

use super::HvConfig;

/// First hypervisor leaf.
pub const FIRST_LEAF: u32 = LEAF_VENDOR;
/// Last hypervisor leaf that is there.
pub const LAST_LEAF: u32 = LEAF_HARDWARE;

/// One leaf, or `None` outside [`FIRST_LEAF`] to [`LAST_LEAF`]. No leaf has sub-leaves.
///
/// Not among them: a back end must also set bit 31 of ECX of leaf 1
/// ([`HYPERVISOR_PRESENT`](hypercall::cpuid::HYPERVISOR_PRESENT)) and keep other hypervisors' leaves away.
pub(super) fn leaf(config: &HvConfig, number: u32) -> Option<CpuidResult> {
    let version = &config.version;
    let [ebx, ecx, edx] = VENDOR_REGISTERS;
    Some(match number {
        LEAF_VENDOR => CpuidResult {
            eax: LAST_LEAF,
            ebx,
            ecx,
            edx,
        },
        LEAF_INTERFACE => CpuidResult {
            eax: INTERFACE_HV1,
            ..CpuidResult::default()
        },
        LEAF_VERSION => CpuidResult {
            eax: version.build,
            ebx: u32::from(version.major) << 16 | u32::from(version.minor),
            ecx: version.service_pack,
            edx: u32::from(version.service_branch) << 24 | version.service_number & 0x00FF_FFFF,
        },
        LEAF_FEATURES => CpuidResult {
            eax: config.privileges.bits(),
            ebx: config.hypercall_privileges.bits(),
            ecx: 0,
            edx: config.features.bits(),
        },
        LEAF_RECOMMENDATIONS => CpuidResult {
            eax: config.recommendations.bits(),
            ebx: config.spin_retries,
            ecx: u32::from(config.physical_address_bits & 0x7F),
            edx: 0,
        },
        LEAF_LIMITS => CpuidResult {
            eax: config.vp_count,
            ebx: config.vp_count,
            ..CpuidResult::default()
        },
        LEAF_HARDWARE => CpuidResult::default(),
        _ => return None,
    })
}
