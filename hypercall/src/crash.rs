//! Telling the host that the guest has crashed.

use bitflags::bitflags;

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
