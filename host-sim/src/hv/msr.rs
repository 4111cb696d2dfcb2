//! Synthetic MSRs: which register an access means, whether it is allowed, and what raises a general-protection fault.

use hypercall::cpuid::{Features, Privileges};
use hypercall::msr::{
    self, CRASH_P0, CrashControl, GuestOsId, PageRegister, SintIndex, SintRegister, StimerConfig,
    TimerIndex,
};

use super::crash::{self, CrashMessage, CrashReport};
use super::{Hv, HvEvent};

/// An MSR access that raises #GP(0) in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MSR {msr:#x}: {refusal}")]
pub struct GeneralProtection {
    /// The register.
    pub msr: u32,
    /// Why.
    pub refusal: Refusal,
}

/// Why an MSR access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such register, or the partition may not access it.
    #[error("not available to this partition")]
    NotAvailable,
    /// A write to a register that is read-only.
    #[error("read-only")]
    ReadOnly,
    /// Bits that must be zero, or that the feature for them is missing.
    #[error("reserved bits are set")]
    Reserved,
    /// The hypercall register is locked until reset.
    #[error("locked until reset")]
    Locked,
    /// The page is not guest memory.
    #[error("the page is not in guest memory")]
    NotRam,
    /// An unmasked interrupt source with a vector below 16.
    #[error("vector below 16")]
    Vector,
    /// The host named a virtual processor that does not exist.
    #[error("no such virtual processor")]
    NoSuchVp,
}

/// A register that exists here, freed of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    GuestOsId,
    Hypercall,
    VpIndex,
    Reset,
    TimeRefCount,
    ReferenceTsc,
    TscFrequency,
    ApicFrequency,
    Scontrol,
    Sversion,
    Siefp,
    Simp,
    Eom,
    Sint(SintIndex),
    TimerConfig(TimerIndex),
    TimerCount(TimerIndex),
    CrashParameter(usize),
    CrashControl,
    TscInvariantControl,
    VpAssistPage,
}

/// What a register's existence depends on.
enum Grant {
    Privilege(Privileges),
    Feature(Features),
    /// The configuration's word.
    VpAssistPage,
}

impl Register {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            msr::GUEST_OS_ID => Self::GuestOsId,
            msr::HYPERCALL => Self::Hypercall,
            msr::VP_INDEX => Self::VpIndex,
            msr::RESET => Self::Reset,
            msr::TIME_REF_COUNT => Self::TimeRefCount,
            msr::REFERENCE_TSC => Self::ReferenceTsc,
            msr::TSC_FREQUENCY => Self::TscFrequency,
            msr::APIC_FREQUENCY => Self::ApicFrequency,
            msr::SCONTROL => Self::Scontrol,
            msr::SVERSION => Self::Sversion,
            msr::SIEFP => Self::Siefp,
            msr::SIMP => Self::Simp,
            msr::EOM => Self::Eom,
            msr::CRASH_P0..=msr::CRASH_P4 => Self::CrashParameter((number - CRASH_P0) as usize),
            msr::CRASH_CTL => Self::CrashControl,
            msr::TSC_INVARIANT_CONTROL => Self::TscInvariantControl,
            msr::VP_ASSIST_PAGE => Self::VpAssistPage,
            _ => {
                if let Some(sint) = SintIndex::from_register(number) {
                    Self::Sint(sint)
                } else {
                    let timer = TimerIndex::from_register(number)?;
                    if number == timer.config_register() {
                        Self::TimerConfig(timer)
                    } else {
                        Self::TimerCount(timer)
                    }
                }
            }
        })
    }

    fn grant(self) -> Grant {
        Grant::Privilege(match self {
            Self::GuestOsId | Self::Hypercall => Privileges::HYPERCALL,
            Self::VpIndex => Privileges::VP_INDEX,
            Self::Reset => Privileges::RESET,
            Self::TimeRefCount => Privileges::TIME_REF_COUNT,
            Self::ReferenceTsc => Privileges::REFERENCE_TSC,
            Self::TscFrequency | Self::ApicFrequency => Privileges::FREQUENCY,
            Self::Scontrol
            | Self::Sversion
            | Self::Siefp
            | Self::Simp
            | Self::Eom
            | Self::Sint(_) => Privileges::SYNIC,
            Self::TimerConfig(_) | Self::TimerCount(_) => Privileges::STIMER,
            Self::TscInvariantControl => Privileges::TSC_INVARIANT,
            Self::CrashParameter(_) | Self::CrashControl => return Grant::Feature(Features::CRASH),
            Self::VpAssistPage => return Grant::VpAssistPage,
        })
    }
}

impl Hv {
    /// A virtual processor reads a synthetic MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] is for the guest: inject #GP(0).
    pub fn read_msr(&self, vp: u32, msr: u32) -> Result<u64, GeneralProtection> {
        self.counters.msr_read(msr);
        self.read_register(vp, msr).map_err(|refusal| {
            self.counters.msr_fault();
            GeneralProtection { msr, refusal }
        })
    }

    /// A virtual processor writes a synthetic MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] is for the guest: inject #GP(0). The register is then unchanged.
    pub fn write_msr(&self, vp: u32, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        self.counters.msr_write(msr);
        self.write_register(vp, msr, value).map_err(|refusal| {
            self.counters.msr_fault();
            GeneralProtection { msr, refusal }
        })
    }

