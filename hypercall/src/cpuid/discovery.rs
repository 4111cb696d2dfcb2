//! The presence sequence.

use core::fmt;

use super::{
    Features, HYPERVISOR_PRESENT, HypercallPrivileges, INTERFACE_HV1, LEAF_FEATURE_INFORMATION,
    LEAF_FEATURES, LEAF_INTERFACE, LEAF_ISOLATION, LEAF_LIMITS, LEAF_RECOMMENDATIONS, LEAF_VENDOR,
    LEAF_VERSION, MAX_LEAF_HIGHEST, MAX_LEAF_LOWEST, Privileges, Recommendations,
    SPIN_RETRIES_NEVER, VENDOR,
};
use crate::{CpuidResult, Processor};

/// Why a platform is not a usable Hyper-V interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHyperV {
    /// CPUID shows no hypervisor.
    NoHypervisor,
    /// The highest hypervisor leaf lies outside the range that Hyper-V uses.
    LeafRange {
        /// The leaf that was reported.
        max_leaf: u32,
    },
    /// Another vendor's hypervisor.
    Vendor {
        /// The vendor's name.
        vendor: [u8; 12],
    },
    /// The interface is not "Hv#1".
    Interface {
        /// The signature that was reported.
        signature: u32,
    },
    /// The partition may not use registers that a guest cannot do without.
    Privileges {
        /// The missing ones of [`Privileges::MANDATORY`].
        missing: Privileges,
    },
}

impl fmt::Display for NotHyperV {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHypervisor => f.write_str("CPUID shows no hypervisor"),
            Self::LeafRange { max_leaf } => {
                write!(f, "highest hypervisor leaf {max_leaf:#x} is not Hyper-V's")
            }
            Self::Vendor { vendor } => {
                write!(f, "hypervisor of another vendor, \"")?;
                vendor.escape_ascii().fmt(f)?;
                f.write_str("\"")
            }
            Self::Interface { signature } => {
                write!(f, "hypervisor interface {signature:#010x} is not Hv#1")
            }
            Self::Privileges { missing } => {
                write!(f, "the partition lacks privileges: ")?;
                bitflags::parser::to_writer(missing, f)
            }
        }
    }
}

impl core::error::Error for NotHyperV {}

/// Version of the hypervisor. For display only: what it can do is told by
/// flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HypervisorVersion {
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Build number.
    pub build: u32,
    /// Service pack.
    pub service_pack: u32,
    /// Service branch.
    pub service_branch: u8,
    /// Service number, 24 bits.
    pub service_number: u32,
}

impl From<CpuidResult> for HypervisorVersion {
    fn from(leaf: CpuidResult) -> Self {
        Self {
            major: (leaf.ebx >> 16) as u16,
            minor: leaf.ebx as u16,
            build: leaf.eax,
            service_pack: leaf.ecx,
            service_branch: (leaf.edx >> 24) as u8,
            service_number: leaf.edx & 0x00FF_FFFF,
        }
    }
}

impl fmt::Display for HypervisorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}-{}-{}.{}",
            self.major,
            self.minor,
            self.build,
            self.service_pack,
            self.service_branch,
            self.service_number
        )
    }
}

/// How a partition is isolated from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IsolationKind(pub u8);

impl IsolationKind {
    /// Not isolated.
    pub const NONE: Self = Self(0);
    /// Virtualisation-based security.
    pub const VBS: Self = Self(1);
    /// AMD SEV-SNP.
    pub const SNP: Self = Self(2);
    /// Intel TDX.
    pub const TDX: Self = Self(3);
}

/// Isolation of the partition from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// A paravisor runs inside the partition, below the guest, and provides
    /// the SynIC pages.
    pub paravisor: bool,
    /// Kind of isolation.
    pub kind: IsolationKind,
    /// Position of the address bit that tells shared from private memory.
    pub shared_boundary_bit: Option<u8>,
}

impl From<CpuidResult> for Isolation {
    fn from(leaf: CpuidResult) -> Self {
        let boundary_active = leaf.ebx & (1 << 5) != 0;
        Self {
            paravisor: leaf.eax & 1 != 0,
            kind: IsolationKind((leaf.ebx & 0xF) as u8),
            shared_boundary_bit: boundary_active.then_some((leaf.ebx >> 6 & 0x3F) as u8),
        }
    }
}

