//! What a partition's hypervisor offers, chosen when the partition is made.

use std::sync::Arc;

use hypercall::call::Control;
use hypercall::cpuid::{
    Features, HypercallPrivileges, HypervisorVersion, Privileges, Recommendations,
    SPIN_RETRIES_NEVER,
};

use super::clock::{Clock, LOWEST_TSC_FREQUENCY};
use crate::memory::GuestMemory;

/// Most virtual processors of a partition.
pub const MAX_VP_COUNT: u32 = 1024;

/// Raises interrupts on virtual processors: the back end's end of the shim.
pub trait InterruptSink: Send + Sync {
    /// Raises an edge-triggered fixed interrupt. An interrupt to a virtual processor that is offline is dropped.
    ///
    /// The shim calls this with no lock held; the sink may call back.
    fn inject(&self, vp: u32, vector: u8);
}

/// Flushes virtual processors' TLBs, the translations of addresses that they have cached: the back end's end of the
/// flush hypercalls.
pub trait TlbFlusher: Send + Sync {
    /// Returns when each of these virtual processors has forgotten all its translations, or will have before it
    /// executes its next instruction. `caller` executes none meanwhile; it may be among them.
    ///
    /// The shim calls this with no lock held. Several processors may call at once, for each other.
    fn flush(&self, caller: u32, vps: &mut dyn Iterator<Item = u32>);
}

/// Configuration of a [`Hv`](super::Hv). Start from [`HvConfig::new`] and change what should differ.
#[derive(Clone)]
pub struct HvConfig {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The counter that the guest's time-stamp counters show.
    pub clock: Arc<dyn Clock>,
    /// Where interrupts go.
    pub interrupts: Arc<dyn InterruptSink>,
    /// Flushes translations; without it, partitions cannot be recommended to call for that.
    pub flusher: Option<Arc<dyn TlbFlusher>>,
    /// Number of virtual processors, 1 to [`MAX_VP_COUNT`]; their indices count from 0.
    pub vp_count: u32,
    /// I/O port by which the hypercall page traps. Not 0x7E, 0x80 or 0xB2, and no device's.
    pub hypercall_port: u8,
    /// MSRs that the partition may access.
    pub privileges: Privileges,
    /// Hypercalls that the partition may make.
    pub hypercall_privileges: HypercallPrivileges,
    /// Features of the interface.
    pub features: Features,
    /// Recommendations to the guest.
    pub recommendations: Recommendations,
    /// Version that the hypervisor tells in CPUID.
    pub version: HypervisorVersion,
    /// Failed attempts at a spin lock before a guest should notify; `u32::MAX` means never.
    pub spin_retries: u32,
    /// Physical address bits that the host implements; 0 leaves them untold.
    pub physical_address_bits: u8,
    /// Rate of the local APIC timer before its divider, in hertz.
    pub apic_frequency: u64,
    /// Whether SCONTROL comes out of reset with the SynIC enabled, as Hyper-V does against its own specification.
    pub synic_enabled_at_reset: bool,
    /// Whether virtual processors may place a VP assist page although they lack the privilege that goes with it
    /// ([`Privileges::APIC`], which is not implemented). The page stays as the guest has left it. For Linux, which
    /// enables the page whatever it is offered and complains of the fault.
    pub vp_assist_page: bool,
    /// Most messages that wait for one SINT of one virtual processor, timer messages not counted.
    pub message_queue_limit: usize,
    /// Most elements of a rep hypercall that are done before it returns for the guest to continue it; at least 1.
    pub reps_per_call: u16,
    /// Shortest period of a synthetic timer, in 100 ns units; guests asking for less get this.
    pub shortest_timer_period: u64,
}

impl HvConfig {
    /// Port of the hypercall page unless configured otherwise.
    pub const DEFAULT_HYPERCALL_PORT: u8 = 0x3C;

    /// MSRs that this hypervisor implements.
    pub const IMPLEMENTED_PRIVILEGES: Privileges = Privileges::TIME_REF_COUNT
        .union(Privileges::SYNIC)
        .union(Privileges::STIMER)
        .union(Privileges::HYPERCALL)
        .union(Privileges::VP_INDEX)
        .union(Privileges::RESET)
        .union(Privileges::REFERENCE_TSC)
        .union(Privileges::FREQUENCY)
        .union(Privileges::TSC_INVARIANT);

    /// Hypercalls with a privilege that this hypervisor implements.
    pub const IMPLEMENTED_HYPERCALLS: HypercallPrivileges = HypercallPrivileges::POST_MESSAGES
        .union(HypercallPrivileges::SIGNAL_EVENTS)
        .union(HypercallPrivileges::ACCESS_PARTITION_ID)
        .union(HypercallPrivileges::ACCESS_VP_REGISTERS)
        .union(HypercallPrivileges::EXTENDED_HYPERCALLS);

    /// Features that this hypervisor implements.
    pub const IMPLEMENTED_FEATURES: Features = Features::FREQUENCY
        .union(Features::CRASH)
        .union(Features::SINT_POLLING)
        .union(Features::HYPERCALL_LOCK)
        .union(Features::DIRECT_STIMERS);

