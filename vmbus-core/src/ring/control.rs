//! The control page of a ring.

use super::barrier::{AtomicU32, Ordering, observe, publish};
use super::error::{IndexField, RingError};

/// Feature bit: the writer announces the size that it is blocked on.
const FEATURE_PENDING_SEND_SIZE: u32 = 1;

/// The first page of a ring: indices and flow control, each word written by one end and read by the other.
#[repr(C)]
pub struct ControlPage {
    /// Where the writer puts the next packet. Written by the writer.
    pub(super) write_index: AtomicU32,
    /// Where the reader takes the next packet. Written by the reader.
    pub(super) read_index: AtomicU32,
    /// Non-zero: the reader does not need data signals. Written by the reader.
    pub(super) interrupt_mask: AtomicU32,
    /// Bytes that the blocked writer waits for, 0 when it is not blocked. Written by the writer.
    pub(super) pending_send_size: AtomicU32,
    #[cfg(not(loom))]
    reserved: [AtomicU32; 12],
    /// What the writer supports. Written by the writer.
    pub(super) feature_bits: AtomicU32,
    #[cfg(not(loom))]
    reserved_rest: [AtomicU32; 1007],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<ControlPage>() == 4096);
    assert!(core::mem::offset_of!(ControlPage, write_index) == 0);
    assert!(core::mem::offset_of!(ControlPage, read_index) == 4);
    assert!(core::mem::offset_of!(ControlPage, interrupt_mask) == 8);
    assert!(core::mem::offset_of!(ControlPage, pending_send_size) == 12);
    assert!(core::mem::offset_of!(ControlPage, feature_bits) == 64);
};

impl ControlPage {
    /// A zeroed page in private memory, for memories that are not mapped pages.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not a value, but a place")]
    pub fn new() -> Self {
        Self {
            write_index: AtomicU32::new(0),
            read_index: AtomicU32::new(0),
            interrupt_mask: AtomicU32::new(0),
            pending_send_size: AtomicU32::new(0),
            #[cfg(not(loom))]
            reserved: [const { AtomicU32::new(0) }; 12],
            feature_bits: AtomicU32::new(0),
            #[cfg(not(loom))]
            reserved_rest: [const { AtomicU32::new(0) }; 1007],
        }
    }

    /// Zeroes the page and sets the feature word.
    pub(super) fn reset(&self, feature_bits: u32) {
        #[cfg(not(loom))]
        for word in self.reserved.iter().chain(&self.reserved_rest) {
            word.store(0, Ordering::Relaxed);
        }
        for word in [
            &self.write_index,
            &self.read_index,
            &self.interrupt_mask,
            &self.pending_send_size,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        publish(&self.feature_bits, feature_bits);
    }

    /// Zeroes the page as a writer that announces when it is blocked.
    pub(super) fn reset_as_writer(&self) {
        self.reset(FEATURE_PENDING_SEND_SIZE);
    }

    /// Declares that this writer announces when it is blocked.
    pub(super) fn declare_features(&self) {
        let bits = observe(&self.feature_bits);
        publish(&self.feature_bits, bits | FEATURE_PENDING_SEND_SIZE);
    }

    /// Whether the writer announces when it is blocked.
    #[inline]
    pub(super) fn writer_announces(&self) -> bool {
        self.feature_bits.load(Ordering::Relaxed) & FEATURE_PENDING_SEND_SIZE != 0
    }

    /// The write index, read once and validated.
    #[inline]
    pub(super) fn checked_write_index(&self, size: u32) -> Result<u32, RingError> {
        check(IndexField::Write, observe(&self.write_index), size)
    }

    /// The read index, read once and validated.
    #[inline]
    pub(super) fn checked_read_index(&self, size: u32) -> Result<u32, RingError> {
        check(IndexField::Read, observe(&self.read_index), size)
    }
}

#[inline]
fn check(field: IndexField, value: u32, size: u32) -> Result<u32, RingError> {
    if value >= size {
        return Err(RingError::IndexOutOfRange { field, value, size });
    }
    if !value.is_multiple_of(8) {
        return Err(RingError::IndexUnaligned { field, value });
    }
    Ok(value)
}
