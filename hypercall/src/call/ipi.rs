//! Inputs of SendSyntheticClusterIpi(Ex) and NotifyLongSpinWait.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{CallCode, Control, VpSetHeader};

/// Lowest vector of an inter-processor interrupt.
pub const IPI_VECTOR_MIN: u8 = 0x10;

/// Input of SendSyntheticClusterIpi, 16 bytes; normally in two registers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SendSyntheticClusterIpi {
    /// Vector, 0x10 to 0xFF.
    pub vector: U32,
    /// Target virtual trust level; 0 for the own one.
    pub target_vtl: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Bit n addresses virtual processor n.
    pub processor_mask: U64,
}

const _: () = assert!(size_of::<SendSyntheticClusterIpi>() == 16);

impl SendSyntheticClusterIpi {
    /// Control value of the fast call.
    pub const CONTROL: Control = Control::new(CallCode::SEND_SYNTHETIC_CLUSTER_IPI).with_fast();

    /// An interrupt for the virtual processors of a mask.
    #[must_use]
    pub const fn new(vector: u8, processor_mask: u64) -> Self {
        Self {
            vector: U32::new(vector as u32),
            target_vtl: 0,
            reserved: [0; 3],
            processor_mask: U64::new(processor_mask),
        }
    }

    /// The two registers of the fast call.
    #[must_use]
    pub fn to_registers(self) -> [u64; 2] {
        zerocopy::transmute!(self)
    }

    /// The input of a fast call.
    #[must_use]
    pub fn from_registers(registers: [u64; 2]) -> Self {
        zerocopy::transmute!(registers)
    }
}

/// Input of SendSyntheticClusterIpiEx; a processor set follows its header, of
/// which only the banks count as variable header.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SendSyntheticClusterIpiEx {
    /// Vector, 0x10 to 0xFF.
    pub vector: U32,
    /// Target virtual trust level; 0 for the own one.
    pub target_vtl: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Header of the processor set; the banks follow.
    pub processors: VpSetHeader,
}

const _: () = assert!(size_of::<SendSyntheticClusterIpiEx>() == 24);

/// Input of NotifyLongSpinWait, 8 bytes in a register. A pure hint.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct NotifyLongSpinWait {
    /// Attempts so far.
    pub spin_count: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<NotifyLongSpinWait>() == 8);

impl NotifyLongSpinWait {
    /// Control value of the fast call.
    pub const CONTROL: Control = Control::new(CallCode::NOTIFY_LONG_SPIN_WAIT).with_fast();

    /// The hint after this many attempts.
    #[must_use]
    pub const fn new(spin_count: u32) -> Self {
        Self {
            spin_count: U32::new(spin_count),
            reserved: U32::ZERO,
        }
    }

    /// First register of the fast call. The second one is zero.
    #[must_use]
    pub fn to_register(self) -> u64 {
        zerocopy::transmute!(self)
    }
}
