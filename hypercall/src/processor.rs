//! The one door to the hypervisor: what a virtual processor can ask of it.

/// The four registers that CPUID returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidResult {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// An MSR access raised a general protection fault: the register does not
/// exist, the privilege for it is missing, or the value breaks its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrFault {
    /// The register that was accessed.
    pub msr: u32,
}

impl core::fmt::Display for MsrFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "access to MSR {:#x} raised a general protection fault",
            self.msr
        )
    }
}

impl core::error::Error for MsrFault {}

/// "This virtual processor": the instructions through which a guest talks to
/// the hypervisor.
///
/// Every method acts on the virtual processor that runs the caller. The crate
/// reaches the hypervisor through this trait alone, so the same discovery,
/// SynIC and time code runs on a real processor ([`arch::x86_64::Cpu`]) and on
/// a twin whose hypervisor is a library in the same process.
///
/// # Safety
///
/// Callers of the trait derive memory safety from its answers. An
/// implementation must
///
/// * complete [`hypercall`](Self::hypercall) before it returns: on return the
///   hypervisor no longer reads the input area, and its writes to the output
///   area are visible to the caller;
/// * answer a call with a failure status, and without effect, while it has no
///   hypercall page to make it through;
/// * treat [`write_msr`](Self::write_msr) and [`hypercall`](Self::hypercall) as
///   accesses to any memory that the guest shared with the hypervisor, which
///   the compiler must not move memory accesses across;
/// * order [`tsc`](Self::tsc) after every earlier load of the caller.
///
/// [`arch::x86_64::Cpu`]: crate::arch::x86_64::Cpu
pub unsafe trait Processor {
    /// Executes CPUID.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;

    /// Reads a model-specific register.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] if the access raises a general protection fault. An
    /// implementation that cannot catch the fault says so in its documentation;
    /// its users must check CPUID before they touch a register.
    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault>;

    /// Writes a model-specific register.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] as for [`read_msr`](Self::read_msr); the register is then
    /// unchanged.
    ///
    /// # Safety
    ///
    /// The write must keep the promises that the register's definition asks
    /// for. In particular, a page whose frame is written to an overlay register
    /// (hypercall page, message page, event flags page, reference TSC page)
    /// belongs to the hypervisor until the register is disabled again.
    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault>;

    /// Calls the hypercall page.
    ///
    /// `control` is the hypercall input value. `input` is the guest physical
    /// address of the input area or, for a fast call, its first 8 bytes;
    /// `output` the address of the output area or the second 8 bytes. Returns
    /// the hypercall result value.
    ///
    /// # Safety
    ///
    /// Addresses must name memory that the caller lets the hypervisor read
    /// (input) and write (output), 8-byte aligned and within one page each, and
    /// the call itself must be sound for the caller to make. A hypercall page
    /// that the implementation was given must still be installed.
    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64;

    /// Reads the time stamp counter, after every earlier load has completed.
    fn tsc(&self) -> u64;
}

// SAFETY: every method forwards to the referenced implementation, which
// upholds the contract.
unsafe impl<P: Processor + ?Sized> Processor for &P {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        (**self).cpuid(leaf, subleaf)
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        (**self).read_msr(msr)
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        // SAFETY: the caller's promise is the one that this call asks for.
        unsafe { (**self).write_msr(msr, value) }
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        // SAFETY: the caller's promise is the one that this call asks for.
        unsafe { (**self).hypercall(control, input, output) }
    }

    fn tsc(&self) -> u64 {
        (**self).tsc()
    }
}

/// Index of this virtual processor, by which hypercalls, offers and messages
/// name it. It need not equal the APIC id or any number of the guest's.
///
/// # Errors
///
/// [`MsrFault`] without
/// [`Privileges::VP_INDEX`](crate::cpuid::Privileges::VP_INDEX).
pub fn vp_index<P: Processor + ?Sized>(processor: &P) -> Result<u32, MsrFault> {
    // The register has 32 bits that mean anything.
    processor
        .read_msr(crate::msr::VP_INDEX)
        .map(|index| index as u32)
}
