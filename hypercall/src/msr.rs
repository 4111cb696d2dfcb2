//! Synthetic MSRs: numbers, and the registers whose bits have a meaning.
//!
//! Names follow the TLFS, without its `HV_X64_MSR_` prefix. The value types
//! never lose a bit: a register that is read, changed and written back keeps
//! its reserved bits as they were, which the TLFS asks of guests.

mod index;
mod page_register;
mod sint;
mod stimer_config;

pub use crate::crash::CrashControl;
pub use crate::identity::GuestOsId;
pub use index::{SINT_COUNT, STIMER_COUNT, SintIndex, TimerIndex};
pub use page_register::PageRegister;
pub use sint::SintRegister;
pub use stimer_config::StimerConfig;

/// Identity of the guest operating system; partition-wide.
pub const GUEST_OS_ID: u32 = 0x4000_0000;
/// Hypercall page ([`PageRegister`]); partition-wide.
pub const HYPERCALL: u32 = 0x4000_0001;
/// Index of this virtual processor; read-only.
pub const VP_INDEX: u32 = 0x4000_0002;
/// Writing bit 0 resets the partition at once.
pub const RESET: u32 = 0x4000_0003;
/// Time that this virtual processor has run, in 100 ns; read-only.
pub const VP_RUNTIME: u32 = 0x4000_0010;
/// Reference time counter in 100 ns since the partition was created; read-only.
pub const TIME_REF_COUNT: u32 = 0x4000_0020;
/// Reference TSC page ([`PageRegister`]); partition-wide.
pub const REFERENCE_TSC: u32 = 0x4000_0021;
/// Frequency of the time stamp counter in hertz; read-only.
pub const TSC_FREQUENCY: u32 = 0x4000_0022;
/// Frequency of the local APIC timer before its divider, in hertz; read-only.
pub const APIC_FREQUENCY: u32 = 0x4000_0023;
/// Fast access to the APIC's EOI register; write-only.
pub const EOI: u32 = 0x4000_0070;
/// Fast access to the APIC's ICR, high half in the upper 32 bits.
pub const ICR: u32 = 0x4000_0071;
/// Fast access to the APIC's TPR.
pub const TPR: u32 = 0x4000_0072;
/// Virtual processor assist page ([`PageRegister`]).
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// SynIC control: bit 0 enables the SynIC of this virtual processor.
pub const SCONTROL: u32 = 0x4000_0080;
/// SynIC version, 1; read-only.
pub const SVERSION: u32 = 0x4000_0081;
/// Event flags page of this virtual processor ([`PageRegister`]).
pub const SIEFP: u32 = 0x4000_0082;
/// Message page of this virtual processor ([`PageRegister`]).
pub const SIMP: u32 = 0x4000_0083;
/// End of message: any write makes the hypervisor look for queued messages.
pub const EOM: u32 = 0x4000_0084;
/// First synthetic interrupt source ([`SintRegister`]); 16 registers follow
/// one another, see [`SintIndex::register`].
pub const SINT0: u32 = 0x4000_0090;
/// Last synthetic interrupt source.
pub const SINT15: u32 = 0x4000_009F;
/// Configuration of synthetic timer 0 ([`StimerConfig`]).
pub const STIMER0_CONFIG: u32 = 0x4000_00B0;
/// Count of synthetic timer 0: expiration time or period, in 100 ns.
pub const STIMER0_COUNT: u32 = 0x4000_00B1;
/// Configuration of synthetic timer 1.
pub const STIMER1_CONFIG: u32 = 0x4000_00B2;
/// Count of synthetic timer 1.
pub const STIMER1_COUNT: u32 = 0x4000_00B3;
/// Configuration of synthetic timer 2.
pub const STIMER2_CONFIG: u32 = 0x4000_00B4;
/// Count of synthetic timer 2.
pub const STIMER2_COUNT: u32 = 0x4000_00B5;
/// Configuration of synthetic timer 3.
pub const STIMER3_CONFIG: u32 = 0x4000_00B6;
/// Count of synthetic timer 3.
pub const STIMER3_COUNT: u32 = 0x4000_00B7;
/// Reading parks the virtual processor until an interrupt is pending.
pub const GUEST_IDLE: u32 = 0x4000_00F0;
/// Crash parameter 0; four more follow, see [`CRASH_P4`].
pub const CRASH_P0: u32 = 0x4000_0100;
/// Crash parameter 1.
pub const CRASH_P1: u32 = 0x4000_0101;
/// Crash parameter 2.
pub const CRASH_P2: u32 = 0x4000_0102;
/// Crash parameter 3, or the message's guest physical address.
pub const CRASH_P3: u32 = 0x4000_0103;
/// Crash parameter 4, or the message's length in bytes.
pub const CRASH_P4: u32 = 0x4000_0104;
/// Crash control ([`CrashControl`]).
pub const CRASH_CTL: u32 = 0x4000_0105;
/// Notification of a changed TSC rate after migration.
pub const REENLIGHTENMENT_CONTROL: u32 = 0x4000_0106;
/// TSC emulation after migration: bit 0 asks for it.
pub const TSC_EMULATION_CONTROL: u32 = 0x4000_0107;
/// TSC emulation after migration: bit 0 says that it is going on.
pub const TSC_EMULATION_STATUS: u32 = 0x4000_0108;
/// Configuration of the time-unhalted timer.
pub const TIME_UNHALTED_TIMER_CONFIG: u32 = 0x4000_0114;
/// Period of the time-unhalted timer, in 100 ns.
pub const TIME_UNHALTED_TIMER_COUNT: u32 = 0x4000_0115;
/// Bit 0 makes the hypervisor show the invariant TSC in CPUID.
pub const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// First register of the synthetic range.
pub const SYNTHETIC_FIRST: u32 = 0x4000_0000;
/// Last register of the synthetic range.
pub const SYNTHETIC_LAST: u32 = 0x4000_01FF;

/// [`SCONTROL`] bit 0: the SynIC of this virtual processor works.
pub const SCONTROL_ENABLE: u64 = 1;

/// Value of [`SVERSION`].
pub const SYNIC_VERSION: u64 = 1;