    /// Recommendations that need something of the hypervisor which this one has not.
    const IMPOSSIBLE_RECOMMENDATIONS: Recommendations = Recommendations::ADDRESS_SPACE_SWITCH
        .union(Recommendations::LOCAL_FLUSH)
        .union(Recommendations::APIC_MSRS)
        .union(Recommendations::NESTED)
        .union(Recommendations::ENLIGHTENED_VMCS)
        .union(Recommendations::MMIO_HYPERCALLS)
        .union(Recommendations::PIN_GPA)
        .union(Recommendations::WAKE_VPS);

    /// What a VMBus guest needs, and all that is cheap besides.
    ///
    /// The reference TSC page is offered if the guest reads `clock` itself, the rates of counter and APIC timer if the
    /// rate of what it reads is known.
    #[must_use]
    pub fn new(
        memory: GuestMemory,
        clock: Arc<dyn Clock>,
        interrupts: Arc<dyn InterruptSink>,
        vp_count: u32,
    ) -> Self {
        let mut privileges = Self::IMPLEMENTED_PRIVILEGES.difference(Privileges::TSC_INVARIANT);
        if !clock.guest_reads_it() {
            privileges.remove(Privileges::REFERENCE_TSC);
        }
        let mut features = Features::FREQUENCY
            .union(Features::CRASH)
            .union(Features::DIRECT_STIMERS);
        if clock.guest_tsc_frequency().is_none() {
            // A wrong rate would be believed: guests measure their counter where they are told none.
            privileges.remove(Privileges::FREQUENCY);
            features.remove(Features::FREQUENCY);
        }
        Self {
            memory,
            clock,
            interrupts,
            flusher: None,
            vp_count,
            hypercall_port: Self::DEFAULT_HYPERCALL_PORT,
            privileges,
            hypercall_privileges: HypercallPrivileges::POST_MESSAGES
                .union(HypercallPrivileges::SIGNAL_EVENTS),
            features,
            recommendations: Recommendations::RELAXED_TIMING
                .union(Recommendations::DEPRECATE_AUTO_EOI),
            version: HypervisorVersion {
                major: 10,
                minor: 0,
                build: 20_348,
                service_pack: 0,
                service_branch: 0,
                service_number: 0,
            },
            spin_retries: SPIN_RETRIES_NEVER,
            physical_address_bits: 0,
            apic_frequency: 1_000_000_000,
            synic_enabled_at_reset: false,
            vp_assist_page: false,
            message_queue_limit: 64,
            reps_per_call: Control::REP_COUNT_MAX,
            shortest_timer_period: 100,
        }
    }

    pub(super) fn check(&self) -> Result<(), HvError> {
        if !(1..=MAX_VP_COUNT).contains(&self.vp_count) {
            return Err(HvError::VpCount(self.vp_count));
        }
        let hertz = self.clock.tsc_frequency();
        if hertz < LOWEST_TSC_FREQUENCY {
            return Err(HvError::ClockTooSlow { hertz });
        }
        if matches!(self.hypercall_port, 0x7E | 0x80 | 0xB2) {
            return Err(HvError::HypercallPort(self.hypercall_port));
        }
        let mut impossible = Self::IMPOSSIBLE_RECOMMENDATIONS;
        impossible.set(Recommendations::REMOTE_FLUSH, self.flusher.is_none());
        let (mut privileges, mut features) =
            (Self::IMPLEMENTED_PRIVILEGES, Self::IMPLEMENTED_FEATURES);
        let rate_is_known = self.clock.guest_tsc_frequency().is_some();
        privileges.set(Privileges::FREQUENCY, rate_is_known);
        features.set(Features::FREQUENCY, rate_is_known);
        let unimplemented = Unimplemented {
            privileges: self.privileges.difference(privileges),
            hypercalls: self
                .hypercall_privileges
                .difference(Self::IMPLEMENTED_HYPERCALLS),
            features: self.features.difference(features),
            recommendations: self.recommendations.intersection(impossible),
        };
        if unimplemented != Unimplemented::default() {
            return Err(HvError::Unimplemented(unimplemented));
        }
        let missing = Privileges::MANDATORY.difference(self.privileges);
        if !missing.is_empty() {
            return Err(HvError::Mandatory(missing));
        }
        Ok(())
    }
}

/// What was asked for and is not implemented: a partition offers only what works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unimplemented {
    /// MSRs.
    pub privileges: Privileges,
    /// Hypercalls.
    pub hypercalls: HypercallPrivileges,
    /// Features.
    pub features: Features,
    /// Recommendations of things that are not there.
    pub recommendations: Recommendations,
}

/// Why a partition's hypervisor cannot be made as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HvError {
    /// The number of virtual processors is 0 or above [`MAX_VP_COUNT`].
    #[error("{0} virtual processors are not between 1 and {MAX_VP_COUNT}")]
    VpCount(u32),
    /// The clock counts too slowly for the reference time formula.
    #[error("a time-stamp counter of {hertz} Hz is not above 10 MHz")]
    ClockTooSlow {
        /// Its rate in hertz.
        hertz: u64,
    },
    /// KVM or PC firmware has its own use for the port.
    #[error("I/O port {0:#x} cannot carry hypercalls")]
    HypercallPort(u8),
    /// A configured feature does not exist here.
    #[error("not implemented: {0:?}")]
    Unimplemented(Unimplemented),
    /// Guests reject a platform without these.
    #[error("guests cannot do without {0:?}")]
    Mandatory(Privileges),
}
