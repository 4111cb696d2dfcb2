//! Rings in private memory whose every word a test can forge: for tests and fuzzers of this and other
//! crates.

#![allow(
    clippy::indexing_slicing,
    reason = "test code; offsets are the caller's, who is told about panics"
)]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::NonNull;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

use super::barrier::{AtomicU32, observe, publish};
use super::{ControlPage, RingMemory};

/// A word of a ring's control page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlField {
    /// Where the writer puts the next packet.
    WriteIndex,
    /// Where the reader takes the next packet.
    ReadIndex,
    /// Non-zero: the reader does not need data signals.
    InterruptMask,
    /// Bytes that the blocked writer waits for.
    PendingSendSize,
    /// What the writer supports.
    FeatureBits,
}

impl ControlField {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::WriteIndex,
        Self::ReadIndex,
        Self::InterruptMask,
        Self::PendingSendSize,
        Self::FeatureBits,
    ];
}

/// Ring memory on the heap. Clones share it, so that one clone is the writer's, one the reader's and one
/// the attacker's.
#[derive(Clone)]
pub struct HeapRing(Arc<Inner>);

struct Inner {
    control: ControlPage,
    data: Box<[AtomicU64]>,
    flat: bool,
}

impl core::fmt::Debug for HeapRing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut debug = f.debug_struct("HeapRing");
        for field in ControlField::ALL {
            debug.field(&alloc::format!("{field:?}"), &self.load(field));
        }
        debug.finish_non_exhaustive()
    }
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

    /// What a word of the control page holds now.
    #[must_use]
    pub fn load(&self, field: ControlField) -> u32 {
        observe(self.field(field))
    }

    /// Forges a word of the control page, with a full barrier after it.
    pub fn store(&self, field: ControlField, value: u32) {
        publish(self.field(field), value);
    }

    /// Forges a word of the control page without any ordering: for models of what must not be done.
    pub fn store_unordered(&self, field: ControlField, value: u32) {
        self.field(field).store(value, Ordering::Relaxed);
    }

    /// Copies bytes of the data area out, around its end if need be.
    ///
    /// # Panics
    /// If `offset` is outside the data area or `into` is longer than it.
    pub fn peek(&self, offset: u32, into: &mut [u8]) {
        let (first, second) = into.split_at_mut(self.room(offset, into.len()));
        self.read(offset, first);
        self.read(0, second);
    }

    /// Forges bytes of the data area, around its end if need be.
    ///
    /// # Panics
    /// If `offset` is outside the data area or `from` is longer than it.
    pub fn poke(&self, offset: u32, from: &[u8]) {
        let (first, second) = from.split_at(self.room(offset, from.len()));
        self.write(offset, first);
        self.write(0, second);
    }

    /// How many of `length` bytes lie before the data area's end.
    fn room(&self, offset: u32, length: usize) -> usize {
        length.min((self.data_size() - offset) as usize)
    }

    fn field(&self, field: ControlField) -> &AtomicU32 {
        let control = &self.0.control;
        match field {
            ControlField::WriteIndex => &control.write_index,
            ControlField::ReadIndex => &control.read_index,
            ControlField::InterruptMask => &control.interrupt_mask,
            ControlField::PendingSendSize => &control.pending_send_size,
            ControlField::FeatureBits => &control.feature_bits,
        }
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

    fn contiguous(&self, offset: u32) -> Option<(NonNull<u8>, u32)> {
        if !self.0.flat {
            return None;
        }
        let length = self.data_size().checked_sub(offset)?;
        let base = NonNull::from(&*self.0.data).cast::<u8>();
        // SAFETY: `offset` is within the boxed data or just past it.
        Some((unsafe { base.add(offset as usize) }, length))
    }
}
