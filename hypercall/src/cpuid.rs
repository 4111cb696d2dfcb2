//! Discovery: is there a Hyper-V interface, and what does it offer?
//!
//! [`Discovery::read`] goes through the whole presence sequence and refuses,
//! with the reason, whatever is not a usable Hyper-V interface. The flag types
//! keep bits that they have no name for.

mod discovery;
mod flags;

pub use discovery::{Discovery, HypervisorVersion, Isolation, IsolationKind, NotHyperV};
pub use flags::{Features, HypercallPrivileges, Privileges, Recommendations};

/// The architectural leaf with the hypervisor bit.
pub const LEAF_FEATURE_INFORMATION: u32 = 1;
/// Bit of ECX of [`LEAF_FEATURE_INFORMATION`]: a hypervisor is present.
pub const HYPERVISOR_PRESENT: u32 = 1 << 31;

/// Highest hypervisor leaf and the vendor's name.
pub const LEAF_VENDOR: u32 = 0x4000_0000;
/// Interface signature.
pub const LEAF_INTERFACE: u32 = 0x4000_0001;
/// Version of the hypervisor.
pub const LEAF_VERSION: u32 = 0x4000_0002;
/// Privileges and features.
pub const LEAF_FEATURES: u32 = 0x4000_0003;
/// Recommendations to the guest.
pub const LEAF_RECOMMENDATIONS: u32 = 0x4000_0004;
/// Limits of the implementation.
pub const LEAF_LIMITS: u32 = 0x4000_0005;
/// Hardware features in use.
pub const LEAF_HARDWARE: u32 = 0x4000_0006;
/// CPU management features of the root partition.
pub const LEAF_CPU_MANAGEMENT: u32 = 0x4000_0007;
/// Shared virtual memory features.
pub const LEAF_SHARED_VIRTUAL_MEMORY: u32 = 0x4000_0008;
/// Identification of a nested hypervisor.
pub const LEAF_NESTED_IDENTIFICATION: u32 = 0x4000_0009;
/// Features for nested hypervisors.
pub const LEAF_NESTED_FEATURES: u32 = 0x4000_000A;
/// Isolation of the partition.
pub const LEAF_ISOLATION: u32 = 0x4000_000C;

/// Lowest value of the highest leaf that a guest accepts.
pub const MAX_LEAF_LOWEST: u32 = LEAF_LIMITS;
/// Highest value of the highest leaf that a guest accepts.
pub const MAX_LEAF_HIGHEST: u32 = 0x4000_FFFF;

/// "Microsoft Hv", as EBX, ECX and EDX of [`LEAF_VENDOR`] spell it.
pub const VENDOR: [u8; 12] = *b"Microsoft Hv";
/// [`VENDOR`] as EBX, ECX, EDX.
pub const VENDOR_REGISTERS: [u32; 3] = [0x7263_694D, 0x666F_736F, 0x7648_2074];
/// "Hv#1", EAX of [`LEAF_INTERFACE`].
pub const INTERFACE_HV1: u32 = 0x3123_7648;

/// EBX of [`LEAF_RECOMMENDATIONS`]: never report long spin waits.
pub const SPIN_RETRIES_NEVER: u32 = u32::MAX;

#[cfg(test)]
mod tests;
