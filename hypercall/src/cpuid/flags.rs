//! Feature words of the hypervisor leaves.

use bitflags::bitflags;

bitflags! {
    /// Which synthetic MSRs the partition may access: EAX of
    /// [`LEAF_FEATURES`](super::LEAF_FEATURES). An MSR whose bit is clear
    /// raises a general protection fault on every access.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Privileges: u32 {
        /// VP_RUNTIME.
        const VP_RUNTIME = 1 << 0;
        /// TIME_REF_COUNT.
        const TIME_REF_COUNT = 1 << 1;
        /// SCONTROL, SVERSION, SIEFP, SIMP, EOM and SINT0 to SINT15.
        const SYNIC = 1 << 2;
        /// Synthetic timers.
        const STIMER = 1 << 3;
        /// EOI, ICR, TPR and VP_ASSIST_PAGE.
        const APIC = 1 << 4;
        /// GUEST_OS_ID and HYPERCALL.
        const HYPERCALL = 1 << 5;
        /// VP_INDEX.
        const VP_INDEX = 1 << 6;
        /// RESET.
        const RESET = 1 << 7;
        /// Statistics pages.
        const STATISTICS = 1 << 8;
        /// REFERENCE_TSC.
        const REFERENCE_TSC = 1 << 9;
        /// GUEST_IDLE.
        const GUEST_IDLE = 1 << 10;
        /// TSC_FREQUENCY and APIC_FREQUENCY, together with
        /// [`Features::FREQUENCY`].
        const FREQUENCY = 1 << 11;
        /// Debugger transport.
        const DEBUG = 1 << 12;
        /// REENLIGHTENMENT_CONTROL and TSC_EMULATION_*.
        const REENLIGHTENMENT = 1 << 13;
        /// The root partition schedules virtual processors.
        const ROOT_SCHEDULER = 1 << 14;
        /// TSC_INVARIANT_CONTROL.
        const TSC_INVARIANT = 1 << 15;
        const _ = !0;
    }
}

impl Privileges {
    /// What a guest cannot do without: the platform is rejected otherwise.
    pub const MANDATORY: Self = Self::HYPERCALL.union(Self::VP_INDEX);
}

bitflags! {
    /// Which hypercalls the partition may make: EBX of
    /// [`LEAF_FEATURES`](super::LEAF_FEATURES).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct HypercallPrivileges: u32 {
        /// Create partitions.
        const CREATE_PARTITIONS = 1 << 0;
        /// Ask for the own partition id.
        const ACCESS_PARTITION_ID = 1 << 1;
        /// Manage the memory pool.
        const ACCESS_MEMORY_POOL = 1 << 2;
        /// Adjust message buffers.
        const ADJUST_MESSAGE_BUFFERS = 1 << 3;
        /// Post messages.
        const POST_MESSAGES = 1 << 4;
        /// Signal events.
        const SIGNAL_EVENTS = 1 << 5;
        /// Create ports.
        const CREATE_PORT = 1 << 6;
        /// Connect ports.
        const CONNECT_PORT = 1 << 7;
        /// Read statistics.
        const ACCESS_STATISTICS = 1 << 8;
        /// Debugger calls.
        const DEBUGGING = 1 << 11;
        /// Manage processors: the partition is the root partition, unless it
        /// is isolated.
        const CPU_MANAGEMENT = 1 << 12;
        /// Configure the profiler.
        const CONFIGURE_PROFILER = 1 << 13;
        /// Trace exits of virtual processors.
        const EXIT_TRACING = 1 << 14;
        /// Extended address ranges in flush lists.
        const EXTENDED_GVA_RANGES = 1 << 15;
        /// Virtual secure mode.
        const ACCESS_VSM = 1 << 16;
        /// Get and set registers of virtual processors.
        const ACCESS_VP_REGISTERS = 1 << 17;
        /// Output of fast hypercalls in registers.
        const FAST_HYPERCALL_OUTPUT = 1 << 19;
        /// Extended hypercalls, codes from 0x8001.
        const EXTENDED_HYPERCALLS = 1 << 20;
        /// Start virtual processors.
        const START_VIRTUAL_PROCESSOR = 1 << 21;
        /// Isolation; [`LEAF_ISOLATION`](super::LEAF_ISOLATION) has a meaning.
        const ISOLATION = 1 << 22;
        const _ = !0;
    }
}

