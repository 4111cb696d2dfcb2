//! Registers of virtual processors. Needs
//! [`HypercallPrivileges::ACCESS_VP_REGISTERS`].
//!
//! [`HypercallPrivileges::ACCESS_VP_REGISTERS`]: crate::cpuid::HypercallPrivileges::ACCESS_VP_REGISTERS

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::{CallError, ParameterPage, rep_call};
use crate::call::{
    CallCode, Control, RegisterAssignment, RegisterName, RegisterTarget, RegisterValue,
    VpRegistersHeader,
};
use crate::{PAGE_SIZE, Processor};

/// Most registers that one call reads: their values fill a page.
pub const GET_REGISTERS_MAX: usize = PAGE_SIZE / size_of::<RegisterValue>();

/// Most registers that one call writes: with the header they fill a page.
pub const SET_REGISTERS_MAX: usize =
    (PAGE_SIZE - size_of::<VpRegistersHeader>()) / size_of::<RegisterAssignment>();

/// Reads registers of a virtual processor into `values`, in the order of
/// `names`.
///
/// # Errors
///
/// [`CallError`]; after [`CallError::Status`] the values of the registers that
/// were read are there. [`CallError::Parameters`] if the slices differ in
/// length or exceed [`GET_REGISTERS_MAX`].
pub fn get_vp_registers<P: Processor + ?Sized>(
    processor: &P,
    input: &mut ParameterPage,
    output: &mut ParameterPage,
    target: RegisterTarget,
    names: &[RegisterName],
    values: &mut [RegisterValue],
) -> Result<(), CallError> {
    let count = names.len();
    if count != values.len() || count > GET_REGISTERS_MAX {
        return Err(CallError::Parameters);
    }
    if count == 0 {
        return Ok(());
    }
    let header = VpRegistersHeader::from(target);
    let mut list = [U32::ZERO; GET_REGISTERS_MAX];
    for (word, name) in list.iter_mut().zip(names) {
        *word = U32::new(name.0);
    }
    let list = list.get(..count).ok_or(CallError::Parameters)?;
    input.fill(&[header.as_bytes(), list.as_bytes()])?;
    // SAFETY: the call reads one page and writes the other, both aligned and
    // whole; the input stays as it is.
    let result = unsafe {
        rep_call(
            processor,
            Control::new(CallCode::GET_VP_REGISTERS),
            count as u16,
            input.address(),
            output.address(),
        )
    };
    let completed = match result {
        Ok(()) => count,
        Err(CallError::Status { completed, .. } | CallError::Stalled { completed }) => completed,
        Err(_) => 0,
    };
    if let Some(values) = values.get_mut(..completed) {
        output.copy_to(values.as_mut_bytes());
    }
    result
}

/// Reads one 64-bit register of a virtual processor.
///
/// # Errors
///
/// [`CallError`].
pub fn get_vp_register<P: Processor + ?Sized>(
    processor: &P,
    input: &mut ParameterPage,
    output: &mut ParameterPage,
    target: RegisterTarget,
    name: RegisterName,
) -> Result<u64, CallError> {
    let mut value = [RegisterValue::ZERO];
    get_vp_registers(processor, input, output, target, &[name], &mut value)?;
    let [value] = value;
    Ok(value.as_u64())
}

/// Writes registers of a virtual processor, in order.
///
/// # Errors
///
/// [`CallError`]; registers before the one that failed are written.
/// [`CallError::Parameters`] above [`SET_REGISTERS_MAX`].
///
/// # Safety
///
/// The writes must keep the promises that the registers' definitions ask for,
/// as with [`Processor::write_msr`].
pub unsafe fn set_vp_registers<P: Processor + ?Sized>(
    processor: &P,
    input: &mut ParameterPage,
    target: RegisterTarget,
    assignments: &[RegisterAssignment],
) -> Result<(), CallError> {
    if assignments.is_empty() {
        return Ok(());
    }
    if assignments.len() > SET_REGISTERS_MAX {
        return Err(CallError::Parameters);
    }
    let header = VpRegistersHeader::from(target);
    input.fill(&[header.as_bytes(), assignments.as_bytes()])?;
    // SAFETY: the call reads the page, which stays as it is, and has no output;
    // the caller vouches for the values.
    unsafe {
        rep_call(
            processor,
            Control::new(CallCode::SET_VP_REGISTERS),
            assignments.len() as u16,
            input.address(),
            0,
        )
    }
}
