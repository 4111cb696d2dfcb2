//! A virtual processor's registers at entry, for hypercalls, and for a report of its end.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, Msrs, kvm_dtable, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_segment,
    kvm_sregs,
};
use kvm_ioctls::VcpuFd;

use super::{KvmError, RegisterDump};
use crate::boot::linux::{self, EntryMode, LinuxEntry};
use crate::boot::long_mode::{CODE_SELECTOR, DATA_SELECTOR, Entry};
use crate::hv::HypercallRegisters;
use crate::memory::GuestMemory;

const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_NUMERIC_ERROR: u64 = 1 << 5;
const CR0_WRITE_PROTECT: u64 = 1 << 16;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const CR4_GLOBAL_PAGES: u64 = 1 << 7;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
const FLAGS_ALWAYS: u64 = 1 << 1;

const CODE_EXECUTE_READ_ACCESSED: u8 = 0xB;
const DATA_READ_WRITE_ACCESSED: u8 = 0x3;
const LONGEST_INSTRUCTION: usize = 15;

/// Makes a processor enter the guest in 64-bit mode, with its index in RSI, when it first runs.
pub(super) fn set_entry(processor: &VcpuFd, index: u32, entry: &Entry) -> Result<(), KvmError> {
    let mut sregs = processor
        .get_sregs()
        .map_err(KvmError::refused("tell system registers"))?;
    let code = kvm_segment {
        limit: u32::MAX,
        selector: CODE_SELECTOR,
        type_: CODE_EXECUTE_READ_ACCESSED,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let data = kvm_segment {
        limit: u32::MAX,
        selector: DATA_SELECTOR,
        type_: DATA_READ_WRITE_ACCESSED,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..kvm_segment::default()
    };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.gdt = kvm_dtable {
        base: entry.gdt_base,
        limit: entry.gdt_limit,
        ..kvm_dtable::default()
    };
    sregs.idt = kvm_dtable::default();
    sregs.cr0 =
        CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_NUMERIC_ERROR | CR0_WRITE_PROTECT | CR0_PAGING;
    sregs.cr3 = entry.page_map;
    sregs.cr4 = CR4_PHYSICAL_ADDRESS_EXTENSION;
    sregs.efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
    processor
        .set_sregs(&sregs)
        .map_err(KvmError::refused("set system registers"))?;
    let regs = kvm_regs {
        rip: entry.instruction,
        rdi: entry.boot_info,
        rsi: u64::from(index),
        rflags: FLAGS_ALWAYS,
        ..kvm_regs::default()
    };
    processor
        .set_regs(&regs)
        .map_err(KvmError::refused("set general registers"))
}

/// Makes the boot processor enter a kernel when it first runs.
pub(super) fn set_linux_entry(processor: &VcpuFd, entry: &LinuxEntry) -> Result<(), KvmError> {
    let mut sregs = processor
        .get_sregs()
        .map_err(KvmError::refused("tell system registers"))?;
    let is_long = matches!(entry.mode, EntryMode::Long { .. });
    let flat = kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let code = kvm_segment {
        selector: linux::CODE_SELECTOR,
        type_: CODE_EXECUTE_READ_ACCESSED,
        l: u8::from(is_long),
        db: u8::from(!is_long),
        ..flat
    };
    let data = kvm_segment {
        selector: linux::DATA_SELECTOR,
        type_: DATA_READ_WRITE_ACCESSED,
        db: 1,
        ..flat
    };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.gdt = kvm_dtable {
        base: entry.gdt_base,
        limit: entry.gdt_limit,
        ..kvm_dtable::default()
    };
    sregs.idt = kvm_dtable::default();
    sregs.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_NUMERIC_ERROR;
    (sregs.cr4, sregs.efer) = (0, 0);
    if let EntryMode::Long { page_map } = entry.mode {
        sregs.cr0 |= CR0_PAGING;
        sregs.cr3 = page_map;
        sregs.cr4 = CR4_PHYSICAL_ADDRESS_EXTENSION;
        sregs.efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
    }
    processor
        .set_sregs(&sregs)
        .map_err(KvmError::refused("set system registers"))?;
    let regs = kvm_regs {
        rip: entry.instruction,
        rsi: entry.boot_parameters,
        rbx: entry.start_info,
        rflags: FLAGS_ALWAYS,
        ..kvm_regs::default()
    };
    processor
        .set_regs(&regs)
        .map_err(KvmError::refused("set general registers"))
}

/// The default memory type: enabled, write-back. Without it kernels think that memory types are not set up.
const MTRR_DEFAULT_TYPE: u32 = 0x2FF;
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;
/// Offsets of the local APIC's registers for its interrupt pins.
const LOCAL_PIN_0: usize = 0x350;
const LOCAL_PIN_1: usize = 0x360;
const DELIVER_EXTERNAL: u32 = 0b111 << 8;
const DELIVER_NMI: u32 = 0b100 << 8;

/// Sets what a PC's firmware leaves in each processor: memory types, and where the legacy interrupt controllers and
/// non-maskable interrupts arrive.
pub(super) fn set_firmware_state(processor: &VcpuFd) -> Result<(), KvmError> {
    let entry = kvm_msr_entry {
        index: MTRR_DEFAULT_TYPE,
        data: MTRR_ENABLED_WRITE_BACK,
        ..kvm_msr_entry::default()
    };
    let set = Msrs::from_entries(&[entry])
        .ok()
        .map(|msrs| processor.set_msrs(&msrs))
        .transpose()
        .map_err(KvmError::refused("set memory types"))?;
    if set != Some(1) {
        return Err(KvmError::Capability("set memory types"));
    }
    let mut apic = processor
        .get_lapic()
        .map_err(KvmError::refused("tell a local APIC's state"))?;
    let mut change = |offset: usize, mode: u32| {
        for (register, byte) in apic.regs[offset..].iter_mut().zip(mode.to_le_bytes()) {
            *register = byte as _;
        }
    };
    change(LOCAL_PIN_0, DELIVER_EXTERNAL);
    change(LOCAL_PIN_1, DELIVER_NMI);
    processor
        .set_lapic(&apic)
        .map_err(KvmError::refused("set a local APIC's state"))
}

/// Lets a processor run from where it is, without the start-up messages that real ones wait for.
pub(super) fn make_runnable(processor: &VcpuFd) -> Result<(), KvmError> {
    processor
        .set_mp_state(kvm_mp_state {
            mp_state: KVM_MP_STATE_RUNNABLE,
        })
        .map_err(KvmError::refused("start a virtual processor"))
}

/// Whether the hypercall page may be called in this state: privilege level 0 of protected mode.
pub(super) fn may_call(sregs: &kvm_sregs) -> bool {
    sregs.cr0 & CR0_PROTECTED != 0 && sregs.ss.dpl == 0
}

fn is_64_bit(sregs: &kvm_sregs) -> bool {
    sregs.efer & EFER_LONG_MODE_ACTIVE != 0 && sregs.cs.l != 0
}

/// The parameters of a hypercall, by the calling convention of the processor's mode.
pub(super) fn hypercall_parameters(regs: &kvm_regs, sregs: &kvm_sregs) -> HypercallRegisters {
    if is_64_bit(sregs) {
        return HypercallRegisters {
            control: regs.rcx,
            input: regs.rdx,
            output: regs.r8,
        };
    }
    HypercallRegisters {
        control: joined(regs.rdx, regs.rax),
        input: joined(regs.rbx, regs.rcx),
        output: joined(regs.rdi, regs.rsi),
    }
}

/// Puts the result of a hypercall where the guest expects it. RIP stays: KVM itself steps over the trapping OUT.
pub(super) fn set_hypercall_result(regs: &mut kvm_regs, sregs: &kvm_sregs, result: u64) {
    if is_64_bit(sregs) {
        regs.rax = result;
    } else {
        regs.rax = result & 0xFFFF_FFFF;
        regs.rdx = result >> 32;
    }
}

fn joined(high: u64, low: u64) -> u64 {
    high << 32 | low & 0xFFFF_FFFF
}

/// Makes a processor that is not in the guest forget all translations that it has cached.
///
/// KVM has no call for that. A change of CR4 has it build its page tables' root anew, and that flushes.
pub(super) fn flush_tlb(processor: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let sregs = processor.get_sregs()?;
    let mut other = sregs;
    other.cr4 ^= CR4_GLOBAL_PAGES;
    processor.set_sregs(&other)?;
    processor.set_sregs(&sregs)
}

/// The processor's registers for a report, if KVM still gives them.
pub(super) fn dump(processor: &VcpuFd, memory: &GuestMemory) -> Option<Box<RegisterDump>> {
    let regs = processor.get_regs().ok()?;
    let sregs = processor.get_sregs().ok()?;
    let mut code = Vec::new();
    let linear = (0..LONGEST_INSTRUCTION as u64).map(|at| regs.rip.wrapping_add(at));
    for address in linear {
        let Ok(translation) = processor.translate_gva(address) else {
            break;
        };
        let mut byte = [0];
        if translation.valid == 0
            || memory
                .read(translation.physical_address, &mut byte)
                .is_err()
        {
            break;
        }
        code.push(byte[0]);
    }
    Some(Box::new(RegisterDump::new(&regs, &sregs, code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_calling_conventions_are_known() {
        let mut sregs = kvm_sregs {
            cr0: CR0_PROTECTED,
            ..kvm_sregs::default()
        };
        let mut regs = kvm_regs {
            rax: 0xFFFF_FFFF_0000_0001,
            rdx: 2,
            rcx: 4,
            rbx: 3,
            rsi: 6,
            rdi: 5,
            r8: 8,
            ..kvm_regs::default()
        };
        let in_32_bits = hypercall_parameters(&regs, &sregs);
        assert_eq!(in_32_bits.control, 2 << 32 | 1);
        assert_eq!(in_32_bits.input, 3 << 32 | 4);
        assert_eq!(in_32_bits.output, 5 << 32 | 6);
        set_hypercall_result(&mut regs, &sregs, 7 << 32 | 9);
        assert_eq!((regs.rax, regs.rdx), (9, 7));

        sregs.efer = EFER_LONG_MODE_ACTIVE;
        sregs.cs.l = 1;
        let in_64_bits = hypercall_parameters(&regs, &sregs);
        assert_eq!(
            (in_64_bits.control, in_64_bits.input, in_64_bits.output),
            (4, 7, 8)
        );
        set_hypercall_result(&mut regs, &sregs, 7 << 32 | 9);
        assert_eq!((regs.rax, regs.rdx), (7 << 32 | 9, 7));

        assert!(may_call(&sregs));
        sregs.ss.dpl = 3;
        assert!(!may_call(&sregs));
        assert!(!may_call(&kvm_sregs::default()));
    }
}
