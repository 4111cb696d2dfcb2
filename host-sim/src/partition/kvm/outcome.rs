//! How a partition's run ended.

use std::fmt;

use kvm_bindings::{kvm_regs, kvm_sregs};

/// How a partition's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered the machine off with this status; 0 is success.
    PoweredOff {
        /// The guest's status.
        status: u8,
    },
    /// The guest asked for a reset of the partition.
    ResetRequested {
        /// The virtual processor that asked.
        vp: u32,
    },
    /// The host stopped the machine.
    Stopped,
    /// A virtual processor cannot go on.
    Failed {
        /// Its index.
        vp: u32,
        /// Why.
        failure: Failure,
        /// Its registers, if KVM still gives them.
        registers: Option<Box<RegisterDump>>,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff { status } => write!(f, "the guest powered off with status {status}"),
            Self::ResetRequested { vp } => {
                write!(f, "the guest asked for a reset on virtual processor {vp}")
            }
            Self::Stopped => f.write_str("the host stopped the guest"),
            Self::Failed {
                vp,
                failure,
                registers,
            } => {
                write!(f, "virtual processor {vp} {failure}")?;
                match registers {
                    Some(registers) => write!(f, "\n{registers}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Why a virtual processor cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A fault in the handling of a double fault: the processor shut down.
    TripleFault,
    /// KVM does not emulate an instruction, or gave up for a reason of its own.
    KvmInternal {
        /// KVM's number for the reason; 1 is an instruction that it does not emulate.
        suberror: u32,
    },
    /// The processor refuses the state that it should enter.
    Entry {
        /// The hardware's reason.
        reason: u64,
    },
    /// An exit that nothing here deals with.
    Exit {
        /// What it was.
        exit: String,
    },
    /// KVM failed to run the processor.
    Run {
        /// The system's error number.
        errno: i32,
    },
    /// A device or the shim panicked: a bug of the host.
    HostPanic,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TripleFault => f.write_str("shut down after a triple fault"),
            Self::KvmInternal { suberror: 1 } => {
                f.write_str("came to an instruction that KVM does not emulate")
            }
            Self::KvmInternal { suberror } => write!(f, "met KVM's internal error {suberror}"),
            Self::Entry { reason } => write!(f, "cannot be entered: reason {reason:#x}"),
            Self::Exit { exit } => write!(f, "exited unexpectedly: {exit}"),
            Self::Run { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "cannot be run: {error}")
            }
            Self::HostPanic => f.write_str("was lost to a panic of the host"),
        }
    }
}

/// A virtual processor's registers, and the instruction bytes at RIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterDump {
    /// RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8 to R15.
    pub general: [u64; 16],
    /// RIP.
    pub instruction_pointer: u64,
    /// RFLAGS.
    pub flags: u64,
    /// CS selector.
    pub code_segment: u16,
    /// CR0, CR2, CR3, CR4.
    pub control: [u64; 4],
    /// EFER.
    pub extended_features: u64,
    /// Bytes at RIP, as many as could be read, at most 15.
    pub code: Vec<u8>,
}

impl RegisterDump {
    pub(super) fn new(regs: &kvm_regs, sregs: &kvm_sregs, code: Vec<u8>) -> Self {
        Self {
            general: [
                regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rsp, regs.rbp,
                regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
            ],
            instruction_pointer: regs.rip,
            flags: regs.rflags,
            code_segment: sregs.cs.selector,
            control: [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4],
            extended_features: sregs.efer,
            code,
        }
    }
}

impl fmt::Display for RegisterDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 16] = [
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8 ", "r9 ", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        writeln!(
            f,
            "rip {:#018x} cs {:#06x} rflags {:#x}",
            self.instruction_pointer, self.code_segment, self.flags
        )?;
        for (names, values) in NAMES.chunks(4).zip(self.general.chunks(4)) {
            let line: Vec<_> = names
                .iter()
                .zip(values)
                .map(|(name, value)| format!("{name} {value:#018x}"))
                .collect();
            writeln!(f, "{}", line.join(" "))?;
        }
        let [cr0, cr2, cr3, cr4] = self.control;
        writeln!(
            f,
            "cr0 {cr0:#x} cr2 {cr2:#x} cr3 {cr3:#x} cr4 {cr4:#x} efer {:#x}",
            self.extended_features
        )?;
        write!(f, "code")?;
        self.code
            .iter()
            .try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}