/// What a Hyper-V interface offers. The same on every virtual processor and
/// constant while the machine lives: read it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Highest hypervisor leaf.
    pub max_leaf: u32,
    /// Version of the hypervisor.
    pub version: HypervisorVersion,
    /// MSRs that the partition may access.
    pub privileges: Privileges,
    /// Hypercalls that the partition may make.
    pub hypercall_privileges: HypercallPrivileges,
    /// Features of the interface.
    pub features: Features,
    /// Recommendations for speed.
    pub recommendations: Recommendations,
    /// Failed attempts at a spin lock before the guest should report a long
    /// spin wait; `None` means never.
    pub spin_retries: Option<u32>,
    /// Physical address bits that the host implements, if it tells.
    pub physical_address_bits: Option<u8>,
    /// Most virtual processors of a partition, if the host tells.
    pub max_virtual_processors: Option<u32>,
    /// Most logical processors, if the host tells.
    pub max_logical_processors: Option<u32>,
    /// Isolation of the partition, if it is of the kind that can be isolated.
    pub isolation: Option<Isolation>,
}

impl Discovery {
    /// Looks for Hyper-V and reads what it offers.
    ///
    /// Nothing but CPUID is executed, and no hypervisor leaf is read before
    /// the hypervisor bit was seen, so this is safe to try on any machine.
    ///
    /// # Errors
    ///
    /// [`NotHyperV`] with the first check that failed.
    pub fn read<P: Processor + ?Sized>(processor: &P) -> Result<Self, NotHyperV> {
        let leaf = |number| processor.cpuid(number, 0);

        if leaf(LEAF_FEATURE_INFORMATION).ecx & HYPERVISOR_PRESENT == 0 {
            return Err(NotHyperV::NoHypervisor);
        }
        let vendor_leaf = leaf(LEAF_VENDOR);
        let max_leaf = vendor_leaf.eax;
        if !(MAX_LEAF_LOWEST..=MAX_LEAF_HIGHEST).contains(&max_leaf) {
            return Err(NotHyperV::LeafRange { max_leaf });
        }
        let vendor = spell(&vendor_leaf);
        if vendor != VENDOR {
            return Err(NotHyperV::Vendor { vendor });
        }
        let signature = leaf(LEAF_INTERFACE).eax;
        if signature != INTERFACE_HV1 {
            return Err(NotHyperV::Interface { signature });
        }
        let features = leaf(LEAF_FEATURES);
        let privileges = Privileges::from_bits_retain(features.eax);
        let missing = Privileges::MANDATORY.difference(privileges);
        if !missing.is_empty() {
            return Err(NotHyperV::Privileges { missing });
        }

        let hypercall_privileges = HypercallPrivileges::from_bits_retain(features.ebx);
        let recommendations = leaf(LEAF_RECOMMENDATIONS);
        let limits = leaf(LEAF_LIMITS);
        let isolation = (hypercall_privileges.contains(HypercallPrivileges::ISOLATION)
            && max_leaf >= LEAF_ISOLATION)
            .then(|| Isolation::from(leaf(LEAF_ISOLATION)));

        Ok(Self {
            max_leaf,
            version: HypervisorVersion::from(leaf(LEAF_VERSION)),
            privileges,
            hypercall_privileges,
            features: Features::from_bits_retain(features.edx),
            recommendations: Recommendations::from_bits_retain(recommendations.eax),
            spin_retries: (recommendations.ebx != SPIN_RETRIES_NEVER)
                .then_some(recommendations.ebx),
            physical_address_bits: reported(recommendations.ecx & 0x7F).map(|bits| bits as u8),
            max_virtual_processors: reported(limits.eax),
            max_logical_processors: reported(limits.ebx),
            isolation,
        })
    }

    /// Whether TSC_FREQUENCY and APIC_FREQUENCY may be read: the privilege and
    /// the feature must both be there.
    #[must_use]
    pub const fn has_frequency_msrs(&self) -> bool {
        self.privileges.contains(Privileges::FREQUENCY)
            && self.features.contains(Features::FREQUENCY)
    }

    /// Whether the partition may use everything that VMBus needs: the SynIC,
    /// and the PostMessage and SignalEvent calls.
    #[must_use]
    pub const fn supports_vmbus(&self) -> bool {
        self.privileges.contains(Privileges::SYNIC)
            && self
                .hypercall_privileges
                .contains(HypercallPrivileges::POST_MESSAGES)
            && self
                .hypercall_privileges
                .contains(HypercallPrivileges::SIGNAL_EVENTS)
    }

    /// Whether interrupt sources may be set to automatic end of interrupt.
    #[must_use]
    pub const fn recommends_auto_eoi(&self) -> bool {
        !self
            .recommendations
            .contains(Recommendations::DEPRECATE_AUTO_EOI)
    }
}

fn spell(leaf: &CpuidResult) -> [u8; 12] {
    let mut name = [0; 12];
    for (part, register) in name.chunks_exact_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        part.copy_from_slice(&register.to_le_bytes());
    }
    name
}

/// Hyper-V reports zero for a limit that it does not tell.
fn reported(value: u32) -> Option<u32> {
    (value != 0).then_some(value)
}
