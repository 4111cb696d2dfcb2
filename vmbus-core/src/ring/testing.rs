//! Rings in private memory whose every word a test can forge: for tests and fuzzers of this and other
//! crates.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::NonNull;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

use super::barrier::publish;
use super::{ControlPage, RingMemory};

/// Ring memory on the heap. Clones share it, so that one clone is the writer's, one the reader's and one
/// the attacker's.
#[derive(Clone)]
pub struct HeapRing(Arc<Inner>);

struct Inner {
    control: ControlPage,
    data: Box<[AtomicU64]>,
    flat: bool,
}

impl HeapRing {
    /// A zeroed ring with a data area of `data_size` bytes in one piece.
    ///
    /// # Panics
    /// If `data_size` is not a positive multiple of 8.
    #[must_use]
    pub fn new(data_size: u32) -> Self {
        Self::with_layout(data_size, cfg!(not(loom)))
    }

    /// As [`new`](Self::new), but access is by copies only, never by a pointer: the slow path.
    ///
    /// # Panics
    /// If `data_size` is not a positive multiple of 8.
    #[must_use]
    pub fn scattered(data_size: u32) -> Self {
        Self::with_layout(data_size, false)
    }

    fn with_layout(data_size: u32, flat: bool) -> Self {
        assert!(
            data_size > 0 && data_size.is_multiple_of(8),
            "data area of {data_size} bytes"
        );
        Self(Arc::new(Inner {
            control: ControlPage::new(),
            data: (0..data_size / 8).map(|_| AtomicU64::new(0)).collect(),
            flat,
        }))
    }

    /// Forges the write index.
    pub fn set_write_index(&self, value: u32) {
        publish(&self.0.control.write_index, value);
    }

    /// Forges the read index.
    pub fn set_read_index(&self, value: u32) {
        publish(&self.0.control.read_index, value);
    }

    /// Forges the interrupt mask.
    pub fn set_interrupt_mask(&self, value: u32) {
        publish(&self.0.control.interrupt_mask, value);
    }

    /// Forges the size that the writer is blocked on.
    pub fn set_pending_send_size(&self, value: u32) {
        publish(&self.0.control.pending_send_size, value);
    }

    /// Forges the feature bits.
    pub fn set_feature_bits(&self, value: u32) {
        publish(&self.0.control.feature_bits, value);
    }

    /// What the writer has published.
    #[must_use]
    pub fn write_index(&self) -> u32 {
        super::barrier::observe(&self.0.control.write_index)
    }

    /// What the reader has published.
    #[must_use]
    pub fn read_index(&self) -> u32 {
        super::barrier::observe(&self.0.control.read_index)
    }

    /// Whether the reader has masked its interrupts.
    #[must_use]
    pub fn interrupt_mask(&self) -> u32 {
        super::barrier::observe(&self.0.control.interrupt_mask)
    }

    /// What the writer is blocked on.
    #[must_use]
    pub fn pending_send_size(&self) -> u32 {
        super::barrier::observe(&self.0.control.pending_send_size)
    }

    /// What the writer has declared.
    #[must_use]
    pub fn feature_bits(&self) -> u32 {
        super::barrier::observe(&self.0.control.feature_bits)
    }

    /// The word of the data area that holds byte `offset`.
    ///
    /// # Panics
    /// If `offset` is outside the data area.
    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0.data[offset / 8]
    }
}

// SAFETY: the size is fixed; `contiguous` gives a pointer into the boxed atomics, which are aligned to 8,
// live as long as any clone, and are only accessed as atomics; each copy accesses each word atomically.
unsafe impl RingMemory for HeapRing {
    fn data_size(&self) -> u32 {
        self.0.data.len() as u32 * 8
    }

    fn control(&self) -> &ControlPage {
        &self.0.control
    }

    fn read(&self, offset: u32, into: &mut [u8]) {
        let mut at = offset as usize;
        let mut rest = into;
        while !rest.is_empty() {
            let bytes = self.word(at).load(Ordering::Relaxed).to_le_bytes();
            let from = &bytes[at % 8..];
            let count = from.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(&from[..count]);
            rest = tail;
            at += count;
        }
    }

    fn write(&self, offset: u32, from: &[u8]) {
        let mut at = offset as usize;
        let mut rest = from;
        while !rest.is_empty() {
            let count = (8 - at % 8).min(rest.len());
            let (head, tail) = rest.split_at(count);
            let mut bytes = self.word(at).load(Ordering::Relaxed).to_le_bytes();
            bytes[at % 8..at % 8 + count].copy_from_slice(head);
            self.word(at)
                .store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            rest = tail;
            at += count;
        }
    }

    fn contiguous(&self, offset: u32, length: u32) -> Option<NonNull<u8>> {
        let (offset, length) = (offset as usize, length as usize);
        let size = self.0.data.len() * 8;
        if !self.0.flat || offset > size || length > size - offset {
            return None;
        }
        let base = NonNull::from(&*self.0.data).cast::<u8>();
        // SAFETY: `offset` is within the boxed data or just past it.
        Some(unsafe { base.add(offset) })
    }
}