bitflags! {
    /// Features of the interface: EDX of
    /// [`LEAF_FEATURES`](super::LEAF_FEATURES).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// MWAIT (deprecated).
        const MWAIT = 1 << 0;
        /// Guest debugging.
        const GUEST_DEBUGGING = 1 << 1;
        /// Performance monitor.
        const PERFORMANCE_MONITOR = 1 << 2;
        /// Events of dynamic processor partitioning.
        const CPU_DYNAMIC_PARTITIONING = 1 << 3;
        /// Input of fast hypercalls in XMM registers.
        const XMM_INPUT = 1 << 4;
        /// Virtual guest idle state.
        const GUEST_IDLE_STATE = 1 << 5;
        /// Hypervisor sleep state.
        const SLEEP_STATE = 1 << 6;
        /// NUMA distances can be queried.
        const NUMA_DISTANCES = 1 << 7;
        /// TSC_FREQUENCY and APIC_FREQUENCY exist.
        const FREQUENCY = 1 << 8;
        /// Synthetic machine checks.
        const SYNTHETIC_MACHINE_CHECK = 1 << 9;
        /// Crash MSRs.
        const CRASH = 1 << 10;
        /// Debugger MSRs.
        const DEBUG = 1 << 11;
        /// Non-privileged instruction execution prevention.
        const NPIEP = 1 << 12;
        /// The hypervisor can be disabled.
        const DISABLE_HYPERVISOR = 1 << 13;
        /// Extended address ranges in flush lists.
        const EXTENDED_GVA_RANGES = 1 << 14;
        /// Output of fast hypercalls in XMM registers.
        const XMM_OUTPUT = 1 << 15;
        /// SINT polling mode.
        const SINT_POLLING = 1 << 17;
        /// The hypercall register can be locked.
        const HYPERCALL_LOCK = 1 << 18;
        /// Synthetic timers can raise an interrupt directly.
        const DIRECT_STIMERS = 1 << 19;
        /// PAT register for virtual secure mode.
        const VSM_PAT = 1 << 20;
        /// BNDCFGS register for virtual secure mode.
        const VSM_BNDCFGS = 1 << 21;
        /// Time-unhalted timer.
        const TIME_UNHALTED_TIMER = 1 << 23;
        /// Last branch records.
        const LAST_BRANCH_RECORDS = 1 << 26;
        const _ = !0;
    }
}

bitflags! {
    /// What the hypervisor recommends for speed: EAX of
    /// [`LEAF_RECOMMENDATIONS`](super::LEAF_RECOMMENDATIONS).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Recommendations: u32 {
        /// Hypercall for address space switches.
        const ADDRESS_SPACE_SWITCH = 1 << 0;
        /// Hypercall for local TLB flushes.
        const LOCAL_FLUSH = 1 << 1;
        /// Hypercall for remote TLB flushes.
        const REMOTE_FLUSH = 1 << 2;
        /// MSRs for EOI, ICR and TPR.
        const APIC_MSRS = 1 << 3;
        /// MSR for reset.
        const RESET_MSR = 1 << 4;
        /// Relaxed timing: no watchdogs.
        const RELAXED_TIMING = 1 << 5;
        /// DMA remapping.
        const DMA_REMAPPING = 1 << 6;
        /// Interrupt remapping.
        const INTERRUPT_REMAPPING = 1 << 7;
        /// x2APIC MSRs.
        const X2APIC_MSRS = 1 << 8;
        /// Do not use automatic end of interrupt.
        const DEPRECATE_AUTO_EOI = 1 << 9;
        /// Hypercall for inter-processor interrupts.
        const CLUSTER_IPI = 1 << 10;
        /// Calls with processor sets instead of 64-bit masks.
        const EX_PROCESSOR_MASKS = 1 << 11;
        /// The hypervisor itself runs on Hyper-V.
        const NESTED = 1 << 12;
        /// INT for MBEC system calls.
        const MBEC_INT = 1 << 13;
        /// Enlightened VMCS.
        const ENLIGHTENED_VMCS = 1 << 14;
        /// Synced timeline.
        const SYNCED_TIMELINE = 1 << 15;
        /// The scheduler knows cores.
        const CORE_SCHEDULER = 1 << 16;
        /// Local flush of everything by CR4.PGE.
        const DIRECT_LOCAL_FLUSH = 1 << 17;
        /// Cores are not shared but as the architecture says.
        const NO_NONARCHITECTURAL_CORE_SHARING = 1 << 18;
        /// x2APIC mode.
        const X2APIC_MODE = 1 << 19;
        /// Restore the time on resume.
        const RESTORE_TIME_ON_RESUME = 1 << 20;
        /// Hypercalls for memory-mapped I/O.
        const MMIO_HYPERCALLS = 1 << 21;
        /// Hypercall to pin guest physical addresses.
        const PIN_GPA = 1 << 22;
        /// Hypercall to wake virtual processors.
        const WAKE_VPS = 1 << 23;
        const _ = !0;
    }
}
