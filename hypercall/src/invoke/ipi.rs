//! Interrupts to other processors, and the hint about long waits.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::parameters::Banks;
use super::{CallError, ParameterPage, fast, slow};
use crate::Processor;
use crate::call::{
    CallCode, Control, NotifyLongSpinWait, ProcessorSet, SendSyntheticClusterIpi,
    SendSyntheticClusterIpiEx,
};

/// Sends a fixed, edge-triggered interrupt to processors 0 to 63 by a mask.
/// Worth while where
/// [`Recommendations::CLUSTER_IPI`](crate::cpuid::Recommendations::CLUSTER_IPI)
/// is set.
///
/// # Errors
///
/// [`CallError`]; a vector below
/// [`IPI_VECTOR_MIN`](crate::call::IPI_VECTOR_MIN) is refused by the
/// hypervisor.
///
/// # Safety
///
/// There must be a handler for the vector on each of the processors.
pub unsafe fn send_ipi<P: Processor + ?Sized>(
    processor: &P,
    vector: u8,
    processor_mask: u64,
) -> Result<(), CallError> {
    let input = SendSyntheticClusterIpi::new(vector, processor_mask);
    // SAFETY: the caller handles the interrupt.
    unsafe {
        fast(
            processor,
            SendSyntheticClusterIpi::CONTROL,
            input.to_registers(),
        )?;
    }
    Ok(())
}

/// Sends a fixed, edge-triggered interrupt to a set of processors. Worth while
/// where [`Recommendations::EX_PROCESSOR_MASKS`] is set too. The empty set is
/// done at once.
///
/// [`Recommendations::EX_PROCESSOR_MASKS`]: crate::cpuid::Recommendations::EX_PROCESSOR_MASKS
///
/// # Errors
///
/// [`CallError`] as for [`send_ipi`].
///
/// # Safety
///
/// There must be a handler for the vector on each of the processors.
pub unsafe fn send_ipi_ex<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    vector: u8,
    processors: &ProcessorSet,
) -> Result<(), CallError> {
    if processors.is_empty() {
        return Ok(());
    }
    let header = SendSyntheticClusterIpiEx {
        vector: U32::new(u32::from(vector)),
        target_vtl: 0,
        reserved: [0; 3],
        processors: processors.header(),
    };
    page.fill(&[header.as_bytes(), Banks::of(processors)?.bytes()])?;
    let control = Control::new(CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX)
        .with_variable_words(processors.variable_words())
        .ok_or(CallError::Parameters)?;
    // SAFETY: the call reads the page and has no output; the caller handles
    // the interrupt.
    unsafe { slow(processor, control, page)? };
    Ok(())
}

/// Tells the hypervisor that this processor has tried a lock `spin_count`
/// times, so that it may run the owner. To be called after
/// [`Discovery::spin_retries`](crate::cpuid::Discovery::spin_retries) tries,
/// and not at all where that is `None`. A pure hint: there is no failure.
pub fn notify_long_spin_wait<P: Processor + ?Sized>(processor: &P, spin_count: u32) {
    let input = NotifyLongSpinWait::new(spin_count).to_register();
    // SAFETY: the hint touches no memory.
    let _ = unsafe { fast(processor, NotifyLongSpinWait::CONTROL, [input, 0]) };
}
