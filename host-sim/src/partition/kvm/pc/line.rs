//! How devices interrupt.

/// An interrupt line, at the machine's I/O APIC.
pub(in super::super) trait Line: Send + Sync {
    /// Raises or lowers it.
    fn set(&self, raised: bool);
}
