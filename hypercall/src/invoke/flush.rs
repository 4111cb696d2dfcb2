//! TLB flushes.
//!
//! A flush may always flush more than asked for, so all of them are safe. They
//! are worth while where
//! [`Recommendations::REMOTE_FLUSH`](crate::cpuid::Recommendations::REMOTE_FLUSH)
//! is set; the calls with processor sets need
//! [`Recommendations::EX_PROCESSOR_MASKS`](crate::cpuid::Recommendations::EX_PROCESSOR_MASKS)
//! too.

use zerocopy::IntoBytes;

use super::parameters::Banks;
use super::{CallError, ParameterPage, rep_call, slow};
use crate::call::{
    CallCode, Control, FlushFlags, FlushVirtualAddressSpace, FlushVirtualAddressSpaceEx, GvaRange,
    ProcessorSet,
};
use crate::{PAGE_SIZE, Processor};

/// Flushes an address space on up to 64 processors. Done on all of them when
/// it returns.
///
/// # Errors
///
/// [`CallError`].
pub fn flush<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    input: &FlushVirtualAddressSpace,
) -> Result<(), CallError> {
    page.fill(&[input.as_bytes()])?;
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE);
    // SAFETY: the call reads the page and has no output.
    unsafe { slow(processor, control, page)? };
    Ok(())
}

/// Flushes ranges of pages of an address space on up to 64 processors, in as
/// many calls as their number takes. Done on all processors when it returns.
///
/// # Errors
///
/// [`CallError`]; the number of ranges done is that over all calls.
pub fn flush_list<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    header: &FlushVirtualAddressSpace,
    ranges: &[GvaRange],
) -> Result<(), CallError> {
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST);
    list(processor, page, control, header.as_bytes(), &[], ranges)
}

/// Flushes an address space, which `cr3` selects, on a set of processors. Done
/// on all of them when it returns. The empty set is done at once.
///
/// # Errors
///
/// [`CallError`].
pub fn flush_ex<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    cr3: u64,
    flags: FlushFlags,
    processors: &ProcessorSet,
) -> Result<(), CallError> {
    if processors.is_empty() {
        return Ok(());
    }
    let banks = Banks::of(processors)?;
    let header = FlushVirtualAddressSpaceEx::new(cr3, flags, processors.header());
    page.fill(&[header.as_bytes(), banks.bytes()])?;
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX)
        .with_variable_words(processors.variable_words())
        .ok_or(CallError::Parameters)?;
    // SAFETY: the call reads the page and has no output.
    unsafe { slow(processor, control, page)? };
    Ok(())
}

/// Flushes ranges of pages of an address space, which `cr3` selects, on a set
/// of processors, in as many calls as their number takes. Done on all
/// processors when it returns. The empty set is done at once.
///
/// # Errors
///
/// [`CallError`]; the number of ranges done is that over all calls.
pub fn flush_list_ex<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    cr3: u64,
    flags: FlushFlags,
    processors: &ProcessorSet,
    ranges: &[GvaRange],
) -> Result<(), CallError> {
    if processors.is_empty() {
        return Ok(());
    }
    let banks = Banks::of(processors)?;
    let header = FlushVirtualAddressSpaceEx::new(cr3, flags, processors.header());
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX)
        .with_variable_words(processors.variable_words())
        .ok_or(CallError::Parameters)?;
    list(
        processor,
        page,
        control,
        header.as_bytes(),
        banks.bytes(),
        ranges,
    )
}

/// Makes list calls until all ranges are done.
fn list<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    control: Control,
    header: &[u8],
    banks: &[u8],
    ranges: &[GvaRange],
) -> Result<(), CallError> {
    let per_call = (PAGE_SIZE - header.len() - banks.len()) / size_of::<GvaRange>();
    let mut before = 0;
    for part in ranges.chunks(per_call) {
        page.fill(&[header, banks, part.as_bytes()])?;
        // SAFETY: the call reads the page, which stays as it is, and has no
        // output.
        unsafe { rep_call(processor, control, part.len() as u16, page.address(), 0) }
            .map_err(|error| counted_from(error, before))?;
        before += part.len();
    }
    Ok(())
}

/// The error of one of several calls, with the elements of the earlier ones.
fn counted_from(error: CallError, before: usize) -> CallError {
    match error {
        CallError::Status { status, completed } => CallError::Status {
            status,
            completed: before + completed,
        },
        CallError::Stalled { completed } => CallError::Stalled {
            completed: before + completed,
        },
        other => other,
    }
}
