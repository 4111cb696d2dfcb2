//! GetVpRegisters and SetVpRegisters: the rep calls over synthetic registers by name.

use hypercall::CpuidResult;
use hypercall::call::{
    CallResult, Control, PARTITION_ID_SELF, RegisterAssignment, RegisterName, RegisterValue,
    Status, VP_INDEX_SELF, VpRegistersHeader,
};
use hypercall::cpuid::{LEAF_FEATURES, LEAF_RECOMMENDATIONS, LEAF_VERSION};
use hypercall::msr;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::Hv;
use super::hypercall::{HypercallRegisters, PARTITION_ID};
use super::msr::Refusal;
use crate::memory::PAGE_SIZE;

const HEADER: usize = size_of::<VpRegistersHeader>();
const NAME: usize = size_of::<u32>();
const VALUE: usize = size_of::<RegisterValue>();
const ASSIGNMENT: usize = size_of::<RegisterAssignment>();

impl Hv {
    pub(super) fn get_vp_registers(
        &self,
        vp: u32,
        control: Control,
        registers: HypercallRegisters,
    ) -> CallResult {
        let output = registers.output;
        self.for_each_register(vp, control, registers, NAME, VALUE, |vp, index, element| {
            let name = u32::read_from_bytes(element).map_err(|_| Status::INVALID_PARAMETER)?;
            let value = self.register_by_name(vp, RegisterName(name))?;
            let place = output + index as u64 * VALUE as u64;
            self.write_output(place, value.as_bytes()).into_result()
        })
    }

    pub(super) fn set_vp_registers(
        &self,
        vp: u32,
        control: Control,
        registers: HypercallRegisters,
    ) -> CallResult {
        self.for_each_register(vp, control, registers, ASSIGNMENT, 0, |vp, _, element| {
            let assignment = RegisterAssignment::read_from_bytes(element)
                .map_err(|_| Status::INVALID_PARAMETER)?;
            let name = RegisterName(assignment.name.get());
            let msr = msr_of(name).ok_or(Status::UNKNOWN_REGISTER)?;
            self.write_register(vp, msr, assignment.value.as_u64())
                .map_err(status_of)
        })
    }

    /// Walks the list of a rep call: elements done before the first failure count, from element 0 on.
    fn for_each_register(
        &self,
        vp: u32,
        control: Control,
        registers: HypercallRegisters,
        element: usize,
        output_element: usize,
        mut act: impl FnMut(u32, usize, &[u8]) -> Result<(), Status>,
    ) -> CallResult {
        if control.is_fast() {
            // Header and list exceed the two registers, and input in XMM registers is not offered.
            return Status::INVALID_HYPERCALL_INPUT.into();
        }
        let count = usize::from(control.rep_count());
        let length = HEADER + count * element;
        if length > PAGE_SIZE as usize {
            return Status::INVALID_HYPERCALL_INPUT.into();
        }
        let mut input = vec![0; length];
        let areas = self
            .read_input(registers.input, &mut input)
            .and_then(|()| self.check_area(registers.output, count * output_element));
        if let Err(status) = areas {
            return status.into();
        }
        let (header, list) = input.split_at(HEADER);
        let vp = match self.target_of(vp, header) {
            Ok(vp) => vp,
            Err(status) => return status.into(),
        };
        let start = control.rep_start();
        let limit = self.machine.config.reps_per_call.max(1);
        let mut done = start;
        for bytes in list
            .chunks_exact(element)
            .skip(usize::from(start))
            .take(usize::from(limit))
        {
            if let Err(status) = act(vp, usize::from(done), bytes) {
                return CallResult::new(status, done);
            }
            done += 1;
        }
        CallResult::new(Status::SUCCESS, done)
    }

    fn target_of(&self, caller: u32, header: &[u8]) -> Result<u32, Status> {
        let header = VpRegistersHeader::read_from_bytes(header)
            .map_err(|_| Status::INVALID_HYPERCALL_INPUT)?;
        let target = header.target();
        if !matches!(target.partition_id, PARTITION_ID_SELF | PARTITION_ID) {
            return Err(Status::INVALID_PARTITION_ID);
        }
        if target.vtl.is_some_and(|vtl| vtl != 0) {
            return Err(Status::INVALID_VTL_STATE);
        }
        match target.vp_index {
            VP_INDEX_SELF => Ok(caller),
            index if self.vp(index).is_some() => Ok(index),
            _ => Err(Status::INVALID_VP_INDEX),
        }
    }

    fn register_by_name(&self, vp: u32, name: RegisterName) -> Result<RegisterValue, Status> {
        let leaf = match name {
            RegisterName::HYPERVISOR_VERSION => Some(LEAF_VERSION),
            RegisterName::PRIVILEGES_AND_FEATURES => Some(LEAF_FEATURES),
            RegisterName::FEATURES_INFO => Some(LEAF_RECOMMENDATIONS),
            _ => None,
        };
        if let Some(leaf) = leaf.and_then(|leaf| self.cpuid(leaf, 0)) {
            return Ok(whole_leaf(leaf));
        }
        let msr = msr_of(name).ok_or(Status::UNKNOWN_REGISTER)?;
        self.read_register(vp, msr)
            .map(RegisterValue::from_u64)
            .map_err(status_of)
    }
}

fn whole_leaf(leaf: CpuidResult) -> RegisterValue {
    let value = [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
        .iter()
        .rev()
        .fold(0_u128, |value, &part| value << 32 | u128::from(part));
    RegisterValue(value.into())
}

/// The MSR behind a register's name.
fn msr_of(name: RegisterName) -> Option<u32> {
    let within = |first: RegisterName, count: u32, msr: u32| {
        let index = name.0.checked_sub(first.0)?;
        (index < count).then_some(msr + index)
    };
    let single = match name {
        RegisterName::CRASH_CTL => msr::CRASH_CTL,
        RegisterName::VP_RUNTIME => msr::VP_RUNTIME,
        RegisterName::GUEST_OS_ID => msr::GUEST_OS_ID,
        RegisterName::VP_INDEX => msr::VP_INDEX,
        RegisterName::TIME_REF_COUNT => msr::TIME_REF_COUNT,
        RegisterName::VP_ASSIST_PAGE => msr::VP_ASSIST_PAGE,
        RegisterName::REFERENCE_TSC => msr::REFERENCE_TSC,
        RegisterName::SCONTROL => msr::SCONTROL,
        RegisterName::SVERSION => msr::SVERSION,
        RegisterName::SIEFP => msr::SIEFP,
        RegisterName::SIMP => msr::SIMP,
        RegisterName::EOM => msr::EOM,
        _ => {
            return within(RegisterName::CRASH_P0, 5, msr::CRASH_P0)
                .or_else(|| within(RegisterName::SINT0, 16, msr::SINT0))
                .or_else(|| within(RegisterName::STIMER0_CONFIG, 8, msr::STIMER0_CONFIG));
        }
    };
    Some(single)
}

fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotAvailable => Status::UNKNOWN_REGISTER,
        Refusal::ReadOnly | Refusal::Locked => Status::ACCESS_DENIED,
        Refusal::Reserved | Refusal::NotRam | Refusal::Vector => Status::INVALID_REGISTER_VALUE,
        Refusal::NoSuchVp => Status::INVALID_VP_INDEX,
    }
}
