//! Making hypercalls.
//!
//! Each function makes one of the calls that [`call`](crate::call) encodes.
//! Calls with few parameters pass them in registers; the others take a
//! [`ParameterPage`], of which each virtual processor has its own.
//!
//! Nothing here waits. A message that cannot be posted now is reported as
//! such, and [`RetryPolicy`] says whether and when to try again; the waiting is
//! the caller's.

mod flush;
mod ipi;
mod message;
mod parameters;
mod registers;
mod rep;

pub use flush::{flush, flush_ex, flush_list, flush_list_ex};
pub use ipi::{notify_long_spin_wait, send_ipi, send_ipi_ex};
pub use message::{RetryPolicy, post_message, signal_event};
pub use parameters::ParameterPage;
pub use registers::{
    GET_REGISTERS_MAX, SET_REGISTERS_MAX, get_vp_register, get_vp_registers, set_vp_registers,
};
pub use rep::rep_call;

use core::fmt;

use crate::call::{CallResult, Control, Status};
use crate::{PAGE_SIZE, Processor};

/// Why a hypercall did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The parameters do not fit a page or the control value, or input and
    /// output lists differ in length. No call was made.
    Parameters,
    /// The hypervisor refused.
    Status {
        /// Its reason.
        status: Status,
        /// Elements of the list that were done before; 0 for a call without a
        /// list.
        completed: usize,
    },
    /// The hypervisor claims to have done fewer elements than before, or more
    /// than there are.
    Disorder {
        /// Element at which the last call began.
        start: u16,
        /// Elements that it claims to have done.
        completed: u16,
    },
    /// The hypervisor returned success many times without doing anything.
    Stalled {
        /// Elements of the list that were done before.
        completed: usize,
    },
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Status {
            status,
            completed: 0,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters => write!(
                f,
                "the parameters of the hypercall do not fit {PAGE_SIZE} bytes or each other"
            ),
            Self::Status { status, completed } => write!(
                f,
                "the hypervisor refused: {status}, {completed} elements done"
            ),
            Self::Disorder { start, completed } => write!(
                f,
                "the hypervisor claims {completed} elements done of a list begun at {start}"
            ),
            Self::Stalled { completed } => {
                write!(f, "the hypercall stalled with {completed} elements done")
            }
        }
    }
}

impl core::error::Error for CallError {}

/// Makes a call without a list and with its parameters in registers.
///
/// # Safety
///
/// The call must be sound for the caller to make.
unsafe fn fast<P: Processor + ?Sized>(
    processor: &P,
    control: Control,
    [first, second]: [u64; 2],
) -> Result<(), Status> {
    debug_assert!(control.is_fast());
    // SAFETY: a fast call reads and writes no memory; the caller vouches for
    // the rest.
    let result = unsafe { processor.hypercall(control.bits(), first, second) };
    CallResult::from_bits(result).status().into_result()
}

/// Makes a call without a list, without output, and with its parameters in a
/// page.
///
/// # Safety
///
/// The call must be sound for the caller to make.
unsafe fn slow<P: Processor + ?Sized>(
    processor: &P,
    control: Control,
    input: &ParameterPage,
) -> Result<(), Status> {
    debug_assert!(!control.is_fast());
    // SAFETY: the page is memory that the hypervisor may read, aligned and
    // whole; the caller vouches for the rest.
    let result = unsafe { processor.hypercall(control.bits(), input.address(), 0) };
    CallResult::from_bits(result).status().into_result()
}

#[cfg(test)]
mod tests;
