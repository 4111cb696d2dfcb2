//! Inputs and output of GetVpRegisters and SetVpRegisters.

use core::fmt;

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{PARTITION_ID_SELF, VP_INDEX_SELF};

/// Name of a register of a virtual processor. Open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterName(pub u32);

impl RegisterName {
    /// Version of the hypervisor, as CPUID tells it.
    pub const HYPERVISOR_VERSION: Self = Self(0x100);
    /// Privileges and features, as CPUID tells them.
    pub const PRIVILEGES_AND_FEATURES: Self = Self(0x200);
    /// Recommendations, as CPUID tells them.
    pub const FEATURES_INFO: Self = Self(0x201);
    /// Crash parameter 0; parameters 1 to 4 follow.
    pub const CRASH_P0: Self = Self(0x210);
    /// Crash control.
    pub const CRASH_CTL: Self = Self(0x215);
    /// Run time of the virtual processor.
    pub const VP_RUNTIME: Self = Self(0x9_0000);
    /// Identity of the guest.
    pub const GUEST_OS_ID: Self = Self(0x9_0002);
    /// Index of the virtual processor.
    pub const VP_INDEX: Self = Self(0x9_0003);
    /// Reference time counter.
    pub const TIME_REF_COUNT: Self = Self(0x9_0004);
    /// VP assist page.
    pub const VP_ASSIST_PAGE: Self = Self(0x9_0013);
    /// Reference TSC page.
    pub const REFERENCE_TSC: Self = Self(0x9_0017);
    /// Interrupt source 0; sources 1 to 15 follow.
    pub const SINT0: Self = Self(0xA_0000);
    /// SynIC control.
    pub const SCONTROL: Self = Self(0xA_0010);
    /// SynIC version.
    pub const SVERSION: Self = Self(0xA_0011);
    /// Event flags page.
    pub const SIEFP: Self = Self(0xA_0012);
    /// Message page.
    pub const SIMP: Self = Self(0xA_0013);
    /// End of message.
    pub const EOM: Self = Self(0xA_0014);
    /// Configuration of timer 0; count, then the other timers follow.
    pub const STIMER0_CONFIG: Self = Self(0xB_0000);
    /// Count of timer 0.
    pub const STIMER0_COUNT: Self = Self(0xB_0001);
    /// Virtual secure mode status of the virtual processor.
    pub const VSM_VP_STATUS: Self = Self(0xD_0003);
}

impl fmt::Debug for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisterName({:#x})", self.0)
    }
}

/// Whose registers to access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterTarget {
    /// Partition.
    pub partition_id: u64,
    /// Virtual processor.
    pub vp_index: u32,
    /// Virtual trust level, 0 to 15, if not the current one.
    pub vtl: Option<u8>,
}

impl RegisterTarget {
    /// The calling virtual processor.
    pub const SELF: Self = Self {
        partition_id: PARTITION_ID_SELF,
        vp_index: VP_INDEX_SELF,
        vtl: None,
    };
}

/// Header of both calls, 16 bytes. A list follows: of 32-bit names (get), or
/// of [`RegisterAssignment`] (set).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct VpRegistersHeader {
    /// Partition.
    pub partition_id: U64,
    /// Virtual processor.
    pub vp_index: U32,
    /// Bits 3:0 virtual trust level, bit 4 "use it".
    pub target_vtl: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<VpRegistersHeader>() == 16);

impl VpRegistersHeader {
    const VTL: u8 = 0xF;
    const USE_VTL: u8 = 1 << 4;

    /// The registers that a header is about.
    #[must_use]
    pub fn target(&self) -> RegisterTarget {
        RegisterTarget {
            partition_id: self.partition_id.get(),
            vp_index: self.vp_index.get(),
            vtl: (self.target_vtl & Self::USE_VTL != 0).then_some(self.target_vtl & Self::VTL),
        }
    }
}

impl From<RegisterTarget> for VpRegistersHeader {
    fn from(target: RegisterTarget) -> Self {
        Self {
            partition_id: U64::new(target.partition_id),
            vp_index: U32::new(target.vp_index),
            target_vtl: target
                .vtl
                .map_or(0, |vtl| (vtl & Self::VTL) | Self::USE_VTL),
            reserved: [0; 3],
        }
    }
}

/// Value of a register: 16 bytes, of which a 64-bit register uses the first 8.
/// Output element of GetVpRegisters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct RegisterValue(pub U128);

impl RegisterValue {
    /// Zero.
    pub const ZERO: Self = Self(U128::ZERO);

    /// A 64-bit register's value.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        Self(U128::new(value as u128))
    }

    /// Low 64 bits.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get() as u64
    }
}

/// List element of SetVpRegisters, 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RegisterAssignment {
    /// Register's name.
    pub name: U32,
    /// Zero.
    pub reserved: [u8; 12],
    /// Its new value.
    pub value: RegisterValue,
}

const _: () = assert!(size_of::<RegisterAssignment>() == 32);

impl RegisterAssignment {
    /// A register and its new value.
    #[must_use]
    pub const fn new(name: RegisterName, value: RegisterValue) -> Self {
        Self {
            name: U32::new(name.0),
            reserved: [0; 12],
            value,
        }
    }
}
