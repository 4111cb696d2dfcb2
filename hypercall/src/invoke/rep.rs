//! Calls that work on a list.

use super::CallError;
use crate::Processor;
use crate::call::{CallResult, Control};

/// Successive returns without progress after which a call counts as stalled.
/// A hypervisor returns early to let interrupts in, having done something.
const STALLED_RETURNS: u32 = 1000;

/// Makes a call that works on a list of `count` elements, and goes on where
/// the hypervisor leaves off until the whole list is done.
///
/// `control` is the control value without its list.
///
/// # Errors
///
/// [`CallError`]: elements before the one that failed are done. A count that
/// is zero or does not fit the control value is [`CallError::Parameters`].
///
/// # Safety
///
/// As for [`Processor::hypercall`]. The input must stay as it is until the
/// function returns.
pub unsafe fn rep_call<P: Processor + ?Sized>(
    processor: &P,
    control: Control,
    count: u16,
    input: u64,
    output: u64,
) -> Result<(), CallError> {
    let mut start = 0;
    let mut stalled = 0;
    loop {
        let control = control
            .with_rep(count, start)
            .ok_or(CallError::Parameters)?;
        // SAFETY: the caller's promise is the one that this call asks for.
        let result =
            CallResult::from_bits(unsafe { processor.hypercall(control.bits(), input, output) });
        let completed = result.completed();
        if !result.status().is_success() {
            return Err(CallError::Status {
                status: result.status(),
                // A count that cannot be true tells nothing: what is known is
                // the progress so far.
                completed: usize::from(if (start..=count).contains(&completed) {
                    completed
                } else {
                    start
                }),
            });
        }
        if completed == count {
            return Ok(());
        }
        if completed < start || completed > count {
            return Err(CallError::Disorder { start, completed });
        }
        stalled = if completed == start { stalled + 1 } else { 0 };
        if stalled == STALLED_RETURNS {
            return Err(CallError::Stalled {
                completed: usize::from(completed),
            });
        }
        start = completed;
    }
}
