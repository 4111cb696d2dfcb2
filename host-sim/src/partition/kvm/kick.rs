//! Calling a virtual processor out of the guest: a signal that only makes `KVM_RUN` return.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_ioctls::VcpuFd;
use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::KvmError;

thread_local! {
    /// The `immediate_exit` flag of the virtual processor that this thread runs.
    static IMMEDIATE_EXIT: Cell<Option<NonNull<AtomicU8>>> = const { Cell::new(None) };
}

/// The signal that calls virtual processors out.
pub(super) fn signal() -> c_int {
    SIGRTMIN()
}

/// Installs the signal's handler; once for the process.
pub(super) fn install() -> Result<(), KvmError> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| register_signal_handler(signal(), on_signal).map_err(|error| error.errno()))
        .map_err(|errno| KvmError::Refused {
            step: "take signals",
            source: std::io::Error::from_raw_os_error(errno),
        })
}

/// Between looking for a reason to stop and entering the guest the signal would come too early and be lost; the flag
/// makes the entry return at once.
extern "C" fn on_signal(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    if let Some(flag) = IMMEDIATE_EXIT.get() {
        // SAFETY: `Guard` withdraws the pointer, on this same thread, before the processor's shared page goes away.
        unsafe { flag.as_ref() }.store(1, Ordering::Relaxed);
    }
}

/// As long as it lives, [`signal`]s to this thread call this virtual processor out.
pub(super) struct Guard(());

impl Guard {
    /// # Safety
    /// The processor must outlive the guard, which must be dropped on this thread.
    pub(super) unsafe fn new(processor: &mut VcpuFd) -> Self {
        let flag = NonNull::from(&mut processor.get_kvm_run().immediate_exit);
        IMMEDIATE_EXIT.set(Some(flag.cast()));
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(None);
    }
}
