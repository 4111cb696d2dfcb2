//! Telling the host that the guest has crashed.
//!
//! The host keeps what it is told in its log; it lets the virtual processor go
//! on, so the guest halts or resets by itself. Needs
//! [`Features::CRASH`](crate::cpuid::Features::CRASH).

use bitflags::bitflags;

use crate::{MsrFault, Processor, msr};

bitflags! {
    /// Value of the crash control register. Read: what the host supports;
    /// written: what to do with the parameters.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CrashControl: u64 {
        /// Do not write a crash dump.
        const NO_CRASH_DUMP = 1 << 61;
        /// Parameters 3 and 4 are address and length of a text.
        const MESSAGE = 1 << 62;
        /// Notify the host of the crash.
        const NOTIFY = 1 << 63;
        const _ = !0;
    }
}

impl CrashControl {
    const PRE_OS_SHIFT: u32 = 58;
    const PRE_OS: u64 = 7 << Self::PRE_OS_SHIFT;

    /// Which environment crashed before the operating system ran, 0 to 7.
    #[must_use]
    pub const fn pre_os_id(self) -> u8 {
        ((self.bits() & Self::PRE_OS) >> Self::PRE_OS_SHIFT) as u8
    }
}

/// Longest text of a crash report in bytes; the host cuts longer ones.
pub const CRASH_MESSAGE_MAX: u64 = 4096;

/// Registers of the parameters, in order.
pub const PARAMETERS: [u32; 5] = [
    msr::CRASH_P0,
    msr::CRASH_P1,
    msr::CRASH_P2,
    msr::CRASH_P3,
    msr::CRASH_P4,
];

/// What the host can do with a crash report.
///
/// # Errors
///
/// [`MsrFault`] if there are no crash registers.
pub fn supported<P: Processor + ?Sized>(processor: &P) -> Result<CrashControl, MsrFault> {
    processor
        .read_msr(msr::CRASH_CTL)
        .map(CrashControl::from_bits_retain)
}

/// Reports a crash with five numbers of the guest's choice, by custom an error
/// code, the guest's identity, and instruction pointer, accumulator and stack
/// pointer where it crashed.
///
/// # Errors
///
/// [`MsrFault`] if there are no crash registers. Nothing is reported then.
pub fn report<P: Processor + ?Sized>(processor: &P, parameters: [u64; 5]) -> Result<(), MsrFault> {
    // SAFETY: the parameters are numbers, not addresses.
    unsafe { write(processor, parameters, CrashControl::NOTIFY) }
}

/// Reports a crash with three numbers and a text of at most
/// [`CRASH_MESSAGE_MAX`] bytes at a guest physical address. A host that takes
/// no texts is told the numbers, the address and the length only.
///
/// # Errors
///
/// [`MsrFault`] if there are no crash registers. Nothing is reported then.
///
/// # Safety
///
/// `length` bytes at `address` must be memory that the host may read, up to
/// the next reset.
pub unsafe fn report_message<P: Processor + ?Sized>(
    processor: &P,
    parameters: [u64; 3],
    address: u64,
    length: u64,
) -> Result<(), MsrFault> {
    let [p0, p1, p2] = parameters;
    let length = length.min(CRASH_MESSAGE_MAX);
    let message = supported(processor)? & CrashControl::MESSAGE;
    // SAFETY: the caller lets the host read the text.
    unsafe {
        write(
            processor,
            [p0, p1, p2, address, length],
            CrashControl::NOTIFY | message,
        )
    }
}

/// The parameters first: writing the control register is the trigger.
///
/// # Safety
///
/// With [`CrashControl::MESSAGE`], parameters 3 and 4 must name memory that
/// the host may read.
unsafe fn write<P: Processor + ?Sized>(
    processor: &P,
    parameters: [u64; 5],
    control: CrashControl,
) -> Result<(), MsrFault> {
    for (register, value) in PARAMETERS.into_iter().zip(parameters) {
        // SAFETY: a parameter does nothing until the control register is
        // written.
        unsafe { processor.write_msr(register, value)? };
    }
    // SAFETY: the caller vouches for the memory, if there is any.
    unsafe { processor.write_msr(msr::CRASH_CTL, control.bits()) }
}

#[cfg(test)]
mod tests;