    fn register(&self, msr: u32) -> Result<Register, Refusal> {
        let register = Register::of(msr).ok_or(Refusal::NotAvailable)?;
        let granted = match register.grant() {
            Grant::Privilege(privilege) => self.machine.config.privileges.contains(privilege),
            Grant::Feature(feature) => self.machine.config.features.contains(feature),
            Grant::VpAssistPage => self.machine.config.vp_assist_page,
        };
        granted.then_some(register).ok_or(Refusal::NotAvailable)
    }

    pub(super) fn read_register(&self, vp: u32, msr: u32) -> Result<u64, Refusal> {
        let register = self.register(msr)?;
        let processor = self.vp(vp).ok_or(Refusal::NoSuchVp)?;
        let config = &self.machine.config;
        Ok(match register {
            Register::GuestOsId => self.partition().guest_os_id.bits(),
            Register::Hypercall => self.partition().hypercall().bits(),
            Register::VpIndex => u64::from(vp),
            Register::Reset | Register::Eom => 0,
            Register::TimeRefCount => self.reference_time(),
            Register::ReferenceTsc => self.partition().reference_tsc().bits(),
            Register::TscFrequency => config
                .clock
                .guest_tsc_frequency()
                .ok_or(Refusal::NotAvailable)?,
            Register::ApicFrequency => config.apic_frequency,
            Register::Scontrol => processor.lock().scontrol(),
            Register::Sversion => msr::SYNIC_VERSION,
            Register::Siefp => processor.lock().siefp().register().bits(),
            Register::Simp => processor.lock().simp().register().bits(),
            Register::Sint(sint) => processor.lock().sint(sint).bits(),
            Register::TimerConfig(timer) => processor.lock().timer(timer).config().bits(),
            Register::TimerCount(timer) => processor.lock().timer(timer).count(),
            Register::CrashParameter(index) => self.partition().crash[index],
            Register::CrashControl => crash::SUPPORTED.bits(),
            Register::TscInvariantControl => self.partition().tsc_invariant,
            Register::VpAssistPage => processor.lock().assist_page().register().bits(),
        })
    }

    pub(super) fn write_register(&self, vp: u32, msr: u32, value: u64) -> Result<(), Refusal> {
        let register = self.register(msr)?;
        let processor = self.vp(vp).ok_or(Refusal::NoSuchVp)?;
        let machine = &self.machine;
        match register {
            Register::VpIndex
            | Register::TimeRefCount
            | Register::TscFrequency
            | Register::ApicFrequency
            | Register::Sversion => return Err(Refusal::ReadOnly),
            Register::GuestOsId => {
                let mut partition = self.partition();
                partition.write_guest_os_id(machine, GuestOsId::from_bits(value));
                self.note_hypercall_page(&partition);
            }
            Register::Hypercall => {
                let mut partition = self.partition();
                partition.write_hypercall(machine, PageRegister::from_bits(value))?;
                self.note_hypercall_page(&partition);
            }
            Register::ReferenceTsc => self
                .partition()
                .write_reference_tsc(machine, PageRegister::from_bits(value))?,
            Register::TscInvariantControl => self.partition().write_tsc_invariant(value)?,
            Register::CrashParameter(index) => self.partition().crash[index] = value,
            Register::VpAssistPage => self.with_vp(processor, |state, _| {
                state.write_assist_page(machine, PageRegister::from_bits(value))
            })?,
            Register::CrashControl => self.report_crash(vp, CrashControl::from_bits_retain(value)),
            Register::Reset => {
                if value & 1 != 0 {
                    self.notify(HvEvent::ResetRequested { vp });
                }
            }
            Register::Scontrol => self.with_vp(processor, |state, raise| {
                state.write_scontrol(machine, value, raise);
            }),
            Register::Siefp => self.with_vp(processor, |state, _| {
                state.write_siefp(machine, PageRegister::from_bits(value))
            })?,
            Register::Simp => self.with_vp(processor, |state, raise| {
                state.write_simp(machine, PageRegister::from_bits(value), raise)
            })?,
            Register::Eom => self.with_vp(processor, |state, raise| {
                state.deliver_all(machine, raise);
            }),
            Register::Sint(sint) => self.with_vp(processor, |state, raise| {
                state.write_sint(machine, sint, SintRegister::from_bits(value), raise)
            })?,
            Register::TimerConfig(timer) => self.with_vp(processor, |state, raise| {
                state.write_timer_config(machine, timer, StimerConfig::from_bits(value), raise)
            })?,
            Register::TimerCount(timer) => self.with_vp(processor, |state, raise| {
                state.write_timer_count(machine, timer, value, raise);
            }),
        }
        Ok(())
    }

    fn report_crash(&self, vp: u32, control: CrashControl) {
        if !control.contains(CrashControl::NOTIFY) {
            return;
        }
        let (guest_os_id, parameters) = {
            let partition = self.partition();
            (partition.guest_os_id.bits(), partition.crash)
        };
        let [.., address, length] = parameters;
        let message = control
            .contains(CrashControl::MESSAGE)
            .then(|| CrashMessage::read(self.machine.memory(), address, length));
        self.notify(HvEvent::Crash(CrashReport {
            vp,
            guest_os_id,
            parameters,
            control,
            message,
        }));
    }
}
